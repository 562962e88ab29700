package lanetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// job is a delivery of the ledger in memory.
type job struct {
	n    int
	due  time.Time
	took time.Duration
	bulk bool
}

// memory is a ledger in memory with the rules of lanes and nothing else, shared
// by the nodes of a test. It notes what breaks them.
type memory struct {
	mu      sync.Mutex
	lanes   map[int64][]job
	owned   map[int64]int // node, -1 for none
	epochs  map[int64]int64
	running map[int64]bool
	ran     []int // by node
	left    int
	faults  []string
	idle    chan struct{} // closed when nothing is left
	started chan int64    // lanes, as they begin to run
	order   []int64       // lanes, as they began to run
}

func newMemory(nodes int) *memory {
	return &memory{lanes: map[int64][]job{}, owned: map[int64]int{}, epochs: map[int64]int64{}, running: map[int64]bool{},
		ran: make([]int, nodes), idle: make(chan struct{}), started: make(chan int64, 100_000)}
}

func (m *memory) fault(format string, args ...any) {
	m.faults = append(m.faults, fmt.Sprintf(format, args...))
}

// add queues jobs in a lane.
func (m *memory) add(lane int64, jobs ...job) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.owned[lane]; !ok {
		m.owned[lane] = -1
	}
	for _, j := range jobs {
		j.n = len(m.lanes[lane])
		m.lanes[lane] = append(m.lanes[lane], j)
		m.left++
	}
}

// node is the ledger as one node sees it.
type node struct {
	*memory
	id int
}

func (m node) Now() time.Time { return time.Now() }

func (m node) Due(ctx context.Context, now time.Time, limit int) (due []int64, next time.Time, err error) {
	live, bulk, next, err := m.DueByClass(ctx, now, limit)
	due = append(live, bulk...)
	return due[:min(limit, len(due))], next, err
}

func (m node) DueByClass(ctx context.Context, now time.Time, limit int) (live, bulk []int64, next time.Time, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, q := range m.lanes {
		switch {
		case len(q) == 0 || m.owned[id] >= 0:
		case !q[0].due.After(now) && m.allBulk(id):
			bulk = append(bulk, id)
		case !q[0].due.After(now):
			live = append(live, id)
		case next.IsZero() || q[0].due.Before(next):
			next = q[0].due
		}
	}
	slices.Sort(live)
	slices.Sort(bulk)
	return live[:min(limit, len(live))], bulk[:min(limit, len(bulk))], next, ctx.Err()
}

func (m *memory) allBulk(id int64) bool {
	return !slices.ContainsFunc(m.lanes[id], func(j job) bool { return !j.bulk })
}

func (m node) Start(_ context.Context, id int64, now time.Time) (*ledger.Work, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.owned[id] >= 0 {
		return nil, nil
	}
	m.epochs[id]++
	return m.next(id, now), nil
}

func (m node) next(id int64, now time.Time) *ledger.Work {
	q := m.lanes[id]
	if len(q) == 0 || q[0].due.After(now) {
		m.owned[id] = -1
		return nil
	}
	m.owned[id] = m.id
	return &ledger.Work{LaneID: id, Epoch: m.epochs[id], Delivery: ledger.Delivery{ID: int64(q[0].n), Lane: id}, Bulk: m.allBulk(id)}
}

func (m node) Release(_ context.Context, w *ledger.Work) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.owned[w.LaneID] != m.id || m.epochs[w.LaneID] != w.Epoch {
		return ledger.ErrFenced
	}
	m.owned[w.LaneID] = -1
	return nil
}

// die takes the lanes of a node from it, as the ledger does when its lease is
// over.
func (m *memory) die(id int) (lanes []int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for lane, owner := range m.owned {
		if owner == id {
			m.owned[lane] = -1
			m.epochs[lane]++
			m.running[lane] = false
			lanes = append(lanes, lane)
		}
	}
	return lanes
}

// run is the runner: it takes as long as the delivery says.
func (m node) run(ctx context.Context, w *ledger.Work) *ledger.Work {
	m.mu.Lock()
	if m.epochs[w.LaneID] != w.Epoch {
		m.mu.Unlock()
		return nil
	}
	j := m.lanes[w.LaneID][0]
	if m.running[w.LaneID] {
		m.fault("lane %d is on two workers", w.LaneID)
	}
	if int64(j.n) != w.Delivery.ID {
		m.fault("lane %d runs %d, %d is first", w.LaneID, w.Delivery.ID, j.n)
	}
	if early := time.Until(j.due); early > 0 {
		m.fault("lane %d runs %s early", w.LaneID, early)
	}
	m.running[w.LaneID] = true
	m.order = append(m.order, w.LaneID)
	m.mu.Unlock()
	m.started <- w.LaneID
	ended := false
	if j.took > 0 {
		select {
		case <-time.After(j.took):
		case <-ctx.Done():
			ended = true
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.epochs[w.LaneID] != w.Epoch {
		return nil // taken over meanwhile
	}
	m.running[w.LaneID] = false
	if ended {
		m.owned[w.LaneID] = -1
		return nil
	}
	m.lanes[w.LaneID] = m.lanes[w.LaneID][1:]
	m.ran[m.id]++
	if m.left--; m.left == 0 {
		close(m.idle)
	}
	next := m.next(w.LaneID, time.Now())
	if next != nil || w.Then == nil {
		return next
	}
	id := w.Then()
	if id == 0 || m.owned[id] >= 0 || m.left%5 == 0 { // some transactions fail
		return nil
	}
	m.epochs[id]++
	return m.next(id, time.Now())
}
