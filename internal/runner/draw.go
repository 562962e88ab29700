package runner

import (
	"fmt"
	"maps"
	"slices"

	"github.com/kiungo-health/kiungo/internal/call"
)

// mostDraws is how many numbers one run of a delivery takes from a system's
// generator for one record. More are in use only where a generator was put back
// with a backup: then an administrator has to set it.
const mostDraws = 5

// drawAgain is told that a system refused a call because another record has a
// value already. Where that is a number that the system's own generator gave out
// for this delivery, the number is forgotten: no later try uses it. As long as
// nothing was done but to draw, it is planned again, with another number:
// errReplan. A record that had its number before keeps it, for it is on a card
// by now: a person has to decide.
func (x *execution) drawAgain(i int, refused *call.Error) error {
	c := &x.plan.Calls[i]
	if refused.Taken == "" || !x.drew(c.Record, refused.Taken) {
		return nil
	}
	if x.madeBefore(c.Record) != nil {
		refused.Reason += "; this record had that number before its system lost it, and keeps it: have the other one given another number, and retry"
		return nil
	}
	if x.spent == nil {
		x.spent = map[string]bool{}
	}
	x.spent[refused.Taken] = true
	for j, m := range x.w.Made {
		if m.Record == c.Record {
			x.w.Made[j].Reserved = x.unspent(m.Reserved)
		}
	}
	if len(x.spent) >= mostDraws {
		refused.Reason += fmt.Sprintf("; so it was with %d numbers in turn that %s gave out itself: have an administrator set its next number above the highest that is in use, and retry", len(x.spent), refused.System)
		return nil
	}
	for j, other := range x.plan.Calls {
		if done := x.book.Calls[j].State; j != i && other.Reversal != call.Leftover && done != call.Planned && !x.announced[other.Name] {
			return nil
		}
	}
	if err := x.unsent(i, nil); err != nil {
		return err
	}
	x.replans = 0 // the target did not move
	return errReplan
}

// drew tells whether a value was drawn for a record, in this try or in one
// before that was taken back.
func (x *execution) drew(name, value string) bool {
	for i, c := range x.plan.Calls {
		if c.Record == name && c.Reversal == call.Leftover && slices.Contains(slices.Collect(maps.Values(x.book.Calls[i].Outputs)), value) {
			return true
		}
	}
	for _, m := range x.w.Made {
		if m.Record == name && slices.Contains(slices.Collect(maps.Values(m.Reserved)), value) {
			return true
		}
	}
	return false
}

// unspent leaves out the numbers that others have.
func (x *execution) unspent(drawn map[string]string) map[string]string {
	out := maps.Clone(drawn)
	maps.DeleteFunc(out, func(_, v string) bool { return x.spent[v] })
	return out
}
