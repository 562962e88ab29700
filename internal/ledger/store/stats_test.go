package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// What metrics ask is found by index: with millions of deliveries it costs what
// is counted, not what is kept.
func TestMetricsReadIndexesOnly(t *testing.T) {
	s := openStats(t, t.TempDir(), Options{})
	defer s.Close()
	for _, q := range []string{qStatFlow, qStatOpen, qStatFirst, qStatSystem, qStatQueue, qStatOldest, qStatBlock, qStatState, qStatAsked, qStatDue, qStatDueAt} {
		args := []any{}
		for range strings.Count(q, "?") {
			args = append(args, int64(1))
		}
		var plan []string
		if err := s.read(t.Context(), func(c conn) error {
			plan = nil
			return c.each("EXPLAIN QUERY PLAN "+q, func(r row) (bool, error) {
				plan = append(plan, r.text(3))
				return true, nil
			}, args...)
		}); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
		searched := false
		for _, line := range plan {
			searched = searched || strings.HasPrefix(line, "SEARCH") && strings.Contains(line, "INDEX")
			if strings.HasPrefix(line, "SCAN") && line != "SCAN q" || strings.Contains(line, "TEMP B-TREE") {
				t.Errorf("%s\n  %s", q, line)
			}
		}
		if !searched {
			t.Errorf("%s\n  uses no index: %s", q, strings.Join(plan, "; "))
		}
	}
}

// TestStatsTellWhatWaits blocks, holds and asks, and looks at the figures.
func TestStatsTellWhatWaits(t *testing.T) {
	now := time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
	s := openStats(t, t.TempDir(), Options{Clock: func() time.Time { return now }})
	defer s.Close()
	give := func(doc string) *ledger.Work {
		return begun(t, s, []ledger.Arrival{{System: "commcare", Incoming: connector.Incoming{Kind: "form", Doc: doc, Version: "1", Content: []byte(`{}`)},
			Routes: []ledger.Route{{Flow: "i05/visit", Lanes: []string{"person:" + doc}, Systems: []string{"openmrs-a"}}}}})
	}
	end := func(w *ledger.Work, e ledger.End) {
		if _, err := s.End(t.Context(), w, e, s.Now()); err != nil {
			t.Fatal(err)
		}
	}
	for i, doc := range []string{"a", "b", "c"} {
		now = now.Add(time.Minute)
		w := give(doc)
		system := "openmrs-a"
		if i == 2 {
			system = "openmrs-b"
		}
		end(w, ledger.End{State: ledger.Waiting, BlockedOn: ledger.BlockCircuit, BlockedBy: system})
	}
	end(give("d"), ledger.End{State: ledger.Waiting, Due: now.Add(time.Hour)})
	end(give("e"), ledger.End{State: ledger.Held, Code: "unmapped", Question: &ledger.Question{Kind: "unmapped", Text: "?"}})
	end(give("f"), ledger.End{State: ledger.Done})
	if _, err := s.Accept(t.Context(), []ledger.Arrival{{System: "commcare", Incoming: connector.Incoming{Kind: "form", Doc: "g", Version: "1", Content: []byte(`{}`)},
		Routes: []ledger.Route{{Flow: "i05/visit", Lanes: []string{"person:g"}, Systems: []string{"openmrs-a"}}}}},
		&ledger.Advance{System: "commcare", Stream: "forms", New: []byte("7")}); err != nil {
		t.Fatal(err)
	}
	first := time.Date(2026, 11, 1, 8, 1, 0, 0, time.UTC)
	received := now
	now = now.Add(10 * time.Minute)
	st, err := s.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, o := range st.Open {
		open = append(open, fmt.Sprint(o.Flow, " ", o.State, " ", o.N, " ", o.Oldest.Format("15:04")))
	}
	if got := strings.Join(open, "; "); got != "i05/visit held 1 08:03; i05/visit received 1 08:03; i05/visit waiting 4 08:01" {
		t.Errorf("open: %s", got)
	}
	if len(st.Systems) != 2 || st.Systems[0] != (ledger.SystemQueue{System: "openmrs-a", N: 2, Oldest: first}) || st.Systems[1].N != 1 {
		t.Errorf("systems: %+v", st.Systems)
	}
	if st.Waiting[ledger.BlockCircuit] != 3 || st.Waiting[ledger.BlockNone] != 1 || st.Held != 1 || st.Questions != 1 {
		t.Errorf("waiting %v, held %d, questions %d", st.Waiting, st.Held, st.Questions)
	}
	if st.Live.N != 1 || !st.Live.Since.Equal(received) || st.Bulk.N != 0 {
		t.Errorf("lanes that are due: %+v, in bulk %+v", st.Live, st.Bulk)
	}
	if len(st.Streams) != 1 || st.Streams[0].Stream != "forms" || !st.Streams[0].At.Equal(received) || len(st.Nodes) != 1 {
		t.Errorf("streams %+v, nodes %+v", st.Streams, st.Nodes)
	}
}

// TestReadyTellsWhatStandsInTheWay: a full disk and a closed ledger.
func TestReadyTellsWhatStandsInTheWay(t *testing.T) {
	s := openStats(t, t.TempDir(), Options{})
	if err := s.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	if _, free, ok := s.Disk(); !ok || free <= 0 {
		t.Errorf("%d bytes are free, %v", free, ok)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context()); !errors.Is(err, ledger.ErrClosed) {
		t.Errorf("a closed ledger is ready: %v", err)
	}
	s = openStats(t, t.TempDir(), Options{MinFree: 1 << 60})
	defer s.Close()
	if err := s.Ready(t.Context()); !errors.Is(err, ledger.ErrFull) {
		t.Errorf("below the floor: %v", err)
	}
}

func openStats(t *testing.T, dir string, o Options) *Store {
	t.Helper()
	var err error
	if o.Ring == nil {
		if o.Ring, err = seal.Create(seal.Path(dir)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := OpenSQLite(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
