package invariants

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/clinictest"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

// witness stands before every simulator and looks at each changing request as
// it arrives: whether its intent is durable, whether its epoch is not behind,
// and whether it is alone in its lane and on its record.
type witness struct {
	w *world

	mu     sync.Mutex
	wrong  []string
	epochs map[int64]int64      // by lane, the newest seen
	first  map[int64]place      // by lane, the newest place that wrote
	begun  map[int64]bool       // deliveries that have written
	flying map[string][]*flight // by lane and by record
	seen   int
	// unasked is how many could not be looked up in the journal.
	unasked int
	// together is how many changing requests were under way at a time, at most.
	together, now int
	// merges: lanes of this world become one, so that what stood in another lane may
	// have a lower receive number than what has written in this one.
	merges bool
	before func(host string, r *http.Request) // told of each changing request
}

// place is a delivery's place in its lane; a new version of a document takes
// the place of the old.
type place struct {
	seq int64
	doc string
}

type flight struct {
	ctx  context.Context
	call string
}

func newWitness(w *world) *witness {
	return &witness{w: w, epochs: map[int64]int64{}, first: map[int64]place{}, begun: map[int64]bool{}, flying: map[string][]*flight{}}
}

func (x *witness) faults() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.wrong)
}

// forget starts anew, with another ledger.
func (x *witness) forget() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.epochs, x.first, x.begun = map[int64]int64{}, map[int64]place{}, map[int64]bool{}
}

func (x *witness) blame(format string, args ...any) {
	x.wrong = append(x.wrong, fmt.Sprintf(format, args...))
}

func (x *witness) wrap(host string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		if x.before != nil {
			x.before(host, r)
		}
		defer x.land(x.look(host, r))
		next.ServeHTTP(w, r)
	})
}

// look checks a request, and gives what it occupies until it lands.
func (x *witness) look(host string, r *http.Request) (*flight, []string) {
	text := r.Header.Get(call.IDHeader)
	c, ok := clinictest.ParseCall(text)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.seen++
	if !ok {
		x.blame("%s: %s %s came without a call's id (%q)", host, r.Method, r.URL.Path, text)
		return nil, nil
	}
	l := x.w.ledger
	if l == nil {
		x.blame("call %s came while Kiungo was stopped", text)
		return nil, nil
	}
	d, err := l.Delivery(context.Background(), c.Delivery)
	if err != nil {
		x.unasked++ // killed meanwhile, or busy: nothing can be asked
		return nil, nil
	}
	x.intentFirst(text, c, d)
	f := &flight{r.Context(), text}
	x.now++
	x.together = max(x.together, x.now)
	keys := []string{fmt.Sprintf("lane %d", d.LaneID)}
	if r.URL.Path != "" && !isCollection(r.URL.Path) {
		keys = append(keys, host+r.URL.Path)
	}
	for _, k := range keys {
		for _, other := range x.flying[k] {
			if other.ctx.Err() == nil {
				x.blame("call %s came while %s was under way, both on %s", text, other.call, k)
			}
		}
		x.flying[k] = append(x.flying[k], f)
	}
	return f, keys
}

// isCollection tells the addresses at which records are made: many at a time.
func isCollection(path string) bool {
	last := path[strings.LastIndexByte(path, '/')+1:]
	return len(last) < 30
}

func (x *witness) land(f *flight, keys []string) {
	if f == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.now--
	for _, k := range keys {
		x.flying[k] = slices.DeleteFunc(x.flying[k], func(o *flight) bool { return o == f })
	}
}

// intentFirst checks that the journal knew of this call before it was sent.
func (x *witness) intentFirst(text string, c clinictest.CallID, d *ledger.Work) {
	if int64(d.Delivery.PlanNo) != c.Plan {
		x.blame("call %s is of plan %d, the journal is at plan %d", text, c.Plan, d.Delivery.PlanNo)
		return
	}
	state := ""
	for _, s := range d.Journal {
		if s.Epoch > c.Epoch {
			x.blame("call %s was sent although epoch %d has written", text, s.Epoch)
		}
		switch {
		case s.Call == c.Call && (s.Kind == ledger.StepIntent || s.Kind == ledger.StepUndo):
			state = "intended"
		case s.Call == c.Call && s.Kind != ledger.StepNote:
			state = string(s.Kind)
		}
		if slices.Contains(strings.Fields(s.Intent), c.Call) {
			state = "intended"
		}
	}
	if state != "intended" {
		x.blame("call %s was sent, and the journal says of it: %q", text, state)
	}
	if e := x.epochs[d.LaneID]; c.Epoch < e {
		x.blame("call %s came after epoch %d of its lane", text, e)
	}
	x.epochs[d.LaneID] = c.Epoch
	if !x.begun[c.Delivery] {
		x.begun[c.Delivery] = true
		lane := d.LaneID
		if d.Delivery.Replay != nil {
			lane = -lane // what comes back keeps its own order
		}
		last := x.first[lane]
		if !x.merges && d.Delivery.Seq < last.seq || d.Delivery.Seq == last.seq && d.Delivery.Doc != last.doc {
			x.blame("call %s is the first of receive number %d, after that of %d in the same lane", text, d.Delivery.Seq, last.seq)
		}
		x.first[lane] = place{d.Delivery.Seq, d.Delivery.Doc}
	}
}
