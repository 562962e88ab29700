package believed

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var key = Key{What: "x"}

func TestOneLoadsAndTheOthersWaitForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(time.Minute, time.Now)
		loads := 0
		load := func() (string, error) {
			loads++
			time.Sleep(time.Second)
			return "read", nil
		}
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if v, err := Read(t.Context(), s, key, load); v != "read" || err != nil {
					t.Errorf("%q %v", v, err)
				}
			})
		}
		// One that is stopped does not wait.
		ctx, stop := context.WithTimeout(t.Context(), time.Millisecond)
		defer stop()
		synctest.Wait()
		if _, err := Read(ctx, s, key, load); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		wg.Wait()
		if loads != 1 {
			t.Errorf("loaded %d times", loads)
		}
	})
}

func TestAFailedLoadIsNotKept(t *testing.T) {
	s := New(time.Minute, time.Now)
	broken := errors.New("down")
	if _, err := Read(t.Context(), s, key, func() (string, error) { return "", broken }); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if _, ok := Last[string](s, key); ok {
		t.Error("the failure is kept")
	}
	if v, err := Read(t.Context(), s, key, func() (string, error) { return "read", nil }); v != "read" || err != nil {
		t.Errorf("%q %v", v, err)
	}
}

func TestAValueIsBelievedForItsTimeAndRememberedAfterIt(t *testing.T) {
	now := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	s := New(time.Minute, func() time.Time { return now })
	n := 0
	read := func() int {
		v, err := Read(t.Context(), s, key, func() (int, error) { n++; return n, nil })
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if _, ok := Known[int](s, key); ok || read() != 1 || read() != 1 {
		t.Error("it is not read once")
	}
	now = now.Add(time.Minute - 1)
	if v, ok := Known[int](s, key); !ok || v != 1 || read() != 1 {
		t.Error("it is not believed to the end of its time")
	}
	now = now.Add(1)
	if _, ok := Known[int](s, key); ok {
		t.Error("it is believed for ever")
	}
	if v, ok := Last[int](s, key); !ok || v != 1 {
		t.Error("it is forgotten")
	}
	if _, ok := Last[string](s, key); ok {
		t.Error("it is given as something else")
	}
	if read() != 2 {
		t.Error("it is not read again")
	}
}
