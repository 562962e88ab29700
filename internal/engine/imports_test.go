package engine

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The core knows systems only through internal/connector: adding one touches
// its folder and one line. And arrows go one way.
func TestTheCoreKnowsNoSystem(t *testing.T) {
	const module = "github.com/kiungo-health/kiungo/"
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "../...").Output()
	if err != nil {
		t.Fatal(err)
	}
	// These run the product with simulators; they are applications of the core.
	applications := []string{"internal/bench", "internal/demo"}
	low := map[string][]string{ // may import only these of ours
		"internal/record": nil, "internal/call": {"internal/record"}, "internal/seal": nil, "internal/believed": nil,
		"internal/simulate": {"internal/call"}, "internal/people": nil, "internal/period": nil, "internal/schedule": {"internal/period"},
		"internal/connector": {"internal/call", "internal/people", "internal/record", "internal/simulate"}, "internal/question": {"internal/ledger"},
		"internal/ledger": {"internal/connector", "internal/record"}, "internal/lane": {"internal/gate", "internal/ledger"}, "internal/gate": nil, "internal/calendar": nil,
		"internal/system": {"internal/call", "internal/connector", "internal/gate"}, "internal/flow": {"internal/connector", "internal/people", "internal/record", "internal/schedule"},
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	seen := 0
	for dec.More() {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, module)
		seen++
		for _, dep := range p.Imports {
			dep, ours := strings.CutPrefix(dep, module)
			if !ours {
				continue
			}
			if strings.HasPrefix(dep, "connectors") && !slices.Contains(applications, name) {
				t.Errorf("%s imports %s: the core must not know a system", name, dep)
			}
			if allowed, ok := low[name]; ok && !slices.Contains(allowed, dep) {
				t.Errorf("%s imports %s, which is not below it", name, dep)
			}
		}
	}
	if seen < 15 {
		t.Fatalf("only %d packages were looked at", seen)
	}
}
