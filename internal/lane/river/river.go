// Package river is the dispatcher of several nodes: River, a job engine on
// PostgreSQL, rings, schedules and elects. A job is a doorbell and no more: it
// names a lane, by number, and never fails. Whether the lane is due, and who
// runs it, the ledger says; a bell that is lost is rung again by the sweep, and
// one too many costs an empty look (laws 4, 5, 44).
//
// A doorbell carries no generation: the ledger frees a lane in the transaction
// that looked at its queue, so that no wake falls between the two.
//
// Lanes whose work came all in bulk have a queue of their own, and are rung by
// the sweep alone. On each node both queues go through one gate, which lets
// today's work in first.
package river

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/kiungo-health/kiungo/internal/gate"
	"github.com/kiungo-health/kiungo/internal/lane"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

const (
	// schemaName is where River's tables are if the URL names no search_path: by
	// those of the ledger.
	schemaName = "kiungo"
	// longest is how long one call of a delivery may take on top of a lane's
	// turn before River takes the job for stuck. The lane is not: see the ledger.
	longest = 10 * time.Minute
	// fetchEvery bounds how often a node asks for bells.
	fetchEvery = 10 * time.Millisecond
	sweepQueue = "sweep"
	bulkQueue  = "bulk"
	// ownSweeps is how many sweeps of the elected node go by to one of each node.
	ownSweeps = 10
)

// Options of a Dispatcher. Of lane.Options, Soon is not used: the sweep finds
// what is due.
type Options struct {
	lane.Options
	// Database is the URL of the ledger's database.
	Database string
}

// Dispatcher runs lanes of a ledger that several nodes share.
type Dispatcher struct {
	ledger lane.Ledger
	run    lane.Run
	opts   Options
	pool   *pgxpool.Pool
	client *river.Client[pgx.Tx]
	gate   *gate.Gate // as many as there are workers

	repeats repeats

	mu      sync.Mutex
	pending map[int64]bool // to be rung
	some    chan struct{}  // something is pending; of capacity 1
}

// New connects, makes River's tables at first or brings them up to date, and
// gives a dispatcher; Run starts it.
func New(ctx context.Context, l lane.Ledger, run lane.Run, o Options) (*Dispatcher, error) {
	o.Workers = cmp.Or(max(o.Workers, 0), 32)
	o.Window = cmp.Or(max(o.Window, 0), 4096)
	o.TurnFor = cmp.Or(o.TurnFor, 30*time.Second)
	o.Sweep = cmp.Or(o.Sweep, time.Second)
	o.Grace = cmp.Or(o.Grace, 20*time.Second)
	conf, err := pgxpool.ParseConfig(o.Database)
	if err != nil {
		return nil, fmt.Errorf("the database's URL: %w", err) // pgx leaves the password out
	}
	params := conf.ConnConfig.RuntimeParams
	params["search_path"] = cmp.Or(params["search_path"], schemaName)
	params["application_name"] = cmp.Or(params["application_name"], "kiungo-river")
	conf.MaxConns = 6
	pool, err := pgxpool.NewWithConfig(ctx, conf)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	d := &Dispatcher{ledger: l, run: run, opts: o, pool: pool, gate: gate.New(o.Workers), pending: map[int64]bool{}, some: make(chan struct{}, 1), repeats: repeats{to: o.Log}}
	if err := d.open(ctx, params["search_path"]); err != nil {
		pool.Close()
		return nil, err
	}
	return d, nil
}

func (d *Dispatcher) open(ctx context.Context, schema string) error {
	driver := riverpgxv5.New(d.pool)
	quiet := slog.New(&handler{&d.repeats})
	if err := d.migrate(ctx, driver, schema, quiet); err != nil {
		return fmt.Errorf("make River's tables: %w", err)
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, &ringer{d: d})
	river.AddWorker(workers, &sweeper{d: d})
	client, err := river.NewClient(driver, &river.Config{
		Schema:      schema,
		Workers:     workers,
		Logger:      quiet,
		MaxAttempts: 1, // a bell that was not answered is rung again by the sweep
		Queues: map[string]river.QueueConfig{
			river.QueueDefault: {MaxWorkers: d.opts.Workers},
			bulkQueue:          {MaxWorkers: lane.MostBulk(d.opts.Workers)},
			sweepQueue:         {MaxWorkers: 1},
		},
		FetchCooldown:               fetchEvery,
		JobTimeout:                  d.opts.TurnFor + longest,
		RescueStuckJobsAfter:        d.opts.TurnFor + 2*longest,
		CompletedJobRetentionPeriod: time.Minute,
		DiscardedJobRetentionPeriod: time.Minute,
		CancelledJobRetentionPeriod: time.Minute,
		PeriodicJobs: []*river.PeriodicJob{river.NewPeriodicJob(river.PeriodicInterval(d.opts.Sweep),
			func() (river.JobArgs, *river.InsertOpts) { return sweep{}, &river.InsertOpts{Queue: sweepQueue} },
			&river.PeriodicJobOpts{RunOnStart: true})},
	})
	d.client = client
	return err
}

// migrate brings River's tables up to date; one node at a time.
func (d *Dispatcher) migrate(ctx context.Context, driver *riverpgxv5.Driver, schema string, log *slog.Logger) error {
	conn, err := d.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock(hashtextextended('kiungo river ' || $1, 0))`, schema); err != nil {
		return err
	}
	defer conn.Exec(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock(hashtextextended('kiungo river ' || $1, 0))`, schema)
	if _, err := conn.Exec(ctx, `CREATE SCHEMA IF NOT EXISTS `+pgx.Identifier{schema}.Sanitize()); err != nil {
		return err
	}
	m, err := rivermigrate.New(driver, &rivermigrate.Config{Schema: schema, Logger: log})
	if err != nil {
		return err
	}
	_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

// Run dispatches until the context ends; then it starts nothing more, waits
// for what is running for the length of Options.Grace, and ends.
func (d *Dispatcher) Run(ctx context.Context) error {
	defer d.pool.Close()
	defer d.repeats.end()
	// River is stopped by Stop, not by this context: it would end what is running.
	if err := d.client.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("start River: %w", err)
	}
	d.ringPending(ctx)
	quiet, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(d.opts.Grace, time.Millisecond))
	defer cancel()
	err := d.client.Stop(quiet)
	if quiet.Err() != nil {
		hard, end := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer end()
		err = d.client.StopAndCancel(hard)
	}
	if err != nil {
		return fmt.Errorf("stop River: %w", err)
	}
	return nil
}

// Ring says that lanes are due now. It does not block, and may be called from
// ledger.OnDue.
func (d *Dispatcher) Ring(lanes ...int64) {
	d.mu.Lock()
	for _, id := range lanes {
		if len(d.pending) < d.opts.Window { // the sweep finds the others
			d.pending[id] = true
		}
	}
	d.mu.Unlock()
	select {
	case d.some <- struct{}{}:
	default:
	}
}

// ringPending rings what is pending, as often as there is some.
func (d *Dispatcher) ringPending(ctx context.Context) {
	// Each node sweeps by itself too, seldom: when the elected one dies it takes
	// River some time to elect another.
	own := time.NewTicker(ownSweeps * d.opts.Sweep)
	defer own.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-own.C:
			if err := d.sweep(ctx); err != nil && ctx.Err() == nil {
				d.log("the sweep for due lanes failed and is made again: %v", err)
			}
		case <-d.some:
		}
		d.mu.Lock()
		lanes := make([]int64, 0, len(d.pending))
		for id := range d.pending {
			lanes = append(lanes, id)
		}
		clear(d.pending)
		d.mu.Unlock()
		if err := d.insert(ctx, river.QueueDefault, lanes); err != nil && ctx.Err() == nil {
			d.log("%d lanes could not be rung; the sweep will find them: %v", len(lanes), err)
		}
	}
}

func (d *Dispatcher) insert(ctx context.Context, queue string, lanes []int64) error {
	if len(lanes) == 0 {
		return nil
	}
	jobs := make([]river.InsertManyParams, len(lanes))
	for i, id := range lanes {
		jobs[i] = river.InsertManyParams{Args: ring{id}, InsertOpts: &river.InsertOpts{Queue: queue}}
	}
	_, err := d.client.InsertManyFast(ctx, jobs)
	return err
}

// ring is a doorbell.
type ring struct {
	Lane int64 `json:"lane"`
}

func (ring) Kind() string { return "ring" }

type ringer struct {
	river.WorkerDefaults[ring]
	d *Dispatcher
}

// Work drains a lane for the length of a turn. It never fails.
func (r *ringer) Work(ctx context.Context, job *river.Job[ring]) error {
	d, id := r.d, job.Args.Lane
	defer func() {
		if p := recover(); p != nil {
			d.log("lane %d: a worker panicked: %T", id, p) // the value may tell of a person
		}
	}()
	bulk := job.Queue == bulkQueue
	if _, err := d.gate.Enter(ctx, bulk); err != nil {
		return nil // this node stops: the sweep rings again
	}
	defer d.gate.Leave()
	w, err := d.ledger.Start(ctx, id, d.ledger.Now())
	if err != nil {
		if ctx.Err() == nil {
			d.log("lane %d cannot be started: %v", id, err)
		}
		return nil
	}
	for until := time.Now().Add(d.opts.TurnFor); w != nil; {
		w = d.run(ctx, w)
		if w != nil && (ctx.Err() != nil || !time.Now().Before(until) || w.Bulk && d.gate.LiveWaits()) {
			d.giveBack(ctx, w)
			return nil
		}
	}
	return nil
}

// giveBack ends a turn: the lane is rung again, behind the others.
func (d *Dispatcher) giveBack(ctx context.Context, w *ledger.Work) {
	if err := d.ledger.Release(context.WithoutCancel(ctx), w); err != nil && !errors.Is(err, ledger.ErrFenced) {
		d.log("give back lane %d: %v", w.LaneID, err)
	}
	if !w.Bulk {
		d.Ring(w.LaneID)
	}
}

// sweep is the job of the elected node: it rings what is due.
type sweep struct{}

func (sweep) Kind() string { return "sweep" }

type sweeper struct {
	river.WorkerDefaults[sweep]
	d *Dispatcher
}

// Work rings the lanes that are due and have no bell waiting: those whose time
// has come, and those whose bell was lost. A bell that is being answered does
// not count: who answered it may be dead. There are never more than Window
// bells waiting, so that a backlog does not ring itself to death.
func (s *sweeper) Work(ctx context.Context, _ *river.Job[sweep]) error {
	d := s.d
	if err := d.sweep(ctx); err != nil && ctx.Err() == nil {
		d.log("the sweep for due lanes failed and is made again: %v", err)
	}
	return nil
}

func (d *Dispatcher) sweep(ctx context.Context) error {
	// Those that are due come first: a bell that is answered meanwhile is one too
	// many, the other way round one would be missed.
	live, bulk, _, err := lane.Due(ctx, d.ledger, d.ledger.Now(), d.opts.Window)
	if err != nil {
		return err
	}
	return errors.Join(d.ringDue(ctx, river.QueueDefault, live, d.opts.Window), d.ringDue(ctx, bulkQueue, bulk, d.opts.Window/2))
}

// ringDue rings the lanes that are due and have no bell waiting in a queue, as
// long as fewer than so many bells wait there.
func (d *Dispatcher) ringDue(ctx context.Context, queue string, due []int64, most int) error {
	if len(due) == 0 {
		return nil
	}
	rows, err := d.pool.Query(ctx, `SELECT (args->>'lane')::bigint FROM river_job WHERE kind = 'ring' AND state = 'available' AND queue = $1 LIMIT $2`, queue, most)
	if err != nil {
		return err
	}
	rung, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil || len(rung) >= most {
		return err
	}
	waiting := make(map[int64]bool, len(rung))
	for _, id := range rung {
		waiting[id] = true
	}
	var lanes []int64
	for _, id := range due {
		if !waiting[id] && len(lanes) < most-len(rung) {
			lanes = append(lanes, id)
		}
	}
	return d.insert(ctx, queue, lanes)
}

// log says something; what is said again in the same words is counted.
func (d *Dispatcher) log(format string, args ...any) {
	d.repeats.say(format, fmt.Sprintf(format, args...))
}

// handler gives River's warnings to Options.Log, without their attributes: what
// River logs of a job is not ours to check.
type handler struct{ to *repeats }

func (h *handler) Enabled(_ context.Context, l slog.Level) bool {
	return h.to.to != nil && l >= slog.LevelWarn
}

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	h.to.say(r.Message, "River: "+r.Message)
	return nil
}

func (h *handler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h *handler) WithGroup(string) slog.Handler      { return h }
