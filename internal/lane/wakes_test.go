package lane

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// after has something done when a run has come to its end in the ledger, and
// the dispatcher does not know it yet.
func after(m *memory, f func(w *ledger.Work)) (d *Dispatcher, stop func()) {
	d = New(m, func(ctx context.Context, w *ledger.Work) *ledger.Work {
		next := m.run(ctx, w)
		f(w)
		return next
	}, Options{Workers: 2})
	m.onDue = d.Ring
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	return d, func() {
		cancel()
		<-done
	}
}

// A bell that is rung when the ledger has freed a lane, and its worker has not
// come back yet, is heard at once, and not by the next look only.
func TestABellRungWhileAWorkerComesBackIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		_, stop := after(m, func(w *ledger.Work) {
			if w.Delivery.ID == 1 {
				m.add(job{lane: 1, n: 2})
			}
		})
		synctest.Wait()
		m.add(job{lane: 1, n: 1, took: time.Second})
		time.Sleep(time.Second + time.Millisecond)
		if _, late := m.seen(); m.left() != 0 || late > 0 {
			t.Errorf("%d left, %v late", m.left(), late)
		}
		stop()
		m.check(t)
	})
}

// What a run made due later is noticed soon, though nothing rings for it.
func TestWhatARunMadeDueLaterIsNoticedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		_, stop := after(m, func(w *ledger.Work) {
			if w.Delivery.ID == 1 {
				m.add(job{lane: 2, n: 2, due: time.Now().Add(time.Second)})
			}
		})
		time.Sleep(time.Second) // away from the sweeps
		m.add(job{lane: 1, n: 1})
		time.Sleep(2 * time.Second)
		if _, late := m.seen(); m.left() != 0 || late > 0 {
			t.Errorf("%d left, %v late", m.left(), late)
		}
		stop()
		m.check(t)
	})
}
