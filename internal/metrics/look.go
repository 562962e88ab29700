package metrics

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/system"
)

func (m metric) desc() *prometheus.Desc { return prometheus.NewDesc(m.name, m.help, m.labels, nil) }

// described are the figures of a collector.
type described map[string]*prometheus.Desc

func describe(list ...metric) described {
	d := described{}
	for _, m := range list {
		d[m.name] = m.desc()
	}
	return d
}

// Describe is prometheus.Collector's.
func (d described) Describe(ch chan<- *prometheus.Desc) {
	for _, x := range d {
		ch <- x
	}
}

func (d described) gauge(ch chan<- prometheus.Metric, m metric, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d[m.name], prometheus.GaugeValue, v, labels...)
}

func (d described) counter(ch chan<- prometheus.Metric, m metric, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d[m.name], prometheus.CounterValue, v, labels...)
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// ports tells what this node does with each system.
type ports struct {
	described
	systems map[string]*system.Port
}

func newPorts(systems map[string]*system.Port) *ports {
	return &ports{describe(callsNow, callsMost, callsWait, circuitOpen), systems}
}

// Collect is prometheus.Collector's.
func (p *ports) Collect(ch chan<- prometheus.Metric) {
	for name, port := range p.systems {
		open, _ := port.Open()
		p.gauge(ch, circuitOpen, bit(open), name)
		p.gauge(ch, callsNow, float64(port.InFlight()), name)
		p.gauge(ch, callsMost, float64(port.MostInFlight()), name)
		p.counter(ch, callsWait, port.Waited().Seconds(), name)
	}
}

// node tells of the ledger's disk, what was put away, and whether the node is
// ready.
type node struct {
	described
	ledger Ledger
	ready  func(context.Context) error
	kept   func() ledger.Kept
}

func newNode(l Ledger, e *engine.Engine, isReady func(context.Context) error) *node {
	return &node{describe(walBytes, diskFree, diskFloor, putAway, putFreed, ready), l, isReady, e.Kept}
}

// Collect is prometheus.Collector's.
func (n *node) Collect(ch chan<- prometheus.Metric) {
	if wal, free, ok := n.ledger.Disk(); ok {
		n.gauge(ch, walBytes, float64(wal))
		n.gauge(ch, diskFree, float64(free))
		n.gauge(ch, diskFloor, float64(n.ledger.Floor()))
	}
	kept := n.kept()
	n.counter(ch, putAway, float64(kept.Wiped), "wiped")
	n.counter(ch, putAway, float64(kept.Archived), "archived")
	n.counter(ch, putFreed, float64(kept.Freed))
	if n.ready != nil {
		ctx, cancel := context.WithTimeout(context.Background(), lookWithin)
		defer cancel()
		n.gauge(ch, ready, bit(n.ready(ctx) == nil))
	}
}

const (
	// lookWithin bounds what is asked of the ledger at one scrape.
	lookWithin = 5 * time.Second
	// lookAgain is for how long the answer is good at least; and lookShare is how
	// much longer than the question took: with a million waiting, the question
	// takes some tenths of a second, and a hundredth of a core at most.
	lookAgain = 5 * time.Second
	lookShare = 100
)

// look asks the ledger what waits in it.
type look struct {
	described
	ledger  Ledger
	streams []stream
	systems map[string]*system.Port
	flows   [][2]string // which writes to which system
	stopped func(context.Context) ([]ledger.Stopped, error)
	ages    []aged
	began   time.Time

	mu    sync.Mutex
	last  *seen
	took  time.Duration
	until time.Time
}

// seen is what the ledger said.
type seen struct {
	*ledger.Stats
	stopped map[string]time.Time // systems that are stopped, since when
}

// aged is done by one node, which tells how long ago it was.
type aged struct {
	metric
	age func() (time.Duration, bool)
}

type stream struct {
	system, name string
	every        time.Duration
}

func newLook(l Ledger, e *engine.Engine) *look {
	systems := e.Systems
	c := &look{flows: flowSystems(e), stopped: e.Stopped, ages: []aged{{backupAge, e.BackupAge}, {putAge, e.KeptAge}},
		described: describe(ofLedger...), ledger: l, systems: systems, began: time.Now()}
	for name, port := range systems {
		if p, ok := port.System.(connector.Poller); ok {
			for _, s := range p.Streams() {
				c.streams = append(c.streams, stream{name, s.Name, s.Every})
			}
		}
	}
	return c
}

// flowSystems pairs each flow with the systems that it may write to.
func flowSystems(e *engine.Engine) (out [][2]string) {
	seen := map[[2]string]bool{}
	for _, in := range e.Integrations {
		for _, f := range in.Flows {
			for _, u := range f.Uses() {
				for name, port := range e.Systems {
					pair := [2]string{f.Name, name}
					if (u.System == name || u.System == "" && u.Connector == port.Connector) && !seen[pair] {
						seen[pair] = true
						out = append(out, pair)
					}
				}
			}
		}
	}
	return out
}

// stats gives what the ledger said last, if that is fresh enough; nil if it
// does not answer.
func (c *look) stats() (*seen, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Now().Before(c.until) {
		return c.last, c.took
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookWithin)
	defer cancel()
	began := time.Now()
	s, err := c.ask(ctx)
	c.took = time.Since(began)
	c.until = time.Now().Add(max(lookAgain, lookShare*c.took))
	if c.last = s; err != nil {
		c.last = nil
		c.until = time.Now().Add(lookAgain)
	}
	return c.last, c.took
}

func (c *look) ask(ctx context.Context) (*seen, error) {
	s, err := c.ledger.Stats(ctx)
	if err != nil {
		return nil, err
	}
	list, err := c.stopped(ctx)
	if err != nil {
		return nil, err
	}
	out := &seen{s, map[string]time.Time{}}
	for _, x := range list {
		out.stopped[x.System] = x.Since
	}
	return out, nil
}

// Collect is prometheus.Collector's.
func (c *look) Collect(ch chan<- prometheus.Metric) {
	s, took := c.stats()
	c.gauge(ch, ledgerUp, bit(s != nil))
	c.gauge(ch, lookSeconds, took.Seconds())
	for _, x := range c.flows {
		c.gauge(ch, flowSystem, 1, x[0], x[1])
	}
	for _, x := range c.ages {
		if old, ok := x.age(); ok {
			c.gauge(ch, x.metric, old.Seconds())
		}
	}
	for _, x := range c.streams {
		c.gauge(ch, streamEvery, x.every.Seconds(), x.system, x.name)
	}
	if s == nil {
		return
	}
	age := func(t time.Time) float64 {
		if t.IsZero() {
			return 0
		}
		return max(0, s.Now.Sub(t)).Seconds()
	}
	down := map[string]ledger.SystemQueue{}
	for _, q := range s.Systems {
		down[q.System] = q
	}
	for name := range c.systems {
		since, stopped := s.stopped[name]
		c.gauge(ch, systemStopped, bit(stopped), name)
		c.gauge(ch, stoppedAge, age(since), name)
		c.gauge(ch, systemWaiting, float64(down[name].N), name)
		c.gauge(ch, systemOldest, age(down[name].Oldest), name)
	}
	for on, n := range s.Waiting {
		label := string(on)
		if on == ledger.BlockNone {
			label = "time"
		}
		c.gauge(ch, waiting, float64(n), label)
	}
	for _, o := range s.Open {
		c.gauge(ch, open, float64(o.N), o.Flow, word(string(o.State)))
		c.gauge(ch, openOldest, age(o.Oldest), o.Flow, word(string(o.State)))
	}
	c.gauge(ch, held, float64(s.Held))
	c.gauge(ch, questions, float64(s.Questions))
	for class, q := range map[string]ledger.LaneQueue{"live": s.Live, "bulk": s.Bulk} {
		c.gauge(ch, lanesDue, float64(q.N), class)
		c.gauge(ch, lanesOldest, age(q.Since), class)
	}
	for _, x := range c.streams {
		old := time.Since(c.began).Seconds() // not read yet, that we know
		for _, read := range s.Streams {
			if read.System == x.system && read.Stream == x.name {
				old = age(read.At)
			}
		}
		c.gauge(ch, streamAge, old, x.system, x.name)
	}
	for _, n := range s.Nodes {
		if n.Lease == 0 {
			continue // SQLite: one process, no heartbeat
		}
		id := strconv.FormatInt(n.Node, 10)
		c.gauge(ch, nodeAge, age(n.Heartbeat), id)
		c.gauge(ch, nodeLease, n.Lease.Seconds(), id)
	}
}
