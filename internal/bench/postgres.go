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
