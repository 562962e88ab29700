//go:build unix

package store

import (
	"context"
	goflag "flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	lite "modernc.org/sqlite/lib"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

var (
	growthTest    = goflag.Int("growth.test", 25_000, "deliveries in the large ledger of tests")
	growthRows    = goflag.Int("growth.rows", 200_000, "deliveries in the ledger of BenchmarkGrowth")
	growthWaiting = goflag.Int("growth.waiting", 0, "of these, how many wait for a system")
	growthDir     = goflag.String("growth.dir", "", "where BenchmarkGrowth builds its ledger; else a temporary folder")
)

// history fills a new ledger with deliveries by plain inserts, as years of work
// leave it: rows deliveries of ten to a person, one in a thousand held, one in
// two hundred superseded, ten of a flow and a source that are rare and old; and
// waiting more that wait for a system that is down.
func history(t testing.TB, dir string, rows, waiting int, tell func(string)) {
	t.Helper()
	s, err := OpenSQLite(context.Background(), dir, Options{Ring: testRing, MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := openSQLiteConn(filepath.Join(dir, "ledger.db"), false)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for _, p := range []string{"PRAGMA journal_mode = DELETE", "PRAGMA synchronous = OFF", "PRAGMA cache_size = -1000000", "PRAGMA locking_mode = EXCLUSIVE"} {
		if _, err := c.exec(p); err != nil {
			t.Fatal(err)
		}
	}
	total := rows + waiting
	people := max(rows/10, 1)
	const (
		number = `WITH RECURSIVE n(i) AS (SELECT CAST(? AS INTEGER) UNION ALL SELECT i + 1 FROM n WHERE i < CAST(? AS INTEGER)) `
		flow   = `CASE WHEN i <= 10 THEN 'i99/rare' ELSE 'i05/flow-' || (i % 20) END`
		source = `CASE WHEN i <= 10 THEN 'rare' ELSE 'commcare' END`
	)
	state := fmt.Sprintf(`CASE WHEN i > %d THEN 'waiting' WHEN i %% 1000 = 7 THEN 'held' WHEN i %% 200 = 3 THEN 'superseded' WHEN i %% 2000 = 9 THEN 'refused' ELSE 'done' END`, rows)
	lane := fmt.Sprintf(`CASE WHEN i > %d THEN %d + i - %d ELSE 1 + i %% %d END`, rows, people, rows, people)
	run := func(q string, args ...any) {
		t.Helper()
		if _, err := c.exec(q, args...); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	const chunk = 200_000
	for from := 1; from <= people+waiting; from += chunk {
		run(number+`INSERT INTO lane (id, mac, name, due_at, gen, owner, epoch, running, alias, merging, recovering) SELECT i, CAST(printf('%016d', i) AS BLOB), NULL, NULL, 0, 0, 0, 0, 0, 0, 0 FROM n`, int64(from), int64(min(from+chunk-1, people+waiting)))
	}
	for from := 1; from <= total; from += chunk {
		a, b := int64(from), int64(min(from+chunk-1, total))
		run("BEGIN")
		run(number+`INSERT INTO message (id, seq, system, kind, received, withdrawn, salt, head, body) SELECT i, i, `+source+`, 'form', 1700000000000000 + i * 1000000, 0, NULL, NULL, randomblob(300) FROM n`, a, b)
		run(number+`INSERT INTO version (doc, mac, message, seq) SELECT CAST(printf('doc%013d', i) AS BLOB), CAST(printf('ver%013d', i) AS BLOB), i, i FROM n`, a, b)
		run(number+`INSERT INTO delivery (id, message, flow, mac, sealed, maker, lane, lanes, seq, state, reason, code, cause, blocked_on, blocked_by, attempts, starts, calls, flow_hash, plan_no, planned, generation, systems, due, created, ended, asked, remarks)
SELECT i, i, `+flow+`, randomblob(16), NULL, CAST(printf('mak%013d', i) AS BLOB), lane, CAST(lane AS TEXT), i, state, CASE WHEN state = 'done' THEN '' ELSE 'because' END, CASE WHEN state = 'held' THEN 'value' ELSE '' END,
CASE WHEN state IN ('held', 'refused') THEN 'cause ' || (i / 1000 % 50) ELSE '' END, CASE WHEN state = 'waiting' THEN 'circuit' ELSE '' END, CASE WHEN state = 'waiting' THEN 'openmrs' ELSE '' END,
1, 0, 8, 'hash', 1, 1, 1, 'openmrs', 0, 1700000000000000 + i * 1000000, CASE WHEN state IN ('waiting', 'held') THEN 0 ELSE 1700000000000000 + i * 1000000 END, 0, ''
FROM (SELECT i, `+lane+` AS lane, `+state+` AS state FROM n)`, a, b)
		run(`INSERT INTO delivery_lane SELECT lane, seq, id FROM delivery WHERE id BETWEEN ? AND ? AND ended = 0`, a, b)
		run(number+`INSERT INTO plan (id, hash, flow_hash, at, body) SELECT i * 1024 + 1, 'hash', 'hash', 1, randomblob(400) FROM n`, a, b)
		run(number+`INSERT INTO journal (plan, n, kind, call, intent, at, epoch, body) SELECT i * 1024 + 1, k, 'answer', 'c' || k, '', 1, 1, randomblob(60) FROM n, (SELECT 1 AS k UNION SELECT 2 UNION SELECT 3)`, a, b)
		run(number+`INSERT INTO made (maker, name, system, kind, target, generation, created, gone, sealed) SELECT CAST(printf('mak%013d', i) AS BLOB), 'visit', 'openmrs', 'openmrs/Visit', randomblob(16), 1, 1, 0, randomblob(120) FROM n`, a, b)
		run("COMMIT")
		tell(fmt.Sprintf("%d of %d deliveries", b, total))
	}
	run(`INSERT INTO zone SELECT DISTINCT 'from', d.flow, m.system, d.id / 4096 FROM delivery d JOIN message m ON m.id = d.message`)
	run(`INSERT INTO zone SELECT DISTINCT 'end', d.flow, d.state, d.id / 4096 FROM delivery d WHERE d.ended <> 0`)
	run(`INSERT INTO zone SELECT DISTINCT 'source', '', m.system, m.id / 4096 FROM message m`)
	run(`INSERT INTO zone_name SELECT DISTINCT kind, flow, what FROM zone`)
	run(`INSERT INTO tally (flow, state, shard, n, calls, first, last) SELECT flow, state, 0, COUNT(*), SUM(calls), MIN(created), MAX(created) FROM delivery WHERE ended <> 0 GROUP BY flow, state`)
	run(`UPDATE clock SET at = ?, message = ?, seq = ?, delivery = ?, lane = ?`, 1700000000000000+int64(total)*1000000, int64(total), int64(total), int64(total), int64(people+waiting))
}

// looks are what people, nodes and the start of a delivery ask.
func looks(s *Store, rows int) []look {
	ctx := context.Background()
	list := func(f ledger.Filter) func() error {
		return func() error {
			_, err := s.Deliveries(ctx, f)
			return err
		}
	}
	return []look{
		{"list the newest", list(ledger.Filter{})},
		{"list held", list(ledger.Filter{States: []ledger.State{ledger.Held, ledger.HalfUndone}})},
		{"list a cause", list(ledger.Filter{States: []ledger.State{ledger.Held, ledger.HalfUndone}, Cause: "cause 7"})},
		{"list a rare state", list(ledger.Filter{States: []ledger.State{ledger.Undone}})},
		{"list a flow that is not there", list(ledger.Filter{Flow: "i01/none"})},
		{"list a rare flow", list(ledger.Filter{Flow: "i99/rare"})},
		{"list a rare flow, held", list(ledger.Filter{Flow: "i99/rare", States: []ledger.State{ledger.Held}})},
		{"list a rare source", list(ledger.Filter{System: "rare"})},
		{"list what moves", list(ledger.Filter{States: []ledger.State{ledger.Received, ledger.Planning, ledger.Applying, ledger.Undoing, ledger.Waiting}})},
		{"messages of a rare source", func() error { _, err := s.Messages(ctx, "rare", 0, 50); return err }},
		{"versions of a document", func() error { _, err := s.Document(ctx, "commcare", "nothing"); return err }},
		{"find one delivery", func() error {
			return s.readAll(ctx, func(c conn) error {
				sw := &sealedWork{}
				return c.every(append(restOf(sw, int64(rows/2), true, 1), first(qWork, func(row) {}, int64(rows/2)))...)
			})
		}},
		{"lanes that are due", func() error { _, _, err := s.Due(ctx, s.Now(), 500); return err }},
	}
}

type look struct {
	name string
	do   func() error
}

// steps gives how many steps SQLite's machine made in the readers since it was
// last asked.
func (s *Store) steps() (n int64) {
	var all []*sqliteConn
	for range readerCount {
		all = append(all, <-s.readers)
	}
	for _, c := range all {
		n += stepsOf(c)
		s.readers <- c
	}
	return n
}

func stepsOf(c *sqliteConn) (n int64) {
	for _, st := range c.stmts {
		n += int64(lite.Xsqlite3_stmt_status(c.tls, st.p, lite.SQLITE_STMTSTATUS_VM_STEP, 1))
	}
	return n
}

// TestALedgerOfManyDeliveriesIsAskedAsCheaply counts the steps that SQLite
// makes for what is asked, in a small ledger and in one that is five times as
// large; -growth.test=100000 makes it twenty times.
func TestALedgerOfManyDeliveriesIsAskedAsCheaply(t *testing.T) {
	sizes := []int{5_000, *growthTest}
	cost := make([]map[string]int64, len(sizes))
	for i, rows := range sizes {
		dir := t.TempDir()
		history(t, dir, rows, 0, func(string) {})
		s := openAt(t, dir, Options{MinFree: -1})
		cost[i] = map[string]int64{}
		for _, l := range looks(s, rows) {
			s.steps()
			if err := l.do(); err != nil {
				t.Fatalf("%s: %v", l.name, err)
			}
			cost[i][l.name] = s.steps()
		}
	}
	for name, small := range cost[0] {
		// A block of 4,096 may have to be read for one row of it.
		if large := cost[1][name]; large > 2*small+60_000 {
			t.Errorf("%s: %d steps, %d in the small ledger", name, large, small)
		}
	}
	t.Log(cost)
}

// BenchmarkGrowth builds a ledger of -growth.rows deliveries and measures what
// is asked of it, its start, and its work, beside an empty one. It runs once.
func BenchmarkGrowth(b *testing.B) {
	if b.N > 1 {
		return
	}
	type figures struct {
		asked map[string]time.Duration
		open  time.Duration
		rate  float64
		mb    int64
	}
	measure := func(rows, waiting int) (f figures) {
		dir := *growthDir
		if dir == "" {
			dir = b.TempDir()
		} else {
			dir = filepath.Join(dir, fmt.Sprintf("ledger-%d-%d", rows, waiting))
		}
		if _, err := os.Stat(filepath.Join(dir, "ledger.db")); err != nil {
			history(b, dir, rows, waiting, func(s string) { fmt.Fprintln(os.Stderr, s) })
		}
		info, err := os.Stat(filepath.Join(dir, "ledger.db"))
		if err != nil {
			b.Fatal(err)
		}
		f.mb = info.Size() >> 20
		began := time.Now()
		s, err := OpenSQLite(context.Background(), dir, Options{Ring: testRing, MinFree: -1})
		if err != nil {
			b.Fatal(err)
		}
		f.open = time.Since(began)
		defer s.Close()
		f.asked = map[string]time.Duration{}
		all := append(looks(s, rows+waiting), look{"count by flow and state", func() error { _, err := s.Counts(context.Background()); return err }},
			look{"group what is held", func() error { _, err := s.Causes(context.Background()); return err }})
		for _, l := range all {
			var took []time.Duration
			for range 5 {
				began := time.Now()
				if err := l.do(); err != nil {
					b.Fatalf("%s: %v", l.name, err)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			f.asked[l.name] = took[2]
		}
		const n = 6000
		var next atomic.Int64
		var wg sync.WaitGroup
		stamp := time.Now().UnixNano() // other documents than those of an earlier run
		began = time.Now()
		for range 32 {
			wg.Go(func() {
				for i := next.Add(1); i <= n; i = next.Add(1) {
					if err := deliverOne(s, stamp+i); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		f.rate = n / time.Since(began).Seconds()
		return f
	}
	none := measure(1000, 0)
	full := measure(*growthRows, *growthWaiting)
	var out strings.Builder
	fmt.Fprintf(&out, "| asked | 1,000 deliveries | %d |\n|---|---|---|\n", *growthRows+*growthWaiting)
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for n := range full.asked {
			if !yield(n) {
				return
			}
		}
	}) {
		fmt.Fprintf(&out, "| %s | %.2f ms | %.2f ms |\n", name, none.asked[name].Seconds()*1000, full.asked[name].Seconds()*1000)
	}
	fmt.Fprintf(&out, "| open | %.0f ms | %.0f ms |\n| deliveries a second | %.0f | %.0f |\n| MB | %d | %d |\n", none.open.Seconds()*1000, full.open.Seconds()*1000, none.rate, full.rate, none.mb, full.mb)
	fmt.Println(out.String())
}

// BenchmarkArchiving measures what intake feels of the archive: messages are
// accepted one after the other, 32 deliveries are worked on, and beside it old
// ones are archived at the usual pace, or not.
func BenchmarkArchiving(b *testing.B) {
	for _, archiving := range []bool{false, true} {
		b.Run(fmt.Sprintf("archiving=%t", archiving), func(b *testing.B) {
			dir := b.TempDir()
			history(b, dir, *growthRows, 0, func(string) {})
			var mu sync.Mutex
			var commits []time.Duration
			s, err := OpenSQLite(context.Background(), dir, Options{Ring: testRing, MinFree: -1, Observe: func(_ int, took time.Duration) {
				mu.Lock()
				defer mu.Unlock()
				commits = append(commits, took)
			}})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			ctx, stop := context.WithCancel(context.Background())
			ended := make(chan ledger.Kept, 1)
			go func() {
				var kept ledger.Kept
				if archiving {
					kept, _ = s.Keep(ctx, s.Now(), ledger.Keep{Deliveries: testYear}, 0)
				}
				ended <- kept
			}()
			var wg sync.WaitGroup
			var worked atomic.Int64
			for i := range int64(31) {
				wg.Go(func() {
					for n := i << 32; ctx.Err() == nil; n++ {
						if err := deliverOne(s, n); err != nil {
							b.Error(err)
							return
						}
						worked.Add(1)
					}
				})
			}
			began := time.Now()
			var took []time.Duration
			for i := range 3000 {
				at := time.Now()
				if _, err := s.Accept(ctx, arrival1(fmt.Sprintf("intake-%d", i)), nil); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(at))
			}
			length := time.Since(began)
			stop()
			wg.Wait()
			kept := <-ended
			slices.Sort(took)
			slices.Sort(commits)
			at := func(all []time.Duration, part float64) float64 {
				return all[int(part*float64(len(all)-1))].Seconds() * 1000
			}
			b.ReportMetric(at(took, 0.5), "accept-p50-ms")
			b.ReportMetric(at(took, 0.99), "accept-p99-ms")
			b.ReportMetric(at(took, 1), "accept-max-ms")
			b.ReportMetric(at(commits, 0.99), "commit-p99-ms")
			b.ReportMetric(at(commits, 1), "commit-max-ms")
			b.ReportMetric(float64(worked.Load())/length.Seconds(), "deliveries/s")
			b.ReportMetric(float64(kept.Archived)/length.Seconds(), "archived/s")
		})
	}
}
