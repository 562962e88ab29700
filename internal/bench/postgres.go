package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/lane"
	"github.com/kiungo-health/kiungo/internal/lane/river"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

// schema gives the database's URL with a schema of its own for one ledger, ""
// without a database. It is dropped at the end.
func (r *rig) schema(name string) (string, error) {
	if r.Database == "" {
		return "", nil
	}
	u, err := url.Parse(r.Database)
	if err != nil {
		return "", fmt.Errorf("the database's URL cannot be read") // the error would show it
	}
	id := make([]byte, 6)
	rand.Read(id) // never fails
	schema := "kiungo_bench_" + name + "_" + hex.EncodeToString(id)
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	r.schemas = append(r.schemas, schema)
	return u.String(), nil
}

// copied is how many waiting deliveries are made the whole way on PostgreSQL; the
// others are copies of their rows, under numbers and hashes of their own: a
// million made the whole way take half an hour.
const copied = 20_000

// qCopies makes so many copies of each waiting delivery.
const qCopies = `
CREATE TEMP TABLE source AS SELECT id, message, lane, row_number() OVER (ORDER BY id) AS n FROM delivery WHERE blocked_on <> '';
CREATE TEMP TABLE last AS SELECT (SELECT count(*) FROM source) AS size, (SELECT max(id) FROM message) AS message, (SELECT max(id) FROM lane) AS lane,
  (SELECT max(id) FROM delivery) AS delivery, (SELECT max(seq) FROM delivery) AS seq;
CREATE TEMP TABLE target AS SELECT s.id AS old_delivery, s.message AS old_message, s.lane AS old_lane,
  last.delivery + p AS delivery, last.message + p AS message, last.lane + p AS lane, last.seq + 2 * p - 1 AS seq
  FROM source s, last, generate_series(1, %d) g, LATERAL (SELECT (g - 1) * last.size + s.n AS p) place;
INSERT INTO message (id, seq, system, kind, received, withdrawn, salt, head, body)
  SELECT t.message, t.seq, system, kind, received, withdrawn, salt, head, body FROM target t JOIN message m ON m.id = t.old_message;
INSERT INTO version (doc, mac, message, seq)
  SELECT sha256(('doc' || t.message)::bytea), sha256(('version' || t.message)::bytea), t.message, t.seq FROM target t;
INSERT INTO lane (id, mac, name, due_at, gen, owner, epoch, running, alias, merging, recovering)
  SELECT t.lane, sha256(('lane' || t.lane)::bytea), name, due_at, gen, owner, epoch, running, alias, merging, recovering FROM target t JOIN lane l ON l.id = t.old_lane;
INSERT INTO delivery (id, message, flow, mac, sealed, maker, lane, lanes, seq, state, reason, code, cause, blocked_on, blocked_by, attempts, starts, calls, flow_hash, plan_no, planned, generation, systems, due, created, ended, asked, remarks, replay, lost, bulk)
  SELECT t.delivery, t.message, flow, mac, sealed, sha256(('maker' || t.delivery)::bytea), t.lane, t.lane::text, t.seq + 1, state, reason, code, cause, blocked_on, blocked_by, attempts, starts, calls, flow_hash, plan_no, planned, generation, systems, due, created, ended, asked, remarks, replay, lost, bulk
  FROM target t JOIN delivery d ON d.id = t.old_delivery;
INSERT INTO delivery_lane (lane, seq, delivery) SELECT lane, seq + 1, delivery FROM target;
INSERT INTO zone SELECT DISTINCT 'from', d.flow, m.system, d.id / 4096 FROM delivery d JOIN message m ON m.id = d.message ON CONFLICT DO NOTHING;
INSERT INTO zone SELECT DISTINCT 'source', '', m.system, m.id / 4096 FROM message m ON CONFLICT DO NOTHING;
SELECT setval('message_number', (SELECT max(id) FROM message)), setval('lane_number', (SELECT max(id) FROM lane)),
  setval('delivery_number', (SELECT max(id) FROM delivery)), setval('receive_number', (SELECT max(seq) FROM delivery));`

// copies is how many copies of the first that wait are made; with none, all are
// made the whole way.
func (r *rig) copies() int {
	if r.Database == "" {
		return 0
	}
	return max(r.Waiting/copied-1, 0)
}

// multiply makes the copies, and gives how many wait then.
func (r *rig) multiply(ctx context.Context, database string) (int, error) {
	times := r.copies()
	if times == 0 {
		return r.Waiting, nil
	}
	c, err := pgx.Connect(ctx, database)
	if err != nil {
		return 0, err
	}
	defer c.Close(context.WithoutCancel(ctx))
	_, err = c.PgConn().Exec(ctx, fmt.Sprintf(qCopies, times)).ReadAll() // several statements are one transaction
	return copied * (1 + times), err
}

// settle does at once what PostgreSQL does by itself within minutes of so many
// inserts: it vacuums the tables and looks at what is in them.
func settle(ctx context.Context, database string) error {
	if database == "" {
		return nil
	}
	c, err := pgx.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	rows, err := c.Query(ctx, `SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = current_schema()`)
	if err != nil {
		return err
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, t := range tables {
		if _, err := c.Exec(ctx, "VACUUM ANALYZE "+t); err != nil {
			return err
		}
	}
	_, err = c.Exec(ctx, "CHECKPOINT")
	return err
}

func (r *rig) dropSchemas() {
	if len(r.schemas) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := pgx.Connect(ctx, r.Database)
	if err == nil {
		defer c.Close(ctx)
		for _, s := range r.schemas {
			if err == nil {
				_, err = c.Exec(ctx, "DROP SCHEMA IF EXISTS "+pgx.Identifier{s}.Sanitize()+" CASCADE")
			}
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "schemas %v of the bench are left in the database: %v\n", r.schemas, err)
	}
}

// dispatcher gives River on PostgreSQL, nil for the one in process.
func dispatcher(ctx context.Context, l ledger.Ledger, database string) func(lane.Run, lane.Options) (engine.Dispatcher, error) {
	if database == "" {
		return nil
	}
	return func(run lane.Run, o lane.Options) (engine.Dispatcher, error) {
		return river.New(ctx, l, run, river.Options{Options: o, Database: database})
	}
}

func storeName(database string) string {
	if database == "" {
		return "sqlite"
	}
	return "postgresql"
}
