package river

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/lane"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/postgrestest"
	"github.com/kiungo-health/kiungo/internal/seal"
)

const (
	testLease = 1200 * time.Millisecond
	patience  = 40 * time.Second
)

// site is what the nodes of a test share: a database, a keyring, and a target
// that notes what it was sent.
type site struct {
	*testing.T
	url  string
	dir  string
	ring *seal.Ring

	mu     sync.Mutex
	sent   []string // documents, in the order they were sent
	busy   map[string]string
	faults []string
}

func newSite(t *testing.T) *site {
	return &site{T: t, url: postgrestest.URL(t), dir: t.TempDir(), ring: seal.Temporary(), busy: map[string]string{}}
}

// member is a node: its ledger and its dispatcher.
type member struct {
	*store.Store
	stop  func()
	block chan struct{} // a delivery of this node waits before it sends; nil: none does
	waits chan struct{} // it says that it waits
	held  chan error    // and how that went
}

func (s *site) start(n int, url string, block chan struct{}) *member {
	s.Helper()
	l, err := store.Open(s.Context(), url, filepath.Join(s.dir, fmt.Sprint(n)), store.Options{Ring: s.ring, Lease: testLease})
	if err != nil {
		s.Fatal(err)
	}
	m := &member{Store: l, block: block, waits: make(chan struct{}, 100), held: make(chan error, 100)}
	d, err := New(s.Context(), l, func(ctx context.Context, w *ledger.Work) *ledger.Work { return s.run(ctx, m, w) },
		Options{Database: url, Options: lane.Options{Workers: 6, Sweep: 100 * time.Millisecond}})
	if err != nil {
		s.Fatal(err)
	}
	l.OnDue(func(lanes []int64) { d.Ring(lanes...) })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	var once sync.Once
	m.stop = func() {
		once.Do(func() {
			cancel()
			if err := within(s, ended); err != nil {
				s.Logf("node %d: %v", n, err)
			}
			if err := l.Close(); err != nil {
				s.Logf("node %d: %v", n, err)
			}
		})
	}
	s.Cleanup(m.stop)
	return m
}

// run is a runner: journal, send, end.
func (s *site) run(ctx context.Context, m *member, w *ledger.Work) *ledger.Work {
	if w.Plan == nil {
		if err := m.Journal(ctx, w, ledger.Plan{Body: []byte("plan"), Intent: "send"}); err != nil {
			return s.lost(m, w, err)
		}
	}
	if m.block != nil {
		m.waits <- struct{}{}
		<-m.block
		held, end, err := m.Hold(ctx)
		if err == nil {
			end()
			err = held.Err()
		}
		m.held <- err
		if err != nil {
			m.Drop(w)
			return nil
		}
	}
	doc := w.Message.Doc
	s.mu.Lock()
	if other := s.busy[w.LaneKey]; other != "" {
		s.faults = append(s.faults, fmt.Sprintf("%s is sent while %s is, of %s", doc, other, w.LaneKey))
	}
	s.busy[w.LaneKey] = doc
	s.mu.Unlock()
	err := m.Step(ctx, w, ledger.Step{Kind: ledger.StepAnswer, Call: "send", Data: json.RawMessage(`{}`), Epoch: w.Epoch})
	s.mu.Lock()
	s.busy[w.LaneKey] = ""
	if err == nil {
		s.sent = append(s.sent, doc)
	}
	s.mu.Unlock()
	if err != nil {
		return s.lost(m, w, err)
	}
	next, err := m.End(ctx, w, ledger.End{State: ledger.Done}, m.Now())
	if err != nil {
		return s.lost(m, w, err)
	}
	return next
}

func (s *site) lost(m *member, w *ledger.Work, err error) *ledger.Work {
	if !errors.Is(err, ledger.ErrFenced) && !errors.Is(err, ledger.ErrUncertain) && !errors.Is(err, ledger.ErrClosed) {
		s.Errorf("delivery %d: %v", w.Delivery.ID, err)
	}
	m.Drop(w)
	return nil
}

func (s *site) accept(m *member, doc, person string) {
	s.Helper()
	_, err := m.Accept(context.Background(), []ledger.Arrival{{System: "commcare",
		Incoming: connector.Incoming{Kind: "form", Doc: doc, Version: "1", Content: []byte("{}")},
		Routes:   []ledger.Route{{Flow: "visit", Lanes: []string{"person:" + person}, Systems: []string{"openmrs"}}}}}, nil)
	if err != nil {
		s.Errorf("%s: %v", doc, err)
	}
}

// done waits until so many deliveries are done, and nothing else is there.
func (s *site) done(m *member, want int64) {
	s.Helper()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		counts, err := m.Counts(s.Context())
		if err != nil {
			s.Fatal(err)
		}
		if len(counts) == 1 && counts[0].State == ledger.Done && counts[0].N == want {
			break
		}
		if time.Since(began) > patience {
			s.Fatalf("%d are to be done: %+v", want, counts)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		s.Error(f)
	}
}

// TestRollingRestartUnderLoadLosesNothing stops and starts two nodes in turn
// while both take messages in.
func TestRollingRestartUnderLoadLosesNothing(t *testing.T) {
	s := newSite(t)
	nodes := []*member{s.start(0, s.url, nil), s.start(1, s.url, nil)}
	const people, each = 8, 12
	for round := range 2 {
		var sending sync.WaitGroup
		up := nodes[1-round]
		for p := range people {
			sending.Go(func() {
				for n := range each {
					s.accept(up, fmt.Sprintf("%d-%d-%02d", p, round, n), fmt.Sprint(p))
				}
			})
		}
		nodes[round].stop()
		nodes[round] = s.start(round, s.url, nil)
		sending.Wait()
	}
	s.done(nodes[0], 2*people*each)
	last := map[string]string{}
	seen := map[string]bool{}
	for _, doc := range s.sent {
		person, _, _ := strings.Cut(doc, "-")
		if doc <= last[person] || seen[doc] {
			t.Errorf("%s is sent after %s", doc, last[person])
		}
		last[person], seen[doc] = doc, true
	}
}

// TestACutOffNodeSendsNothingAndIsTakenOver cuts a node off its database while
// it has a delivery in hand.
func TestACutOffNodeSendsNothingAndIsTakenOver(t *testing.T) {
	s := newSite(t)
	cable := postgrestest.NewCable(t, s.url, nil)
	block := make(chan struct{})
	cut := s.start(0, cable.URL, block)
	s.accept(cut, "f1", "1")
	s.accept(cut, "f2", "1")
	within(s, cut.waits) // with its plan journaled
	cable.Pull()
	s.done(s.start(1, s.url, nil), 2)
	if until, ok := cut.Lease(t.Context()); ok {
		t.Errorf("the node may send until %s", until)
	}
	close(block)
	if err := within(s, cut.held); !errors.Is(err, ledger.ErrFenced) {
		t.Errorf("the node that was cut off may send: %v", err)
	}
	if strings.Join(s.sent, " ") != "f1 f2" {
		t.Errorf("sent %v", s.sent)
	}
}

// within takes what comes, if it comes in time.
func within[T any](s *site, from <-chan T) T {
	s.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		s.Fatal("it does not come")
		panic("not reached")
	}
}
