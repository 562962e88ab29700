package openmrs

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
)

const (
	// mostEntries and mostReads limit the messages of a poll; those of the second
	// kind cost a request each.
	mostEntries = 500
	mostReads   = 200
	// mostPages limits the requests of a poll that finds little.
	mostPages = 150
	// mostTries is how often a record, or a page, that makes OpenMRS fail is
	// asked for in polls of their own, before it is given up for itself.
	mostTries = 3
)

var (
	_ connector.Poller     = (*System)(nil)
	_ connector.Surrounder = (*System)(nil)
)

// Streams lists the feeds and the sweep that are switched on.
func (s *System) Streams() []connector.Stream {
	var out []connector.Stream
	for _, f := range s.feeds.streams {
		out = append(out, connector.Stream{Name: f.name, Every: s.feeds.every})
	}
	if len(s.feeds.sweep) > 0 {
		out = append(out, connector.Stream{Name: sweepStream, Every: s.feeds.sweepPause})
	}
	return out
}

// Poll reads what is new in a feed, or one portion of the sweep.
//
// A page is filled to its size and then never changes; the page that grows is
// read by its number, so that it does not matter when it is closed. Reading goes
// on after the last entry handled, whatever was published meanwhile. Where that
// entry is not at its place any more, pages were numbered anew or a backup was
// restored: the place is looked for, and people are told.
func (s *System) Poll(ctx context.Context, do call.Doer, stream string, from []byte) (connector.Batch, error) {
	if stream == sweepStream && len(s.feeds.sweep) > 0 {
		return s.pollSweep(ctx, do, from)
	}
	category := s.feeds.category(stream)
	if category == "" {
		return connector.Batch{}, fmt.Errorf("%s has no stream %q", s.name, stream)
	}
	w := &walk{s: s, do: do, stream: feedStream{stream, category}, most: mostEntries}
	if w.stream.kind() != kindPatient {
		w.most = mostReads
	}
	if err := w.p.read(from); err != nil {
		return connector.Batch{}, fmt.Errorf("%s: feed %s: %w", s.name, stream, err)
	}
	if err := w.gather(ctx); err != nil {
		return connector.Batch{}, err
	}
	return w.batch(ctx)
}

// batch makes messages of what was gathered.
func (w *walk) batch(ctx context.Context) (connector.Batch, error) {
	var wanted []target
	for _, g := range w.got {
		if g.needsRead() {
			wanted = append(wanted, g.target)
		}
	}
	said, err := w.s.readAll(ctx, w.do, wanted)
	if err != nil {
		return connector.Batch{}, err
	}
	tries := map[string]int{}
	for _, g := range w.got {
		if f := said[g.target.kind+g.target.uuid]; f.trouble {
			tries[g.entry.id] = w.p.Tries[g.entry.id] + 1
		}
	}
	b := connector.Batch{Alarms: w.alarms, More: w.more, Lost: w.lost}
	end := w.p
	seen := map[string]bool{}
	for _, g := range w.got {
		// Also of an entry that asked for no read, if another one of the same thing did.
		f := said[g.target.kind+g.target.uuid]
		if f.trouble && tries[g.entry.id] < mostTries {
			// Here it stops for now: a server that stumbled may have recovered at
			// the next poll, and nobody is overtaken.
			end, b.More = g.before, false
			end.Heard, end.Hushed = w.p.Heard, w.p.Hushed
			if tries[g.entry.id] == 1 {
				b.Alarms = append(b.Alarms, fmt.Sprintf("feed %s: OpenMRS fails on the %s of an entry on page %d; it is asked again %d times before the feed goes on without it",
					w.stream.name, g.target.kind, g.page, mostTries-1))
			}
			break
		}
		if !seen[g.entry.id] { // written twice with one id
			seen[g.entry.id] = true
			if len(b.Messages) == 0 {
				end.Heard, end.Hushed = w.s.now().UTC(), false
			}
			b.Messages = append(b.Messages, w.s.entryMessage(w.stream, &g.entry, g.page, g.target, g.why, f))
			if m, ok := w.ofItsEncounter(&g, f); ok && !seen[m.Doc] {
				seen[m.Doc] = true
				b.Messages = append(b.Messages, m)
			}
		}
		delete(tries, g.entry.id)
	}
	end.Tries = w.pageTries(tries)
	b.Position, err = json.Marshal(end)
	return b, err
}

// ofItsEncounter is the message of the encounter that an observation belongs
// to. A correction of one observation writes no row of its encounter, so that
// the feed of encounters says nothing of it (openmrs-module-atomfeed @2adcccb6
// announces rows); whoever follows encounters has to look again.
func (w *walk) ofItsEncounter(g *gathered, f found) (connector.Incoming, bool) {
	if g.target.kind != kindObservation || !looksLikeUUID(f.encounter) || f.problem != "" || g.why != "" {
		return connector.Incoming{}, false
	}
	e := g.entry
	e.categories = nil // what was done, was done to the observation
	t := target{kind: kindEncounter, resource: kindEncounter, uuid: f.encounter, link: g.target.link}
	return w.s.entryMessage(w.stream, &e, g.page, t, "", found{subject: f.subject, encounter: f.encounter, at: f.at, voided: f.without}), true
}

// pageTries adds the tries of a page to those of entries.
func (w *walk) pageTries(tries map[string]int) map[string]int {
	for name, n := range w.p.Tries {
		if strings.HasPrefix(name, "page ") {
			tries[name] = n
		}
	}
	if len(tries) == 0 {
		return nil
	}
	return tries
}

// gathered is an entry to be handled, and where the feed stood before it.
type gathered struct {
	entry  atomEntry
	page   int
	target target
	why    string
	before feedPosition
}

// needsRead tells whether who is meant, or whether it is still there, has to be
// read. Of a patient only the uuid is needed; what was voided is read where the
// feed says so, because in which order UPDATED and VOIDED of one save come out
// of the module's queue is not certain.
func (g *gathered) needsRead() bool {
	if g.why != "" || g.entry.problem != "" || g.target.uuid == "" {
		return false
	}
	switch g.target.kind {
	case kindEncounter, kindObservation:
		return true
	case kindPatient:
		switch g.entry.action() {
		case "VOIDED", "UNVOIDED", "DELETED":
			return !g.target.part
		}
	}
	return false
}

// feedRequest asks for a page by its number, or for recent.
func (s *System) feedRequest(category, page string) call.Request {
	path := strings.NewReplacer("{category}", category, "{page}", page).Replace(s.feeds.path)
	return call.Request{Method: http.MethodGet, Path: path}
}

// isFeed tells requests that are made below url, not below the REST address.
func isFeed(r call.Request) bool { return strings.HasPrefix(r.Path, "/ws/") }

// classifyFeed says what the answer to a feed's page means; ok is false where it
// means what it means elsewhere. A page comes as text/plain, a container's error
// page and a login page as HTML with any status.
func classifyFeed(r call.Request, a call.Answer) (v call.Verdict, ok bool) {
	switch {
	case a.Status == http.StatusNotFound:
		return call.Verdict{Class: call.Refusal, Reason: "this OpenMRS has no atom feed at " + r.Path + ": is the module installed, and is feed_path right?"}, true
	case a.Status == http.StatusInternalServerError:
		return lost(r, "OpenMRS failed inside (HTTP 500) while it made a page of the feed", false), true
	case a.Status < 200 || a.Status > 299:
		return call.Verdict{}, false
	}
	body := strings.TrimSpace(string(a.Body))
	head := strings.ToLower(body[:min(len(body), 1024)])
	switch {
	case body == "":
		return lost(r, "OpenMRS answered without content", false), true
	case !strings.Contains(head, "<feed") && !strings.Contains(head, ":feed") || strings.Contains(head, "<html"):
		return lost(r, "a web page came instead of the feed: check url, and any proxy or login page before OpenMRS", true), true
	case !strings.HasSuffix(body, "feed>"):
		return lost(r, "the page of the feed is cut off", false), true
	}
	return call.Verdict{Class: call.Done}, true
}

func pageName(n int) string { return "page " + strconv.Itoa(n) }
