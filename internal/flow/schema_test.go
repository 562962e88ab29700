package flow

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s has changed; see the difference, then run: go test ./internal/flow -update", path)
	}
}

func TestSchemaIsGolden(t *testing.T) { golden(t, "flow.schema.json", Schema(fake())) }

func TestReferenceIsGolden(t *testing.T) { golden(t, "reference.md", Reference(fake())) }

func TestSchemaRefersToWhatIsThere(t *testing.T) {
	var doc map[string]any
	if err := json.Unmarshal(Schema(fake()), &doc); err != nil {
		t.Fatal(err)
	}
	defs, _ := doc["$defs"].(map[string]any)
	for _, m := range regexp.MustCompile(`"\$ref": "#/\$defs/([^"]+)"`).FindAllStringSubmatch(string(Schema(fake())), -1) {
		if defs[strings.ReplaceAll(m[1], "~1", "/")] == nil {
			t.Errorf("no definition %s", m[1])
		}
	}
}

func TestEveryCodeIsExplained(t *testing.T) {
	text, err := os.ReadFile("problem.go")
	if err != nil {
		t.Fatal(err)
	}
	codes := regexp.MustCompile(`Code\w+\s+Code = "([^"]+)"`).FindAllStringSubmatch(string(text), -1)
	if len(codes) != len(codeMeanings) {
		t.Errorf("%d codes, %d explained", len(codes), len(codeMeanings))
	}
	for _, c := range codes {
		if codeMeanings[Code(c[1])] == "" {
			t.Errorf("%s is not explained", c[1])
		}
	}
}

func TestEveryExampleOfAFunctionCanBeRead(t *testing.T) {
	w := newWorkbench(t)
	for _, name := range []string{"case", "worker", "server", "row", "c", "q", "sender"} {
		w.scope.names[name] = &binding{}
	}
	i := w.run.state.integ
	i.Tables["visit-obs"] = i.Tables["obs"]
	w.scope.connector = "openmrs"
	for name, f := range functions {
		if _, err := w.compile(f.example); err != nil {
			t.Errorf("%s: %s: %v", name, f.example, err)
		}
	}
}
