package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// pgWriter is one of the writers of a PostgreSQL ledger: each takes what is
// queued and commits it together, as the one of SQLite does.
type pgWriter struct {
	s     *Store
	c     *pgConn // nil while there is none
	shard int64
	xid   int64  // of the transaction under way
	life  string // of the server that c leads to: see qServerLife
}

// qServerLife changes when the server is started, and when it recovers from a
// crash without being: then it forgets its statistics.
const qServerLife = `SELECT CAST(pg_postmaster_start_time() AS TEXT) || ' ' || COALESCE(CAST(stats_reset AS TEXT), '') FROM pg_stat_bgwriter`

// writerSettings are the session's. A node that is paused or cut off within a
// transaction must not keep its locks from the others.
func (p *postgres) writerSettings() map[string]string {
	settings := planSettings()
	settings["idle_in_transaction_session_timeout"] = "10000"
	settings["synchronous_commit"] = p.syncCommit
	return settings
}

// planSettings have every row found by its index, one at a time: the plan that
// was right for a young table lasts when it has grown.
func planSettings() map[string]string {
	return map[string]string{"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "jit": "off"}
}

// errLost says that the connection was lost, with nothing committed.
var errLost = errors.New("the connection to the database was lost")

func (w *pgWriter) write() {
	company := false
	for {
		if company && w.s.opts.Gather > 0 {
			time.Sleep(w.s.opts.Gather)
		}
		batch := w.s.queue.take()
		if batch == nil {
			break
		}
		company = len(batch) > 1
		var alone, shared []*unit
		for _, u := range batch {
			if u.need.alone {
				alone = append(alone, u)
			} else {
				shared = append(shared, u)
			}
		}
		w.serve(shared, false)
		w.serve(alone, true)
	}
	if w.c != nil {
		w.c.close()
	}
}

// serve commits a batch. Units that stood in each other's way are run again
// one by one.
func (w *pgWriter) serve(batch []*unit, alone bool) {
	if len(batch) == 0 {
		return
	}
	for _, u := range w.try(batch, alone) {
		for again := []*unit{u}; len(again) > 0; {
			again = w.try(again, u.need.alone)
		}
	}
}

// try runs a batch until the database took or refused it, or was away for too
// long; it gives the units that are to be run again.
func (w *pgWriter) try(batch []*unit, alone bool) (again []*unit) {
	if w.s.pg.dead.Load() {
		answerAll(batch, ledger.ErrClosed)
		return nil
	}
	began := time.Now()
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := w.connect()
		if err == nil {
			if again, err = w.attempt(batch, alone); err == nil {
				return again
			}
		}
		var killed *errKilled
		switch {
		case errors.As(err, &killed):
			w.s.queue.shut(err)
			w.s.queue.drop(err)
			answerAll(batch, err)
			return nil
		case errors.Is(err, ledger.ErrUncertain):
			w.abandon(batch, err)
			return nil
		case errors.Is(err, errLost):
		default:
			answerAll(batch, err)
			return nil
		}
		if batch = w.impatient(batch, time.Since(began), err); len(batch) == 0 {
			return nil
		}
		if wait > 20*time.Millisecond {
			w.s.log("the database cannot be reached: %v", err)
		}
		time.Sleep(wait)
	}
}

// impatient answers those that wait no longer for the database: messages after
// maxWait, so that their senders come again; what runs after its lease.
func (w *pgWriter) impatient(batch []*unit, waited time.Duration, err error) (rest []*unit) {
	for _, u := range batch {
		switch {
		case u.class == intake && waited > maxWait:
			u.done <- fmt.Errorf("%w: %w", ledger.ErrFull, err)
		case waited > w.s.pg.lease || w.s.queue.isShut():
			w.abandon([]*unit{u}, fmt.Errorf("%w: %w", ledger.ErrUncertain, err))
		default:
			rest = append(rest, u)
		}
	}
	return rest
}

// abandon answers units of unknown outcome. What they ran is run no more by
// this process: the lane is given out again when the database tells.
func (w *pgWriter) abandon(batch []*unit, err error) {
	for _, u := range batch {
		if u.need.work != nil {
			w.s.forget(u.need.work)
		}
		u.done <- err
	}
}

func answerAll(batch []*unit, err error) {
	for _, u := range batch {
		u.done <- err
	}
}

func (w *pgWriter) connect() error {
	if w.c != nil && !w.c.c.IsClosed() {
		return nil
	}
	c, err := openPg(context.Background(), w.s.pg.conf, w.s.pg.writerSettings())
	if err != nil {
		w.c = nil
		return fmt.Errorf("%w: %w", errLost, err)
	}
	if _, err := one(c, qServerLife, func(r row) { w.life = r.text(0) }); err != nil {
		c.close()
		w.c = nil
		return fmt.Errorf("%w: %w", errLost, err)
	}
	w.c = c
	return nil
}

func (w *pgWriter) rollback() error {
	w.c.forget()
	if w.c.c.IsClosed() {
		return errLost
	}
	if w.c.c.TxStatus() == 'I' {
		return nil
	}
	_, err := w.c.exec("ROLLBACK")
	return err
}

// attempt runs a batch in one transaction. It gives the units to be run again
// one by one; the others are answered. On an error none is, and nothing was
// committed, but for ErrUncertain.
func (w *pgWriter) attempt(batch []*unit, alone bool) (again []*unit, err error) {
	began := time.Now()
	t, err := w.begin(alone, needs(batch))
	if err != nil {
		return w.failed(batch, nil, alone, err)
	}
	var ready []*unit
	for _, u := range batch {
		t.wrote = false
		u.err = u.run(t)
		if u.err == nil {
			ready = append(ready, u)
			continue
		}
		if t.wrote || !w.c.healthy() {
			return w.failed(batch, u, alone, u.err)
		}
		if errors.Is(u.err, errAlone) {
			u.need.alone = true
			again = append(again, u)
			continue
		}
		ready = append(ready, u)
	}
	if !t.changed {
		if err := w.rollback(); err != nil {
			return w.failed(batch, nil, alone, err)
		}
		answer(ready)
		return again, nil
	}
	if err := t.finish(); err != nil {
		return w.failed(batch, nil, alone, err)
	}
	if err := w.fault("before commit"); err != nil {
		return nil, err
	}
	if err := w.commit(); err != nil {
		if errors.Is(err, ledger.ErrUncertain) || errors.Is(err, errLost) {
			return nil, err // by now the connection is another one
		}
		return w.failed(batch, nil, alone, err)
	}
	if err := w.fault("after commit"); err != nil {
		return nil, err
	}
	w.s.committed(t)
	answer(ready)
	w.s.observe(len(ready), began)
	return again, nil
}

// failed takes the transaction back and says what is to be done with its
// units; culprit is the one that failed, if it is known.
func (w *pgWriter) failed(batch []*unit, culprit *unit, alone bool, cause error) (again []*unit, err error) {
	if w.rollback() != nil || w.c.c.IsClosed() {
		return nil, fmt.Errorf("%w: %w", errLost, cause)
	}
	if len(batch) > 1 {
		if culprit != nil && errors.Is(cause, errAlone) {
			culprit.need.alone = true
		}
		return batch, nil
	}
	u := batch[0]
	if errors.Is(cause, errAlone) || crossed(cause) {
		if u.tries++; u.tries <= mostTries && !(alone && errors.Is(cause, errAlone)) {
			u.need.alone = true
			return batch, nil
		}
	}
	if s := sqlState(cause); len(s) == 5 && s[:2] == "53" {
		cause = fmt.Errorf("%w: %w", ledger.ErrFull, cause) // its disk is full, or its memory
	}
	u.done <- cause
	return nil, nil
}

// commit commits. If the connection is lost meanwhile, the database is asked
// what became of it. A server that crashed gives the number of a transaction that
// never reached its log to another one: that one's "committed" tells nothing of
// ours. So it is with one that was a standby.
func (w *pgWriter) commit() error {
	_, err := w.c.exec("COMMIT")
	if err == nil || !w.c.c.IsClosed() {
		return err
	}
	xid, life := w.xid, w.life
	for began := time.Now(); time.Since(began) < w.s.pg.lease && !w.s.queue.isShut(); time.Sleep(100 * time.Millisecond) {
		if w.connect() != nil {
			continue
		}
		var state string
		if _, err := one(w.c, `SELECT COALESCE(txid_status(?), 'unknown')`, func(r row) { state = r.text(0) }, xid); err != nil {
			continue
		}
		switch state {
		case "committed":
			if w.life != life {
				return fmt.Errorf("%w: the database was started anew meanwhile: %w", ledger.ErrUncertain, err)
			}
			return nil
		case "aborted":
			return fmt.Errorf("%w: %w", errLost, err)
		case "unknown":
			return fmt.Errorf("%w: %w", ledger.ErrUncertain, err)
		}
	}
	return fmt.Errorf("%w: %w", ledger.ErrUncertain, err)
}

func (w *pgWriter) fault(point string) error {
	if w.s.opts.Fault == nil {
		return nil
	}
	err := w.s.opts.Fault(point)
	if err == nil {
		return nil
	}
	w.c.close()
	w.s.pg.dead.Store(true)
	return &errKilled{err}
}
