//go:build unix

package chaos

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/clinictest"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

// gate stands before every system and looks at each changing request as it
// arrives: who sends it, and whether the journal knows of it already.
type gate struct {
	w *world

	mu   sync.Mutex
	log  []*arrival
	lies []*lie
	told int    // lies
	down string // the system that is down
	// unasked is how many arrived while the ledger could not be looked into.
	unasked int
}

// arrival is a changing request.
type arrival struct {
	clinictest.CallID
	node         int
	system, path string
	method       string
	from, to     time.Time // to: zero while it is under way
	left         bool      // the node did not wait for its end: killed, cut off, out of patience
	late         bool      // the journal knew a newer epoch
	wrong        string    // what is wrong with it, by the journal
}

func (a *arrival) String() string {
	return fmt.Sprintf("%d/%d/%s/%d by node %d (%s %s)", a.Delivery, a.Plan, a.Call, a.Epoch, a.node, a.method, a.system)
}

// dark has a system go down, or none.
func (g *gate) dark(system string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.down = system
}

func (g *gate) isDown(system string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.down == system
}

func (g *gate) wrap(node int, system string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.isDown(system) {
			panic(http.ErrAbortHandler)
		}
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		a := &arrival{node: node, system: system, method: r.Method, path: r.URL.Path, from: time.Now()}
		text := r.Header.Get(call.IDHeader)
		id, ok := clinictest.ParseCall(text)
		a.CallID = id
		if !ok {
			a.wrong = fmt.Sprintf("it came without a call's id (%q)", text)
		} else {
			g.inspect(a)
		}
		g.mu.Lock()
		g.log = append(g.log, a)
		g.mu.Unlock()
		end := func(left bool) {
			g.mu.Lock()
			defer g.mu.Unlock()
			if a.to.IsZero() {
				a.to, a.left = time.Now(), left
			}
		}
		stop := context.AfterFunc(r.Context(), func() { end(true) })
		defer func() {
			stop()
			end(r.Context().Err() != nil)
		}()
		if l := g.liar(system, r); l != nil {
			l.tell(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// inspect looks the call up in the journal, which must know of it by now.
func (g *gate) inspect(a *arrival) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	lines, err := g.w.journal(ctx, a.Delivery, a.Plan)
	if err != nil {
		g.mu.Lock()
		g.unasked++
		g.mu.Unlock()
		return
	}
	state := ""
	for _, l := range lines {
		if l.epoch > a.Epoch {
			a.late = true
		}
		switch {
		case l.call == a.Call && (l.kind == ledger.StepIntent || l.kind == ledger.StepUndo):
			state = intended
		case l.call == a.Call && l.kind != ledger.StepNote:
			state = string(l.kind)
		}
		if slices.Contains(strings.Fields(l.intent), a.Call) {
			state = intended
		}
	}
	if state != intended && !a.late {
		a.wrong = fmt.Sprintf("the journal says of it: %q", state)
	}
}

const intended = "intended"

// line is one of the journal's.
type line struct {
	n, epoch     int64
	kind         ledger.StepKind
	call, intent string
}

// planNumbers is how many plans one delivery may have: see the store.
const planNumbers = 1024

func (w *world) journal(ctx context.Context, delivery, plan int64) (out []line, err error) {
	err = w.look(ctx, fmt.Sprintf(`SELECT n, epoch, kind, call, intent FROM journal WHERE plan = %d ORDER BY n`, delivery*planNumbers+plan), func(r *sql.Rows) error {
		var l line
		err := r.Scan(&l.n, &l.epoch, &l.kind, &l.call, &l.intent)
		out = append(out, l)
		return err
	})
	return out, err
}

// arrivals gives what came, in order.
func (g *gate) arrivals() []*arrival {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.log)
}

// underWay tells whether a changing request to a system is.
func (g *gate) underWay(system string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.log, func(a *arrival) bool { return a.system == system && a.to.IsZero() })
}

func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.log)
}
