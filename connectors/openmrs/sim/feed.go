package sim

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Two modules serve a feed under the same address, /ws/atomfeed/CATEGORY/recent
// and /ws/atomfeed/CATEGORY/N, with the same library (ICT4H/atomfeed @2ad3a0ff:
// EventFeedServiceImpl, NumberFeedGenerator). What they announce differs, see
// feed_publish.go.
const (
	feedBahmni  = "bahmni"  // Bahmni's openmrs-atomfeed: encounters by bahmniencounter
	feedICT4H   = "ict4h"   // the same with the default address of encounters, emrapi
	feedOpenMRS = "openmrs" // openmrs-module-atomfeed: everything, links as JSON
)

const feedMarker = "/ws/atomfeed/"

// feeds are the events of all categories, in the order of their row ids.
type feeds struct {
	module  string // "": no such module is installed
	size    int    // entries of a page (chunking_history)
	delay   time.Duration
	made    int
	entries map[string][]*feedEntry // by category in lower case, as MySQL compares
	hidden  map[string]map[int]bool // pages that are not there, see HideFeedPage
	busy    func(category string)   // see WhilePaging
}

// feedEntry is one row of event_records.
type feedEntry struct {
	title, category string
	tags            []string
	id              string // tag:atomfeed.ict4h.org:UUID
	at              time.Time
	content         string
	raw             string // instead of all that: what stands in the page
}

func newFeeds(opt Options) (*feeds, error) {
	f := &feeds{module: opt.Feed, size: opt.FeedPage, entries: map[string][]*feedEntry{}, hidden: map[string]map[int]bool{}}
	if !slices.Contains([]string{"", feedBahmni, feedICT4H, feedOpenMRS}, opt.Feed) {
		return nil, fmt.Errorf("read the simulator's options: feed must be bahmni, ict4h or openmrs")
	}
	if f.size <= 0 {
		f.size = 5 // the default of chunking_history
	}
	if opt.FeedDelay != "" {
		var err error
		if f.delay, err = time.ParseDuration(opt.FeedDelay); err != nil {
			return nil, fmt.Errorf("read the simulator's options: feedDelay: %w", err)
		}
	}
	return f, nil
}

// serveFeed answers a request below /ws/atomfeed.
func (s *Server) serveFeed(w http.ResponseWriter, r *http.Request, at int) {
	if s.feed.module == "" || r.Method != http.MethodGet {
		page(w, http.StatusNotFound, "Not Found")
		return
	}
	category, name, ok := strings.Cut(strings.Trim(r.URL.EscapedPath()[at+len(feedMarker):], "/"), "/")
	if !ok {
		page(w, http.StatusNotFound, "Not Found")
		return
	}
	inner := s.opt.Inner
	if inner == "" {
		inner = "http://" + r.Host + r.URL.EscapedPath()[:at]
	}
	s.mu.RLock()
	text, ok := s.feedPage(category, name, inner+feedMarker+category+"/")
	busy := s.feed.busy
	s.mu.RUnlock()
	if busy != nil {
		busy(category)
	}
	if !ok {
		// Spring's exception, shown by the container's error page.
		page(w, http.StatusInternalServerError, "Request processing failed; nested exception is org.ict4h.atomfeed.server.exceptions.AtomFeedRuntimeException: feed does not exist")
		return
	}
	// The controller gives a plain string (@ResponseBody String).
	w.Header().Set("Content-Type", "text/plain;charset=UTF-8")
	_, _ = w.Write([]byte(text))
}

// visible are the entries that left the queue: the publisher runs every few
// seconds.
func (f *feeds) visible(category string, now time.Time) []*feedEntry {
	all := f.entries[strings.ToLower(category)]
	for len(all) > 0 && f.delay > 0 && all[len(all)-1].at.Add(f.delay).After(now) {
		all = all[:len(all)-1]
	}
	return all
}

// feedPage writes one page; false where there is none.
func (s *Server) feedPage(category, name, base string) (string, bool) {
	f := s.feed
	all := f.visible(category, s.now())
	last := (len(all) + f.size - 1) / f.size
	n := last
	if name != "recent" {
		var err error
		if n, err = strconv.Atoi(name); err != nil || n <= 0 || n > last || f.hidden[strings.ToLower(category)][n] {
			return "", false
		}
	}
	var entries []*feedEntry
	if n > 0 {
		entries = all[(n-1)*f.size : min(n*f.size, len(all))]
	}
	updated := midnight(s.now().In(s.zone))
	if len(entries) > 0 {
		updated = entries[0].at
		for _, e := range entries {
			if e.at.After(updated) {
				updated = e.at
			}
		}
	}
	var b strings.Builder
	b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\">\n  <title>Patient AOP</title>\n")
	link := func(rel, page string) {
		b.WriteString("  <link rel=\"" + rel + "\" type=\"application/atom+xml\" href=\"" + escapeXML(base+page) + "\" />\n")
	}
	link("self", name)
	link("via", strconv.Itoa(n))
	hidden := f.hidden[strings.ToLower(category)]
	if next := skipped(n+1, 1, hidden); n < last && next <= last {
		link("next-archive", strconv.Itoa(next))
	}
	if prev := skipped(n-1, -1, hidden); prev >= 1 {
		link("prev-archive", strconv.Itoa(prev))
	}
	fmt.Fprintf(&b, "  <author>\n    <name>OpenMRS</name>\n  </author>\n  <id>bec795b1-3d17-451d-b43e-a094019f6984+%d</id>\n", n)
	b.WriteString("  <generator uri=\"https://github.com/ICT4H/atomfeed\">OpenMRS Feed Publisher</generator>\n")
	b.WriteString("  <updated>" + feedTime(updated) + "</updated>\n")
	for _, e := range entries {
		e.write(&b)
	}
	b.WriteString("</feed>\n")
	return b.String(), true
}

func skipped(n, step int, hidden map[int]bool) int {
	for hidden[n] {
		n += step
	}
	return n
}

func midnight(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, t.Location())
}

func feedTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

func escapeXML(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text))
	return b.String()
}

func (e *feedEntry) write(b *strings.Builder) {
	if e.raw != "" {
		b.WriteString(e.raw)
		return
	}
	b.WriteString("  <entry>\n    <title>" + escapeXML(e.title) + "</title>\n")
	for _, term := range append(slices.Clone(e.tags), e.category) {
		b.WriteString("    <category term=\"" + escapeXML(term) + "\" />\n")
	}
	b.WriteString("    <id>" + e.id + "</id>\n    <updated>" + feedTime(e.at) + "</updated>\n    <published>" + feedTime(e.at) + "</published>\n")
	b.WriteString("    <content type=\"application/vnd.atomfeed+xml\"><![CDATA[" + e.content + "]]></content>\n  </entry>\n")
}

// add puts an event into its category's feed.
func (s *Server) feedAdd(e *feedEntry) {
	f := s.feed
	f.made++
	if e.id == "" {
		e.id = fmt.Sprintf("tag:atomfeed.ict4h.org:00000000-5157-4000-9000-%012d", f.made)
	}
	if e.at.IsZero() {
		e.at = s.stored(s.now())
	}
	key := strings.ToLower(e.category)
	f.entries[key] = append(f.entries[key], e)
}
