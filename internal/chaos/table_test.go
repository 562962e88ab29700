//go:build unix

package chaos

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
)

// outcome is what the rounds of a trial came to.
type outcome struct {
	trial  *trial
	rounds int
	tally
	messages, requests int
	notes              []string
	skipped            bool
}

func (o *outcome) add(r *round, ok bool) {
	o.skipped = r.worlds == nil && ok
	o.rounds++
	if r.note != "" {
		o.notes = append(o.notes, r.note)
	}
	for _, w := range r.worlds {
		o.faults += w.tally.faults
		o.lost += w.tally.lost
		o.doubled += w.tally.doubled
		o.disordered += w.tally.disordered
		o.half += w.tally.half
		o.late += w.tally.late
		o.asked += w.tally.asked
		o.takeover = max(o.takeover, w.tally.takeover)
		o.requests += w.gate.count()
		if w.load != nil {
			o.messages += w.load.messages()
		}
	}
}

func (o *outcome) row() string {
	takeover := "–"
	if o.takeover > 0 {
		takeover = fmt.Sprintf("%.1f s", o.takeover.Seconds())
	}
	title := o.trial.title
	if n := len(o.notes); n > 0 {
		title += " (" + o.notes[n-1] + ")"
	}
	return fmt.Sprintf("| %s | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %s |", title, o.rounds, o.messages, o.faults, o.requests,
		o.lost, o.doubled, o.disordered, o.half, o.late, o.asked, takeover)
}

// results are those of all trials.
type results struct {
	seed  uint64
	began time.Time
	list  []*outcome
}

func (r *results) add(o *outcome) { r.list = append(r.list, o) }

func (r *results) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d cores (%s), %s, %s; Go %s, PostgreSQL %s; seed %d; %s in all. Made by `make chaos ARGS=-chaos.time=%s`.\n\n", time.Now().UTC().Format("2006-01-02 15:04 UTC"),
		runtime.NumCPU(), processor(), runtime.GOOS, runtime.GOARCH, strings.TrimPrefix(runtime.Version(), "go"), postgresVersion(), r.seed, time.Since(r.began).Round(time.Second), *flagTime)
	b.WriteString("| trial | rounds | messages | kills, faults | changing requests | lost | doubled | out of order | half done | late calls | asked a person | longest take-over |\n")
	b.WriteString("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, o := range r.list {
		b.WriteString(o.row() + "\n")
	}
	return b.String()
}

// end reports, and after a whole run that balanced writes the table into the
// documentation.
func (r *results) end(t *testing.T, all bool) {
	t.Helper()
	t.Logf("\n%s", r.table())
	if !whole() || !all || *flagTable == "" {
		return
	}
	if t.Failed() {
		t.Logf("%s stays as it is: not everything balanced", *flagTable)
		return
	}
	if err := writeTable(*flagTable, r.table()); err != nil {
		t.Error(err)
	}
}

const (
	tableBegin = "<!-- chaos: begin -->\n"
	tableEnd   = "<!-- chaos: end -->"
)

func writeTable(path, table string) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok1 := bytes.Cut(page, []byte(tableBegin))
	_, after, ok2 := bytes.Cut(rest, []byte(tableEnd))
	if !ok1 || !ok2 {
		return fmt.Errorf("%s has no %q … %q to write the table between", path, strings.TrimSpace(tableBegin), tableEnd)
	}
	return os.WriteFile(path, []byte(string(before)+tableBegin+"\n"+table+"\n"+tableEnd+string(after)), 0o644)
}

func processor() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "of unknown make"
	}
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return "of unknown make"
}

func postgresVersion() string {
	out, err := exec.Command("psql", "--version").Output()
	fields := strings.Fields(string(out))
	if err != nil || len(fields) < 3 {
		return "of unknown version"
	}
	return fields[2]
}

func TestTheTableStandsBetweenItsMarkers(t *testing.T) {
	path := t.TempDir() + "/page.md"
	page := "# Before\n\n" + tableBegin + "old\n" + tableEnd + "\n\nafter\n"
	if err := os.WriteFile(path, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := writeTable(path, "| new |\n"); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := "# Before\n\n" + tableBegin + "\n| new |\n\n" + tableEnd + "\n\nafter\n"; string(got) != want {
		t.Errorf("the page is %q, want %q", got, want)
	}
}

func TestTheBooksAreNotBalancedByChance(t *testing.T) {
	want := map[string]*holding{"a": {now: "2", older: []string{"1"}}, "b": {now: "1"}, "c": {now: "1"}, "d": {now: "whole"}}
	got := map[string][]string{"a": {"1"}, "c": {"1", "1"}, "d": {"part"}, "e": {"1"}}
	f := compare(want, got)
	if len(f.lost) != 1 || len(f.doubled) != 2 || len(f.disordered) != 1 || len(f.half) != 1 {
		t.Errorf("found %v", f.all())
	}
}
