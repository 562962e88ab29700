package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// Facts are what an operator should know of a ledger's database. They are read
// without taking part: no node is registered, nothing is made or changed.
type Facts struct {
	Exists bool
	// Schema is the version of its tables, Known that of this program.
	Schema, Known int64

	// Of SQLite: sizes in bytes. Free of a system that does not tell is -1.
	Size, WAL, Free int64

	Postgres *PostgresFacts // nil on SQLite
	Nodes    []ledger.Node  // that have not stopped
}

// PostgresFacts are those of a PostgreSQL server.
type PostgresFacts struct {
	Version    int               // server_version_num: 150008
	Settings   map[string]string // those that matter, as SHOW gives them
	Timeline   string
	Opened     string // where the ledger was when it was last opened ("… timeline 00000001 …"), "" if unknown
	InRecovery bool   // a standby: nothing can be written
	Standbys   []Standby
	Used, Most int           // connections
	Ahead      time.Duration // the database's clock against this machine's
	Longest    time.Duration // the oldest transaction of anybody's
	LongestBy  string        // its application
	Tables     []TableFacts  // those that are written most
	Blind      []string      // what this user may not see
}

// Standby is a server that follows.
type Standby struct {
	Name, State, Sync string
	Behind            int64 // bytes that it has not written to its disk yet
}

// TableFacts tell whether autovacuum keeps up with a table.
type TableFacts struct {
	Name       string
	Live, Dead int64
	Vacuumed   time.Time // zero: never
}

// Needs is how many connections to the database one node takes at most: those of
// the ledger and those of River.
const Needs = writerCount + readerCount + 3 + 8

var examinedSettings = []string{"synchronous_commit", "fsync", "full_page_writes", "synchronous_standby_names", "wal_level", "autovacuum", "transaction_timeout", "idle_in_transaction_session_timeout", "default_transaction_isolation"}

// Examine reads the facts of the ledger that Open would open.
func Examine(ctx context.Context, database, dir string) (*Facts, error) {
	f := &Facts{Free: -1}
	var err error
	if f.Known, err = knownSchema(); err != nil {
		return nil, err
	}
	if database == "" {
		return f, f.sqlite(dir)
	}
	if !IsPostgres(database) {
		return nil, errors.New("the database's URL does not begin with postgres://")
	}
	return f, f.postgres(ctx, database)
}

func (f *Facts) sqlite(dir string) error {
	if n, err := freeSpace(dir); err == nil && n < math.MaxInt64 {
		f.Free = n
	}
	path := filepath.Join(dir, "ledger.db")
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	f.Exists, f.Size = true, info.Size()
	if info, err := os.Stat(path + "-wal"); err == nil {
		f.WAL = info.Size()
	}
	c, err := openReader(path)
	if err != nil {
		return err
	}
	defer c.close()
	return f.schemaOf(c)
}

func (f *Facts) schemaOf(c conn) error {
	_, err := one(c, `SELECT COALESCE(MAX(version), 0) FROM schema_version`, func(r row) { f.Schema = r.int(0) })
	if err != nil {
		return fmt.Errorf("read the version of the tables: %w", err)
	}
	return nil
}

func (f *Facts) postgres(ctx context.Context, database string) error {
	conf, err := pgconn.ParseConfig(database)
	if err != nil {
		return fmt.Errorf("the database's URL: %w", err) // pgconn leaves the password out
	}
	p := &postgres{conf: conf}
	if err := p.names(); err != nil {
		return err
	}
	c, err := openPg(ctx, p.conf, map[string]string{"default_transaction_read_only": "on", "statement_timeout": "10000"})
	if err != nil {
		return err
	}
	defer c.close()
	c.ctx = ctx
	f.Postgres = &PostgresFacts{Settings: map[string]string{}}
	if err := f.Postgres.server(c); err != nil {
		return err
	}
	// Tables are examined as far as there are some.
	if f.Exists, err = one(c, `SELECT 1 FROM pg_tables WHERE schemaname = CAST(? AS TEXT) AND tablename = 'schema_version'`, func(row) {}, p.schema); err != nil || !f.Exists {
		return err
	}
	if err := f.schemaOf(c); err != nil {
		return err
	}
	if err := f.Postgres.tables(c, p.schema); err != nil {
		return err
	}
	if f.Schema < f.Known {
		return nil // its nodes are those of an older program
	}
	f.Nodes, err = nodesOf(c)
	return err
}

func (p *PostgresFacts) server(c conn) error {
	asked := time.Now()
	var now int64
	_, err := one(c, `SELECT CAST(current_setting('server_version_num') AS BIGINT), `+pgNow+`, CAST(CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END AS BIGINT),
CAST(current_setting('max_connections') AS BIGINT) - CAST(current_setting('superuser_reserved_connections') AS BIGINT), (SELECT COUNT(*) FROM pg_stat_activity WHERE backend_type = 'client backend')`, func(r row) {
		p.Version, now, p.InRecovery, p.Most, p.Used = int(r.int(0)), r.int(1), r.int(2) != 0, int(r.int(3)), int(r.int(4))
	})
	if err != nil {
		return err
	}
	// Its time is of some moment between the question and the answer.
	p.Ahead = fromMicro(now).Sub(asked.Add(time.Since(asked) / 2)).Round(time.Millisecond)
	for _, name := range examinedSettings {
		if _, err := one(c, `SELECT COALESCE(current_setting(CAST(? AS TEXT), true), '')`, func(r row) { p.Settings[name] = r.text(0) }, name); err != nil {
			return err
		}
	}
	p.see(c, "its timeline", `SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)`, func(r row) { p.Timeline = r.text(0) })
	p.see(c, "its standbys", `SELECT CAST(COALESCE(application_name, '') AS TEXT), COALESCE(state, ''), COALESCE(sync_state, ''), CAST(COALESCE(pg_wal_lsn_diff(pg_current_wal_lsn(), flush_lsn), 0) AS BIGINT) FROM pg_stat_replication ORDER BY 1`, func(r row) {
		p.Standbys = append(p.Standbys, Standby{r.text(0), r.text(1), r.text(2), r.int(3)})
	})
	p.see(c, "long transactions", `SELECT CAST(extract(epoch FROM clock_timestamp() - xact_start) * 1000000 AS BIGINT), COALESCE(application_name, '') FROM pg_stat_activity WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() AND backend_type = 'client backend' ORDER BY xact_start LIMIT 1`, func(r row) {
		p.Longest, p.LongestBy = time.Duration(r.int(0))*time.Microsecond, r.text(1)
	})
	return nil
}

// see reads what a user without rights may not see.
func (p *PostgresFacts) see(c conn, what, q string, f func(row)) {
	err := c.each(q, func(r row) (bool, error) {
		f(r)
		return true, nil
	})
	if err != nil {
		p.Blind = append(p.Blind, what)
	}
}

// writtenMost are the tables whose dead rows hurt first.
var writtenMost = map[string]bool{"lane": true, "delivery": true, "delivery_lane": true, "journal": true, "claim": true, "node": true, "river_job": true, "tally": true}

func (p *PostgresFacts) tables(c conn, schema string) error {
	err := c.each(`SELECT CAST(relname AS TEXT), n_live_tup, n_dead_tup, CAST(COALESCE(extract(epoch FROM GREATEST(last_vacuum, last_autovacuum)) * 1000000, 0) AS BIGINT) FROM pg_stat_user_tables WHERE schemaname = CAST(? AS TEXT) ORDER BY relname`, func(r row) (bool, error) {
		if writtenMost[r.text(0)] {
			p.Tables = append(p.Tables, TableFacts{r.text(0), r.int(1), r.int(2), fromMicro(r.int(3))})
		}
		return true, nil
	}, schema)
	if err != nil {
		return fmt.Errorf("look at the tables: %w", err)
	}
	found, err := one(c, `SELECT 1 FROM pg_tables WHERE schemaname = CAST(? AS TEXT) AND tablename = 'setting'`, func(row) {}, schema)
	if err != nil || !found {
		return err
	}
	b, err := settingOf(c, settingPlace)
	p.Opened = string(b)
	return err
}
