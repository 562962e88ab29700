//go:build unix

package chaos

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/kiungo-health/kiungo/internal/postgrestest"
)

// fewConnections is how many the database of this trial gives: enough for two
// nodes, but not for much besides.
const fewConnections = "max_connections=80"

// database kills PostgreSQL itself while two nodes work on it, ends their
// connections, and takes the connections that they would make.
func database(r *round) {
	postgrestest.Shared(r) // says what is to be done where there is no PostgreSQL
	c, err := postgrestest.Start(fewConnections)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(c.Stop)
	w := r.world(c.URL(schema()), 2)
	w.slow()
	for _, m := range w.members {
		m.Delay = time.Duration(size(40, 15)) * time.Millisecond // so that it is away in the middle of commits
		m.start()
	}
	w.traffic()
	w.while(func() {
		w.pause(200*time.Millisecond, 800*time.Millisecond)
		w.whileSending()
		w.tally.faults++
		switch w.rng.IntN(3) {
		case 0:
			c.Crash()
			w.pause(50*time.Millisecond, time.Duration(size(1, 2))*lease)
			w.must(c.Restart())
		case 1:
			w.hangUp(nil)
		case 2:
			w.hog()
		}
		for _, m := range w.members {
			if m.gone() {
				m.reap()
				w.Fatalf("node %d ended", m.n)
			}
		}
	})
	w.settle(false)
}

// hangUp ends all connections of the nodes, and then takes up to so many.
func (w *world) hangUp(then func(conn *pgx.Conn)) {
	w.Helper()
	conn, err := pgx.Connect(w.Context(), w.url)
	w.must(err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(w.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'kiungo%'`)
	w.must(err)
	if then != nil {
		then(conn)
	}
}

// hog takes all connections that the nodes had, for a while.
func (w *world) hog() {
	w.Helper()
	w.hangUp(func(*pgx.Conn) {
		var all []*pgx.Conn
		for range 100 {
			conn, err := pgx.Connect(w.Context(), w.url)
			if err != nil {
				break // that was the last one
			}
			all = append(all, conn)
		}
		w.pause(100*time.Millisecond, time.Duration(size(1, 2))*lease)
		for _, conn := range all {
			conn.Close(context.Background())
		}
	})
}
