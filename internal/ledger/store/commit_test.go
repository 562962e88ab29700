package store

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"

	lite "modernc.org/sqlite/lib"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/postgrestest"
)

// failingCommit is a connection whose COMMIT fails.
type failingCommit struct {
	conn
	failed atomic.Bool
}

func (c *failingCommit) exec(q string, args ...any) (int64, error) {
	if q == "COMMIT" && !c.failed.Swap(true) {
		return 0, &sqliteError{Code: lite.SQLITE_IOERR_WRITE, Text: "disk I/O error"}
	}
	return c.conn.exec(q, args...)
}

// TestACommitThatFailedIsNotAnsweredAsDone: nobody is told that it is there, and
// after the ledger reopened it is not.
func TestACommitThatFailedIsNotAnsweredAsDone(t *testing.T) {
	s := openAt(t, t.TempDir(), Options{})
	c := &failingCommit{conn: s.writer}
	s.writer = c // nothing is queued, so the writer does not use it
	_, err := s.Accept(t.Context(), arrival1("f1"), nil)
	if !c.failed.Load() {
		t.Fatal("its COMMIT was not sent")
	}
	if !errors.Is(err, ledger.ErrUncertain) {
		t.Errorf("it is answered: %v", err)
	}
	// It waits for the reopening.
	if err := s.Audit(t.Context(), ledger.Audit{Who: "t", Act: "wait"}); err != nil {
		t.Fatal(err)
	}
	once(t, s, "f1")
}

// once has a sender come again: the document is there once then.
func once(t *testing.T, s *Store, doc string) {
	t.Helper()
	if _, err := s.Accept(t.Context(), arrival1(doc), nil); err != nil {
		t.Fatal(err)
	}
	counts, err := s.Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(counts) != 1 || counts[0].N != 1 {
		t.Errorf("%+v", counts)
	}
}

// TestACommitCutOffIsAskedAbout loses the connection at a COMMIT, before it is
// sent, and after it is done but before its answer. In the first case it is done
// again, in the second it is not; either way the message is there, once, when
// its sender is told so.
func TestACommitCutOffIsAskedAbout(t *testing.T) {
	for name, before := range map[string]bool{"before it": true, "before its answer": false} {
		t.Run(name, func(t *testing.T) {
			var w commitCut
			cable := postgrestest.NewCable(t, postgrestest.URL(t), w.tap)
			armed := true
			s := pgAt(t, cable.URL, t.TempDir(), Options{Fault: func(point string) error {
				if point == "before commit" && w.ready.Load() && armed {
					armed = false
					w.cutAt(before)
				}
				return nil
			}})
			w.ready.Store(true)
			got, err := s.Accept(context.Background(), arrival1("f1"), nil)
			if armed || w.cuts.Load() == 0 {
				t.Fatal("nothing was cut")
			}
			if err != nil {
				t.Fatal(err)
			}
			if got[0].Duplicate {
				t.Error("it was done a second time")
			}
			counts, err := s.Counts(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(counts) != 1 || counts[0].N != 1 {
				t.Errorf("it was acknowledged, and %+v are there", counts)
			}
		})
	}
}

// commitCut cuts the connection on which the next COMMIT comes, once that was
// asked for.
type commitCut struct {
	ready atomic.Bool
	mode  atomic.Int32 // 0: nothing; else see below
	cuts  atomic.Int32
}

const (
	cutBefore = 1 + iota // the COMMIT does not reach the database
	cutAfter             // its answer does not come back
)

func (w *commitCut) cutAt(before bool) {
	if before {
		w.mode.Store(cutBefore)
		return
	}
	w.mode.Store(cutAfter)
}

// tap is a postgrestest.Tap.
func (w *commitCut) tap() (there, back func([]byte) bool) {
	var deaf atomic.Bool
	// A writer's connection begins transactions. When its next COMMIT is awaited,
	// it may be prepared first; what comes then without its name is the COMMIT.
	writer := false
	there = func(part []byte) bool {
		writer = writer || bytes.Contains(part, []byte("BEGIN"))
		if !writer || bytes.Contains(part, []byte("COMMIT")) {
			return true
		}
		switch w.mode.Swap(0) {
		case cutBefore:
			w.cuts.Add(1)
			return false
		case cutAfter:
			w.cuts.Add(1)
			deaf.Store(true)
		}
		return true
	}
	return there, func([]byte) bool { return !deaf.Load() } // the database has answered
}

// TestATransactionLostInACrashIsNotTakenForAnother has the database crash before
// a COMMIT reaches it. It gives the number of a transaction that never reached
// its log to another one afterwards, which commits; ours did not.
func TestATransactionLostInACrashIsNotTakenForAnother(t *testing.T) {
	postgrestest.Shared(t) // says what is to be done where there is no PostgreSQL
	c, err := postgrestest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	url := c.URL("kiungo")
	var armed atomic.Bool
	s := pgAt(t, url, t.TempDir(), Options{Fault: func(point string) error {
		if point != "before commit" || !armed.Swap(false) {
			return nil
		}
		c.Crash()
		if err := c.Restart(); err != nil {
			t.Error(err)
		}
		for range 20 {
			if _, err := postgrestest.Column(context.Background(), url, "SELECT CAST(txid_current() AS text)"); err != nil {
				t.Error(err)
			}
		}
		return nil
	}})
	armed.Store(true)
	err = s.Audit(context.Background(), ledger.Audit{Who: "t", Act: "crash"})
	if armed.Load() {
		t.Fatal("nothing was crashed")
	}
	if err != nil && !errors.Is(err, ledger.ErrUncertain) {
		t.Fatal(err)
	}
	there, look := s.Audits(t.Context(), 0, 0, 10)
	if look != nil {
		t.Fatal(look)
	}
	if err == nil && len(there) != 1 {
		t.Errorf("it is answered as done, and %d are there", len(there))
	}
}
