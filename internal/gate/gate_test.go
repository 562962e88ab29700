package gate

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
)

// crowd has so many of each kind wait at a gate of one, bulk first, and gives
// the order in which they are let in.
func crowd(t *testing.T, bulk, live int) (order []bool) {
	synctest.Test(t, func(t *testing.T) {
		g := New(1)
		if _, err := g.Enter(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		for i := range bulk + live {
			kind := i < bulk
			go func() {
				if _, err := g.Enter(t.Context(), kind); err != nil {
					t.Error(err)
				}
				order = append(order, kind)
				g.Leave()
			}()
			synctest.Wait() // they stand in line in this order
		}
		g.Leave()
		synctest.Wait()
		if g.Used() != 0 {
			t.Errorf("%d are still in", g.Used())
		}
	})
	return order
}

func TestLiveGoesFirstAndEveryEighthTurnIsBulks(t *testing.T) {
	order := crowd(t, 100, 70)
	if len(order) != 170 {
		t.Fatalf("%d of 170 were let in", len(order))
	}
	// While live ones wait, every eighth turn is bulk's; then all are.
	for i, bulk := range order[:80] {
		if want := i%Share == Share-1; bulk != want {
			t.Errorf("turn %d: bulk %v", i, bulk)
		}
	}
	if slices.Contains(order[80:], false) {
		t.Error("a live one waited behind the crowd")
	}
}

func TestWithoutTheOtherKindNobodyWaits(t *testing.T) {
	for _, c := range []struct{ bulk, live int }{{20, 0}, {0, 20}} {
		if order := crowd(t, c.bulk, c.live); len(order) != 20 {
			t.Errorf("%+v: %d of 20 were let in", c, len(order))
		}
	}
}

func TestWhoGivesUpLeavesTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(1)
		_, _ = g.Enter(t.Context(), false)
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() {
			_, err := g.Enter(ctx, false)
			gone <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if g.LiveWaits() {
			t.Error("who gave up still waits")
		}
		g.Leave()
		if _, err := g.Enter(t.Context(), true); err != nil || g.Used() != 1 {
			t.Errorf("%v; %d are in", err, g.Used())
		}
		if _, err := g.Enter(ctx, true); err == nil {
			t.Error("a context that has ended is let in")
		}
	})
}

func TestALimitIsChangedWhileInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(4)
		in := make(chan struct{}, 10)
		for range 10 {
			go func() {
				if _, err := g.Enter(t.Context(), false); err == nil {
					in <- struct{}{}
				}
			}()
		}
		synctest.Wait()
		g.Set(2)
		for range 3 {
			g.Leave()
		}
		synctest.Wait()
		if len(in) != 5 || g.Used() != 2 { // four went in, three left, one came after them
			t.Fatalf("%d came in, %d are in", len(in), g.Used())
		}
		g.Set(0) // at least one
		g.Set(7)
		synctest.Wait()
		if len(in) != 10 || g.Limit() != 7 {
			t.Errorf("%d came in", len(in))
		}
	})
}

func TestBulkIsMarkedInTheContext(t *testing.T) {
	if IsBulk(t.Context()) || !IsBulk(AsBulk(t.Context())) {
		t.Error("the mark is lost, or there without being made")
	}
}
