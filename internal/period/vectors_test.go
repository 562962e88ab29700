package period_test

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/period"
)

// table reads a CSV of testdata into rows by column name.
func table(t testing.TB, name string) []map[string]string {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil || len(rows) < 2 {
		t.Fatalf("%s: %d rows, %v", name, len(rows), err)
	}
	var out []map[string]string
	for _, row := range rows[1:] {
		m := map[string]string{}
		for i, cell := range row {
			m[rows[0][i]] = cell
		}
		out = append(out, m)
	}
	return out
}

func day(t testing.TB, s string) period.Day {
	t.Helper()
	d, err := period.ParseDay(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestNamesMeanTheDaysThatDHIS2Gives(t *testing.T) {
	for _, file := range []string{"parse_vectors_iso.csv", "parse_vectors_iso_extra.csv"} {
		for _, v := range table(t, file) {
			p, err := period.Parse(v["period"])
			if v["valid"] != "true" {
				if err == nil {
					t.Errorf("%s is read as %v %v to %v; DHIS2 refuses it", v["period"], p.Type(), p.Start(), p.End())
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", v["period"], err)
				continue
			}
			if string(p.Type()) != v["period_type"] || p.Start() != day(t, v["start"]) || p.End() != day(t, v["end"]) {
				t.Errorf("%s is %v %v to %v, want %v %v to %v", v["period"], p.Type(), p.Start(), p.End(), v["period_type"], v["start"], v["end"])
			}
		}
	}
}

func TestEveryTypeOfDHIS2IsKnownByItsNameAndExample(t *testing.T) {
	for _, v := range table(t, "period_types.csv") {
		typ, err := period.ParseType(v["name"])
		if err != nil {
			t.Error(err)
			continue
		}
		p, err := period.Parse(v["iso_example"])
		if err != nil || p.Type() != typ || p.Name() != v["iso_example"] {
			t.Errorf("%s: %s is %v %q, %v", typ, v["iso_example"], p.Type(), p.Name(), err)
		}
	}
	if _, err := period.ParseType("Fortnightly"); err == nil {
		t.Error("Fortnightly is taken as a period type")
	}
}

func TestOtherSpellingsThatDHIS2TakesAreWrittenItsWay(t *testing.T) {
	for name, want := range map[string]string{"2024-01-15": "20240115", "2024-01": "202401", "2024W03": "2024W3", "2024SunW07": "2024SunW7", "2024BiW02": "2024BiW2"} {
		p, err := period.Parse(name)
		if err != nil || p.Name() != want {
			t.Errorf("%s is named %q, want %q (%v)", name, p.Name(), want, err)
		}
	}
	for _, name := range []string{"", "24", "2024-0115", "202401-15", "2024W003", "2024W", "2024Q", "2024Q01", "2024S01", "2024w3", "2024april", " 2024", "2024 ", "20240", "202401b", "２０２４", "0000", "2024April1", "-2024"} {
		if p, err := period.Parse(name); err == nil {
			t.Errorf("%q is read as %v", name, p)
		}
	}
}

func TestPeriodJustCompletedIsTheOneOfCommCaresTests(t *testing.T) {
	type vector struct {
		Sent   string `json:"send_date"`
		Start  string `json:"start"`
		End    string `json:"end"`
		Period string `json:"period"`
		Wrong  string `json:"wrong_value_of_source_formula"`
	}
	var all struct {
		Monthly, Quarterly, Weekly []vector
	}
	raw, err := os.ReadFile("testdata/period.vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	for typ, vectors := range map[period.Type][]vector{period.Monthly: all.Monthly, period.Quarterly: all.Quarterly, period.Weekly: all.Weekly} {
		if len(vectors) == 0 {
			t.Errorf("no vectors of %s", typ)
		}
		for _, v := range vectors {
			p := period.Completed(typ, day(t, v.Sent).In(time.UTC).Add(3*time.Hour), time.UTC)
			if p.Name() != v.Period || p.Start() != day(t, v.Start) || p.End() != day(t, v.End) {
				t.Errorf("%s: completed on %s is %v, %v to %v; want %s, %s to %s", typ, v.Sent, p, p.Start(), p.End(), v.Period, v.Start, v.End)
			}
		}
	}
}
