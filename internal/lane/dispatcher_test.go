package lane

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// start runs a dispatcher in a bubble, and gives what stops it.
func start(m *memory, o Options) (d *Dispatcher, stop func() error) {
	d = New(m, m.run, o)
	m.onDue = d.Ring
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	return d, func() error {
		cancel()
		return <-done
	}
}

func (m *memory) check(t testing.TB) {
	t.Helper()
	for _, f := range m.faults {
		t.Error(f)
	}
}

// stopped stops the dispatcher; no rule was broken until then.
func (m *memory) stopped(t testing.TB, stop func() error) {
	t.Helper()
	if err := stop(); err != nil {
		t.Error(err)
	}
	m.check(t)
}

func TestRungLaneRunsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		_, stop := start(m, Options{Workers: 2})
		synctest.Wait()
		for n := range 5 {
			m.add(job{lane: int64(n % 2), n: n, took: time.Second})
		}
		time.Sleep(3*time.Second + time.Millisecond)
		if _, late := m.seen(); m.left() != 0 || late > 0 {
			t.Errorf("%d left, %v late", m.left(), late)
		}
		m.stopped(t, stop)
	})
}

// TestAWorkerGoesOnToTheLaneThatTheLedgerStarted: also where the ledger was asked
// and then could not, and where the lane is not due any more.
func TestAWorkerGoesOnToTheLaneThatTheLedgerStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		d, stop := start(m, Options{Workers: 3})
		synctest.Wait()
		for n := range 200 {
			m.add(job{lane: int64(n), n: n, took: time.Second})
			d.Ring(int64(1000 + n)) // nothing is in it
		}
		time.Sleep(67*time.Second + time.Millisecond)
		if m.left() != 0 {
			t.Errorf("%d left", m.left())
		}
		if m.went < 50 {
			t.Errorf("%d of 200 lanes were started as another was freed", m.went)
		}
		m.stopped(t, stop)
		if len(d.known) != 0 || d.inBulk != 0 {
			t.Errorf("%d lanes are remembered, %d workers run bulk", len(d.known), d.inBulk)
		}
	})
}

func TestALaneThatWasStartedForAWorkerIsGivenBackAtAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		_, stop := start(m, Options{Workers: 1})
		synctest.Wait()
		for n := range 10 {
			m.add(job{lane: int64(n), n: n, took: time.Second})
		}
		time.Sleep(2500 * time.Millisecond) // the third runs
		began := time.Now()
		m.stopped(t, stop)
		if took := time.Since(began); took > time.Second || m.left() != 7 {
			t.Errorf("it stopped after %s, %d left", took, m.left())
		}
		for id, owned := range m.owned {
			if owned {
				t.Errorf("lane %d was not given back", id)
			}
		}
	})
}

func TestLostRingIsFoundByTheSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		_, stop := start(m, Options{})
		synctest.Wait()
		m.lost = 1
		m.add(job{lane: 1, n: 1})
		time.Sleep(10*time.Second + time.Millisecond)
		if m.left() != 0 {
			t.Error("the lane sleeps for ever")
		}
		stop()
		m.check(t)
	})
}

func TestTimedLaneRunsOnTimeAndNotEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		at := time.Now().Add(24*time.Hour + 7*time.Millisecond)
		m.add(job{lane: 1, n: 1, due: at})
		_, stop := start(m, Options{})
		time.Sleep(24 * time.Hour)
		if m.left() != 1 {
			t.Error("it ran early")
		}
		time.Sleep(8 * time.Millisecond)
		if m.left() != 0 {
			t.Errorf("it did not run on time")
		}
		stop()
		m.check(t)
	})
}

func TestBusyLaneStepsBackForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		for n := range 100 {
			m.add(job{lane: 1, n: n, took: time.Second})
		}
		_, stop := start(m, Options{Workers: 1, Turn: 5})
		time.Sleep(time.Millisecond)
		m.add(job{lane: 2, n: 1000, took: time.Second})
		time.Sleep(6*time.Second + 10*time.Millisecond)
		if ran, _ := m.seen(); len(ran) != 6 || ran[5].lane != 2 {
			t.Errorf("ran %v", ran)
		}
		m.add(job{lane: 3, n: 2000, took: time.Second})
		time.Sleep(time.Minute)
		m.stopped(t, stop)
		if m.owned[1] {
			t.Error("the lane was not given back")
		}
	})
}

func TestSlowLaneStepsBackByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		for n := range 10 {
			m.add(job{lane: 1, n: n, took: 20 * time.Second})
		}
		_, stop := start(m, Options{Workers: 1})
		time.Sleep(time.Millisecond)
		m.add(job{lane: 2, n: 1000, took: time.Second})
		time.Sleep(41*time.Second + 10*time.Millisecond)
		if ran, _ := m.seen(); len(ran) != 3 || ran[2].lane != 2 {
			t.Errorf("ran %v", ran)
		}
		stop()
		m.check(t)
	})
}

func TestMoreLanesThanTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		for n := range 500 {
			m.add(job{lane: int64(n), n: n, took: time.Second})
		}
		d, stop := start(m, Options{Workers: 4, Window: 16})
		most := 0
		for range 130 {
			time.Sleep(time.Second)
			d.mu.Lock()
			most = max(most, len(d.known))
			d.mu.Unlock()
		}
		if m.left() != 0 {
			t.Errorf("%d are left", m.left())
		}
		if most > 16+4 {
			t.Errorf("%d lanes were in memory", most)
		}
		stop()
		m.check(t)
	})
}

func TestStopFinishesWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		for n := range 10 {
			m.add(job{lane: 1, n: n, took: 3 * time.Second})
			m.add(job{lane: 2, n: n, took: 3 * time.Second})
		}
		_, stop := start(m, Options{Workers: 2})
		time.Sleep(time.Second)
		began := time.Now()
		m.stopped(t, stop)
		if got := time.Since(began); got != 2*time.Second {
			t.Errorf("it took %v", got)
		}
		if len(m.ran) != 2 || m.owned[1] || m.owned[2] {
			t.Errorf("ran %v, owned %v", m.ran, m.owned)
		}
	})
}

func TestStopKillsWhatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.add(job{lane: 1, n: 1, took: time.Hour})
		_, stop := start(m, Options{Grace: 5 * time.Second})
		time.Sleep(time.Second)
		began := time.Now()
		m.stopped(t, stop)
		if got := time.Since(began); got != 5*time.Second {
			t.Errorf("it took %v", got)
		}
		if m.owned[1] || len(m.ran) != 0 {
			t.Error("the lane was not given back")
		}
	})
}

// failing is a ledger that fails for a while.
type failing struct {
	*memory
	until time.Time
}

func (f *failing) Due(ctx context.Context, now time.Time, limit int) ([]int64, time.Time, error) {
	if now.Before(f.until) {
		return nil, time.Time{}, fmt.Errorf("disk: %w", ledger.ErrUncertain)
	}
	return f.memory.Due(ctx, now, limit)
}

func (f *failing) Start(ctx context.Context, lane int64, now time.Time) (*ledger.Work, error) {
	if now.Before(f.until) {
		return nil, fmt.Errorf("disk: %w", ledger.ErrUncertain)
	}
	return f.memory.Start(ctx, lane, now)
}

func TestFailingLedgerIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		f := &failing{m, time.Now().Add(time.Minute)}
		var logged atomic.Int64
		d := New(f, m.run, Options{Log: func(string) { logged.Add(1) }})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		m.onDue = d.Ring
		go func() { done <- d.Run(ctx) }()
		m.add(job{lane: 1, n: 1})
		time.Sleep(time.Minute + 2*time.Second)
		if n := logged.Load(); m.left() != 0 || n == 0 || n > 400 {
			t.Errorf("%d left, %d lines logged", m.left(), n)
		}
		cancel()
		<-done
	})
}

// TestNoLostWake: whatever arrives when, everything runs once, in order, never
// early, and never later than the sweep.
func TestNoLostWake(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		type event struct {
			after time.Duration
			job   job
			lost  bool
		}
		ms := func(label string, most int) time.Duration {
			return time.Duration(rapid.IntRange(0, most).Draw(rt, label)) * time.Millisecond
		}
		var events []event
		for i := range rapid.IntRange(1, 60).Draw(rt, "events") {
			e := event{after: ms("after", 3000), lost: rapid.IntRange(0, 5).Draw(rt, "lost") == 0}
			e.job = job{lane: int64(rapid.IntRange(1, 6).Draw(rt, "lane")), n: i, took: ms("took", 2000)}
			if rapid.Bool().Draw(rt, "later") {
				e.job.due = time.Time{}.Add(ms("due", 20000))
			}
			events = append(events, e)
		}
		o := Options{Workers: 6, Turn: rapid.IntRange(1, 3).Draw(rt, "turn"), Window: rapid.IntRange(1, 8).Draw(rt, "window")}
		restart := rapid.IntRange(0, 60).Draw(rt, "restart")
		var failed string
		synctest.Test(t, func(*testing.T) {
			m := newMemory()
			_, stop := start(m, o)
			for i, e := range events {
				time.Sleep(e.after)
				if i == restart {
					if err := stop(); err != nil {
						failed = err.Error()
					}
					_, stop = start(m, o)
				}
				if !e.job.due.IsZero() {
					e.job.due = time.Now().Add(e.job.due.Sub(time.Time{}))
				}
				m.mu.Lock()
				if e.lost {
					m.lost = 1
				}
				m.mu.Unlock()
				m.add(e.job)
			}
			time.Sleep(10 * time.Minute)
			if err := stop(); err != nil {
				failed = err.Error()
			}
			switch {
			case m.left() > 0:
				failed = fmt.Sprintf("%d never ran", m.left())
			case len(m.ran) != len(events):
				failed = fmt.Sprintf("%d ran of %d", len(m.ran), len(events))
			case len(m.faults) > 0:
				failed = m.faults[0]
			case o.Window >= 6 && m.lateness > o.withDefaults().Sweep:
				failed = fmt.Sprintf("one was %v late", m.lateness)
			}
			seen := map[int64]int{}
			for _, j := range m.ran {
				if j.n < seen[j.lane] {
					failed = fmt.Sprintf("lane %d ran %d after %d", j.lane, j.n, seen[j.lane])
				}
				seen[j.lane] = j.n
			}
		})
		if failed != "" {
			rt.Fatal(failed)
		}
	})
}
