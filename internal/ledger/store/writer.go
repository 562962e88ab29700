package store

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// unitClass orders a batch: intake goes first (law 36).
type unitClass int

const (
	lanes unitClass = iota
	intake
)

// unit is one caller's transaction. It may be run twice: what it gives is
// valid only after the commit.
type unit struct {
	class  unitClass
	need   need // of a shared transaction on PostgreSQL
	run    func(*tx) error
	err    error
	done   chan error
	queued time.Time
	tries  int // how often it met another transaction
}

const (
	// maxBatch bounds how long a commit keeps later callers waiting.
	maxBatch = 256
	// maxWait is how far behind the writer may be before intake is refused.
	maxWait = 2 * time.Second
)

// queue holds the units that wait for the next commit.
type queue struct {
	mu     sync.Mutex
	wake   sync.Cond
	intake []*unit
	lanes  []*unit
	closed error
}

func (q *queue) put(u *unit) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed != nil {
		return q.closed
	}
	if u.class == intake {
		u.queued = time.Now()
		if len(q.intake) > 0 && u.queued.Sub(q.intake[0].queued) > maxWait {
			return fmt.Errorf("the writer is %s behind: %w", maxWait, ledger.ErrFull)
		}
		q.intake = append(q.intake, u)
	} else {
		q.lanes = append(q.lanes, u)
	}
	q.wake.Signal()
	return nil
}

// take waits for units and gives the next batch, nil once closed and empty.
func (q *queue) take() []*unit {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.intake)+len(q.lanes) == 0 {
		if q.closed != nil {
			return nil
		}
		q.wake.Wait()
	}
	batch := make([]*unit, 0, min(maxBatch, len(q.intake)+len(q.lanes)))
	for _, list := range []*[]*unit{&q.intake, &q.lanes} {
		n := min(len(*list), maxBatch-len(batch))
		batch = append(batch, (*list)[:n]...)
		rest := copy(*list, (*list)[n:])
		clear((*list)[rest:])
		*list = (*list)[:rest]
	}
	return batch
}

// shut refuses new units; those queued are still run.
func (q *queue) shut(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed == nil {
		q.closed = err
	}
	q.wake.Broadcast()
}

func (q *queue) isShut() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed != nil
}

// drop answers everything queued with an error.
func (q *queue) drop(err error) {
	q.mu.Lock()
	all := append(q.intake, q.lanes...)
	q.intake, q.lanes = nil, nil
	q.mu.Unlock()
	for _, u := range all {
		u.done <- err
	}
}

// errKilled is how a fault of Options.Fault stops the store.
type errKilled struct{ cause error }

func (e *errKilled) Error() string   { return "stopped by a fault: " + e.cause.Error() }
func (e *errKilled) Unwrap() []error { return []error{ledger.ErrClosed, e.cause} }

// write is the writer's goroutine.
func (s *Store) write() {
	defer close(s.stopped)
	for company := 0; ; {
		if company > 0 && s.opts.Gather > 0 {
			// Others are at work: a moment's wait puts more of their units into one
			// commit, and takes a quarter off the CPU of a delivery. The fewer they
			// were last time, the less a wait brings.
			time.Sleep(s.opts.Gather * time.Duration(min(company, fullCompany)) / fullCompany)
		}
		batch := s.queue.take()
		if batch == nil {
			return
		}
		company = len(batch) - 1
		err := s.commit(batch)
		if err == nil {
			err = s.tend()
		}
		s.runAside()
		if err != nil {
			var killed *errKilled
			if !errors.As(err, &killed) && s.reopen(err) {
				continue
			}
			s.queue.shut(err)
			s.queue.drop(err)
			return
		}
	}
}

const (
	// usualGather is how long a commit waits for company at most.
	usualGather = 2 * time.Millisecond
	// fullCompany is beside how many others in the commit before it waits so long.
	fullCompany = 16
)

// commit runs a batch as one transaction and answers its units. If one fails
// after it wrote, or the transaction ended early, nothing of it stands and
// every unit is run again alone, so that none suffers from another's failure.
// An error is one of the disk or a kill; the units are answered then too.
func (s *Store) commit(batch []*unit) error {
	whole, err := s.transaction(batch)
	if err != nil {
		return err
	}
	if whole {
		return nil
	}
	for i := range batch {
		if _, err := s.transaction(batch[i : i+1]); err != nil {
			for _, u := range batch[i+1:] {
				u.done <- err
			}
			return err
		}
	}
	return nil
}

// transaction runs units in one transaction. It gives false, and has answered
// nobody, if the units must be run one by one. A unit that is alone is always
// answered.
func (s *Store) transaction(batch []*unit) (whole bool, err error) {
	began := time.Now()
	if _, err := s.writer.exec("BEGIN IMMEDIATE"); err != nil {
		return true, s.fail(batch, err)
	}
	t := s.newTx()
	for _, u := range batch {
		t.wrote = false
		u.err = u.run(t)
		lost := !s.inTransaction()
		if u.err == nil && !lost || u.err != nil && !t.wrote && !lost {
			continue
		}
		s.rollback()
		if len(batch) > 1 {
			return false, nil
		}
		if u.err == nil {
			u.err = errors.New("the transaction ended early")
		}
		if isBroken(u.err) {
			return true, s.fail(batch, u.err)
		}
		u.done <- u.err
		return true, nil
	}
	if !t.changed {
		s.rollback()
		answer(batch)
		return true, nil
	}
	if err := t.finish(); err != nil {
		s.rollback()
		return true, s.fail(batch, err)
	}
	if err := s.fault("before commit"); err != nil {
		return true, s.fail(batch, err)
	}
	if _, err := s.writer.exec("COMMIT"); err != nil {
		s.rollback()
		return true, s.fail(batch, err)
	}
	if err := s.fault("after commit"); err != nil {
		return true, s.fail(batch, err)
	}
	s.committed(t)
	answer(batch)
	s.observe(len(batch), began)
	return true, nil
}

func answer(batch []*unit) {
	for _, u := range batch {
		u.done <- u.err
	}
}

func (s *Store) rollback() {
	if s.inTransaction() {
		// An error here leaves the transaction open; the next BEGIN says so.
		_, _ = s.writer.exec("ROLLBACK")
	}
}

func (s *Store) inTransaction() bool {
	c, ok := s.writer.(*sqliteConn)
	return !ok || c.inTransaction()
}

// fail answers all units of a batch whose outcome is not known, and gives the
// error that stops or reopens the store.
func (s *Store) fail(batch []*unit, err error) error {
	var killed *errKilled
	told := err
	if !errors.As(err, &killed) {
		told = fmt.Errorf("%w: %w", ledger.ErrUncertain, err)
	}
	for _, u := range batch {
		u.done <- told
	}
	return err
}

func (s *Store) fault(point string) error {
	if s.opts.Fault == nil {
		return nil
	}
	err := s.opts.Fault(point)
	if err == nil || isBroken(err) {
		return err // a fault of the disk is met as the disk's own
	}
	return &errKilled{err}
}

// committed does what must wait for the commit: memory, and doorbells.
func (s *Store) committed(t *tx) {
	s.reached(t.now)
	for _, f := range t.after {
		f()
	}
	if len(t.rung) == 0 {
		return
	}
	s.mu.Lock()
	ring := s.onDue
	s.mu.Unlock()
	if ring != nil {
		ring(t.rung)
	}
}

func isBroken(err error) bool {
	var e *sqliteError
	return errors.As(err, &e) && e.broken()
}
