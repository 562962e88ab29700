package invariants

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

var errKilled = errors.New("killed by the test")

// killer kills the ledger, as a kill of the process would, at the n-th point
// of a commit (two for each commit), from 1.
type killer struct {
	at   int64
	seen atomic.Int64
	off  atomic.Bool
	stop context.CancelFunc // what waits for the killed one waits no more
}

func (k *killer) fault(string) error {
	if !k.off.Load() && k.seen.Add(1) == k.at {
		k.stop()
		return errKilled
	}
	return nil
}

func (k *killer) struck() bool { return k.seen.Load() >= k.at }

// undisturbed is the end of a workload when nothing fails: of all systems, and
// how many deliveries there were.
func undisturbed(t *testing.T, forms func() []form) (state map[string]string, changes int) {
	t.Helper()
	bubble(t, func(w *world) {
		w.start()
		w.run(forms()...)
		w.check(forms())
		state, changes = undrawn(w.state()), w.allChanges()
	})
	return state, changes
}

// check is the law of accounts at rest: every acknowledged form has its
// delivery, each is done or gave way to a newer version of its document, and
// the counts balance.
func (w *world) check(forms []form) {
	w.t.Helper()
	byState := w.accounts(w.deliveries(), forms)
	counts, err := w.ledger.Counts(w.t.Context())
	w.must(err)
	for _, c := range counts {
		byState[c.State] -= c.N
	}
	for s, n := range byState {
		if n != 0 {
			w.t.Errorf("%d deliveries are %s beyond those counted", n, s)
		}
	}
}

// accounts compares deliveries with the forms that were acknowledged.
func (w *world) accounts(list []ledger.Delivery, forms []form) map[ledger.State]int64 {
	w.t.Helper()
	byState := map[ledger.State]int64{}
	docs := map[string]int{}
	for _, d := range list {
		byState[d.State]++
		docs[d.Doc]++
		if d.State != ledger.Done && d.State != ledger.Superseded {
			w.t.Errorf("delivery %d (%s) is %s %s %s: %s", d.ID, d.Flow, d.State, d.BlockedOn, d.BlockedBy, d.Reason)
		}
	}
	for _, f := range forms {
		docs[f.ID]--
	}
	for doc, n := range docs {
		if n != 0 {
			w.t.Errorf("document %s has %+d deliveries more than versions were acknowledged", doc, n)
		}
	}
	return byState
}

// withRestarts runs a workload in which the ledger may be killed at any commit;
// what was not acknowledged is sent again, as CommCare does. One by one lets
// each form come to rest before the next.
func (w *world) withRestarts(k *killer, forms []form, oneByOne bool) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	w.fault, k.stop = k.fault, cancel
	defer k.off.Store(true)
	if w.open() != nil { // killed while it opened
		w.restart()
	}
	for i := 0; i < len(forms); {
		if !w.push(forms[i].Body()) {
			w.restart()
			continue
		}
		i++
		if oneByOne {
			w.restOrRestart(ctx)
		}
	}
	w.restOrRestart(ctx)
	k.off.Store(true)
	if !w.alive() { // killed after what rest had read was committed
		w.restart()
		w.settle()
	}
}

// alive tells, by a write of its own, whether the ledger still takes any.
func (w *world) alive() bool {
	return w.ledger.Audit(w.t.Context(), ledger.Audit{Who: "test", Act: "still alive"}) == nil
}

func (w *world) restOrRestart(ctx context.Context) {
	w.t.Helper()
	if ctx.Err() == nil { // not killed yet
		err := w.rest(ctx)
		if err == nil && ctx.Err() == nil {
			return
		}
		// The ledger may be seen closed a moment before the kill is told.
		if err != nil && ctx.Err() == nil && !errors.Is(err, ledger.ErrClosed) {
			w.t.Fatal(err)
		}
	}
	if !w.alive() { // it may have been killed since the last push, too
		w.restart()
	}
	w.settle()
}

func (w *world) restart() {
	w.t.Helper()
	for {
		w.stop()
		if w.restarts++; w.restarts > 50 {
			w.t.Fatal("it does not come to rest after 50 restarts")
		}
		if w.open() == nil {
			return
		}
	}
}

// TestAccounted kills the ledger before and after every commit of a small
// workload: nothing is lost, nothing happens twice or half, lanes stay in order.
func TestAccounted(t *testing.T) {
	want, _ := undisturbed(t, few)
	for _, mode := range []struct {
		name     string
		oneByOne bool
		workers  int
	}{{"all at once", false, 4}, {"one by one", true, 1}} {
		points := 0
		play := func(t *testing.T, at int) {
			bubble(t, func(w *world) {
				k := &killer{at: int64(at)}
				w.workers = mode.workers
				forms := few()
				w.submit(forms...)
				w.withRestarts(k, forms, mode.oneByOne)
				points = int(k.seen.Load())
				if at > 0 && mode.oneByOne && !k.struck() {
					t.Errorf("point %d was not met", at) // all at once, commits are shared by chance
				}
				w.check(forms)
				w.same("after a kill", want, undrawn(w.state()))
			})
		}
		t.Run(mode.name, func(t *testing.T) {
			play(t, 0)
			if points < 30 {
				t.Fatalf("only %d points: the workload is too small", points)
			}
			t.Logf("%d points", points)
			step := 1
			if testing.Short() {
				step = 9
			}
			for at, n := 1, points; at <= n; at += step {
				t.Run(fmt.Sprintf("point %d", at), func(t *testing.T) { play(t, at) })
			}
		})
	}
}
