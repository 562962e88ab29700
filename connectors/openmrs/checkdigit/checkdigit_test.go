package checkdigit

import (
	"encoding/csv"
	"os"
	"testing"
)

// TestVectorsOfOpenMRSAreJudgedAlike replays contracts/openmrs/idgen/check-digits.csv.
func TestVectorsOfOpenMRSAreJudgedAlike(t *testing.T) {
	f, err := os.Open("testdata/check-digits.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	validators := map[string]string{
		"luhn-mod-30":          "org.openmrs.module.idgen.validator.LuhnMod30IdentifierValidator",
		"luhn-mod-10":          "org.openmrs.module.idgen.validator.LuhnMod10IdentifierValidator",
		"core-luhn-hyphen":     "org.openmrs.patient.impl.LuhnIdentifierValidator",
		"core-verhoeff-hyphen": "org.openmrs.patient.impl.VerhoeffIdentifierValidator",
	}
	for _, row := range rows[1:] {
		want := Bad
		if row[3] == "true" {
			want = Good
		}
		if got := Valid(validators[row[0]], row[2]); got != want {
			t.Errorf("%s %s: got %v, want %v (%s)", row[0], row[2], got, want, row[4])
		}
	}
}
