package scenario

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// backup keeps or puts back what a system holds.
func (b *bench) backup(ctx context.Context, s Step) error {
	const name = "mark"
	system := s.Mark + s.Restore + s.Replace // one of them
	sim, ok := b.sims[system].(simulate.Restorer)
	if !ok {
		return fmt.Errorf("mark, restore: the simulator of %q cannot be put back", system)
	}
	switch {
	case s.Mark != "":
		sim.Mark(name)
		return nil
	case s.Restore != "":
		return sim.Restore(name)
	}
	other, ok := sim.(simulate.Replacer)
	if !ok {
		return fmt.Errorf("replace: a system like %s does not tell which database it is", system)
	}
	b.engine.Identify(ctx) // as at its start, which scenarios do without
	if err := other.Replace(name); err != nil {
		return err
	}
	b.engine.Identify(ctx) // as when its circuit closes: it was down for it
	return nil
}

// replay does kiungo replay --missing, and notes what it said.
func (b *bench) replay(ctx context.Context, s *ReplayStep) error {
	r, err := b.engine.Replay(ctx, ledger.ReplayOrder{System: s.System, Again: s.Again, DryRun: s.DryRun, Accept: s.Accept, Who: "scenario"})
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	fmt.Fprintf(&b.between, "\n# replay of %s: %d compared, %d repeated\n", s.System, r.Looked, len(r.Repeated))
	for _, m := range r.Missing {
		fmt.Fprintf(&b.between, "delivery %d (%s): gone %s; as before %s; there again %s\n", m.Delivery, m.Flow, list(m.Gone), list(m.Changed), list(m.Back))
	}
	return nil
}

func list(kinds []string) string {
	if len(kinds) == 0 {
		return "-"
	}
	return strings.Join(kinds, ", ")
}

// stops writes which systems are stopped.
func (b *bench) stops(ctx context.Context, out *strings.Builder) error {
	list, err := b.engine.Stopped(ctx)
	for _, s := range list {
		fmt.Fprintf(out, "stopped: %s\n", s.Reason)
	}
	return err
}

// minutes are moments as a person is told of them.
var minutes = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d`)

// thisMinute writes a moment of this run, in words for a person, as NOW.
func (b *bench) thisMinute(m string) string {
	zone := b.site.Zone
	if zone == nil {
		zone = time.UTC
	}
	if t, err := time.ParseInLocation("2006-01-02 15:04", m, zone); err == nil && time.Since(t).Abs() < 2*time.Hour {
		return "NOW"
	}
	return m
}
