package openmrs

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Limits of a page. A page has 5 to a few hundred entries of some 500 bytes;
// maxBody limits the whole.
const (
	maxEntries   = 5000
	maxEntryText = 8 << 10 // of one field of an entry
	maxDepth     = 32
)

// atomPage is one page of a feed.
type atomPage struct {
	number     int // 0: the page of a feed without entries
	next, prev int // -1: there is none
	entries    []atomEntry
}

// atomEntry is one event. Entries come oldest first.
type atomEntry struct {
	id         string
	title      string
	categories []string
	updated    time.Time
	content    string
	problem    string // why it cannot be read
}

var errNoFeed = errors.New("the page is not an atom feed")

// parsePage reads a page. An entry that is not well-formed is kept as an entry
// with a problem, and reading goes on with the next one: one bad title must not
// stop a feed. What is wrong before the first entry is an error.
func parsePage(body []byte) (*atomPage, error) {
	r := &pageReader{page: &atomPage{next: -1, prev: -1}, number: -1}
	rest := bytes.TrimPrefix(bytes.TrimSpace(body), []byte("\xef\xbb\xbf"))
	for again := false; ; again = true {
		bad, err := r.read(rest, again)
		if err == nil {
			break
		}
		if bad < 0 || len(r.page.entries) >= maxEntries {
			return nil, err
		}
		chunk, more := rest[bad:], false
		if next := bytes.Index(chunk[1:], []byte("<entry")); next >= 0 {
			chunk, rest, more = chunk[:next+1], chunk[next+1:], true
		}
		r.page.entries = append(r.page.entries, brokenEntry(chunk))
		if !more {
			break
		}
	}
	if !r.feed {
		return nil, errNoFeed
	}
	r.page.number = max(r.number, r.selfNumber, 0)
	return r.page, nil
}

var idInside = regexp.MustCompile(`<id>\s*([^<\s]{1,200})\s*</id>`)

// brokenEntry stands for bytes that are no entry. It is told from others by its
// id, if that can be seen, else by its bytes.
func brokenEntry(chunk []byte) atomEntry {
	e := atomEntry{problem: "the entry is not well-formed XML"}
	if m := idInside.FindSubmatch(chunk); m != nil {
		e.id = strings.ToValidUTF8(string(m[1]), "?")
	} else {
		e.id = madeUp("unreadable", chunk)
	}
	return e
}

func madeUp(what string, content []byte) string {
	sum := sha256.Sum256(content)
	return what + ":" + hex.EncodeToString(sum[:12])
}

type pageReader struct {
	page               *atomPage
	feed               bool
	number, selfNumber int
}

// read reads up to the end. bad is where the entry begins in which an error is,
// -1 if it is in none. again is set where the beginning of the feed was read
// before: then the end of the feed has no beginning.
func (r *pageReader) read(body []byte, again bool) (bad int, err error) {
	base, d := 0, xml.NewDecoder(bytes.NewReader(body))
	for {
		at := base + int(d.InputOffset())
		tok, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			return -1, nil
		}
		if err != nil {
			if !r.feed || !again && len(r.page.entries) == 0 {
				return -1, fmt.Errorf("%w: %w", errNoFeed, err)
			}
			// Bytes between entries, or after the last, that are none.
			next := bytes.Index(body[at:], []byte("<entry"))
			if next < 0 {
				next = len(body) - at
			}
			r.page.entries = append(r.page.entries, brokenEntry(body[at:at+next]))
			if base = at + next; base == len(body) || len(r.page.entries) >= maxEntries {
				return -1, nil
			}
			d = xml.NewDecoder(bytes.NewReader(body[base:]))
			continue
		}
		start, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		switch start.Name.Local {
		case "feed":
			r.feed = true
		case "link":
			r.link(start)
		case "entry":
			if !r.feed {
				return -1, errNoFeed
			}
			if len(r.page.entries) >= maxEntries {
				return -1, fmt.Errorf("the page has more than %d entries", maxEntries)
			}
			e, err := readEntry(d)
			if err != nil {
				return at, err
			}
			r.page.entries = append(r.page.entries, e)
		default:
			if !r.feed {
				return -1, errNoFeed
			}
		}
	}
}

func (r *pageReader) link(start xml.StartElement) {
	var rel, href string
	for _, a := range start.Attr {
		switch a.Name.Local {
		case "rel":
			rel = a.Value
		case "href":
			href = a.Value
		}
	}
	n := pageNumber(href)
	if n < 0 {
		return
	}
	switch rel {
	case "via":
		r.number = n
	case "self":
		r.selfNumber = n
	case "next-archive":
		r.page.next = n
	case "prev-archive":
		r.page.prev = n
	}
}

// pageNumber reads the number of a page from the end of its address. Nothing
// else of a link is used: behind a proxy it names a host that we cannot reach.
func pageNumber(href string) int {
	href, _, _ = strings.Cut(href, "?")
	last := href[strings.LastIndexByte(href, '/')+1:]
	last, _, _ = strings.Cut(last, ".") // OpenSRP's end with .form
	n, err := strconv.Atoi(last)
	if err != nil || n < 0 || n > 1<<30 {
		return -1
	}
	return n
}

// readEntry reads to the end of an entry.
func readEntry(d *xml.Decoder) (atomEntry, error) {
	var e atomEntry
	var path []string
	var text strings.Builder
	for {
		tok, err := d.RawToken()
		if err != nil {
			return e, err
		}
		switch t := tok.(type) {
		case xml.StartElement:
			if t.Name.Local == "entry" || len(path) >= maxDepth {
				return e, errors.New("an element is not closed")
			}
			if t.Name.Local == "category" && len(path) == 0 && len(e.categories) < 20 {
				for _, a := range t.Attr {
					if a.Name.Local == "term" {
						e.categories = append(e.categories, short(a.Value, 100))
					}
				}
			}
			path = append(path, t.Name.Local)
			if len(path) == 1 {
				text.Reset()
			}
		case xml.CharData:
			if len(path) > 0 && text.Len()+len(t) <= maxEntryText {
				text.Write(t)
			} else if len(path) > 0 {
				e.problem = "a field of the entry is longer than 8 kB"
			}
		case xml.EndElement:
			if len(path) == 0 && t.Name.Local == "entry" {
				return e.checked(), nil
			}
			if len(path) == 0 || path[len(path)-1] != t.Name.Local {
				return e, errors.New("an element is closed that was not opened")
			}
			if path = path[:len(path)-1]; len(path) == 0 {
				e.field(t.Name.Local, strings.TrimSpace(text.String()))
			}
		}
	}
}

func (e *atomEntry) field(name, text string) {
	switch name {
	case "id":
		e.id = text
	case "title":
		e.title = short(text, 200)
	case "content":
		e.content = text
	case "updated", "published":
		if t, err := time.Parse(time.RFC3339, text); err == nil && (name == "updated" || e.updated.IsZero()) {
			e.updated = t.UTC()
		}
	}
}

// checked gives an entry without a usable id one that is made of what it says.
func (e atomEntry) checked() atomEntry {
	if e.id == "" || len(e.id) > 200 {
		e.id = madeUp("unnamed", []byte(e.id+"\x00"+e.title+"\x00"+e.updated.String()+"\x00"+e.content))
	}
	return e
}

func short(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "")
}
