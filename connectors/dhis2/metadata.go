package dhis2

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/internal/believed"
	"github.com/kiungo-health/kiungo/internal/call"
)

// metadataAge is how long metadata is believed. Then it is asked with its ETag:
// what has not changed costs DHIS2 a look, and the line nothing.
const metadataAge = 15 * time.Minute

// maxKept is the largest body that is kept for the next question with an ETag.
const maxKept = 2 << 20

// metadata is a server's metadata, read when first asked for and kept for a
// while. A default DHIS2 takes a data element outside the data set, an
// organisation unit that is not assigned and a weekly period for a monthly set
// without a word, so all of that is checked here.
type metadata struct {
	sys   *System
	kept  *believed.Store
	mu    sync.RWMutex
	tags  map[string]tagged
	names map[string]string // UID -> name, of what was read
}

type tagged struct {
	tag  string
	body []byte
}

func newMetadata(s *System) *metadata {
	return &metadata{sys: s, kept: believed.New(metadataAge, func() time.Time { return s.now() }), tags: map[string]tagged{}, names: map[string]string{}}
}

// errUnknown says that the server has no such metadata, or does not show it.
var errUnknown = errors.New("not known to DHIS2, or not readable by the user")

// errAmbiguous says that a code fits several.
var errAmbiguous = errors.New("fits more than one in DHIS2: give the UID")

func unknown(err error) bool { return errors.Is(err, errUnknown) || errors.Is(err, errAmbiguous) }

// named remembers the names of what was read, for the words of a verdict.
func (m *metadata) named(all ...Named) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range all {
		m.names[n.ID] = n.title()
	}
}

// nameOf is the name of a piece of metadata that was read, else its UID.
func (m *metadata) nameOf(uid string) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return cmp.Or(m.names[uid], uid)
}

// cellName names a value in words: "Live births (Male, Doctor)". What was not read
// goes by its path.
func (m *metadata) cellName(element, combo string) string {
	of, by := m.nameOf(element), m.nameOf(combo)
	switch {
	case of == element:
		return cell(element, combo)
	case by == "default":
		return of
	}
	return of + " (" + by + ")"
}

// byCode is believed.Read for what has a UID besides the word that a flow has for it: it
// is then known by either, and read once.
func byCode[T any](ctx context.Context, m *metadata, what, ref string, id func(T) string, load func() (T, error)) (T, error) {
	v, err := believed.Read(ctx, m.kept, believed.Key{What: what, Ref: ref}, load)
	if err != nil || id(v) == ref {
		return v, err
	}
	return believed.Read(ctx, m.kept, believed.Key{What: what, Ref: id(v)}, func() (T, error) { return v, nil })
}

// get reads and decodes one resource, with the ETag of the last time. Where it
// is not there it gives errUnknown.
func (m *metadata) get(ctx context.Context, do call.Doer, about string, r call.Request, into any) error {
	key := r.Path + "?" + url.Values(r.Query).Encode()
	m.mu.RLock()
	last, tagged := m.tags[key]
	m.mu.RUnlock()
	if tagged {
		r.Header = map[string]string{"If-None-Match": last.tag}
	}
	a, err := do.Do(ctx, about, r)
	if err != nil {
		return err
	}
	body := a.Body
	switch {
	case a.Status == http.StatusNotFound:
		return errUnknown
	case a.Status == http.StatusNotModified:
		body = last.body
	case a.Header["ETag"] != "" && len(body) <= maxKept:
		m.keepTag(key, a.Header["ETag"], body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s: read the answer of DHIS2: %w", about, err)
	}
	return nil
}

func (m *metadata) keepTag(key, tag string, body []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tags[key] = tagged{tag: tag, body: body}
}

// pageSize is asked for in lists that may be long.
const pageSize = 1000

// list reads all pages of a list. The addresses in its pager are made from the
// Host header and wrong behind many proxies: only the page numbers are used.
func list[T any](ctx context.Context, m *metadata, do call.Doer, about, resource string, query ...string) ([]T, error) {
	var all []T
	for page := 1; ; page++ {
		q := append([]string{"pageSize", strconv.Itoa(pageSize), "page", strconv.Itoa(page)}, query...)
		var body map[string]json.RawMessage
		if err := m.get(ctx, do, about, read("/"+resource, q...), &body); err != nil {
			return nil, err
		}
		var rows []T
		if raw, ok := body[resource]; ok {
			if err := json.Unmarshal(raw, &rows); err != nil {
				return nil, fmt.Errorf("%s: read the list that DHIS2 sent: %w", about, err)
			}
		}
		all = append(all, rows...)
		var pager struct {
			Page      int `json:"page"`
			PageCount int `json:"pageCount"`
		}
		if raw, ok := body["pager"]; ok {
			if err := json.Unmarshal(raw, &pager); err != nil {
				return nil, fmt.Errorf("%s: read the pager that DHIS2 sent: %w", about, err)
			}
		}
		if len(rows) == 0 || page >= pager.PageCount {
			return all, nil
		}
	}
}

// one reads one object by its UID, else by its code.
func one[T any](ctx context.Context, m *metadata, do call.Doer, about, resource, ref, fields string) (*T, error) {
	if IsUID(ref) {
		var v *T
		err := m.get(ctx, do, about, read("/"+resource+"/"+seg(ref), "fields", fields), &v)
		if err == nil && v != nil || err != nil && !errors.Is(err, errUnknown) {
			return v, err
		}
	}
	rows, err := list[T](ctx, m, do, about, resource, "filter", "code:eq:"+ref, "fields", fields)
	if err != nil {
		return nil, err
	}
	switch len(rows) {
	case 0:
		return nil, errUnknown
	case 1:
		return &rows[0], nil
	}
	return nil, errAmbiguous
}
