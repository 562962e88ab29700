package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/seal"
	"github.com/kiungo-health/kiungo/internal/system"
)

// Bounds of doctor's judgement.
const (
	skewWarned   = 5 * time.Second
	skewWrong    = 2 * time.Minute
	freeWrong    = 256 << 20 // below it messages are refused
	freeWarned   = 2 << 30
	walWarned    = 256 << 20
	longWarned   = 5 * time.Minute
	deadWarned   = 100_000 // rows, and more of them than live ones
	behindWarned = 64 << 20
)

// systemsToAsk opens the site's systems without a ledger: doctor neither takes
// part as a node nor makes anything.
func (a *app) systemsToAsk(site *flow.Site, integrations []*flow.Integration) (*engine.Engine, func(), error) {
	dir, err := os.MkdirTemp("", "kiungo-doctor-")
	if err != nil {
		return nil, nil, err
	}
	clean := func() { _ = os.RemoveAll(dir) }
	l, err := store.OpenSQLite(context.Background(), dir, store.Options{Ring: seal.Temporary(), MinFree: -1})
	if err != nil {
		clean()
		return nil, nil, err
	}
	e, err := engine.New(engine.Options{Ledger: l, Registry: a.reg, Site: site, Integrations: integrations, Log: a.log()})
	if err != nil {
		_ = l.Close()
		clean()
		return nil, nil, err
	}
	return e, func() {
		_ = l.Close()
		clean()
	}, nil
}

// examineClock compares a system's clock with ours, by the Date of an answer:
// whole seconds.
func examineClock(ctx context.Context, e *examination, name string, port *system.Port) {
	var s connector.System = port.System
	short, cancel := context.WithTimeout(ctx, port.Limits.Timeout)
	defer cancel()
	answer, err := s.Send(short, s.Probe())
	if err != nil {
		return // the next look says what is wrong
	}
	if answer.Header["Date"] == "" {
		e.warn(name, "", "its answers do not tell the time: its clock cannot be compared")
		return
	}
	var skew call.Skew
	skew.Learn(answer)
	by := skew.By().Round(time.Second)
	judgeClock(e, name, by, "set both clocks by NTP: what is newer is decided by them")
}

func judgeClock(e *examination, about string, by time.Duration, do string) {
	words := "its clock is ours, within a second"
	switch {
	case by > time.Second:
		words = fmt.Sprintf("its clock is %s ahead of ours", by)
	case by < -time.Second:
		words = fmt.Sprintf("its clock is %s behind ours", -by)
	}
	switch {
	case by.Abs() >= skewWrong:
		e.bad(about, do, "%s", words)
	case by.Abs() >= skewWarned:
		e.warn(about, do, "%s", words)
	default:
		e.ok(about, "%s", words)
	}
}

// examineFolder looks at the data folder and the keyring.
func (a *app) examineFolder(e *examination) {
	info, err := os.Stat(a.dataDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.warn("data folder", "kiungo serve makes it at its first start", "%s is not there yet", a.dataDir)
	case err != nil:
		e.bad("data folder", "let the user that runs Kiungo read and write it", "%v", err)
	case !info.IsDir():
		e.bad("data folder", "name a folder with --data", "%s is no folder", a.dataDir)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		e.warn("data folder", "chmod 700 "+a.dataDir, "%s can be looked into by others (%s)", a.dataDir, info.Mode().Perm())
	default:
		e.ok("data folder", "%s is its owner's alone", a.dataDir)
	}
	path := seal.Path(a.dataDir)
	info, err = os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.warn("keyring", "kiungo serve makes it for a new ledger; other nodes are given a copy", "%s is not there yet", path)
		return
	case err != nil:
		e.bad("keyring", "let the user that runs Kiungo read it", "%v", err)
		return
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		e.bad("keyring", "chmod 600 "+path, "others can read %s (%s): whoever has it can read the ledger", path, info.Mode().Perm())
	}
	if _, err := seal.Load(path); err != nil {
		e.bad("keyring", "put back the copy that you keep apart from the backups", "%v", err)
		return
	}
	e.ok("keyring", "%s can be read; keep a copy apart from the backups", path)
}

// examineLedger looks at the ledger's database.
func (a *app) examineLedger(ctx context.Context, e *examination) {
	database := a.databaseURL()
	f, err := store.Examine(ctx, database, a.dataDir)
	if err != nil {
		e.bad("ledger", "see that the database is up, and that the user may connect to it and read its tables", "%v", err)
		return
	}
	switch {
	case !f.Exists:
		e.warn("ledger", "kiungo serve makes it at its first start", "there is none yet")
	case f.Schema > f.Known:
		e.bad("ledger", "run the newer program", "its tables are version %d, this program knows %d", f.Schema, f.Known)
	case f.Schema < f.Known:
		e.warn("ledger", "kiungo serve brings it up to date when it starts; make a backup before", "its tables are version %d, this program's are %d", f.Schema, f.Known)
	default:
		e.ok("ledger", "its tables are version %d, as this program's", f.Schema)
	}
	if database == "" {
		examineDisk(e, f)
		return
	}
	examineServer(e, f.Postgres)
	examineStandbys(e, f.Postgres)
	examineTables(e, f.Postgres)
	examineNodes(e, f)
}

func examineDisk(e *examination, f *store.Facts) {
	mb := func(n int64) string { return strconv.FormatInt(n>>20, 10) + " MB" }
	switch {
	case f.Free < 0:
	case f.Free < freeWrong:
		e.bad("disk", "make room: messages are refused until there is", "%s are free", mb(f.Free))
	case f.Free < freeWarned, f.Free < f.Size/4:
		e.warn("disk", "make room, or shorten keep: in the site's file", "%s are free, the ledger has %s", mb(f.Free), mb(f.Size))
	default:
		e.ok("disk", "%s are free, the ledger has %s", mb(f.Free), mb(f.Size))
	}
	switch {
	case !f.Exists:
	case f.WAL > walWarned:
		e.warn("ledger", "something reads for long: see what else has the file open", "its write-ahead log has grown to %s", mb(f.WAL))
	default:
		e.ok("ledger", "its write-ahead log has %s", mb(f.WAL))
	}
}

func examineServer(e *examination, p *store.PostgresFacts) {
	const about = "database"
	version := fmt.Sprintf("PostgreSQL %d.%d", p.Version/10000, p.Version%10000)
	if p.Version < 130000 {
		e.bad(about, "it takes version 13 or newer", "%s is too old", version)
	} else {
		e.ok(about, "%s", version)
	}
	if p.InRecovery {
		e.bad(about, "name the primary in the URL, or target_session_attrs=read-write with all of them", "this server is a standby: nothing can be written here")
	}
	for _, name := range []string{"fsync", "full_page_writes"} {
		if v := p.Settings[name]; v != "on" {
			e.bad(about, "set "+name+" = on: without it a power cut loses or spoils what was accepted", "%s is %s", name, v)
		} else {
			e.ok(about, "%s is on", name)
		}
	}
	examineCommit(e, p)
	if v := p.Settings["autovacuum"]; v != "on" {
		e.bad(about, "set autovacuum = on: the tables grow without end", "autovacuum is %s", v)
	}
	if v := p.Settings["transaction_timeout"]; v != "" && v != "0" {
		e.warn(about, "leave it 0 for Kiungo's user: a command that reads much is cut off", "transaction_timeout is %s", v)
	}
	judgeClock(e, about, p.Ahead, "set both clocks by NTP; leases go by the database's, timers too")
	free := p.Most - p.Used
	switch {
	case free < 0, p.Most < store.Needs:
		e.bad(about, fmt.Sprintf("raise max_connections: each node takes up to %d", store.Needs), "%d of %d connections are in use", p.Used, p.Most)
	case free < store.Needs:
		e.warn(about, fmt.Sprintf("raise max_connections before another node is started: each takes up to %d", store.Needs), "%d of %d connections are in use", p.Used, p.Most)
	default:
		e.ok(about, "%d of %d connections are in use; each node takes up to %d", p.Used, p.Most, store.Needs)
	}
	if p.Longest > longWarned {
		e.warn(about, "end it (pg_terminate_backend), or have who runs it work in steps: dead rows stay meanwhile", "a transaction of %q is open for %s", p.LongestBy, p.Longest.Round(time.Second))
	} else {
		e.ok(about, "no transaction is open for long")
	}
	if len(p.Blind) > 0 {
		e.warn(about, "GRANT pg_monitor TO this user, if you want them looked at", "this user may not see %s", plainList(p.Blind))
	}
}

// examineCommit: whether "nothing is lost" holds rests on this (law 24).
func examineCommit(e *examination, p *store.PostgresFacts) {
	const about = "database"
	names := p.Settings["synchronous_standby_names"]
	switch v := p.Settings["synchronous_commit"]; {
	case v == "off":
		e.bad(about, "set synchronous_commit = on (Kiungo sets it for itself; others who write to this server lose theirs)", "synchronous_commit is off")
	case v == "local" && names != "":
		e.warn(about, "set synchronous_commit = on, or a fail-over loses what was accepted last", "synchronous_commit is local: the standbys (%s) are not waited for", names)
	default:
		e.ok(about, "synchronous_commit is %s", v)
	}
}

func examineStandbys(e *examination, p *store.PostgresFacts) {
	const about = "standbys"
	names := p.Settings["synchronous_standby_names"]
	synchronous := 0
	for _, s := range p.Standbys {
		if s.Sync == "sync" || s.Sync == "quorum" {
			synchronous++
		}
		if s.Behind > behindWarned {
			e.warn(about, "see its line and its disk", "%s (%s, %s) is %d MB behind", s.Name, s.State, s.Sync, s.Behind>>20)
		} else {
			e.ok(about, "%s is %s, %s, %d kB behind", s.Name, s.State, s.Sync, s.Behind>>10)
		}
	}
	switch {
	case p.InRecovery:
	case names != "" && synchronous == 0:
		e.bad(about, "start the standby, or take it out of synchronous_standby_names: no commit ends until then", "%s is to be waited for, and none follows", names)
	case names == "" && len(p.Standbys) > 0:
		e.warn(about, "name them in synchronous_standby_names, if nothing may be lost when the primary dies", "none is waited for: a fail-over loses the last commits")
	case names == "" && len(p.Blind) == 0:
		e.warn(about, "keep backups on another machine, or add a standby", "there is none: what is in the ledger is on one disk")
	}
	if p.Timeline == "" || p.Opened == "" {
		return
	}
	if !strings.Contains(p.Opened, "timeline "+p.Timeline) {
		e.warn(about, "see docs/high-availability.md: the next start of a node raises the incarnation, and systems are asked before they are written to", "the server is on timeline %s now; when the ledger was last opened: %s", p.Timeline, p.Opened)
		return
	}
	e.ok(about, "the server is on timeline %s, as when the ledger was last opened", p.Timeline)
}

func examineTables(e *examination, p *store.PostgresFacts) {
	lagging := 0
	for _, t := range p.Tables {
		if t.Dead > deadWarned && t.Dead > t.Live {
			lagging++
			when := "never"
			if !t.Vacuumed.IsZero() {
				when = t.Vacuumed.UTC().Format("2006-01-02 15:04 UTC")
			}
			e.warn("tables", "lower autovacuum_vacuum_scale_factor for it; see that no transaction is open for hours", "%s has %d dead rows beside %d live ones; it was vacuumed %s", t.Name, t.Dead, t.Live, when)
		}
	}
	if lagging == 0 && len(p.Tables) > 0 {
		e.ok("tables", "autovacuum keeps up with those that are written most")
	}
}

// examineNodes lists who has the ledger open.
func examineNodes(e *examination, f *store.Facts) {
	now := time.Now().Add(f.Postgres.Ahead)
	versions := map[string]bool{}
	for _, n := range f.Nodes {
		versions[n.Version] = true
		age := max(now.Sub(n.Heard), 0).Round(time.Second)
		text := fmt.Sprintf("node %d on %s (process %d, version %s): heard %s ago, runs %s", n.ID, n.Host, n.PID, orUnknown(n.Version), age, counted(n.Lanes, "lane"))
		if now.After(n.Until) {
			e.warn("nodes", "start another node if none is alive: the live ones take its lanes over", "%s; its lease is over", text)
			continue
		}
		e.ok("nodes", "%s", text)
	}
	if len(versions) > 1 {
		e.warn("nodes", "end the upgrade: nodes of one minor version work together, for a while", "they run different programs")
	}
	if len(f.Nodes) == 0 && f.Exists && f.Schema == f.Known {
		e.warn("nodes", "start kiungo serve", "none is up")
	}
}

func orUnknown(v string) string {
	if v == "" {
		return "unknown"
	}
	return v
}
