package store

import (
	"context"
	"fmt"
	"strings"
)

// displaced tells why the incarnation is to be raised now that the ledger is
// opened, nil if it need not be.
func (s *Store) displaced(c conn, dir string) (*raising, error) {
	order, err := settingJSON[toRaise](c, settingRaise)
	if err != nil {
		return nil, err
	}
	m, err := readMark(dir)
	if err != nil {
		return nil, err
	}
	r := &raising{who: "kiungo", lost: true}
	if m != nil && m.Ledger == s.id {
		r.above = m.Incarnation
	}
	if order != nil {
		r.why, r.who, r.lost = order.Why, order.Who, order.Lost
		return r, nil
	}
	if s.pg != nil {
		if r.why, err = s.pg.displaced(c); err != nil || r.why != "" {
			return r, err
		}
		if m != nil && m.Ledger != s.id {
			return nil, nil // the folder served another database before
		}
	}
	if r.why = m.passed(s.stands()); r.why != "" {
		return r, nil
	}
	return nil, nil
}

// arrive raises the incarnation if it is to be, as part of opening.
func (t *tx) arrive(r *raising) error {
	if r == nil {
		return nil
	}
	if r.lost {
		t.s.log("%s: the incarnation is raised; systems are asked before each write for what may have been done since", r.why)
	}
	if err := t.raise(*r); err != nil {
		return err
	}
	t.wrote, t.changed = true, true
	if t.s.pg != nil {
		if err := setSetting(t.conn, settingPlace, []byte(t.s.pg.at())); err != nil {
			return err
		}
	}
	return dropSetting(t.conn, settingRaise)
}

// pgPlaces are what tells where a PostgreSQL ledger is: the cluster, its
// timeline (another one after a fail-over or a recovery to a point in time),
// the database and the table itself (others after a dump was read in).
// Each is asked for alone: a service may keep one of them to itself.
var pgPlaces = []struct{ what, q string }{
	{"cluster", `SELECT CAST(system_identifier AS TEXT) FROM pg_control_system()`},
	{"timeline", `SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)`},
	{"database", `SELECT CAST(oid AS TEXT) FROM pg_database WHERE datname = current_database()`},
	{"table", `SELECT CAST(CAST(CAST('clock' AS regclass) AS oid) AS TEXT)`},
}

// at is where the ledger was when that was last looked at.
func (p *postgres) at() string {
	if at := p.place.Load(); at != nil {
		return *at
	}
	return ""
}

// where asks where the ledger is: "cluster 7…, timeline 00000001, …". What the
// database does not tell is "?", and is not asked for again.
func (p *postgres) where(c conn) string {
	parts := make([]string, len(pgPlaces))
	before := strings.Split(p.at(), ", ")
	for i, k := range pgPlaces {
		at := "?"
		if len(before) == len(parts) && strings.HasSuffix(before[i], "?") {
			parts[i] = before[i]
			continue
		}
		if found, err := one(c, k.q, func(r row) { at = r.text(0) }); err != nil || !found || at == "" {
			at = "?"
		}
		parts[i] = k.what + " " + at
	}
	return strings.Join(parts, ", ")
}

// elsewhere tells what of a place is another than before, "" if nothing.
func elsewhere(before, now string) string {
	was, is := strings.Split(before, ", "), strings.Split(now, ", ")
	if len(was) != len(is) {
		return ""
	}
	for i := range was {
		if was[i] != is[i] && !strings.HasSuffix(was[i], "?") && !strings.HasSuffix(is[i], "?") {
			return fmt.Sprintf("%s, before %s", is[i], was[i])
		}
	}
	return ""
}

// displaced compares where the ledger is with where it was. At first it takes
// note of it.
func (p *postgres) displaced(c conn) (why string, err error) {
	before, err := settingOf(c, settingPlace)
	if err != nil {
		return "", err
	}
	if other := elsewhere(string(before), p.at()); other != "" {
		return "the database failed over or was restored: " + other, nil
	}
	if string(before) != p.at() {
		return "", setSetting(c, settingPlace, []byte(p.at()))
	}
	return "", nil
}

// qStands is where the ledger stands, for a node that looks now and then.
const qStands = `SELECT at, incarnation, restored FROM clock WHERE id = 1`

// standing is an answer of qStands, and where the ledger is.
type standing struct {
	at, incarnation, restored int64
	place                     string
}

// watchPlace is part of a heartbeat, which has written that ledger time is
// kept: a node takes note of an incarnation that another raised, and raises it
// when the database under it is another one or has lost commits.
func (s *Store) watchPlace(ctx context.Context, now standing, kept int64) error {
	switch seen := s.pg.seen.Swap(max(now.at, kept)); {
	case now.incarnation > s.incarn.Load():
		s.raised(now.incarnation, now.restored)
		s.log("another node raised the incarnation: what this node ran is given out again")
		return nil
	case now.incarnation < s.incarn.Load(), now.at < seen:
		return s.raiseFor(ctx, fmt.Sprintf("the database is behind what it had told: it ends at %s and had come to %s", fromMicro(now.at).Format(timeForm), fromMicro(seen).Format(timeForm)))
	}
	if other := elsewhere(s.pg.at(), now.place); other != "" {
		s.pg.place.Store(&now.place)
		return s.raiseFor(ctx, "the database failed over or was restored: "+other)
	}
	return nil
}

func scanStanding(r row) standing { return standing{r.int(0), r.int(1), r.int(2), ""} }

const timeForm = "2006-01-02T15:04:05.000Z07:00"

// raiseFor raises the incarnation once, whichever node notices.
func (s *Store) raiseFor(ctx context.Context, why string) error {
	known := s.incarn.Load()
	_, err := do(ctx, s, lanes, func(t *tx) (struct{}, error) {
		var now standing
		if _, err := one(t, qStands, func(r row) { now = scanStanding(r) }); err != nil {
			return struct{}{}, err
		}
		if now.incarnation > known {
			t.then(func() { s.raised(now.incarnation, now.restored) })
			t.wrote, t.changed = true, true // so that it is done after the commit
			return struct{}{}, nil
		}
		return struct{}{}, t.arrive(&raising{why: why, who: "kiungo", lost: true, above: known})
	})
	if err != nil {
		return fmt.Errorf("raise the incarnation: %w", err)
	}
	return nil
}

// warnOfLoss says what may lose commits that were answered: settings, and a
// standby that commits do not wait for.
func warnOfLoss(c conn, syncCommit string, log func(string, ...any)) {
	if syncCommit == "off" {
		log("the database runs with synchronous_commit = off: a crash of the server may lose what was accepted")
	}
	var standbys int64
	// Who may not look at the standbys is not told of them.
	if _, err := one(c, `SELECT COUNT(*) FROM pg_stat_replication WHERE current_setting('synchronous_standby_names') = ''`, func(r row) { standbys = r.int(0) }); err == nil && standbys > 0 {
		log("the database has %d standby that commits do not wait for (synchronous_standby_names is empty): a fail-over may lose the last moments", standbys)
	}
}
