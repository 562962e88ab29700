package metrics

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

var update = flag.Bool("update", false, "write the tables into docs/operating.md")

const (
	manual = "../../docs/operating.md"
	begin  = "<!-- metrics: made by go test ./internal/metrics -update -->\n"
	end    = "<!-- end of metrics -->\n"
)

// TestTheManualsTablesAreTheRegistrys: they are made from the same rows.
func TestTheManualsTablesAreTheRegistrys(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no marks for the tables", manual)
	}
	want := before + begin + Table() + end + after
	if *update {
		if err := os.WriteFile(manual, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(text) != want {
		t.Errorf("the tables of %s are old: go test ./internal/metrics -update", manual)
	}
}

var (
	names  = regexp.MustCompile(`kiungo_[a-z_]+`)
	labels = regexp.MustCompile(`(kiungo_[a-z_]+)\{([^}]*)\}`)
	label  = regexp.MustCompile(`([a-z_]+)\s*(=~|!~|!=|=)`)
)

// exposed gives the names that Prometheus sees, with the labels of each.
func exposed() map[string][]string {
	out := map[string][]string{}
	for _, list := range [][]metric{ofNode, ofLedger} {
		for _, m := range list {
			out[m.name] = m.labels
			if m.kind == "histogram" {
				for _, s := range []string{"_bucket", "_sum", "_count"} {
					out[m.name+s] = append([]string{"le"}, m.labels...)
				}
			}
		}
	}
	return out
}

// TestAlarmsAskForWhatThereIs reads the rules of deploy, and those of the
// manual: an alarm on a figure that has another name never rings.
func TestAlarmsAskForWhatThereIs(t *testing.T) {
	const rules = "../../deploy/prometheus-rules.yaml"
	text, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	manualText, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	have := exposed()
	seen := 0
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			seen++
			if r.Annotations["summary"] == "" || r.Labels["severity"] == "" {
				t.Errorf("%s: %s has no summary or severity", rules, r.Alert)
			}
			if !strings.Contains(string(manualText), "`"+r.Alert+"`") {
				t.Errorf("%s does not say what to do about %s", manual, r.Alert)
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d alarms were read", seen)
	}
	for where, s := range map[string]string{rules: string(text), manual: string(manualText)} {
		for _, n := range names.FindAllString(s, -1) {
			if _, ok := have[n]; !ok {
				t.Errorf("%s asks for %s, which does not exist", where, n)
			}
		}
		for _, m := range labels.FindAllStringSubmatch(s, -1) {
			for _, l := range label.FindAllStringSubmatch(m[2], -1) {
				if !has(have[m[1]], l[1]) {
					t.Errorf("%s asks for the label %s of %s, which does not exist", where, l[1], m[1])
				}
			}
		}
	}
}

func has(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
