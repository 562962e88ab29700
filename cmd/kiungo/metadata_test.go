package main

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMetadataPrintsTheLinesOfADataSet(t *testing.T) {
	m := newMonth(t)
	out, code := m.run("metadata", "dhis2")
	if code != 0 || !strings.Contains(out, "IMCI_MONTHLY") || !strings.Contains(out, "FEVER_CASE") {
		t.Fatalf("%d %s", code, out)
	}
	if out, code = m.run("metadata", "dhis2", "dataElements", "--search", "fever children"); code != 0 || !strings.Contains(out, "ImDeFever01") || strings.Contains(out, "ImDeDiarr04") {
		t.Errorf("%d %s", code, out)
	}
	for _, ref := range []string{"ImDsMonth01", "IMCI_MONTHLY", "imci monthly report", "imci"} {
		out, code = m.run("metadata", "dhis2", "dataset", ref)
		r := csv.NewReader(strings.NewReader(out))
		r.Comment = '#'
		rows, err := r.ReadAll()
		if code != 0 || err != nil || len(rows) < 5 || strings.Join(rows[0][:3], ",") != "column,element,combo" || !strings.HasPrefix(out, "# IMCI monthly report (ImDsMonth01)\n") {
			t.Fatalf("%s: %d %v %s", ref, code, err, out)
		}
		if rows[1][1] != "ImDeFever01" || rows[1][2] != "ImCoc000001" || rows[2][2] != "ImCoc000002" {
			t.Errorf("%s: %v", ref, rows[:3])
		}
	}
	out, code = m.run("metadata", "dhis2", "program", "FEVER_CASE", "--json")
	var mapping struct {
		Columns []string
		Rows    [][]string
	}
	if err := json.Unmarshal([]byte(out), &mapping); err != nil || code != 0 || len(mapping.Rows) != 6 {
		t.Errorf("%d %v %s", code, err, out)
	}
}

func TestMetadataSaysWhatThereIs(t *testing.T) {
	m := newMonth(t)
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no such system":  {[]string{"metadata", "hmis"}, 2, "there are: cht, dhis2"},
		"not to look at":  {[]string{"metadata", "cht"}, 2, "no metadata to look through"},
		"no such list":    {[]string{"metadata", "dhis2", "indicators"}, 2, "dataElements"},
		"no such data":    {[]string{"metadata", "dhis2", "dataset", "HIV"}, 1, "IMCI monthly report (ImDsMonth01)"},
		"several":         {[]string{"metadata", "dhis2", "dataset", "report"}, 1, "give the UID"},
		"nothing matches": {[]string{"metadata", "dhis2", "dataElements", "--search", "zzz"}, 0, "nothing was found"},
	} {
		if out, code := m.run(c.args...); code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%s: exit %d, %s; want %d with %q", name, code, out, c.code, c.says)
		}
	}
}

const integration13 = "../../integrations/i13-cht-dhis2-aggregate"

func TestCheckLiveAsksWhatTheFlowsSay(t *testing.T) {
	m := newMonth(t)
	out, code := m.run("check", "--live", integration13)
	if code != 0 || !strings.Contains(out, "cht: ok: it answers") || !strings.Contains(out, "dhis2: ok: ") {
		t.Fatalf("%d %s", code, out)
	}
	// A place that the site maps, a unit that DHIS2 does not have, a data element
	// that was taken out of the data set, and a period that closes too early.
	tables := filepath.Join(m.dir, "tables", "i13-cht-dhis2-aggregate")
	if err := os.MkdirAll(tables, 0o700); err != nil {
		t.Fatal(err)
	}
	m.write("tables/i13-cht-dhis2-aggregate/org-units.csv", "place,orgUnit,name\nplace-1,OuVilUya001,Usigu\nplace-2,OuVilNowhere,Nowhere\nplace-3,OuNation001,Kenya\n")
	m.write("tables/i13-cht-dhis2-aggregate/targets.csv", "target,count,element,combo,name\nhouseholds-visited,total,ChDeHouse01,,Households\ndeaths-this-month,total,ImDeFever01,StCoc000001,Fever of a medicine\n")
	if err := m.dhis2.Seed([]byte(`{"dataSets":[{"id":"ImDsMonth01","expiryDays":2}]}`)); err != nil {
		t.Fatal(err)
	}
	out, code = m.run("check", "--live", integration13)
	for _, want := range []string{
		`i13/targets-to-dhis2, record values (flows/targets-to-dhis2.yaml:`,
		`"OuVilNowhere" is`,
		`is not assigned to Kenya (OuNation001)`,
		`"ChDeHouse01" is not a data element of the data set IMCI monthly report`,
		`StCoc000001`,
		`is locked 2 days after a period's end, and the flow asks on day 3`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	if code != 1 || strings.Contains(out, "OuVilUya001") {
		t.Errorf("%d %s", code, out)
	}
	out, code = m.run("check", "--live", "--json", integration13)
	var rows []liveRow
	if err := json.Unmarshal([]byte(out[:strings.LastIndex(out, "]")+1]), &rows); err != nil || code != 1 || len(rows) < 5 {
		t.Errorf("%d %v %s", code, err, out)
	}
}

func TestCheckLiveNamesASystemThatCannotBeAsked(t *testing.T) {
	m := newMonth(t)
	m.write("dhis2.password", "wrong")
	out, code := m.run("check", "--live", integration13)
	if code != 1 || !strings.Contains(out, "dhis2: error: ") || strings.Contains(out, "wrong\n") {
		t.Errorf("%d %s", code, out)
	}
}
