package invariants

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// checks draws a plan of a world n times, and plays each in a bubble.
func checks(t *testing.T, n int, draw func(rt *rapid.T) func(w *world)) {
	t.Helper()
	if _, err := ring(); err != nil {
		t.Fatal(err)
	}
	if testing.Short() {
		n = (n + 4) / 5
	}
	for i := range n {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			play := rapid.Custom(draw).Example(i + 1)
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, shipped)
				defer w.end()
				play(w)
			})
		})
	}
}

// trouble is a fault of one system.
type trouble struct {
	system string
	fault  simulate.Fault
}

var troubles = rapid.Custom(func(rt *rapid.T) trouble {
	kinds := []simulate.Kind{simulate.LostResponse, simulate.TimeoutAfter, simulate.TimeoutBefore, simulate.Error500After, simulate.Error500,
		simulate.Down, simulate.Error503, simulate.HTMLPage, simulate.TooMany, simulate.Refuse, simulate.Slow}
	x := trouble{rapid.SampledFrom([]string{serverA, serverB, source}).Draw(rt, "system"), simulate.Fault{
		Kind: rapid.SampledFrom(kinds).Draw(rt, "kind"), Call: rapid.IntRange(1, 25).Draw(rt, "call"), Times: rapid.IntRange(1, 3).Draw(rt, "times"),
		Delay: time.Duration(rapid.IntRange(1, 3000).Draw(rt, "delay")) * time.Millisecond}}
	switch x.fault.Kind {
	case simulate.Refuse, simulate.Slow, simulate.TimeoutAfter, simulate.TimeoutBefore:
		// Connectors read under a lock: a read that takes its time would stop the bubble's.
	default:
		if rapid.IntRange(0, 3).Draw(rt, "reads too") == 0 {
			x.fault.Match = "*"
		}
	}
	if x.system == source && x.fault.Kind == simulate.Refuse {
		x.fault.Kind = simulate.Error503 // a refused copy to a case is kept, and so is not the same end
	}
	return x
})

// workload is some people's forms in an order that keeps each one's own.
func workload(rt *rapid.T, fewest, most int) []form {
	people := rapid.IntRange(fewest, most).Draw(rt, "people")
	queues := make([][]form, people)
	left := 0
	for n := range people {
		p := somebody(n+1, string("ab"[n%2]))
		visit := p.Visit(day(2), "50")
		newer := p
		newer.Phone = fmt.Sprintf("+2547118%05d", n)
		queues[n] = []form{p.Register(day(1)), visit, p.Visit(day(2).Add(time.Hour), "51"), visit.Edited("52"), newer.Register(day(3))}
		left += len(queues[n])
	}
	var out []form
	for ; left > 0; left-- {
		n := rapid.IntRange(0, people-1).Draw(rt, "who is next")
		for len(queues[n]) == 0 {
			n = (n + 1) % people
		}
		out = append(out, queues[n][0])
		queues[n] = queues[n][1:]
	}
	return out
}

// calmly is the end of a workload without faults.
func (w *world) calmly(forms []form) map[string]string {
	w.t.Helper()
	calm := newWorld(w.t, w.folder)
	defer calm.end()
	calm.start()
	for _, f := range forms {
		calm.run(f)
	}
	calm.check(forms)
	end, err := unnamed(calm.state())
	w.must(err)
	return end
}

// mend ends all faults and has everything tried again until all is done.
func (w *world) mend(forms []form) {
	w.t.Helper()
	w.calm()
	time.Sleep(30 * time.Minute) // what is down is probed, and found up
	w.settle()
	for range 20 {
		if w.retryHeld() == 0 {
			break
		}
	}
	w.check(forms)
}

// TestIntentFirst and alone, in order, once: any workload under any troubles,
// with kills at any commit, comes to the end that it has without. What the
// witness sees of each request counts as much as the end.
func TestIntentFirst(t *testing.T) {
	checks(t, 60, func(rt *rapid.T) func(w *world) {
		forms := workload(rt, 2, 4)
		faults := rapid.SliceOfN(troubles, 0, 5).Draw(rt, "troubles")
		at := rapid.IntRange(1, 150).Draw(rt, "kill")
		workers := rapid.IntRange(1, 8).Draw(rt, "workers")
		return func(w *world) {
			want := w.calmly(forms)
			w.workers = workers
			for _, x := range faults {
				w.sims[x.system].Traffic().Switch(x.fault)
			}
			w.submit(forms...)
			w.withRestarts(&killer{at: int64(at)}, forms, false)
			w.mend(forms)
			got, err := unnamed(w.state())
			w.must(err)
			w.same(fmt.Sprintf("after %v and a kill at %d", faults, at), want, got)
			if w.witness.seen == 0 {
				w.t.Error("the witness saw nothing")
			}
		}
	})
}

// TestAloneInOrder lets requests take long while many forms of the same people
// wait, with many workers: the witness sees each lane and record alone, and
// first writes in order of receipt.
func TestAloneInOrder(t *testing.T) {
	checks(t, 10, func(rt *rapid.T) func(w *world) {
		forms := workload(rt, 2, 4)
		delay := time.Duration(rapid.IntRange(10, 1500).Draw(rt, "delay")) * time.Millisecond
		return func(w *world) {
			want := w.calmly(forms)
			w.workers = 16
			for _, sim := range w.sims {
				sim.Traffic().Switch(simulate.Fault{Kind: simulate.Slow, Delay: delay})
			}
			w.start()
			w.run(forms...)
			w.check(forms)
			got, err := unnamed(w.state())
			w.must(err)
			w.same("with slow servers", want, got)
			if w.witness.together < 2 {
				w.t.Error("nothing ever ran beside something else: the test proves nothing")
			}
		}
	})
}

// TestNoLostWake lets forms come while servers go down and come back and
// Kiungo is stopped and started: what is due runs by itself, and nobody need
// send anything more.
func TestNoLostWake(t *testing.T) {
	checks(t, 16, func(rt *rapid.T) func(w *world) {
		forms := workload(rt, 6, 8)
		type event struct {
			what  int
			pause time.Duration
		}
		events := make([]event, len(forms))
		for i := range events {
			events[i] = event{rapid.IntRange(0, 9).Draw(rt, "event"), time.Duration(rapid.IntRange(0, 4000).Draw(rt, "pause")) * time.Millisecond}
		}
		return func(w *world) {
			want := w.calmly(forms)
			w.submit(forms...)
			w.start()
			for i, f := range forms {
				if !w.push(f.Body()) {
					w.t.Fatal("intake did not take a form")
				}
				time.Sleep(events[i].pause)
				switch events[i].what {
				case 0:
					w.sims[serverA].Traffic().Switch(simulate.Fault{Kind: simulate.Down, Match: "*"})
				case 1:
					w.sims[serverB].Traffic().Switch(simulate.Fault{Kind: simulate.Error503, Match: "*"})
				case 2, 3:
					w.calm()
				case 4, 5:
					w.stop()
					w.start()
				}
			}
			w.calm()
			// Longer than any pause between probes or tries.
			time.Sleep(30 * time.Minute)
			synctest.Wait()
			w.check(forms)
			got, err := unnamed(w.state())
			w.must(err)
			w.same("by itself", want, got)
		}
	})
}

// TestNobodyElseWaits: a server that is down with many waiting, a held person,
// and a delivery on which Kiungo itself fails keep nobody else.
func TestNobodyElseWaits(t *testing.T) {
	bubble(t, func(w *world) {
		const many = 30
		bad := somebody(900, "a")
		bad.Sex = "unheard-of"
		poison := somebody(901, "a")
		var mended atomic.Bool
		w.outside = poisonous(poison, &mended)
		w.workers = 3
		w.sims[serverB].Traffic().Switch(simulate.Fault{Kind: simulate.Down, Match: "*"})
		w.start()
		var down, others []form
		for n := range many {
			down = append(down, somebody(n, "b").Register(day(1)), somebody(n, "b").Visit(day(2), "50"))
		}
		for n := range many {
			others = append(others, somebody(100+n, "a").Register(day(1)), somebody(100+n, "a").Visit(day(2), "50"))
		}
		stuck := []form{bad.Register(day(1)), bad.Visit(day(2), "50"), poison.Register(day(1)), poison.Visit(day(2), "50")}
		w.run(append(down, stuck...)...)
		asked := w.sims[serverB].Traffic().Count()
		if asked > many {
			t.Errorf("a server that is down was asked %d times by %d deliveries", asked, len(down))
		}
		w.run(others...)
		byFlow := map[ledger.State]int{}
		for _, d := range w.deliveries() {
			byFlow[d.State]++
		}
		if byFlow[ledger.Done] != len(others) || byFlow[ledger.Held] != 2 {
			t.Errorf("deliveries are %v, want %d done and 2 held", byFlow, len(others))
		}
		if n := len(w.changes(serverA)); n != many*4 {
			t.Errorf("%d calls to %s, want %d", n, serverA, many*4)
		}
		mended.Store(true)
		w.calm()
		time.Sleep(30 * time.Minute) // a probe finds it up again
		w.settle()
		byFlow = map[ledger.State]int{}
		for _, d := range w.deliveries() {
			byFlow[d.State]++
		}
		if want := len(others) + len(down); byFlow[ledger.Done] != want {
			t.Errorf("deliveries are %v, want %d done", byFlow, want)
		}
	})
}
