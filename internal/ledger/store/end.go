package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// ending is a ledger.End sealed and hashed, ready to be stored.
type ending struct {
	ledger.End
	last      *stepLine
	made      []madeRow
	snapshots []snapshotRow
	links     []linkRow
	unlink    []linkRow
	replaced  []linkRow
	remarks   string
	question  []byte
	maker     []byte
	enter     []laneKey
	at        int64        // as the lane sees it
	then      func() int64 // lane that the worker goes on to, 0 for none
}

func noLane() int64 { return 0 }

// End ends or pauses a delivery; see ledger.Ledger.
func (s *Store) End(ctx context.Context, w *ledger.Work, e ledger.End, now time.Time) (*ledger.Work, error) {
	run := s.runningOf(w)
	if run == nil {
		return nil, fmt.Errorf("delivery %d is not being run: %w", w.Delivery.ID, ledger.ErrFenced)
	}
	end, err := s.prepareEnd(w, run, e)
	if err != nil {
		return nil, fmt.Errorf("end delivery %d: %w", w.Delivery.ID, err)
	}
	end.at, end.then = max(micro(now), 0), noLane
	if w.Then != nil && s.pg == nil { // on PostgreSQL a unit says beforehand which lanes it needs
		end.then = sync.OnceValue(w.Then) // a unit may be run twice
	}
	next, err := s.endAndGoOn(ctx, w, run, end)
	if errors.Is(err, errOver) {
		// The other lane's harm is not this delivery's; who starts it next is told.
		end.then = noLane
		next, err = s.endAndGoOn(ctx, w, run, end)
	}
	if err != nil || next == nil {
		return nil, err
	}
	return s.opened(ctx, next)
}

func (s *Store) endAndGoOn(ctx context.Context, w *ledger.Work, run *running, end *ending) (*sealedWork, error) {
	n := need{ids: run.in, lanes: lanesOfLinks(end.links), alone: len(run.in) > 1 || len(end.enter) > 0, work: w}
	return doWith(ctx, s, lanes, n, func(t *tx) (*sealedWork, error) {
		_, recovering, err := t.fence(w)
		if err != nil {
			return nil, err
		}
		if recovering {
			if err := t.needAlone(); err != nil {
				return nil, err
			}
		}
		if run.claims {
			if err := t.uncontended(w.Delivery.ID); err != nil {
				return nil, err
			}
		}
		if err := t.checkLinks(end.links); err != nil {
			return nil, err
		}
		if err := t.end(w, run, end); err != nil {
			return nil, err
		}
		if recovering && w.Delivery.Starts > 1 {
			if err := t.recovered(w.LaneID); err != nil {
				return nil, err
			}
		}
		t.then(func() { s.forget(w) })
		sw, err := t.goOn(w, run, end.at)
		if sw != nil || err != nil {
			return sw, err
		}
		return t.goOver(end.then(), end.at)
	})
}

func (s *Store) prepareEnd(w *ledger.Work, run *running, e ledger.End) (*ending, error) {
	end := &ending{End: e, maker: run.maker}
	var err error
	switch e.State {
	case "", ledger.Planning:
		return nil, fmt.Errorf("%q is no state to end in: %w", e.State, ledger.ErrState)
	}
	if e.Last != nil {
		if end.last, err = s.sealStep(w, run, e.Last); err != nil {
			return nil, err
		}
	}
	if end.made, err = s.sealMade(run.maker, e.Made); err != nil {
		return nil, err
	}
	if end.snapshots, err = s.sealSnapshots(e.Snapshots); err != nil {
		return nil, err
	}
	if end.links, err = s.sealLinks(e.Links); err != nil {
		return nil, err
	}
	if end.unlink, err = s.sealLinks(e.Unlink); err != nil {
		return nil, err
	}
	if end.replaced, err = s.sealLinks(e.Replaced); err != nil {
		return nil, err
	}
	for _, key := range slices.Compact(slices.Sorted(slices.Values(e.Enter))) {
		if e.State.Ended() {
			return nil, fmt.Errorf("a delivery that ends enters no lane: %w", ledger.ErrState)
		}
		end.enter = append(end.enter, s.laneKey(key))
	}
	if len(e.Remarks) > 0 {
		b, err := json.Marshal(e.Remarks)
		if err != nil {
			return nil, err
		}
		end.remarks = sealText(run.box, w.Delivery.ID, "remarks", string(b))
	}
	end.Reason = sealText(run.box, w.Delivery.ID, "reason", e.Reason)
	if e.Question != nil {
		return end, s.prepareQuestion(end)
	}
	return end, nil
}

func (s *Store) prepareQuestion(end *ending) error {
	q := *end.Question
	q.ID = draw(&s.numbers.question)
	b, err := json.Marshal(questionBody{q.Key, q.Text, q.Options})
	if err != nil {
		return fmt.Errorf("encode question: %w", err)
	}
	end.question = s.ring.Main().Seal(seal.Row("question", q.ID, "text"), b)
	end.Question = &q
	if end.BlockedOn == ledger.BlockQuestion && end.BlockedBy == "" {
		end.BlockedBy = strconv.FormatInt(q.ID, 10)
	}
	return nil
}

// end writes everything of an End but what the lane does next.
func (t *tx) end(w *ledger.Work, run *running, e *ending) error {
	if e.last != nil {
		if err := t.step(e.last); err != nil {
			return err
		}
	}
	if err := t.writeMade(e); err != nil {
		return err
	}
	if err := t.writeLinks(e); err != nil {
		return err
	}
	id := w.Delivery.ID
	asked := run.asked
	if e.Question != nil {
		asked = true
		q := e.Question
		if run.asked {
			if err := t.must(qWithdraw, t.now, id); err != nil {
				return err
			}
		}
		if err := t.must(qAsk, q.ID, id, q.Kind, q.Cause, t.now, e.question); err != nil {
			return err
		}
	}
	due, ended := micro(e.Due), int64(0)
	switch {
	case e.State.Ended():
		due, ended = 0, t.now
	case due == 0 && e.BlockedOn == ledger.BlockNone:
		due = t.now
	}
	planned := run.plan != 0 && !e.Forget
	generation := int64(max(w.Delivery.Generation, e.Generation))
	if err := t.must(qEndDelivery, string(e.State), e.Reason, e.Code, e.Cause, e.remarks, string(e.BlockedOn), e.BlockedBy, due, ended,
		int64(e.Calls), flag(planned), generation, flag(asked), id); err != nil {
		return err
	}
	if run.claims && (!e.KeepClaims || e.State.Ended()) {
		if err := t.unclaim(id); err != nil {
			return err
		}
	}
	if !e.State.Ended() {
		if err := t.rehome(id, run.in); err != nil {
			return err
		}
		return t.enter(id, e.enter)
	}
	for _, lane := range run.in {
		if err := t.must(qLeaveLane, lane, w.Delivery.Seq, id); err != nil {
			return err
		}
	}
	if run.asked {
		if err := t.must(qWithdraw, t.now, id); err != nil {
			return err
		}
	}
	t.tally(w.Delivery.Flow, e.State, 1, int64(w.Delivery.Calls+e.Calls))
	t.zone(zoneEnd, w.Delivery.Flow, string(e.State), id)
	return nil
}

// enter puts a delivery, at its place in receive order, in more lanes.
func (t *tx) enter(delivery int64, keys []laneKey) error {
	if len(keys) == 0 {
		return nil
	}
	var d brief
	if _, err := one(t, qBrief, func(r row) { d = scanBrief(r) }, delivery); err != nil {
		return err
	}
	for _, k := range keys {
		l, err := t.lockLane(k)
		if err != nil {
			return err
		}
		if !slices.Contains(d.via, l.via) {
			d.via = append(d.via, l.via)
		}
		if err := t.must(qEnterLane, l.id, d.seq, delivery); err != nil {
			return err
		}
		if err := t.wakeLane(l.id, t.now); err != nil {
			return err
		}
	}
	return t.must(qSetLanes, joinIDs(d.via), delivery)
}

// goOn gives the lane's next work under the same epoch, or frees the lane.
func (t *tx) goOn(w *ledger.Work, run *running, now int64) (*sealedWork, error) {
	others := slices.DeleteFunc(slices.Clone(run.in), func(id int64) bool { return id == w.LaneID })
	for _, id := range others {
		if err := t.freeLane(id, 0); err != nil {
			return nil, err
		}
	}
	l, err := t.lane(w.LaneID)
	if err != nil {
		return nil, err
	}
	if l.merging {
		return nil, t.freeLanes(run.in, now)
	}
	d, wake, err := t.pick(l.id, now)
	if err != nil {
		return nil, err
	}
	if d == nil {
		if l.recovering {
			if err := t.recovered(l.id); err != nil {
				return nil, err
			}
		}
		if err := t.freeLane(l.id, wake); err != nil {
			return nil, err
		}
		return nil, t.settle(others, now)
	}
	for _, id := range d.in {
		if id == l.id {
			err = t.setLane(id, func(l *lane) { l.running = d.id }, qNextInLane, d.id, id)
		} else {
			err = t.takeLane(id, d.id)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := t.settle(others, now); err != nil {
		return nil, err
	}
	return t.begin(l, d)
}

// errOver: the lane that a worker was to go on to cannot be started.
var errOver = errors.New("the next lane cannot be started")

// goOver starts another lane for the worker that freed its own, if one is named
// and has something to do.
func (t *tx) goOver(lane, now int64) (*sealedWork, error) {
	if lane == 0 {
		return nil, nil
	}
	l, err := t.lane(lane)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errOver, err)
	}
	sw, err := t.start(l, now)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errOver, err)
	}
	return sw, nil
}

// freeLanes gives lanes back and sets when each is to be looked at again.
func (t *tx) freeLanes(ids []int64, now int64) error {
	for _, id := range ids {
		if err := t.freeLane(id, 0); err != nil {
			return err
		}
	}
	return t.settle(ids, now)
}

// settle sets the wake of idle lanes, and merges those that waited for it.
func (t *tx) settle(ids []int64, now int64) error {
	for _, id := range ids {
		l, err := t.lane(id)
		if err != nil {
			return err
		}
		if l.owner != 0 || l.id != id {
			continue
		}
		if l.merging {
			if err := t.finishMerges(id); err != nil {
				return err
			}
			continue
		}
		d, wake, err := t.pick(id, now)
		if err != nil {
			return err
		}
		if d != nil {
			t.ringDue(id, wake)
		}
		if err := t.sleep(l, wake); err != nil {
			return err
		}
	}
	return nil
}

// Release gives a lane back; see ledger.Ledger.
func (s *Store) Release(ctx context.Context, w *ledger.Work) error {
	run := s.runningOf(w)
	if run == nil {
		return fmt.Errorf("delivery %d is not being run: %w", w.Delivery.ID, ledger.ErrFenced)
	}
	// A node that stops releases with its context ended already.
	_, err := doWith(context.WithoutCancel(ctx), s, lanes, need{ids: run.in, work: w, alone: len(run.in) > 1}, func(t *tx) (struct{}, error) {
		_, recovering, err := t.fence(w)
		if err != nil {
			return struct{}{}, err
		}
		if recovering {
			if err := t.recovered(w.LaneID); err != nil {
				return struct{}{}, err
			}
		}
		if err := t.must(qUnstart, t.now, w.Delivery.ID); err != nil {
			return struct{}{}, err
		}
		if err := t.rehome(w.Delivery.ID, run.in); err != nil {
			return struct{}{}, err
		}
		t.then(func() { s.forget(w) })
		return struct{}{}, t.freeLanes(run.in, t.now)
	})
	return err
}
