//go:build unix

package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/postgrestest"
	"github.com/kiungo-health/kiungo/internal/record"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// BenchmarkDelivery measures a delivery of 8 calls: accepted, started, planned,
// 8 journal lines, ended with three records made, a snapshot and a link; 32 at
// once. "cpu-µs/op" is of the whole process.
func BenchmarkDelivery(b *testing.B) {
	s, err := OpenSQLite(context.Background(), b.TempDir(), Options{Ring: seal.Temporary()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	benchDeliveries(b, s)
}

// BenchmarkDeliveryOnPostgres is the same on a PostgreSQL that is durable; its
// CPU is not in "cpu-µs/op".
func BenchmarkDeliveryOnPostgres(b *testing.B) {
	c, err := postgrestest.Start("fsync=on", "full_page_writes=on", "shared_buffers=128MB", "max_wal_size=1GB")
	if err != nil {
		b.Fatal(err)
	}
	defer c.Stop()
	s, err := OpenPostgres(context.Background(), c.URL("bench"), b.TempDir(), Options{Ring: seal.Temporary()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	benchDeliveries(b, s)
}

func benchDeliveries(b *testing.B, s *Store) {
	const workers = 32
	var next atomic.Int64
	var wg sync.WaitGroup
	before := cpu()
	b.ResetTimer()
	for range workers {
		wg.Go(func() {
			for {
				n := next.Add(1)
				if n > int64(b.N) {
					return
				}
				if err := deliverOne(s, n); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

var (
	benchContent = []byte(`{"form":"` + strings.Repeat("x", 2000) + `"}`)
	benchPlan    = []byte(strings.Repeat("p", 6000))
)

func deliverOne(s *Store, n int64) error {
	ctx := context.Background()
	doc := fmt.Sprintf("form-%d", n)
	person := fmt.Sprintf("commcare:case-%d", n)
	got, err := s.Accept(ctx, []ledger.Arrival{{System: "commcare",
		Incoming: connector.Incoming{Kind: "form", Doc: doc, Version: "1", Event: time.Now(), Content: benchContent},
		Routes:   []ledger.Route{{Flow: "i05/visit-to-openmrs", Each: person, Lanes: []string{"person:" + person}, Systems: []string{"openmrs"}}}}}, nil)
	if err != nil {
		return err
	}
	w, err := s.Start(ctx, got[0].Lanes[0], s.Now())
	if err != nil {
		return err
	}
	if w == nil {
		return fmt.Errorf("delivery %d did not start", n)
	}
	id := fmt.Sprintf("uuid-%d", n)
	if err := s.Journal(ctx, w, ledger.Plan{Body: benchPlan, Hash: "h", FlowHash: "f", Intent: "c0",
		Claims:  []string{"openmrs|Patient|" + id, "openmrs|Visit|" + id},
		Pending: []ledger.Link{{Person: person, System: "openmrs", Kind: "openmrs/Patient", ID: id, By: "delivery"}}}); err != nil {
		return err
	}
	for i := range 8 {
		if err := s.Step(ctx, w, ledger.Step{Call: fmt.Sprintf("c%d", i), Kind: ledger.StepAnswer, Intent: fmt.Sprintf("c%d", i+1), Data: json.RawMessage(`{"uuid":"0123456789"}`), Epoch: w.Epoch}); err != nil {
			return err
		}
	}
	end := ledger.End{State: ledger.Done, Calls: 8,
		Snapshots: []ledger.Snapshot{{System: "openmrs", Kind: "openmrs/Patient", ID: id, Fields: map[string]record.Agreed{"name/given": {Value: "A"}, "gender": {Value: "F"}}}},
		Links:     []ledger.Link{{Person: person, System: "openmrs", Kind: "openmrs/Patient", ID: id, By: "delivery"}}}
	for _, r := range []string{"patient", "visit", "encounter"} {
		end.Made = append(end.Made, ledger.Made{Record: r, System: "openmrs", Kind: "openmrs/" + r, ID: id, Created: true, Fields: record.Fields{"a": "b", "c": "d"}})
	}
	_, err = s.End(ctx, w, end, s.Now())
	return err
}
