package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/seal"
)

const (
	// writerCount transactions are under way at a time: while one waits for the
	// database the next is prepared.
	writerCount = 4
	// schemaName is where the tables are, if the URL names no search_path.
	schemaName = "kiungo"
)

// postgres is what a Store on PostgreSQL has more.
type postgres struct {
	conf       *pgconn.Config
	schema     string
	syncCommit string
	world      int64 // number of the lock that all transactions hold
	dir        string
	name       string // of this node
	folder     *os.File

	lease   time.Duration
	writers sync.WaitGroup
	readers chan *pgReader
	aliases aliases
	numbers pgSide
	beat    pgSide
	dead    atomic.Bool
	time    atomic.Pointer[moment]
	until   atomic.Pointer[leaseEnd]
	tenure  atomic.Int64           // counts how often this node was given up and lived again
	place   atomic.Pointer[string] // where the database is, see displaced.go
	seen    atomic.Int64           // ledger time that it had kept at the last heartbeat
	beating sync.WaitGroup
	stop    context.CancelFunc
}

// moment is a time of the database's, and when it was told.
type moment struct {
	db int64
	at time.Time
}

// IsPostgres tells whether a database is named as PostgreSQL's are.
func IsPostgres(database string) bool {
	return strings.HasPrefix(database, "postgres://") || strings.HasPrefix(database, "postgresql://")
}

// Open opens the ledger: on PostgreSQL if database is a URL such as
// postgres://kiungo@db.example/kiungo?sslmode=verify-full, on SQLite in dir if
// it is empty. See OpenPostgres and OpenSQLite.
func Open(ctx context.Context, database, dir string, opts Options) (*Store, error) {
	switch {
	case database == "":
		return OpenSQLite(ctx, dir, opts)
	case IsPostgres(database):
		return OpenPostgres(ctx, database, dir, opts)
	}
	scheme, _, _ := strings.Cut(database, ":")
	return nil, fmt.Errorf("no ledger is kept in %q: give a URL that begins with postgres://, or none for SQLite in the data folder", scheme)
}

// OpenPostgres opens the ledger in a PostgreSQL database, version 13 or newer,
// and makes its tables at first, in the schema that search_path in the URL
// names, or "kiungo". TLS is as sslmode in the URL says; the password may be in
// the URL, in PGPASSWORD or in a password file, and is never logged. The URL
// must lead to the database itself, or to a pooler that keeps sessions.
//
// Any number of nodes may have it open. Each has a data folder of its own, with
// a copy of the keyring. A node that starts again on its folder gives out again
// what it had; what another had is given out once its lease is over.
func OpenPostgres(ctx context.Context, database, dir string, opts Options) (_ *Store, err error) {
	conf, err := pgconn.ParseConfig(database)
	if err != nil {
		return nil, fmt.Errorf("the database's URL: %w", err) // pgconn leaves the password out
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	if opts.Gather == 0 {
		opts.Gather = usualGather / 2 // a commit is answered by another process: less is gained
	}
	if opts.Lease <= 0 {
		opts.Lease = usualLease
	}
	p := &postgres{conf: conf, dir: dir, lease: opts.Lease, readers: make(chan *pgReader, readerCount)}
	if err := p.names(); err != nil {
		return nil, err
	}
	if p.folder, err = lockFolder(dir); err != nil {
		return nil, err
	}
	s := &Store{opts: opts, ring: opts.Ring, pg: p, stopped: make(chan struct{}), running: map[int64]*running{}}
	s.queue.wake.L = &s.queue.mu
	if err := s.openPostgres(ctx); err != nil {
		p.folder.Close()
		return nil, fmt.Errorf("open ledger in database %s on %s: %w", conf.Database, conf.Host, err)
	}
	return s, nil
}

var plainName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// names settles the schema, and the lock that belongs to it.
func (p *postgres) names() error {
	params := p.conf.RuntimeParams
	p.schema = schemaName
	if s := params["search_path"]; s != "" {
		p.schema = s
	}
	if !plainName.MatchString(p.schema) {
		return fmt.Errorf("search_path %q in the database's URL: name one schema, in small letters", p.schema)
	}
	params["search_path"] = p.schema
	if params["application_name"] == "" {
		params["application_name"] = "kiungo"
	}
	params["client_encoding"] = "UTF8"
	p.world = p.key("world", nil)
	return nil
}

// key gives the number of an advisory lock of this ledger.
func (p *postgres) key(kind string, of []byte) int64 {
	h := fnv.New64a()
	h.Write([]byte(p.schema + "\x00" + kind + "\x00"))
	h.Write(of)
	return int64(h.Sum64())
}

func (s *Store) openPostgres(ctx context.Context) error {
	p := s.pg
	c, err := openPg(ctx, p.conf, map[string]string{"synchronous_commit": "on"})
	if err != nil {
		return err
	}
	defer c.close()
	c.ctx = ctx
	// One node at a time makes tables, keys and itself known.
	if err := c.each(`SELECT pg_advisory_lock(?)`, func(row) (bool, error) { return true, nil }, p.key("open", nil)); err != nil {
		return err
	}
	if err := p.look(c, s.log); err != nil {
		return err
	}
	if err := p.makeSchema(c); err != nil {
		return err
	}
	if err := migrate(c, postgresDialect); err != nil {
		return err
	}
	if err := usable(c); err != nil {
		return err
	}
	if err := s.keys(c); err != nil {
		return err
	}
	if err := s.openArchive(c, p.dir); err != nil {
		return err
	}
	if p.name, err = nodeName(p.dir); err != nil {
		return err
	}
	if s.id, err = nameLedger(c); err != nil {
		return err
	}
	place := p.where(c)
	p.place.Store(&place)
	p.numbers.p, p.beat.p = p, p
	for _, n := range []struct {
		of       *number
		sequence string
	}{{&s.numbers.message, "message_number"}, {&s.numbers.delivery, "delivery_number"}, {&s.numbers.lane, "lane_number"},
		{&s.numbers.question, "question_number"}, {&s.numbers.audit, "audit_number"}} {
		n.of.more = p.numbers.sequence(n.sequence)
	}
	w := &pgWriter{s: s, c: c}
	if err := s.registerNode(ctx, w); err != nil {
		return err
	}
	for range readerCount {
		p.readers <- &pgReader{p: p}
	}
	for i := range writerCount {
		w := &pgWriter{s: s, shard: (s.node*writerCount + int64(i)) % tallyShards}
		p.writers.Go(w.write)
	}
	go func() {
		p.writers.Wait()
		close(s.stopped)
	}()
	beats, stop := context.WithCancel(context.WithoutCancel(ctx))
	p.stop = stop
	p.beating.Go(func() { s.heartbeat(beats) })
	return nil
}

// tallyShards is how many rows a count has at most.
const tallyShards = 64

// look refuses what is too old, and warns of what may lose commits.
func (p *postgres) look(c *pgConn, log func(string, ...any)) error {
	var version int64
	var fsync string
	if _, err := one(c, `SELECT CAST(current_setting('server_version_num') AS BIGINT), current_setting('synchronous_commit'), current_setting('fsync')`, func(r row) {
		version, p.syncCommit, fsync = r.int(0), r.text(1), r.text(2)
	}); err != nil {
		return err
	}
	if version < 130000 {
		return fmt.Errorf("PostgreSQL %d is too old: it takes version 13 or newer", version/10000)
	}
	if fsync != "on" {
		log("the database runs with fsync = %s: a power cut may lose what was accepted", fsync)
	}
	warnOfLoss(c, p.syncCommit, log)
	return nil
}

func (p *postgres) makeSchema(c *pgConn) error {
	found, err := one(c, `SELECT 1 FROM pg_namespace WHERE nspname = CAST(? AS TEXT)`, func(row) {}, p.schema)
	if err != nil || found {
		return err
	}
	if _, err := c.exec(`CREATE SCHEMA "` + p.schema + `"`); err != nil {
		return fmt.Errorf("make schema %s (or have it made, and give this user the right to create in it): %w", p.schema, err)
	}
	return nil
}

// keys loads the keyring. The first node makes it; the others must be given a
// copy, and one that does not fit the ledger is refused.
func (s *Store) keys(c *pgConn) error {
	var known []byte
	found, err := one(c, `SELECT value FROM setting WHERE name = 'keyring'`, func(r row) { known = r.blob(0) })
	if err != nil {
		return err
	}
	path := seal.Path(s.pg.dir)
	if s.ring == nil {
		s.ring, err = seal.Load(path)
		if errors.Is(err, fs.ErrNotExist) {
			if found {
				return fmt.Errorf("the keyring %s is missing: copy it from another node, or name it in %s", path, seal.EnvKeyFile)
			}
			s.ring, err = seal.Create(path)
		}
		if err != nil {
			return err
		}
	}
	mac := s.ring.Mac("keyring", "this ledger")
	if found && string(known) != string(mac) {
		return fmt.Errorf("the keyring %s is not this ledger's: copy it from another node", path)
	}
	if !found {
		_, err = c.exec(`INSERT INTO setting (name, value) VALUES ('keyring', ?)`, mac)
	}
	return err
}

// nodeName gives a data folder its name, by which a node knows itself again.
func nodeName(dir string) (string, error) {
	path := filepath.Join(dir, "node")
	b, err := os.ReadFile(path)
	if err == nil && len(strings.TrimSpace(string(b))) == 32 {
		return strings.TrimSpace(string(b)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the node's name: %w", err)
	}
	id := make([]byte, 16)
	rand.Read(id) // never fails
	name := hex.EncodeToString(id)
	if err := os.WriteFile(path, []byte(name+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("write the node's name: %w", err)
	}
	return name, nil
}

// saw notes the database's time. It was that late at least when it was asked,
// so that Now is never ahead of the database.
func (p *postgres) saw(db int64) {
	now := &moment{db, time.Now()}
	for {
		old := p.time.Load()
		if old != nil && old.now() >= db || p.time.CompareAndSwap(old, now) {
			return
		}
	}
}

// now goes on by the process's monotonic clock.
func (m *moment) now() int64 { return m.db + time.Since(m.at).Microseconds() }

// pgSide is a connection beside the writers'.
type pgSide struct {
	p  *postgres
	mu sync.Mutex
	c  *pgConn
}

func (d *pgSide) do(ctx context.Context, f func(*pgConn) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for try := 0; ; try++ {
		if d.c == nil || d.c.c.IsClosed() {
			var err error
			if d.c, err = openPg(ctx, d.p.conf, map[string]string{"statement_timeout": "5000"}); err != nil {
				d.c = nil
				if try == mostTries || ctx.Err() != nil {
					return err
				}
				time.Sleep(20 * time.Millisecond << try)
				continue
			}
		}
		d.c.ctx = ctx
		err := f(d.c)
		if err == nil || try == mostTries || !d.c.c.IsClosed() || ctx.Err() != nil {
			return err
		}
	}
}

func (d *pgSide) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c != nil {
		d.c.close()
	}
}

// sequence draws numbers from a sequence.
func (d *pgSide) sequence(name string) func(int) ([]int64, error) {
	q := `SELECT nextval('` + name + `') FROM generate_series(1, CAST(? AS BIGINT))`
	return func(n int) (out []int64, err error) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		// Whoever waits for a number holds up others: it is worth some tries.
		for pause := 10 * time.Millisecond; ; pause *= 2 {
			err = d.do(ctx, func(c *pgConn) error {
				out = out[:0]
				return c.each(q, func(r row) (bool, error) {
					out = append(out, r.int(0))
					return true, nil
				}, int64(n))
			})
			if err == nil || ctx.Err() != nil || pause > time.Second/4 {
				break
			}
			time.Sleep(pause)
		}
		if err == nil && len(out) == 0 {
			err = errors.New("the sequence " + name + " gives nothing")
		}
		return out, err
	}
}

// pgReader is a connection for reading, made when it is needed.
type pgReader struct {
	p *postgres
	c *pgConn
}

// read runs f on a connection that cannot write. A connection that was lost is
// made again, once.
func (p *postgres) read(ctx context.Context, s *Store, f func(conn) error) error {
	var r *pgReader
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stopped:
		return ledger.ErrClosed
	case r = <-p.readers:
	}
	defer func() { p.readers <- r }()
	limit, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	for {
		fresh := r.c == nil || r.c.c.IsClosed()
		if fresh {
			var err error
			settings := planSettings()
			settings["default_transaction_read_only"], settings["statement_timeout"] = "on", "5000"
			if r.c, err = openPg(ctx, p.conf, settings); err != nil {
				r.c = nil
				return fmt.Errorf("%w: %w", ledger.ErrAway, err)
			}
		}
		r.c.ctx = limit
		err := f(r.c)
		r.c.forget()
		if err == nil {
			return nil
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case limit.Err() != nil:
			return errTooLong
		case !r.c.c.IsClosed():
			return err
		case fresh:
			return fmt.Errorf("%w: %w", ledger.ErrAway, err)
		}
	}
}

// closePostgres runs what is queued, says that this node has stopped, and
// closes the connections.
func (s *Store) closePostgres() error {
	p := s.pg
	<-s.stopped
	s.queue.drop(ledger.ErrClosed)
	s.mu.Lock()
	folder := p.folder
	p.folder = nil
	s.mu.Unlock()
	if folder == nil {
		return nil // closed before
	}
	p.stop()
	p.beating.Wait()
	var err error
	if !p.dead.Load() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		err = p.beat.do(ctx, func(c *pgConn) error {
			if err := c.later(qKeepTime, s.last.Load()); err != nil {
				return err
			}
			_, err := c.exec(`UPDATE node SET stopped = `+pgNow+` WHERE id = ?`, s.node)
			return err
		})
		cancel()
		if err == nil {
			s.pg.seen.Store(max(s.pg.seen.Load(), s.last.Load()))
			s.keepMark(p.dir, true)
		}
		if err != nil {
			s.log("could not say that this node stops; the others will see: %v", err)
		}
	}
	for range readerCount {
		if r := <-p.readers; r.c != nil {
			r.c.close()
		}
	}
	p.numbers.close()
	p.beat.close()
	return errors.Join(s.archive.close(), folder.Close())
}
