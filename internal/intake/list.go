package intake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/calendar"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/system"
)

// List asks one system for one list, on a flow's schedule: chunk by chunk, each
// with the messages that it brought, so that a restart goes on where it was. It
// knows who is on the list, and says of each row whether it is new, changed or
// left.
type List struct {
	In     *Intake
	System *system.Port
	Flow   *flow.Flow
	Source *flow.Source
	// Now asks for the list before its time.
	Now chan struct{}
	// Today gives the time of day by which the schedule goes, or an error while
	// it is not known; nil: ledger time.
	Today func() (time.Time, error)
}

func (l *List) today() (time.Time, error) {
	if l.Today == nil {
		return l.In.Ledger.Now(), nil
	}
	return l.Today()
}

// listState is what is stored between chunks and runs.
type listState struct {
	// Last is the newest moment of the schedule that was seen to; what is due
	// after it is to be done.
	Last time.Time `json:"last"`
	Runs int64     `json:"runs"` // number of the newest run
	// Todo are the runs that are due, oldest first; the first is under way if it
	// has a number.
	Todo []listRun `json:"todo,omitempty"`
}

type listRun struct {
	Number  int64     `json:"n,omitempty"`
	At      time.Time `json:"at"`
	Period  string    `json:"period,omitempty"`
	Cursor  []byte    `json:"cursor,omitempty"`
	Leaving bool      `json:"leaving,omitempty"` // the list was read; who left is worked out
	Rows    int       `json:"rows,omitempty"`
	// Counted: how many left was looked at, with Problem if they were too many.
	Counted bool   `json:"counted,omitempty"`
	Stray   int    `json:"stray,omitempty"` // rows that name nobody
	Problem string `json:"problem,omitempty"`
}

// listRetry is the pause after a chunk that could not be read.
const listRetry = time.Minute

// Name of the list within its system: what is asked for, and the flow that asks.
func (l *List) Name() string {
	s := l.Source.Schedule
	parts := []string{l.Source.Message.Name}
	for _, k := range slices.Sorted(maps.Keys(s.Keys)) {
		parts = append(parts, k+"="+s.Keys[k])
	}
	return strings.Join(append(parts, l.Flow.Name), " ")
}

func (l *List) zone() *time.Location {
	if z := l.Flow.Integration().Zone; z != nil {
		return z
	}
	return time.UTC
}

// Run asks for the list whenever it is due, until ctx ends.
func (l *List) Run(ctx context.Context) {
	for {
		wait, err := l.Once(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			l.In.log().Warn("a list could not be read and will be asked for again", "system", l.System.Name(), "list", l.Source.Message.Name, "flow", l.Flow.Name, "error", err)
			wait = listRetry
		}
		timer := time.NewTimer(min(wait, time.Hour)) // a clock that is set is noticed
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-l.Now:
			timer.Stop()
		}
	}
}

// Once reads what is due now, and gives how long until there is more to do.
func (l *List) Once(ctx context.Context) (time.Duration, error) {
	for {
		wait, err := l.next(ctx)
		if errors.Is(err, ledger.ErrMoved) {
			continue // somebody asked for it, or another node reads it too: look again
		}
		if err != nil || wait > 0 {
			return wait, err
		}
	}
}

// next reads one chunk, or plans what is due.
func (l *List) next(ctx context.Context) (time.Duration, error) {
	state, old, err := l.load(ctx)
	if err != nil {
		return 0, err
	}
	if len(state.Todo) > 0 {
		return l.chunk(ctx, state, old)
	}
	now, err := l.today()
	if errors.As(err, new(*calendar.StoppedError)) {
		return listRetry, nil // it has been told; what is missed meanwhile is caught up with
	}
	if err != nil {
		return 0, err
	}
	due, err := l.plan(state, now)
	if err != nil {
		return 0, err
	}
	if due > 0 && old != nil {
		return due, nil
	}
	return 0, l.save(ctx, state, old, nil, nil)
}

// plan adds what is due to the state, or gives how long it is until then. The
// first time it only notes the time: a list is not asked for what was before
// Kiungo came.
func (l *List) plan(state *listState, now time.Time) (time.Duration, error) {
	when, zone := l.Source.Schedule.When, l.zone()
	if state.Last.IsZero() {
		state.Last = now
	}
	first, err := when.Next(state.Last, zone)
	if err != nil {
		return 0, err
	}
	if first.After(now) {
		return max(first.Sub(now), time.Millisecond), nil
	}
	due := []time.Time{first}
	for len(due) < 1000 {
		next, err := when.Next(due[len(due)-1], zone)
		if err != nil {
			return 0, err
		}
		if next.After(now) {
			break
		}
		due = append(due, next)
	}
	state.Last = due[len(due)-1]
	if !when.ByPeriod() {
		// Who is on the list now: once, however often it was missed.
		state.Todo = []listRun{{At: state.Last}}
		return 0, nil
	}
	for i, at := range due {
		p, err := when.Of(at, zone)
		if err != nil {
			return 0, err
		}
		names := []string{p.Name()}
		if i == 0 {
			for range l.Source.Schedule.Again {
				p = p.Prev()
				names = append([]string{p.Name()}, names...)
			}
		}
		for _, name := range names {
			state.Todo = append(state.Todo, listRun{At: at, Period: name})
		}
	}
	return 0, nil
}

// Ask asks for the list now, before its time: for a period by its name, or the
// one just completed.
func (l *List) Ask(ctx context.Context, periodName string) error {
	for {
		if err := l.ask(ctx, periodName); !errors.Is(err, ledger.ErrMoved) {
			return err // else it is being read just now
		}
	}
}

func (l *List) ask(ctx context.Context, periodName string) error {
	state, old, err := l.load(ctx)
	if err != nil {
		return err
	}
	now, err := l.today()
	if err != nil {
		return err
	}
	if state.Last.IsZero() {
		state.Last = now
	}
	run := listRun{At: now}
	when := l.Source.Schedule.When
	switch {
	case when.ByPeriod() && periodName != "":
		p, err := when.Named(periodName)
		if err != nil {
			return err
		}
		run.Period = p.Name()
	case when.ByPeriod():
		p, err := when.Completed(now, l.zone())
		if err != nil {
			return err
		}
		run.Period = p.Name()
	case periodName != "":
		return fmt.Errorf("flow %s asks for no period", l.Flow.Name)
	}
	state.Todo = append(state.Todo, run)
	return l.save(ctx, state, old, nil, nil)
}

func (l *List) load(ctx context.Context) (*listState, []byte, error) {
	old, err := l.In.Ledger.Position(ctx, l.System.Name(), "list "+l.Name())
	if err != nil {
		return nil, nil, err
	}
	state := &listState{}
	if old != nil {
		if err := json.Unmarshal(old, state); err != nil {
			return nil, nil, fmt.Errorf("read how far list %s of %s came: %w", l.Name(), l.System.Name(), err)
		}
	}
	return state, old, nil
}

func (l *List) save(ctx context.Context, state *listState, old []byte, messages []connector.Incoming, listing *ledger.Listing) error {
	now, err := json.Marshal(state)
	if err != nil {
		return err
	}
	adv := &ledger.Advance{System: l.System.Name(), Stream: "list " + l.Name(), Old: old, New: now, List: listing, Bulk: true}
	_, err = l.In.Accept(ctx, l.System.Name(), messages, adv)
	return err
}

// chunk reads and stores one chunk of the run that is under way.
func (l *List) chunk(ctx context.Context, state *listState, old []byte) (time.Duration, error) {
	run := &state.Todo[0]
	if run.Number == 0 {
		state.Runs++
		run.Number = state.Runs
	}
	if run.Leaving {
		return 0, l.leavers(ctx, state, old)
	}
	asked, err := l.asked(run)
	if err != nil {
		return 0, err
	}
	source, ok := l.System.System.(connector.Lister)
	if !ok {
		return 0, fmt.Errorf("%s has no lists", l.System.Name())
	}
	page, err := source.List(ctx, l.System.Reader(0), asked, run.Cursor)
	if err != nil {
		return 0, err
	}
	run.Cursor = page.Cursor
	if page.Wait > 0 {
		return page.Wait, l.save(ctx, state, old, nil, nil)
	}
	messages, listing, err := l.rows(ctx, run, page.Messages)
	if err != nil {
		return 0, err
	}
	run.Rows += len(page.Messages)
	if page.Done {
		run.Cursor, run.Leaving = nil, true
	}
	return 0, l.save(ctx, state, old, messages, listing)
}

// asked is the run as the connector is asked for it.
func (l *List) asked(run *listRun) (connector.Run, error) {
	out := connector.Run{Kind: l.Source.Message.Name, Keys: l.Source.Schedule.Keys, At: run.At.In(l.zone()), Period: run.Period}
	if run.Period != "" {
		p, err := l.Source.Schedule.When.Named(run.Period)
		if err != nil {
			return out, err
		}
		out.Start, out.End = p.Start().In(l.zone()), p.End().In(l.zone())
	}
	with, err := l.Flow.With(l.Source, out)
	out.With = with
	return out, err
}

// members is the name under which the members are known: those of a period are
// a list of their own.
func (l *List) members(run *listRun) string { return l.Name() + " " + run.Period }

// What became of a row since the last list.
const (
	rowNew     = "new"
	rowChanged = "changed"
	rowLeft    = "left"
)

// twice is why a row of somebody who is on the list twice is asked about.
const twice = "the list has this twice, and the rows differ; say which is right where the list is made"

// rows says of each row what became of it, and marks those that differ from
// another row of the same list.
func (l *List) rows(ctx context.Context, run *listRun, in []connector.Incoming) ([]connector.Incoming, *ledger.Listing, error) {
	docs := make([]string, len(in))
	versions, differ := map[string]string{}, map[string]bool{}
	for i, m := range in {
		docs[i] = m.Doc
		if v, ok := versions[m.Doc]; ok && v != m.Version {
			differ[m.Doc] = true
		}
		versions[m.Doc] = m.Version
	}
	listed, err := l.In.Ledger.Listed(ctx, l.System.Name(), l.members(run), docs)
	if err != nil {
		return nil, nil, err
	}
	out := make([]connector.Incoming, len(in))
	for i, m := range in {
		change := rowNew
		if listed[i] > 0 {
			change = rowChanged
		}
		if (differ[m.Doc] || listed[i] == run.Number) && m.Problem == "" {
			m.Problem = twice
		}
		if m.Content, err = l.changed(m.Content, change); err != nil {
			return nil, nil, err
		}
		out[i] = m
	}
	members := make([]string, 0, len(docs))
	for i, m := range in {
		if m.Stray {
			run.Stray++
			continue
		}
		members = append(members, docs[i])
	}
	return out, &ledger.Listing{List: l.members(run), Run: run.Number, Docs: members}, nil
}

// changed puts what became of a row into it.
func (l *List) changed(content []byte, change string) ([]byte, error) {
	var doc map[string]any
	if err := json.Unmarshal(content, &doc); err != nil {
		return nil, fmt.Errorf("a row of %s is no object: %w", l.System.Name(), err)
	}
	row, ok := doc[l.Source.Message.List].(map[string]any)
	if !ok {
		row = map[string]any{}
		doc[l.Source.Message.List] = row
	}
	row["change"] = change
	return json.Marshal(doc)
}

// leavers makes messages of those who were on the list and are not any more,
// some at a time; then the run is over.
func (l *List) leavers(ctx context.Context, state *listState, old []byte) error {
	run := &state.Todo[0]
	left, err := l.In.Ledger.Unlisted(ctx, l.System.Name(), l.members(run), run.Number, 500)
	if err != nil {
		return err
	}
	if len(left) == 0 {
		l.In.log().Info("a list was read", "system", l.System.Name(), "flow", l.Flow.Name, "rows", run.Rows, "period", run.Period)
		state.Todo = state.Todo[1:]
		return l.save(ctx, state, old, nil, nil)
	}
	if !run.Counted {
		if run.Problem, err = l.tooMany(ctx, run); err != nil {
			return err
		}
		run.Counted = true
	}
	listing := &ledger.Listing{List: l.members(run), Run: run.Number, Left: true}
	var out []connector.Incoming
	for _, m := range left {
		msg, err := l.In.Ledger.Message(ctx, m.Message)
		if err != nil {
			return err
		}
		listing.Docs = append(listing.Docs, m.Doc)
		if len(msg.Content) == 0 {
			continue // its content was wiped: nothing is known to be taken off
		}
		content, err := l.changed(msg.Content, rowLeft)
		if err != nil {
			return err
		}
		out = append(out, connector.Incoming{Kind: msg.Kind, Doc: m.Doc, Version: "left " + strconv.FormatInt(run.Number, 10),
			Event: run.At, Content: content, Problem: run.Problem})
	}
	return l.save(ctx, state, old, out, listing)
}

// tooMany says, if so, that more left at once than the flow lets pass without a
// question: a report that was cut short looks like that (law 35).
func (l *List) tooMany(ctx context.Context, run *listRun) (string, error) {
	if run.Stray > 0 {
		return fmt.Sprintf("%d rows of the list do not say who they are about; who seems to have left it may be one of them", run.Stray), nil
	}
	now, earlier, err := l.In.Ledger.Members(ctx, l.System.Name(), l.members(run))
	if err != nil {
		return "", err
	}
	if run.Rows == 0 {
		now, earlier = 0, now+earlier // this run has no members: the newest are of an earlier one
	}
	const few = 5 // of a short list a few may always leave
	if earlier <= few || earlier*100 <= (now+earlier)*int64(l.Source.Schedule.Leavers) {
		return "", nil
	}
	return fmt.Sprintf("more than %d %% of the list left at once; make sure that the list is whole", l.Source.Schedule.Leavers), nil
}
