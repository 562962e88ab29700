package openmrs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
)

// The sweep finds what no feed announces. What that is depends on the module
// (sim/feed_publish.go has the sources): Bahmni's is silent about voids, merges,
// identifiers, names and addresses written by themselves, and about encounters
// that plain REST made.
//
// Stock OpenMRS cannot be asked what changed since a moment: the searches of
// patients and encounters want a name or a patient, and hide what is voided.
// Who is known to it can be listed in one way only, the archive of the patient
// feed. So a round of the sweep goes through that archive and reads again each
// person in it: the patient with all her audit information; her encounters; and
// her observations with includeAll, which shows voided ones, and thereby the
// encounters that were voided with them. What carries a time of change, creation
// or voiding since the beginning of the round before becomes a message. An hour
// more is looked back, because a transaction has its time from its beginning,
// and servers of one database have several clocks (law 35); what was given
// before has the same version and is not taken twice.
//
// Not found this way: an encounter without observations that was voided; an
// identifier that was removed and not replaced (PatientService.voidPatientIdentifier
// writes no date that REST shows); people who were never in the patient feed
// because the module is younger than they are.

const (
	sweepOverlap = time.Hour
	sweepPeople  = 25
	// sweepFeed limits the pages of one portion: most entries of an old feed
	// name people who were looked at already.
	sweepFeed = 60
	// sweepFull ends a portion early.
	sweepFull = 400
	// mostRemembered limits the memory of who was looked at in a round; beyond
	// it people may be read again.
	mostRemembered = 500_000
)

// sweepPosition is how far the sweep is.
type sweepPosition struct {
	Round   int       `json:"round"`
	Resting bool      `json:"resting,omitempty"`
	Started time.Time `json:"started"` // of this round, by the server's clock
	// Floor: what changed before it is not given.
	Floor time.Time `json:"floor,omitzero"`
	Page  int       `json:"page,omitempty"`
	Done  int       `json:"done,omitempty"`
}

// sweepMemory is who was looked at in a round. It is lost with the process: then
// some people are read twice.
type sweepMemory struct {
	mu    sync.Mutex
	round int
	seed  maphash.Seed
	seen  map[uint64]struct{}
}

// first tells whether somebody was not looked at yet in the round.
func (m *sweepMemory) first(round int, uuid string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen == nil || m.round != round {
		m.round, m.seen, m.seed = round, map[uint64]struct{}{}, maphash.MakeSeed()
	}
	key := maphash.String(m.seed, uuid)
	if _, there := m.seen[key]; there {
		return false
	}
	return true
}

func (m *sweepMemory) add(uuid string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.seen) < mostRemembered {
		m.seen[maphash.String(m.seed, uuid)] = struct{}{}
	}
}

// pollSweep does one portion of a round.
func (s *System) pollSweep(ctx context.Context, do call.Doer, from []byte) (connector.Batch, error) {
	var p sweepPosition
	if len(from) > 0 {
		if err := json.Unmarshal(from, &p); err != nil {
			return connector.Batch{}, fmt.Errorf("%s: read the position of the sweep: %w", s.name, err)
		}
	}
	w := &walk{s: s, do: do, stream: feedStream{"patient", s.feeds.category("patient")}}
	if p.Round == 0 {
		if _, _, err := w.ask(ctx, "recent"); err != nil { // and the server's clock with it
			return connector.Batch{}, err
		}
		p = sweepPosition{Round: 1, Resting: true, Started: s.serverNow().UTC()}
		if !s.feeds.fromStart {
			return sweepBatch(connector.Batch{}, p)
		}
		p.Started = time.Time{}
	}
	if p.Resting {
		if s.serverNow().Before(p.Started.Add(s.feeds.sweepEvery)) {
			return sweepBatch(connector.Batch{}, p)
		}
		next := sweepPosition{Round: p.Round + 1, Started: s.serverNow().UTC(), Page: 1}
		if !p.Started.IsZero() {
			next.Floor = p.Started.Add(-sweepOverlap)
		}
		p = next
	}
	return s.sweepOn(ctx, w, p)
}

func sweepBatch(b connector.Batch, p sweepPosition) (connector.Batch, error) {
	var err error
	b.Position, err = json.Marshal(p)
	return b, err
}

// sweepOn reads people from the archive on.
func (s *System) sweepOn(ctx context.Context, w *walk, p sweepPosition) (connector.Batch, error) {
	var b connector.Batch
	people := 0
	for w.asked < sweepFeed {
		pg, err := w.page(ctx, p.Page)
		switch {
		case errors.Is(err, errGone):
			if p.Page, err = w.sweepPast(ctx, p.Page); err != nil {
				return b, err
			}
			if p.Done = 0; p.Page == 0 {
				p.Resting = true
				return sweepBatch(b, p)
			}
			continue
		case errors.Is(err, errStuck):
			b.Alarms = append(b.Alarms, fmt.Sprintf("sweep: OpenMRS fails on page %d of feed patient; the people on it are left out", p.Page))
			p.Page, p.Done = p.Page+1, 0
			continue
		case err != nil:
			return b, err
		}
		for ; p.Done < len(pg.entries); p.Done++ {
			if people >= sweepPeople || len(b.Messages) >= sweepFull {
				return sweepBatch(b, p)
			}
			t, _ := targetOf(pg.entries[p.Done].content)
			if t.kind != kindPatient || !s.swept.first(p.Round, t.uuid) {
				continue
			}
			people++
			messages, alarm, err := s.sweepPerson(ctx, w.do, t.uuid, p.Floor)
			if err != nil {
				return connector.Batch{}, err
			}
			s.swept.add(t.uuid)
			b.Messages = append(b.Messages, messages...)
			if alarm != "" {
				b.Alarms = append(b.Alarms, alarm)
			}
		}
		if pg.next <= pg.number {
			p.Resting = true
			return sweepBatch(b, p)
		}
		p.Page, p.Done = pg.next, 0
	}
	return sweepBatch(b, p)
}

// sweepPast gives the page to go on with where one is not there: the first after
// it that is, or 0 at the end.
func (w *walk) sweepPast(ctx context.Context, n int) (int, error) {
	recent, _, err := w.ask(ctx, "recent")
	if err != nil || recent.number <= n {
		return 0, err
	}
	return n + 1, nil
}
