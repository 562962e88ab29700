package store

import (
	"strings"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// older is an open delivery of an older version of a document.
type older struct {
	brief
	replaced bool // it was superseded, or the new version queues behind it
}

// olderOpen gives the open deliveries of a document's versions so far.
func (t *tx) olderOpen(doc []byte) ([]*older, error) {
	var open []*older
	if err := t.every(all(qOlderOpen, func(r row) { open = append(open, &older{brief: scanBrief(r)}) }, doc)); err != nil {
		return nil, err
	}
	for _, o := range open {
		var err error
		if o.in, err = t.lanesOf(o.via); err != nil {
			return nil, err
		}
	}
	return open, nil
}

// supersede ends an older delivery that has written nothing and is not being
// run, and gives false if it must go on, so that the newer one queues behind
// it (law 19).
func (t *tx) supersede(o *older) (bool, error) {
	if o.replaced {
		return o.state == ledger.Superseded, nil
	}
	o.replaced = true
	if o.state == ledger.HalfUndone {
		return false, nil
	}
	if runs, err := t.runs(&o.brief); err != nil || runs {
		return false, err
	}
	if o.planNo > 0 {
		wrote, err := t.hasWritten(&o.brief)
		if err != nil || wrote {
			return false, err
		}
	}
	o.state = ledger.Superseded
	if err := t.must(qSetState, string(ledger.Superseded), "a newer version of its document took its place", "", "", "", "", int64(0), t.now, int64(0), o.id); err != nil {
		return false, err
	}
	return true, t.leave(&o.brief, ledger.Superseded)
}

// hasWritten tells whether a call of the plan in force may have changed
// something that was not taken back. A plan that was dropped wrote nothing, or
// was undone.
func (t *tx) hasWritten(d *brief) (bool, error) {
	if !d.planned {
		return false, nil
	}
	open := map[string]bool{}
	err := t.each(qJournalStates, func(r row) (bool, error) {
		call := r.text(1)
		switch ledger.StepKind(r.text(0)) {
		case ledger.StepAbsent, ledger.StepRefused, ledger.StepUndone:
			delete(open, call)
		case ledger.StepNote, ledger.StepBack, ledger.StepLooked, ledger.StepAgain, ledger.StepAnswers:
		default:
			open[call] = true
		}
		for name := range strings.FieldsSeq(r.text(2)) {
			if name, not := strings.CutPrefix(name, "-"); not {
				delete(open, name)
			} else {
				open[name] = true
			}
		}
		return true, nil
	}, planID(d.id, d.planNo))
	return len(open) > 0, err
}
