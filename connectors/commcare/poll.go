package commcare

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/kiungo-health/kiungo/connectors/commcare/xform"
	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
)

// Streams lists the sweep of forms and, if switched on, of cases.
func (s *System) Streams() []connector.Stream {
	out := []connector.Stream{{Name: streamForms, Every: s.sweepEvery}}
	if s.sweepCases {
		out = append(out, connector.Stream{Name: streamCases, Every: s.sweepEvery})
	}
	return out
}

// Poll reads one page. CommCare orders by indexed_on, which is not the order
// in which things become visible (law 35): each sweep starts an overlap before
// the newest thing seen, and leaves out what it has seen already.
func (s *System) Poll(ctx context.Context, do call.Doer, stream string, from []byte) (connector.Batch, error) {
	var p position
	if err := p.read(from); err != nil {
		return connector.Batch{}, fmt.Errorf("%s: read the position of %s: %w", s.name, stream, err)
	}
	var source source
	switch stream {
	case streamForms:
		source = formSource{s}
	case streamCases:
		source = caseSource{s}
	default:
		return connector.Batch{}, fmt.Errorf("%s has no stream %q", s.name, stream)
	}
	if !p.Begun {
		if err := s.begin(ctx, do, &p); err != nil {
			return connector.Batch{}, err
		}
	}
	return s.page(ctx, do, source, &p)
}

// source is what differs between the form API and the case API.
type source interface {
	page(p *position, limit int) call.Request
	items(body []byte) (items []map[string]any, next string, more bool, err error)
	message(item map[string]any) (*connector.Incoming, error)
	about() string
}

// begin decides where the first sweep starts: at sweep_from, or else now, by
// CommCare's own clock, so that switching on never sends a project's history.
func (s *System) begin(ctx context.Context, do call.Doer, p *position) error {
	from := s.sweepFrom
	if from.IsZero() {
		a, err := do.Do(ctx, "ask CommCare for its time", s.Probe())
		if err != nil {
			return err
		}
		if from, err = http.ParseTime(a.Header["Date"]); err != nil {
			from = s.now()
		}
	}
	p.Begun, p.Floor, p.High, p.At = true, from.UTC(), from.UTC(), from.UTC()
	return nil
}

func (s *System) page(ctx context.Context, do call.Doer, src source, p *position) (connector.Batch, error) {
	a, err := do.Do(ctx, src.about(), src.page(p, s.pageSize))
	if err != nil {
		return connector.Batch{}, err
	}
	items, next, more, err := src.items(a.Body)
	if err != nil {
		return connector.Batch{}, fmt.Errorf("%s: %s: %w", s.name, src.about(), err)
	}
	batch := connector.Batch{}
	size, taken, last := 0, 0, p.At
	for _, item := range items {
		id, at := firstText(item["id"], item["_id"], item["case_id"]), indexedOn(item)
		if !p.saw(id, at) {
			if m := s.itemMessage(src, id, item); m != nil {
				if taken > 0 && size+len(m.Content) > s.batchBytes {
					more, next = true, ""
					break
				}
				size += len(m.Content)
				batch.Messages = append(batch.Messages, *m)
			}
			p.remember(id, at)
		}
		taken++
		last = later(last, at)
		p.newest(at)
	}
	p.advance(last, taken, next, more, s.overlap)
	batch.More = more
	batch.Position, err = p.write()
	return batch, err
}

// itemMessage never fails: what cannot be read is a message of its own kind,
// so that one bad document does not stop the sweep.
func (s *System) itemMessage(src source, id string, item map[string]any) *connector.Incoming {
	m, err := src.message(item)
	if err == nil {
		return m
	}
	reason := err.Error()
	version, err := hash(item)
	if err != nil {
		version = ""
	}
	content, err := encode(map[string]any{"document": map[string]any{"id": id, "reason": reason}})
	if err != nil {
		return nil
	}
	return &connector.Incoming{Kind: kindUnreadable, Doc: id, Version: version, Content: content}
}

func indexedOn(item map[string]any) time.Time {
	for _, name := range []string{"indexed_on", "server_modified_on", "server_last_modified", "received_on"} {
		if t, ok := xform.Moment(xform.Text(item[name])); ok {
			return t
		}
	}
	return time.Time{}
}

// formSource reads GET api/form/v1/ (docs/api/list-forms, 2025): pages by
// offset, archived forms included so that they are withdrawn.
type formSource struct{ s *System }

func (f formSource) about() string { return "sweep the forms" }

func (f formSource) page(p *position, limit int) call.Request {
	q := map[string][]string{"order_by": {"indexed_on"}, "limit": {strconv.Itoa(limit)}, "indexed_on_start": {p.At.Format(stamp)},
		"include_archived": {"true"}, "format": {"json"}}
	if p.Offset > 0 {
		q["offset"] = []string{strconv.Itoa(p.Offset)}
	}
	return call.Request{Method: http.MethodGet, Path: f.s.path("api/form/v1/"), Query: q}
}

func (f formSource) items(body []byte) ([]map[string]any, string, bool, error) {
	doc, err := object(body)
	if err != nil {
		return nil, "", false, err
	}
	objects, ok := doc["objects"].([]any)
	if !ok {
		return nil, "", false, &xform.Bad{Text: "the page has no objects"}
	}
	return objectsOf(objects), "", xform.Text(asMap(doc["meta"])["next"]) != "" && len(objects) > 0, nil
}

func (f formSource) message(item map[string]any) (*connector.Incoming, error) {
	return formMessage(item)
}

// caseSource reads GET api/case/v2/: pages by cursor, oldest indexed first.
type caseSource struct{ s *System }

func (c caseSource) about() string { return "sweep the cases" }

func (c caseSource) page(p *position, limit int) call.Request {
	q := map[string][]string{"limit": {strconv.Itoa(limit)}, "indexed_on.gte": {p.At.Format(stamp)}}
	if p.Cursor != "" {
		q = map[string][]string{"cursor": {p.Cursor}} // it carries the rest of the query
	}
	return call.Request{Method: http.MethodGet, Path: c.s.path("api/case/v2/"), Query: q}
}

func (c caseSource) items(body []byte) ([]map[string]any, string, bool, error) {
	doc, err := object(body)
	if err != nil {
		return nil, "", false, err
	}
	cases, ok := doc["cases"].([]any)
	if !ok {
		return nil, "", false, &xform.Bad{Text: "the page has no cases"}
	}
	next := xform.Text(asMap(doc["next"])["cursor"])
	return objectsOf(cases), next, next != "" && len(cases) > 0, nil
}

func (c caseSource) message(item map[string]any) (*connector.Incoming, error) {
	return caseMessage(item, "")
}

func objectsOf(items []any) []map[string]any {
	out := make([]map[string]any, 0, len(items))
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			out = append(out, m)
		} else {
			out = append(out, map[string]any{"unreadable": true})
		}
	}
	return out
}
