package store

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// fence gives ErrFenced unless the lane still runs this work under its epoch.
func (t *tx) fence(w *ledger.Work) (merging, recovering bool, err error) {
	if t.shared != nil {
		l, ok := t.shared.fenced(w, t.s.node)
		if !ok {
			return false, false, fmt.Errorf("lane %d: %w", w.LaneID, ledger.ErrFenced)
		}
		return l.merging, l.recovering, nil
	}
	found, err := one(t, qFence, func(r row) { merging, recovering = r.int(0) != 0, r.int(1) != 0 }, w.LaneID, w.Epoch, t.s.node, w.Delivery.ID)
	if err == nil && !found {
		err = fmt.Errorf("lane %d: %w", w.LaneID, ledger.ErrFenced)
	}
	return merging, recovering, err
}

// Journal stores a plan; see ledger.Ledger.
func (s *Store) Journal(ctx context.Context, w *ledger.Work, p ledger.Plan) error {
	run := s.runningOf(w)
	if run == nil {
		return fmt.Errorf("delivery %d is not being run: %w", w.Delivery.ID, ledger.ErrFenced)
	}
	no := int64(w.Delivery.PlanNo) + 1
	if no >= planNumbers {
		return fmt.Errorf("delivery %d was planned %d times", w.Delivery.ID, no-1)
	}
	plan := planID(w.Delivery.ID, no)
	body := run.box.Seal(seal.Row("plan", plan, "body"), p.Body)
	claims := s.claimKeys(p.Claims)
	links, err := s.sealLinks(p.Pending)
	if err != nil {
		return err
	}
	next := 1
	n := need{fences: []int64{w.LaneID}, lanes: lanesOfLinks(links), work: w}
	claimed, err := doWith(ctx, s, lanes, n, func(t *tx) (int64, error) {
		merging, recovering, err := t.fence(w)
		if err != nil {
			return 0, err
		}
		if merging {
			t.then(func() { s.forget(w) })
			return inMerge, t.putBack(w, run, recovering)
		}
		if err := t.checkLinks(links); err != nil {
			return 0, err
		}
		if holder, err := t.claim(w.Delivery.ID, w.Delivery.Seq, claims, run.claims); err != nil || holder != 0 {
			if err == nil && recovering {
				err = t.recovered(w.LaneID)
			}
			if err == nil {
				t.then(func() { s.forget(w) })
				err = t.awaitClaim(w, run, holder)
			}
			return holder, err
		}
		if err := t.must(qAddPlan, plan, p.Hash, p.FlowHash, t.now, body); err != nil {
			return 0, err
		}
		for i := range links {
			l := &links[i]
			if l.stands {
				continue
			}
			if !l.found {
				if err := t.setLink(l, "pending"); err != nil {
					return 0, err
				}
			}
			// From now on what comes of that record waits for us (law 16).
			if err := t.joinLanes(l); err != nil {
				return 0, err
			}
		}
		next = 1
		if p.Intent != "" {
			first, rest, _ := strings.Cut(p.Intent, " ")
			if err := t.must(qAddStep, plan, int64(1), string(ledger.StepIntent), first, rest, t.now, w.Epoch, nil); err != nil {
				return 0, err
			}
			next = 2
		}
		return 0, t.must(qPlanned, p.FlowHash, no, w.Delivery.ID)
	})
	if err != nil {
		return err
	}
	if claimed == inMerge {
		return fmt.Errorf("its person is becoming one with another: %w", ledger.ErrClaimed)
	}
	if claimed != 0 {
		return fmt.Errorf("delivery %d has it: %w", claimed, ledger.ErrClaimed)
	}
	run.plan, run.next = plan, next
	run.claims = run.claims || len(claims) > 0
	w.Delivery.PlanNo, w.Delivery.FlowHash, w.Delivery.State = int(no), p.FlowHash, ledger.Applying
	w.Plan, w.Journal = p.Body, nil
	return nil
}

// Step adds a line to the journal; see ledger.Ledger. Steps of one delivery are
// written by one goroutine, one after the other.
func (s *Store) Step(ctx context.Context, w *ledger.Work, step ledger.Step) error {
	run := s.runningOf(w)
	line, err := s.sealStep(w, run, &step)
	if err != nil {
		return err
	}
	n := need{fences: []int64{w.LaneID}, work: w}
	_, err = doWith(ctx, s, lanes, n, func(t *tx) (struct{}, error) {
		if _, _, err := t.fence(w); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, t.step(line)
	})
	if err == nil {
		run.next = line.N + 1
	}
	return err
}

// stepLine is a journal line ready to be stored.
type stepLine struct {
	ledger.Step
	plan int64
	body []byte
}

func (s *Store) sealStep(w *ledger.Work, run *running, step *ledger.Step) (*stepLine, error) {
	if run == nil {
		return nil, fmt.Errorf("delivery %d is not being run: %w", w.Delivery.ID, ledger.ErrFenced)
	}
	if run.plan == 0 {
		return nil, fmt.Errorf("delivery %d has no plan to journal for", w.Delivery.ID)
	}
	if step.N != 0 && step.N != run.next {
		return nil, fmt.Errorf("journal line %d of delivery %d follows line %d", step.N, w.Delivery.ID, run.next-1)
	}
	line := &stepLine{Step: *step, plan: run.plan}
	line.N = run.next
	line.body = run.box.Seal(journalPlace(run.plan, line.N), step.Data)
	return line, nil
}

func (t *tx) step(l *stepLine) error {
	at := micro(l.At)
	if at == 0 {
		at = t.now
	}
	return t.must(qAddStep, l.plan, int64(l.N), string(l.Kind), l.Call, l.Intent, at, l.Epoch, l.body)
}

// claimKeys hashes the records to claim, sorted, each once.
func (s *Store) claimKeys(records []string) [][]byte {
	if len(records) == 0 {
		return nil
	}
	keys := make([][]byte, len(records))
	for i, r := range records {
		keys[i] = s.ring.Mac("claim", strings.SplitN(r, "|", 3)...)
	}
	slices.SortFunc(keys, bytes.Compare)
	return slices.CompactFunc(keys, bytes.Equal)
}

// inMerge stands for the holder of a claim where the lane is to be merged.
const inMerge = -1

// putBack leaves the delivery to be planned again once its lane is merged: it
// was planned for somebody who is about to be one with somebody else, whose
// records it did not look for.
func (t *tx) putBack(w *ledger.Work, run *running, recovering bool) error {
	if err := t.needAlone(); err != nil {
		return err
	}
	if recovering {
		if err := t.recovered(w.LaneID); err != nil {
			return err
		}
	}
	if run.claims { // of a plan that was given up in this run
		if err := t.unclaim(w.Delivery.ID); err != nil {
			return err
		}
	}
	if err := t.must(qSetState, string(ledger.Received), "", "", "", "", "", t.now, int64(0), int64(0), w.Delivery.ID); err != nil {
		return err
	}
	if err := t.rehome(w.Delivery.ID, run.in); err != nil {
		return err
	}
	return t.freeLanes(run.in, t.now)
}

// awaitClaim leaves the delivery waiting for the records that another one
// holds, and frees its lanes.
func (t *tx) awaitClaim(w *ledger.Work, run *running, holder int64) error {
	by := fmt.Sprintf("delivery %d", holder)
	if err := t.must(qSetState, string(ledger.Waiting), "another delivery is writing the same record", "claim", "", string(ledger.BlockClaim), by, int64(0), int64(0), int64(0), w.Delivery.ID); err != nil {
		return err
	}
	if err := t.rehome(w.Delivery.ID, run.in); err != nil {
		return err
	}
	return t.freeLanes(run.in, t.now)
}
