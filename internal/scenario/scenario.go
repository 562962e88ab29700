// Package scenario runs golden tests of an integration: messages in, target
// state and faults given, and then the exact calls, undo calls and end state.
// Everything runs as in production (intake, ledger, runner) against the
// connectors' simulators, in this process and without sockets.
package scenario

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/kiungo-health/kiungo/internal/simulate"
)

// Scenario is one file under an integration's scenarios folder.
type Scenario struct {
	Name  string `yaml:"scenario"`
	About string `yaml:"about"`
	// Site is merged over scenarios/site.yaml.
	Site map[string]any `yaml:"site"`
	// Simulators give each system's simulator its options and its content.
	Simulators map[string]Setup `yaml:"simulators"`
	Steps      []Step           `yaml:"steps"`

	Dir  string `yaml:"-"` // the scenarios folder
	File string `yaml:"-"`
}

// Setup is how one system's simulator starts.
type Setup struct {
	Options map[string]any `yaml:"options"`
	Seed    any            `yaml:"seed"` // inline, or the name of a JSON file, or a list of both
}

// Step is one thing that happens. Exactly one of its keys is given, besides
// those that say more about send.
type Step struct {
	// Send pushes a file of the scenarios folder to Kiungo, as the system To would.
	Send   string            `yaml:"send"`
	To     string            `yaml:"to"`
	Header map[string]string `yaml:"header"`
	// With changes values of a JSON file on the way: path with slashes -> value.
	With map[string]any `yaml:"with"`
	// Body is sent as it is instead of a file.
	Body string `yaml:"body"`
	// Anonymous sends it without the credentials.
	Anonymous bool `yaml:"anonymous"`
	// Wait is false to send the next before this one has been worked on.
	Wait *bool `yaml:"wait"`

	Fault *FaultStep `yaml:"fault"`
	Calm  string     `yaml:"calm"`  // system whose faults end
	Seed  *SeedStep  `yaml:"seed"`  // something more is there
	Clerk *ClerkStep `yaml:"clerk"` // somebody else changes something there
	Table *TableStep `yaml:"table"` // the site adds rows to a table
	Retry string     `yaml:"retry"` // flow, or "all": what is held is tried again
	Skip  string     `yaml:"skip"`  // flow, or "all"
	Poll  string     `yaml:"poll"`  // system/stream
	// Fetch asks a flow's lists now; Period and System say more.
	Fetch  string `yaml:"fetch"`
	Period string `yaml:"period"`
	Fails  bool   `yaml:"fails"` // the list, or the stream of poll, cannot be read now
	System string `yaml:"system"`
	// Answer answers the open questions of a kind, or all: {kind: match, with: new}.
	Answer *AnswerStep `yaml:"answer"`
	// Split takes back what was sent while a record was wrongly linked to a person.
	Split *SplitStep `yaml:"split"`
	// Mark keeps a backup of a system; Restore puts the system back to it, Replace
	// puts another database in its place that was made of it. Replay is what a
	// person then says.
	Mark    string      `yaml:"mark"`
	Restore string      `yaml:"restore"`
	Replace string      `yaml:"replace"`
	Replay  *ReplayStep `yaml:"replay"`
	Restart bool        `yaml:"restart"` // Kiungo is stopped and started again
	Settle  bool        `yaml:"settle"`
}

// SplitStep is kiungo people split --yes.
type SplitStep struct {
	Person string `yaml:"person"` // SYSTEM/ID: what she goes by
	Record string `yaml:"record"` // SYSTEM/Kind/ID: the record that is not hers
	To     string `yaml:"to"`     // SYSTEM/Kind/ID: the one that is, if it is known
}

// AnswerStep answers open questions as a person would.
type AnswerStep struct {
	Kind string `yaml:"kind"` // only questions of this kind
	// Answer is the value, or the number of a choice from 1.
	Answer string `yaml:"with"`
	Who    string `yaml:"who"`
}

// ReplayStep is kiungo replay --missing.
type ReplayStep struct {
	System string   `yaml:"system"`
	Again  []string `yaml:"again"`
	DryRun bool     `yaml:"dryRun"`
	Accept bool     `yaml:"accept"`
}

// FaultStep switches a fault on.
type FaultStep struct {
	System string        `yaml:"system"`
	Kind   simulate.Kind `yaml:"kind"`
	Match  string        `yaml:"match"`
	Call   int           `yaml:"call"`
	Times  int           `yaml:"times"`
	Delay  time.Duration `yaml:"delay"`
}

// SeedStep changes what a system holds, in its simulator's words.
type SeedStep struct {
	System string `yaml:"system"`
	Doc    any    `yaml:"doc"`
}

// ClerkStep is a request by another user of the system.
type ClerkStep struct {
	System string         `yaml:"system"`
	Method string         `yaml:"method"`
	Path   string         `yaml:"path"`
	Body   map[string]any `yaml:"body"`
	// After waits until Kiungo made such a request and it failed by a fault: "POST /path".
	After string `yaml:"after"`
	// Status is the answer, if it is not a good one.
	Status int `yaml:"status"`
}

// TableStep writes a table of the site, and starts Kiungo again with it.
type TableStep struct {
	Name string `yaml:"name"` // without .csv
	Rows string `yaml:"rows"` // with the heading
}

// Load reads the scenarios of an integration's folder, by name.
func Load(integrationDir string) ([]*Scenario, error) {
	dir := filepath.Join(integrationDir, "scenarios")
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var out []*Scenario
	for _, f := range files {
		if filepath.Base(f) == "site.yaml" {
			continue
		}
		s, err := read(f)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].File < out[j].File })
	return out, nil
}

func read(file string) (*Scenario, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	s := &Scenario{File: file, Dir: filepath.Dir(file)}
	if err := yaml.UnmarshalWithOptions(text, s, yaml.DisallowUnknownField()); err != nil {
		return nil, fmt.Errorf("%s: %s", file, yaml.FormatError(err, false, true))
	}
	if s.Name == "" {
		s.Name = strings.TrimSuffix(filepath.Base(file), ".yaml")
	}
	if len(s.Steps) == 0 {
		return nil, fmt.Errorf("%s: a scenario needs steps", file)
	}
	return s, nil
}

// GoldenFile is where the expected outcome stands.
func (s *Scenario) GoldenFile() string { return strings.TrimSuffix(s.File, ".yaml") + ".golden" }

// merged puts b over a, map by map.
func merged(a, b map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range a {
		out[k] = v
	}
	for k, v := range b {
		inner, ok1 := v.(map[string]any)
		outer, ok2 := out[k].(map[string]any)
		if ok1 && ok2 {
			out[k] = merged(outer, inner)
			continue
		}
		out[k] = v
	}
	return out
}
