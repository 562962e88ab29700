package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// readLimit is the longest that one read may last: a longer one would keep the
// write-ahead log from being reset (law 26).
const readLimit = 2 * time.Second

var errTooLong = fmt.Errorf("%w: a read took over %s; ask for less at once", ledger.ErrAway, readLimit)

// read runs f on a connection of its own that cannot write. Each statement
// sees the last commit.
func (s *Store) read(ctx context.Context, f func(conn) error) error {
	if s.pg != nil {
		return s.pg.read(ctx, s, f)
	}
	var c *sqliteConn
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stopped:
		return ledger.ErrClosed
	case c = <-s.readers:
	}
	defer func() { s.readers <- c }()
	var mu sync.Mutex
	over := false
	stop := func() {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			c.interrupt()
		}
	}
	limit := time.AfterFunc(readLimit, stop)
	defer limit.Stop()
	defer context.AfterFunc(ctx, stop)()
	err := f(c)
	mu.Lock()
	over = true
	mu.Unlock()
	var e *sqliteError
	if errors.As(err, &e) && e.interrupted() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return errTooLong
	}
	if isBroken(err) {
		return fmt.Errorf("%w: %w", ledger.ErrAway, err)
	}
	return err
}

// readAll runs f as one transaction: its statements see the same commit.
func (s *Store) readAll(ctx context.Context, f func(conn) error) error {
	return s.read(ctx, func(c conn) error {
		begin := "BEGIN"
		if s.pg != nil {
			begin = "BEGIN ISOLATION LEVEL REPEATABLE READ"
		}
		if err := c.later(begin); err != nil {
			return err
		}
		err := f(c)
		if _, end := c.exec("COMMIT"); err == nil {
			err = end
		}
		return err
	})
}
