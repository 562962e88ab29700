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
	bulk      bool
	plan      []byte
	journal   []sealedStep
	made      []sealedMade
	questions []sealedQuestion
}

// Start takes a lane and gives its next delivery; see ledger.Ledger.
func (s *Store) Start(ctx context.Context, id int64, now time.Time) (*ledger.Work, error) {
	sw, err := doWith(ctx, s, lanes, need{ids: []int64{id}}, func(t *tx) (*sealedWork, error) {
		l, err := t.lane(id)
		if err != nil {
			return nil, err
		}
		return t.start(l, max(micro(now), 0))
	})
	if err != nil || sw == nil {
		return nil, err
	}
	return s.opened(ctx, sw)
}

// opened opens the seals of a work that was started. If something of it cannot
// be read, its delivery is held and its lane goes on: an error alone would leave
// the lane taken by nobody.
func (s *Store) opened(ctx context.Context, sw *sealedWork) (*ledger.Work, error) {
	w, err := s.open(sw)
	if err == nil {
		return w, nil
	}
	s.log("delivery %d is held, for something of it cannot be read: %v", sw.row.d.ID, err)
	w = &ledger.Work{LaneID: sw.lane.id, Epoch: sw.lane.epoch, Delivery: sw.row.d}
	return s.End(ctx, w, ledger.End{State: ledger.Held, Code: "damaged", Cause: "damaged",
		Reason: fmt.Sprintf("something of it cannot be read in the ledger (%v): put a backup back, or skip it", err)}, s.Now())
}

// start takes an idle lane, if something in it may run.
func (t *tx) start(l *lane, now int64) (*sealedWork, error) {
	if l.owner != 0 || l.merging {
		return nil, nil
	}
	if l.recovering {
		if err := t.needAlone(); err != nil {
			return nil, err
		}
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
		if err := t.takeLane(id, d.id); err != nil {
			return nil, err
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
	return t.setLane(l.id, func(l *lane) { l.due, l.sleeping = wake, wake == 0 }, qSleepLane, nullable(wake), l.id)
}

// takeLane takes an idle lane for a delivery, under the next epoch.
func (t *tx) takeLane(id, delivery int64) error {
	if t.shared == nil {
		n, err := t.exec(qTakeLane, t.s.node, delivery, id)
		if err == nil && n != 1 {
			err = fmt.Errorf("lane %d of delivery %d was taken meanwhile", id, delivery)
		}
		return err
	}
	if l := t.shared.lanes[id]; l == nil || l.owner != 0 {
		return errAlone
	}
	return t.setLane(id, func(l *lane) {
		l.owner, l.running, l.due, l.sleeping = t.s.node, delivery, 0, true
		l.epoch++
	}, qTakeLane, t.s.node, delivery, id)
}

// freeLane gives a lane back, to be looked at again at a time, 0 if none.
func (t *tx) freeLane(id, wake int64) error {
	return t.setLane(id, func(l *lane) {
		l.owner, l.running, l.recovering, l.due, l.sleeping = 0, 0, false, wake, wake == 0
	}, qFreeLane, nullable(wake), id)
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
	sw := &sealedWork{lane: l, bulk: d.bulk}
	found := false
	reads := append(restOf(sw, d.id, d.planned, d.planNo), first(qWork, func(r row) { sw.row, found = scanWork(r), true }, d.id))
	if err := t.every(reads...); err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("delivery %d has no message: %w", d.id, ledger.ErrNotFound)
	}
	if sw.row.asked {
		if err := t.every(append(earlierQuestions(sw), questionsOf(sw, d.id))...); err != nil {
			return nil, err
		}
	}
	r := &running{lane: l.id, epoch: l.epoch, box: t.s.ring.Box(sw.row.salt), next: 1 + len(sw.journal), in: d.in,
		maker: sw.row.maker, asked: sw.row.asked, claims: d.state != ledger.Received || d.planned}
	if t.s.pg != nil {
		r.tenure = t.s.pg.tenure.Load()
	}
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

// restOf reads plan, journal and what was made; questionsOf the questions.
func restOf(sw *sealedWork, delivery int64, planned bool, planNo int64) []reading {
	reads := []reading{all(qMadeOf, func(r row) { sw.made = append(sw.made, scanMade(r)) }, delivery)}
	if planned {
		id := planID(delivery, planNo)
		reads = append(reads, first(qPlan, func(r row) { sw.plan = r.blob(0) }, id),
			all(qJournal, func(r row) { sw.journal = append(sw.journal, scanStep(r)) }, id))
	}
	return reads
}

func questionsOf(sw *sealedWork, delivery int64) reading {
	return all(qQuestionsOf, func(r row) { sw.questions = append(sw.questions, scanQuestion(r)) }, delivery)
}

// open opens the seals of a work.
func (s *Store) open(sw *sealedWork) (*ledger.Work, error) {
	box := s.ring.Box(sw.row.salt)
	w := &ledger.Work{LaneID: sw.lane.id, Epoch: sw.lane.epoch, Bulk: sw.bulk}
	name, err := s.ring.Main().Open(seal.RowKey("lane", sw.lane.mac, "name"), sw.lane.name)
	if err != nil {
		return nil, fmt.Errorf("name of lane %d: %w", sw.lane.id, err)
	}
	w.LaneKey = string(name)
	if w.Message, err = sw.row.message(s, box); err != nil {
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
