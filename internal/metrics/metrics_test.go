package metrics

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/intake"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/system"
)

// polled is a system that has a stream.
type polled struct{ connector.System }

func (polled) Name() string { return "openmrs-a" }
func (polled) Streams() []connector.Stream {
	return []connector.Stream{{Name: "patient", Every: time.Minute}, {Name: "encounter", Every: time.Minute}}
}
func (polled) Poll(context.Context, call.Doer, string, []byte) (connector.Batch, error) {
	return connector.Batch{}, nil
}

// kept is a ledger of which the test says what waits.
type kept struct {
	stats *ledger.Stats
	err   error
	asked int
	slow  time.Duration
}

func (k *kept) Stats(context.Context) (*ledger.Stats, error) {
	k.asked++
	time.Sleep(k.slow)
	return k.stats, k.err
}
func (k *kept) Disk() (int64, int64, bool) { return 7, 99, true }
func (k *kept) Floor() int64               { return 11 }

func attached(k *kept, ready error) *Metrics {
	m := New("1.2.3")
	port := system.New(polled{}, "openmrs", system.Limits{InFlight: 3})
	m.Attach(&engine.Engine{Systems: map[string]*system.Port{"openmrs-a": port}}, k, func(context.Context) error { return ready })
	return m
}

var now = time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)

func some() *ledger.Stats {
	return &ledger.Stats{Now: now, Open: []ledger.OpenCount{{Flow: "i05/visit", State: ledger.HalfUndone, N: 8, Oldest: now.Add(-time.Minute)}}, Systems: []ledger.SystemQueue{{System: "openmrs-a", N: 41, Oldest: now.Add(-time.Hour)}, {System: "gone", N: 1, Oldest: now}},
		Waiting: map[ledger.Block]int64{ledger.BlockCircuit: 42, ledger.BlockNone: 5}, Held: 3, Questions: 2, Live: ledger.LaneQueue{N: 6, Since: now.Add(-30 * time.Second)},
		Streams: []ledger.StreamAge{{System: "openmrs-a", Stream: "patient", At: now.Add(-2 * time.Minute)}}, Nodes: []ledger.NodeAge{{Node: 4, Heartbeat: now.Add(-time.Second), Lease: 30 * time.Second}}}
}

func TestWhatWaitsIsShown(t *testing.T) {
	m := attached(&kept{stats: some()}, errors.New("stopping"))
	got := text(t, m)
	for _, want := range []string{
		`kiungo_system_deliveries_waiting{system="openmrs-a"} 41`,
		`kiungo_system_oldest_waiting_seconds{system="openmrs-a"} 3600`,
		`kiungo_deliveries_waiting{on="circuit"} 42`,
		`kiungo_deliveries_waiting{on="time"} 5`,
		`kiungo_deliveries_open{flow="i05/visit",state="half_undone"} 8`,
		`kiungo_deliveries_open_oldest_seconds{flow="i05/visit",state="half_undone"} 60`,
		`kiungo_lanes_due{class="live"} 6`,
		`kiungo_lanes_due_oldest_seconds{class="bulk"} 0`,
		`kiungo_lanes_due_oldest_seconds{class="live"} 30`,
		`kiungo_stream_age_seconds{stream="patient",system="openmrs-a"} 120`,
		`kiungo_stream_interval_seconds{stream="encounter",system="openmrs-a"} 60`,
		`kiungo_node_heartbeat_age_seconds{node="4"} 1`,
		`kiungo_node_lease_seconds{node="4"} 30`,
		`kiungo_ready 0`,
		`kiungo_disk_free_bytes 99`,
		`kiungo_disk_floor_bytes 11`,
		`kiungo_calls_in_flight_limit{system="openmrs-a"} 3`,
		`kiungo_circuit_open{system="openmrs-a"} 0`,
	} {
		if !strings.Contains(got, "\n"+want+"\n") {
			t.Errorf("there is no %s", want)
		}
	}
	if strings.Contains(got, "gone") {
		t.Error("a system that the site does not have any more is shown")
	}
}

func text(t *testing.T, m *Metrics) string {
	t.Helper()
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// TestEveryFigureIsInTheCatalogue: what is exposed, once everything has happened,
// is what the manual lists.
func TestEveryFigureIsInTheCatalogue(t *testing.T) {
	m := attached(&kept{stats: some()}, nil)
	w := m.Watch()
	ctx := t.Context()
	w.Taken(ctx, intake.Taken{System: "openmrs-a", Accepted: []ledger.Accepted{{Message: 1}, {Message: 1, Duplicate: true}}})
	w.Taken(ctx, intake.Taken{System: "openmrs-a", Err: ledger.ErrFull})
	work := &ledger.Work{Delivery: ledger.Delivery{Flow: "i05/visit", Created: now}}
	ctx = w.Running(ctx, work)
	w.Sent(ctx, system.Sent{Port: system.New(polled{}, "openmrs", system.Limits{}), Request: &call.Request{Method: "POST"}, Verdict: call.Verdict{Class: call.NotAuthorised}})
	w.Ended(ctx, work, &ledger.End{State: ledger.Waiting}, now)
	w.Ended(ctx, work, &ledger.End{State: ledger.HalfUndone}, now)
	w.Ended(ctx, work, &ledger.End{State: ledger.Done}, now.Add(90*time.Second))
	w.Ran(ctx, work, nil)
	m.Commit(12, 3*time.Millisecond)
	m.Intake(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })).
		ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/in/Achieng", nil))
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "kiungo_") {
			got = append(got, f.GetName())
		}
	}
	for _, x := range slices.Concat(ofNode, ofLedger) {
		if x.name != flowSystem.name && x.name != backupAge.name && x.name != putAge.name { // of a site: see cmd/kiungo
			want = append(want, x.name)
		}
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("exposed %v\nlisted %v", got, want)
	}
	all := text(t, m)
	if strings.Contains(all, "Achieng") {
		t.Error("what a stranger asks for became a label")
	}
	for _, c := range []struct {
		m      metric
		values []string
	}{{deliveriesEnded, []string{"half_undone"}}, {callsTotal, []string{"not_authorised", "write"}}, {messages, []string{"refused", "duplicate", "accepted"}}} {
		for _, v := range c.values {
			if !strings.Contains(all, `"`+v+`"`) {
				t.Errorf("%s has no %q", c.m.name, v)
			}
		}
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "kiungo_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// TestTheLedgerIsAskedTheLessTheLongerItTakes: at most a hundredth of the time.
func TestTheLedgerIsAskedTheLessTheLongerItTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kept{stats: some(), slow: 200 * time.Millisecond}
		m := attached(k, nil)
		for range 240 { // an hour of scrapes
			if _, err := m.Gatherer().Gather(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(15 * time.Second)
		}
		if k.asked < 100 || k.asked > 180 {
			t.Errorf("asked %d times in an hour for 0.2 s each", k.asked)
		}
		k.err = errors.New("away")
		time.Sleep(time.Minute)
		if s := text(t, m); !strings.Contains(s, "kiungo_ledger_up 0") || strings.Contains(s, held.name) {
			t.Error("a ledger that does not answer still shows what waited")
		}
	})
}
