package lane

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// job is a delivery of the fake ledger.
type job struct {
	lane int64
	n    int
	due  time.Time
	took time.Duration
}

// memory is a ledger in memory with the rules of lanes and nothing else. It
// checks that a lane is never run twice at once, in order, and not early.
type memory struct {
	mu       sync.Mutex
	lanes    map[int64][]job
	owned    map[int64]bool
	epoch    int64
	onDue    func(...int64)
	ran      []job
	lateness time.Duration // the most any delivery was late, while its lane was idle
	faults   []string
	lost     int // rings to lose, to show that the sweep finds them
	freed    map[int64]time.Time
	asked    int // how often a worker was asked for its next lane
	went     int // and was given it
}

func newMemory() *memory {
	return &memory{lanes: map[int64][]job{}, owned: map[int64]bool{}, freed: map[int64]time.Time{}}
}

func (m *memory) Now() time.Time { return time.Now() }

func (m *memory) add(j job) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if j.due.IsZero() {
		j.due = time.Now()
	}
	m.lanes[j.lane] = append(m.lanes[j.lane], j)
	if len(m.lanes[j.lane]) == 1 {
		m.freed[j.lane] = time.Now()
	}
	if !m.owned[j.lane] && !m.lanes[j.lane][0].due.After(time.Now()) && m.onDue != nil {
		if m.lost > 0 {
			m.lost--
			return
		}
		m.onDue(j.lane)
	}
}

func (m *memory) Due(ctx context.Context, now time.Time, limit int) (due []int64, next time.Time, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, next, err
	}
	for id, q := range m.lanes {
		if len(q) == 0 || m.owned[id] {
			continue
		}
		if !q[0].due.After(now) {
			due = append(due, id)
		} else if next.IsZero() || q[0].due.Before(next) {
			next = q[0].due
		}
	}
	slices.SortFunc(due, func(a, b int64) int { return m.lanes[a][0].due.Compare(m.lanes[b][0].due) })
	return due[:min(limit, len(due))], next, nil
}

func (m *memory) Start(_ context.Context, id int64, now time.Time) (*ledger.Work, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.owned[id] {
		return nil, nil
	}
	m.epoch++
	return m.next(id, now, m.epoch), nil
}

func (m *memory) next(id int64, now time.Time, epoch int64) *ledger.Work {
	q := m.lanes[id]
	if len(q) == 0 || q[0].due.After(now) {
		m.owned[id] = false
		m.freed[id] = now
		return nil
	}
	m.owned[id] = true
	from := q[0].due
	if m.freed[id].After(from) {
		from = m.freed[id]
	}
	m.lateness = max(m.lateness, now.Sub(from))
	return &ledger.Work{LaneID: id, Epoch: epoch, Delivery: ledger.Delivery{ID: int64(q[0].n), Lane: id}}
}

func (m *memory) Release(_ context.Context, w *ledger.Work) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.owned[w.LaneID] {
		m.faults = append(m.faults, fmt.Sprintf("lane %d was given back twice", w.LaneID))
	}
	m.owned[w.LaneID] = false
	m.freed[w.LaneID] = time.Now()
	return nil
}

// run is the runner: it takes as long as the delivery says.
func (m *memory) run(ctx context.Context, w *ledger.Work) *ledger.Work {
	m.mu.Lock()
	j := m.lanes[w.LaneID][0]
	if int64(j.n) != w.Delivery.ID {
		m.faults = append(m.faults, fmt.Sprintf("lane %d runs %d, %d is first", w.LaneID, w.Delivery.ID, j.n))
	}
	if !m.owned[w.LaneID] {
		m.faults = append(m.faults, fmt.Sprintf("lane %d runs unowned", w.LaneID))
	}
	m.mu.Unlock()
	select {
	case <-time.After(j.took):
	case <-ctx.Done():
		m.Release(ctx, w)
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lanes[w.LaneID] = m.lanes[w.LaneID][1:]
	m.ran = append(m.ran, j)
	m.freed[w.LaneID] = time.Now()
	then := func() int64 { return 0 }
	if w.Then != nil {
		then = sync.OnceValue(w.Then)
	}
	if len(m.ran)%5 == 0 {
		then() // the transaction is made again, and there is more in its lane now
	}
	if next := m.next(w.LaneID, time.Now(), w.Epoch); next != nil {
		return next
	}
	id := then()
	if id == 0 || m.owned[id] {
		return nil
	}
	if m.asked++; m.asked%7 == 0 {
		return nil // the transaction failed
	}
	m.went++
	m.epoch++
	return m.next(id, time.Now(), m.epoch)
}

func (m *memory) left() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, q := range m.lanes {
		n += len(q)
	}
	return n
}

// seen gives what ran so far, and the lateness.
func (m *memory) seen() ([]job, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.ran), m.lateness
}
