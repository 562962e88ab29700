package store

import (
	"context"
	"fmt"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// planNumbers is how many plans one delivery may have: its plans have the ids
// delivery * planNumbers + number.
const planNumbers = 1024

func planID(delivery, no int64) int64 { return delivery*planNumbers + no }

// sealedWork is a Work as it is stored; it is opened outside the writer.
type sealedWork struct {
	row       workRow
	lane      *lane
	plan      []byte
	journal   []sealedStep
	made      []sealedMade
	questions []sealedQuestion
}

// Start takes a lane and gives its next delivery; see ledger.Ledger.
func (s *Store) Start(ctx context.Context, id int64, now time.Time) (*ledger.Work, error) {
	sw, err := do(ctx, s, lanes, func(t *tx) (*sealedWork, error) {
		l, err := t.lane(id)
		if err != nil {
			return nil, err
		}
		return t.start(l, max(micro(now), 0))
	})
	if err != nil || sw == nil {
		return nil, err
	}
	return s.open(sw)
}

// start takes an idle lane, if something in it may run.
func (t *tx) start(l *lane, now int64) (*sealedWork, error) {
	if l.owner != 0 || l.merging {
		return nil, nil
	}
	if l.recovering {
		busy, err := one(t, qRecoverBusy, func(row) {}, l.id)
		if err != nil || busy {
			return nil, err
		}
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
		return nil, t.sleep(l, wake)
	}
	for _, id := range d.in {
		n, err := t.exec(qTakeLane, t.s.node, d.id, id)
		if err != nil {
			return nil, err
		}
		if n != 1 {
			return nil, fmt.Errorf("lane %d of delivery %d was taken meanwhile", id, d.id)
		}
	}
	l.epoch++
	return t.begin(l, d)
}

// sleep sets when an idle lane is to be looked at again.
func (t *tx) sleep(l *lane, wake int64) error {
	if wake == 0 && l.sleeping || wake != 0 && wake == l.due {
		return nil
	}
	return t.must(qSleepLane, nullable(wake), l.id)
}

// begin counts the start of a delivery and reads what is needed to run it.
func (t *tx) begin(l *lane, d *brief) (*sealedWork, error) {
	state := ledger.Planning
	switch {
	case d.state == ledger.Undoing:
		state = ledger.Undoing
	case d.planned:
		state = ledger.Applying
	}
	if err := t.must(qStartDel, string(state), d.id); err != nil {
		return nil, err
	}
	sw := &sealedWork{lane: l}
	found, err := one(t, qWork, func(r row) { sw.row = scanWork(r) }, d.id)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("delivery %d has no message: %w", d.id, ledger.ErrNotFound)
	}
	if err := t.readRest(sw); err != nil {
		return nil, err
	}
	r := &running{box: t.s.ring.Box(sw.row.salt), next: 1 + len(sw.journal), in: d.in,
		maker: sw.row.maker, asked: sw.row.asked, claims: d.state != ledger.Received || d.planned}
	if d.planned {
		r.plan = planID(d.id, d.planNo)
	}
	t.then(func() {
		t.s.mu.Lock()
		t.s.running[d.id] = r
		t.s.mu.Unlock()
	})
	return sw, nil
}

// readRest reads plan, journal, what was made, and questions.
func (t *tx) readRest(sw *sealedWork) error { return readRest(t.conn, sw) }

func readRest(c conn, sw *sealedWork) (err error) {
	w := &sw.row
	if w.planned {
		id := planID(w.d.ID, int64(w.d.PlanNo))
		if _, err = one(c, qPlan, func(r row) { sw.plan = r.blob(0) }, id); err != nil {
			return err
		}
		if err = c.each(qJournal, func(r row) (bool, error) {
			sw.journal = append(sw.journal, scanStep(r))
			return true, nil
		}, id); err != nil {
			return err
		}
	}
	if err = c.each(qMade, func(r row) (bool, error) {
		sw.made = append(sw.made, scanMade(r))
		return true, nil
	}, w.maker); err != nil {
		return err
	}
	if w.asked {
		err = c.each(qQuestionsOf, func(r row) (bool, error) {
			sw.questions = append(sw.questions, scanQuestion(r))
			return true, nil
		}, w.d.ID)
	}
	return err
}

// open opens the seals of a work.
func (s *Store) open(sw *sealedWork) (*ledger.Work, error) {
	box := s.ring.Box(sw.row.salt)
	w := &ledger.Work{LaneID: sw.lane.id, Epoch: sw.lane.epoch}
	name, err := s.ring.Main().Open(seal.RowKey("lane", sw.lane.mac, "name"), sw.lane.name)
	if err != nil {
		return nil, fmt.Errorf("name of lane %d: %w", sw.lane.id, err)
	}
	w.LaneKey = string(name)
	if w.Message, err = sw.row.message(box); err != nil {
		return nil, fmt.Errorf("message %d: %w", sw.row.d.Message, err)
	}
	if w.Delivery, err = sw.row.delivery(box); err != nil {
		return nil, fmt.Errorf("delivery %d: %w", sw.row.d.ID, err)
	}
	plan := planID(w.Delivery.ID, int64(w.Delivery.PlanNo))
	if w.Plan, err = box.Open(seal.Row("plan", plan, "body"), sw.plan); err != nil {
		return nil, fmt.Errorf("plan %d of delivery %d: %w", w.Delivery.PlanNo, w.Delivery.ID, err)
	}
	for i := range sw.journal {
		step, err := sw.journal[i].open(box, plan)
		if err != nil {
			return nil, fmt.Errorf("journal line %d of delivery %d: %w", i+1, w.Delivery.ID, err)
		}
		w.Journal = append(w.Journal, step)
	}
	for i := range sw.made {
		m, err := sw.made[i].open(s.ring, sw.row.maker)
		if err != nil {
			return nil, fmt.Errorf("what delivery %d made: %w", w.Delivery.ID, err)
		}
		w.Made = append(w.Made, m)
	}
	for i := range sw.questions {
		q, err := sw.questions[i].open(s.ring)
		if err != nil {
			return nil, err
		}
		w.Questions = append(w.Questions, q)
	}
	return w, nil
}

func nullable(n int64) any {
	if n == 0 {
		return nil
	}
	return n
}
