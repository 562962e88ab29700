package invariants

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// markAt keeps a backup of a system just before its n-th changing request.
func (w *world) markAt(name string, n int) {
	var seen atomic.Int64
	w.outside = func(host string, r *http.Request) {
		if host == name && r.Method != http.MethodGet && seen.Add(1) == int64(n) {
			w.sims[name].(simulate.Restorer).Mark("backup")
		}
	}
}

func (w *world) restore(name string) {
	w.t.Helper()
	w.must(w.sims[name].(simulate.Restorer).Restore("backup"))
}

func (w *world) replay(o ledger.ReplayOrder) *ledger.ReplayReport {
	w.t.Helper()
	o.Who = "test"
	r, err := w.engine.Replay(context.Background(), o)
	w.must(err)
	w.settle()
	return r
}

// history is a workload at one clinic, with an edit that takes an answer back
// and a form that is archived.
func history() []form {
	p, q := somebody(1, "a"), somebody(2, "a")
	visit, second := p.Visit(day(2), "51.5"), p.Visit(day(3), "52")
	moved, archived := p, second
	moved.Phone = "+254711900777"
	archived.Archived = true
	return []form{p.Register(day(1)), visit, q.Register(day(1)), p.Visit(day(2).Add(time.Hour), "51.6"), q.Visit(day(2), "60"),
		visit.Edited("52.5"), second, moved.Register(day(4)), archived, q.Visit(day(4), "61")}
}

// carry has forms carried on one after the other.
func (w *world) carry(forms []form) {
	w.t.Helper()
	for _, f := range forms {
		if !f.Archived {
			w.submit(f)
		}
		if !w.push(f.Body()) {
			w.t.Fatal("intake did not take a form")
		}
		w.settle()
	}
}

// TestWhatARestoredSystemLostIsPutBack restores OpenMRS to every moment between
// two changes: replay --missing brings back exactly what it had, byte for byte,
// with the same ids, and sends nothing that is there.
func TestWhatARestoredSystemLostIsPutBack(t *testing.T) {
	t.Parallel()
	total := 0
	bubble(t, func(w *world) {
		w.start()
		w.carry(history())
		total = len(w.changes(serverA))
	})
	if total < 10 {
		t.Fatalf("the history makes %d changes", total)
	}
	step := 1
	if testing.Short() {
		step = 4
	}
	for n := 1; n <= total; n += step {
		t.Run(fmt.Sprintf("before change %d", n), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(w *world) {
				w.markAt(serverA, n)
				w.start()
				w.carry(history())
				had := w.state()
				w.restore(serverA)
				w.sims[serverA].Traffic().Forget()
				w.sims[source].Traffic().Forget()
				r := w.replay(ledger.ReplayOrder{System: serverA})
				if len(r.Missing) == 0 || len(r.Repeated) != len(r.Missing) {
					t.Errorf("%d missing, %d repeated", len(r.Missing), len(r.Repeated))
				}
				w.same("after the replay", had, w.state())
				w.onceEach(serverA)
				if again := w.changes(source); len(again) > 0 {
					t.Errorf("CommCare was sent %s %s", again[0].Method, again[0].Path)
				}
				sent := w.allChanges()
				if r := w.replay(ledger.ReplayOrder{System: serverA}); len(r.Missing) > 0 || w.allChanges() != sent {
					t.Errorf("a second replay finds %d missing and makes %d calls", len(r.Missing), w.allChanges()-sent)
				}
			})
		})
	}
}

// onceEach fails the test if a system saw one request twice.
func (w *world) onceEach(name string) {
	w.t.Helper()
	seen := map[string]bool{}
	for _, r := range w.changes(name) {
		key := r.Method + " " + r.Path + " " + r.Body
		if seen[key] {
			w.t.Errorf("%s saw twice: %s", name, key)
		}
		seen[key] = true
	}
}

// TestARestoredSystemIsNoticedAndStopped: the next form of somebody whose record
// is gone stops the system, nothing is written, a restart forgets nothing; after
// the replay all that waited goes on, and nobody has two records.
func TestARestoredSystemIsNoticedAndStopped(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]form{
		"a new form":      somebody(1, "a").Visit(day(6), "55"),
		"an edited one":   somebody(1, "a").Visit(day(2), "51.5").Edited("53"),
		"a registration":  somebody(1, "a").Register(day(7)),
		"of someone else": somebody(2, "a").Visit(day(7), "62"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(w *world) {
				w.start()
				w.sims[serverA].(simulate.Restorer).Mark("backup")
				w.carry(history())
				w.restore(serverA)
				w.sims[serverA].Traffic().Forget()
				w.run(next)
				list := w.deliveries()
				last := list[len(list)-1]
				if last.BlockedOn != ledger.BlockCircuit || last.Code != "stopped" || !strings.Contains(last.Reason, "kiungo replay --missing "+serverA) {
					t.Fatalf("the form is %s %s: %s", last.State, last.Code, last.Reason)
				}
				if n := len(w.changes(serverA)); n > 0 {
					t.Errorf("%d changes were sent to a restored system", n)
				}
				w.stop()
				w.restarts++
				w.start()
				time.Sleep(time.Hour) // no probe closes it
				w.settle()
				if reason, stopped := w.engine.Systems[serverA].Stopped(); !stopped || reason != last.Reason || len(w.changes(serverA)) > 0 {
					t.Errorf("after a restart it is stopped: %v (%s), with %d changes", stopped, reason, len(w.changes(serverA)))
				}
				dry := w.replay(ledger.ReplayOrder{System: serverA, DryRun: true})
				if len(dry.Missing) == 0 || dry.Resumed || len(w.changes(serverA)) > 0 {
					t.Errorf("a dry run finds %d, resumed %v, %d changes", len(dry.Missing), dry.Resumed, len(w.changes(serverA)))
				}
				if r := w.replay(ledger.ReplayOrder{System: serverA}); len(r.Missing) != len(dry.Missing) || !r.Resumed {
					t.Errorf("%d missing, a dry run found %d; resumed %v", len(r.Missing), len(dry.Missing), r.Resumed)
				}
				for _, d := range w.deliveries() {
					if !d.State.Ended() {
						t.Errorf("delivery %d (%s) is %s: %s", d.ID, d.Flow, d.State, d.Reason)
					}
				}
				w.sameAsCalm(append(history(), next))
			})
		})
	}
}

// sameAsCalm compares with a world in which nothing was restored, ids included.
func (w *world) sameAsCalm(forms []form) {
	w.t.Helper()
	calm := newWorld(w.t, w.folder)
	defer calm.end()
	calm.start()
	calm.carry(forms)
	w.same("as if it had never been restored", undrawn(calm.state()), undrawn(w.state()))
}

// TestASinglePurgeStopsNothing: one record that an administrator purged is no
// restore.
func TestASinglePurgeStopsNothing(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.start()
		w.carry(history())
		p := somebody(3, "a")
		w.carry([]form{p.Register(day(2))})
		list := w.deliveries()
		work, err := w.ledger.Delivery(context.Background(), list[len(list)-1].ID)
		w.must(err)
		for _, m := range work.Made {
			if m.Kind == "openmrs/Patient" {
				w.purge(serverA, "/ws/rest/v1/patient/"+m.ID)
			}
		}
		p.Phone = "+254711900778"
		w.run(p.Register(day(3)))
		if reason, stopped := w.engine.Systems[serverA].Stopped(); stopped {
			t.Errorf("a single purge stopped the system: %s", reason)
		}
		w.lastIs(ledger.Done)
	})
}

func (w *world) purge(name, path string) {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodDelete, "http://"+name+".sim/openmrs"+path+"?purge=true", http.NoBody)
	r.SetBasicAuth("clerk", "Clerk123")
	out := httptest.NewRecorder()
	w.sims[name].ServeHTTP(out, r)
	if out.Code >= 300 {
		w.t.Fatalf("purge %s: HTTP %d %s", path, out.Code, out.Body)
	}
}

// TestAcceptedLossesAreNotAskedAboutAgain: who says that what is gone may stay
// so, is not stopped again by the same.
func TestAcceptedLossesAreNotAskedAboutAgain(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.start()
		w.sims[serverA].(simulate.Restorer).Mark("backup")
		w.carry(history())
		w.restore(serverA)
		w.run(somebody(1, "a").Visit(day(6), "55"))
		w.replay(ledger.ReplayOrder{System: serverA, Accept: true})
		w.lastIs(ledger.Done)
		time.Sleep(time.Hour)
		w.run(somebody(2, "a").Visit(day(6), "63"))
		if reason, stopped := w.engine.Systems[serverA].Stopped(); stopped {
			t.Errorf("it is stopped again: %s", reason)
		}
	})
}

// TestAnyHistoryIsPutBack: any workload, restored to any moment, with people who
// go on sending forms: the end is that of a world in which nothing happened.
func TestAnyHistoryIsPutBack(t *testing.T) {
	t.Parallel()
	checks(t, 25, func(rt *rapid.T) func(w *world) {
		forms := workload(rt, 2, 4)
		at := rapid.IntRange(1, 3*len(forms)).Draw(rt, "moment")
		noticed := rapid.IntRange(0, len(forms)).Draw(rt, "restored after")
		return func(w *world) {
			w.sims[serverA].(simulate.Restorer).Mark("backup")
			w.markAt(serverA, at)
			w.start()
			for i, f := range forms {
				if i == noticed {
					w.restore(serverA)
				}
				w.run(f)
			}
			if noticed == len(forms) {
				w.restore(serverA)
			}
			w.replay(ledger.ReplayOrder{System: serverA})
			for range 5 {
				if w.retryHeld() == 0 {
					break
				}
			}
			want := w.calmly(forms)
			got, err := unnamed(w.state())
			w.must(err)
			w.same("at the end", want, got)
		}
	})
}
