package openmrs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/kiungo-health/kiungo/internal/call"
)

// walk is one poll's way through the pages of a feed.
type walk struct {
	s      *System
	do     call.Doer
	stream feedStream
	most   int

	p      feedPosition
	got    []gathered
	alarms []string
	lost   string // what is not there any more: see connector.Batch
	more   bool
	asked  int
}

// errGone: there is no page of that number (any more).
var errGone = errors.New("the feed has no such page")

// errStuck: OpenMRS fails on this page, and not on others.
var errStuck = errors.New("OpenMRS cannot make this page")

func (w *walk) alarm(format string, args ...any) {
	w.alarms = append(w.alarms, "feed "+w.stream.name+": "+fmt.Sprintf(format, args...))
}

// alarmLost is alarm where the feed does not have any more what it had.
func (w *walk) alarmLost(format string, args ...any) {
	w.alarm(format, args...)
	w.lost = w.alarms[len(w.alarms)-1]
}

// ask reads one page, or recent.
func (w *walk) ask(ctx context.Context, name string) (*atomPage, call.Answer, error) {
	w.asked++
	about := "read page " + name + " of feed " + w.stream.name
	a, err := w.do.Do(ctx, about, w.s.feedRequest(w.stream.category, name))
	if err != nil {
		return nil, a, err
	}
	p, err := parsePage(a.Body)
	if err != nil {
		// Not an atom feed although it looks like one: nothing of it can be used.
		return nil, a, &call.Error{System: w.s.name, About: about, Err: err,
			Verdict: call.Verdict{Class: call.RetryLater, Reason: "the page cannot be read"}}
	}
	if n, err := strconv.Atoi(name); err == nil {
		p.number = n
	}
	return p, a, nil
}

// page reads a numbered page. Where there is none OpenMRS answers 500, with an
// error page that may or may not say why; the recent page tells.
func (w *walk) page(ctx context.Context, n int) (*atomPage, error) {
	p, a, err := w.ask(ctx, strconv.Itoa(n))
	if err == nil || a.Status != http.StatusInternalServerError && a.Status != http.StatusNotFound {
		return p, err
	}
	recent, _, otherErr := w.ask(ctx, "recent")
	switch {
	case otherErr != nil:
		return nil, otherErr
	case recent.number < n || saysGone(a.Body):
		return nil, errGone
	}
	return nil, errStuck
}

// gather collects entries that were not handled before.
func (w *walk) gather(ctx context.Context) error {
	if !w.p.Begun {
		return w.begin(ctx)
	}
	first := true
	for len(w.got) < w.most {
		if w.asked >= mostPages {
			w.more = true
			return nil
		}
		goOn, err := w.step(ctx, first)
		if err != nil || !goOn {
			return err
		}
		first = false
	}
	w.more = true
	return nil
}

// begin notes where a feed is at the very first poll.
func (w *walk) begin(ctx context.Context) error {
	recent, _, err := w.ask(ctx, "recent")
	if err != nil {
		return err
	}
	w.p.Begun, w.p.Heard = true, w.s.now().UTC()
	switch {
	case recent.number == 0:
		// A category that does not exist looks the same.
		w.alarm("it has no entry yet. If OpenMRS is in use, is the category %q right, and does the server's module have it?", w.stream.category)
	case w.s.feeds.fromStart:
		w.p.Page, w.more = 1, true
	case len(recent.entries) == 0: // pages by time, and nothing yet in this one
		w.p.Page = recent.number
	default:
		last := recent.entries[len(recent.entries)-1]
		w.p.Page, w.p.Last, w.p.Done = recent.number, last.id, len(recent.entries)
		w.p.Safe = &mark{ID: last.id}
	}
	return nil
}

// step reads one page and takes from it; false when there is nothing more now.
func (w *walk) step(ctx context.Context, first bool) (goOn bool, err error) {
	switch {
	case w.p.Search != nil:
		return w.look(ctx)
	case w.p.Page == 0:
		return w.afterEmpty(ctx)
	}
	pg, err := w.page(ctx, w.p.Page)
	switch {
	case errors.Is(err, errGone):
		return w.misplaced(ctx)
	case errors.Is(err, errStuck):
		return w.stuck()
	case err != nil:
		return false, err
	}
	delete(w.p.Tries, pageName(w.p.Page))
	if w.p.Last != "" && (w.p.Done > len(pg.entries) || pg.entries[w.p.Done-1].id != w.p.Last) {
		return w.misplaced(ctx)
	}
	if first && w.p.Last != "" {
		w.p.Safe = &mark{ID: w.p.Last, At: w.p.Pages}
	}
	return w.take(pg), nil
}

// take takes the entries of a page that come after the last one handled.
func (w *walk) take(pg *atomPage) (goOn bool) {
	for _, e := range pg.entries[min(w.p.Done, len(pg.entries)):] {
		if len(w.got) >= w.most {
			return true
		}
		g := gathered{entry: e, page: pg.number, before: w.p}
		g.target, g.why = targetOf(e.content)
		if e.problem != "" {
			g.target = target{}
		}
		w.got = append(w.got, g)
		w.p.Last, w.p.Done = e.id, w.p.Done+1
	}
	if pg.next < 0 {
		w.silence()
		return false
	}
	if pg.next <= pg.number {
		w.alarm("page %d names page %d as the next one: the feed is not read on", pg.number, pg.next)
		return false
	}
	if len(w.got) >= w.most {
		return true // the next poll looks first whether this page still stands
	}
	if pg.next != pg.number+1 {
		w.alarm("the numbering jumps from page %d to page %d; what was on the pages between is not known", pg.number, pg.next)
	}
	w.p.leave(pg.next)
	return true
}

// silence reports a feed in which nothing comes any more.
func (w *walk) silence() {
	quiet := w.s.feeds.quiet
	if quiet == 0 || w.p.Hushed || len(w.got) > 0 || w.p.Heard.IsZero() || w.s.now().Sub(w.p.Heard) < quiet {
		return
	}
	w.p.Hushed = true
	w.alarm("nothing came for %s. If OpenMRS is in use, its task that publishes events has stopped: see Manage Scheduler there", quiet)
}

// afterEmpty looks whether a feed without entries has some now.
func (w *walk) afterEmpty(ctx context.Context) (bool, error) {
	recent, _, err := w.ask(ctx, "recent")
	if err != nil {
		return false, err
	}
	if recent.number == 0 {
		w.silence()
		return false, nil
	}
	if recent.prev < 0 {
		w.p.Page = recent.number
		return w.take(recent), nil
	}
	w.p.Page = 1
	return true, nil
}

// stuck counts how often a page could not be made, and in the end leaves it out.
func (w *walk) stuck() (bool, error) {
	name := pageName(w.p.Page)
	tries := map[string]int{name: w.p.Tries[name] + 1}
	for k, v := range w.p.Tries {
		if k != name {
			tries[k] = v
		}
	}
	w.p.Tries = tries
	if tries[name] < mostTries {
		w.alarm("OpenMRS fails on page %d, but not on the newest one; it is asked again at the next poll", w.p.Page)
		return false, nil
	}
	w.alarm("OpenMRS fails on page %d again and again: the feed goes on without it. What its entries announced is not known; see the server's log, and have the sweep on", w.p.Page)
	delete(tries, name)
	w.p.leave(w.p.Page + 1)
	return true, nil
}
