package flow

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// twoFlows is an integration of two reports, each with a report id of its own.
func twoFlows(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "i03-datasets")
	if err := os.CopyFS(dir, os.DirFS("testdata/i03-datasets")); err != nil {
		t.Fatal(err)
	}
	flow, err := os.ReadFile(filepath.Join(dir, "flows", "monthly.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	second := strings.NewReplacer("flow: monthly-activity", "flow: stock", "site.activityReport", "site.stockReport").Replace(string(flow))
	in, err := os.ReadFile(filepath.Join(dir, "integration.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"flows/stock.yaml": second, "integration.yaml": string(in) + "  stockReport: {about: id of the stock report, example: 'r2'}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const offSite = `zone: Africa/Nairobi
systems:
  commcare: {connector: commcare, options: {url: 'https://a.example'}}
  dhis2: {connector: dhis2}
integrations:
  i03-datasets: {OFF site: {activityReport: r1, dataSet: d1}}
`

func TestAFlowThatIsOffIsNotLoadedAndItsSiteValuesAreNotAskedFor(t *testing.T) {
	dir, reg := twoFlows(t), fake()
	load := func(off string) (*Integration, Problems) {
		path := filepath.Join(t.TempDir(), "site.yaml")
		if err := os.WriteFile(path, []byte(strings.Replace(offSite, "OFF", off, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		site, problems := LoadSite(path, reg)
		in, more := Load(dir, reg, site)
		return in, append(problems, more...)
	}
	in, problems := load("")
	if problems.Errors() != 1 || !strings.Contains(problems.String(), "needs the site value stockReport") {
		t.Errorf("both on, and the stock report is not given:\n%s", problems)
	}
	running := len(in.Flows)
	in, problems = load("off: [stock],")
	if problems.Errors() != 0 || len(in.Flows) != running-1 || in.Flow("stock") != nil || !slices.Equal(in.Off, []string{"stock"}) {
		t.Errorf("stock is off: %d flows, off %v:\n%s", len(in.Flows), in.Off, problems)
	}
	for off, says := range map[string]string{
		"off: [stok],":                    `has no flow "stok"; did you mean "stock"`,
		"off: [stock, monthly-activity],": "active: false",
	} {
		if _, problems := load(off); problems.Errors() == 0 || !strings.Contains(problems.String(), says) {
			t.Errorf("%s: want %q:\n%s", off, says, problems)
		}
	}
}

func TestSiteValuesAreFoundHoweverTheyAreWritten(t *testing.T) {
	docs := (&reader{}).parse([]byte("from: {report: '${site.one}', with: {a: '${site[\"two\"] ?? 3}'}}\nlet: [{x: site . three}, website.four]\n"), "x.yaml")
	got := map[string]bool{}
	docs[0].mentions(got)
	if len(got) != 3 || !got["one"] || !got["two"] || !got["three"] {
		t.Errorf("%v", got)
	}
	docs = (&reader{}).parse([]byte("let: {x: 'site[row.kind]'}\n"), "x.yaml")
	if docs[0].mentions(got); !got[anyName] {
		t.Error("a name that is worked out is not seen")
	}
}
