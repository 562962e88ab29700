package cht

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
)

const (
	kindReport    = "report"
	streamChanges = "changes"
	changesPath   = "/medic/_changes"
	changesPage   = 200
)

// Streams lists the feed of changes: the only complete one that the CHT has.
func (s *System) Streams() []connector.Stream {
	return []connector.Stream{{Name: streamChanges, Every: s.pollEvery}}
}

// position is where the reading of changes stands: the sequence that the server
// gave, which is opaque and never compared.
type position struct {
	Since string `json:"since"`
}

// changes is an answer of _changes.
type changes struct {
	Results []changeRow `json:"results"`
	LastSeq sequence    `json:"last_seq"`
	Pending int         `json:"pending"`
}

type changeRow struct {
	Seq     sequence       `json:"seq"`
	ID      string         `json:"id"`
	Deleted bool           `json:"deleted"`
	Doc     map[string]any `json:"doc"`
}

// sequence is text in CouchDB from 2 on, and a number in older ones.
type sequence string

func (s *sequence) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(s))
	}
	*s = sequence(b)
	return nil
}

// Poll reads one page of changes. The feed gives the newest revision of each
// document only, and after a restore of the server everything again: the ledger
// folds by document and version.
//
// At the very first time it starts now, so that switching on never sends a
// programme's history.
func (s *System) Poll(ctx context.Context, do call.Doer, stream string, from []byte) (connector.Batch, error) {
	if stream != streamChanges {
		return connector.Batch{}, fmt.Errorf("%s has no stream %q", s.name, stream)
	}
	p := position{}
	if len(from) > 0 {
		if err := json.Unmarshal(from, &p); err != nil {
			return connector.Batch{}, fmt.Errorf("%s: the position of %s is not ours: %w", s.name, stream, err)
		}
	}
	if p.Since == "" {
		p.Since = s.pollFrom
	}
	var page changes
	found, err := s.read(ctx, do, "read the changes", get(changesPath, "since", p.Since, "limit", strconv.Itoa(min(changesPage, s.pageSize)), "include_docs", "true"), &page)
	if err != nil {
		return connector.Batch{}, err
	}
	if !found {
		return connector.Batch{}, fmt.Errorf("%s: read the changes: there is no database medic at this address; check url", s.name)
	}
	batch, size := connector.Batch{More: page.Pending > 0}, 0
	p.Since = string(page.LastSeq)
	forgotten := 0
	for i, row := range page.Results {
		m, lost, err := s.change(ctx, do, &row)
		if err != nil {
			return connector.Batch{}, err
		}
		if lost {
			forgotten++
		}
		if m == nil {
			continue
		}
		if size += len(m.Content); size > s.pageBytes && len(batch.Messages) > 0 {
			p.Since, batch.More = string(page.Results[i-1].Seq), true
			break
		}
		batch.Messages = append(batch.Messages, *m)
	}
	if forgotten > 0 {
		batch.Alarms = append(batch.Alarms, fmt.Sprintf("%d documents were deleted in the CHT, and it no longer knows what they were: what they made, if they were reports, stays", forgotten))
	}
	batch.Position, err = json.Marshal(p)
	return batch, err
}

// change makes a message of a changed report; nil for anything else. lost tells
// that it was deleted and nobody knows what it was.
func (s *System) change(ctx context.Context, do call.Doer, row *changeRow) (m *connector.Incoming, lost bool, err error) {
	if skipped(row.ID) {
		return nil, false, nil
	}
	doc := row.Doc
	if row.Deleted && text(doc["type"]) == "" {
		if doc, err = s.lastContent(ctx, do, row.ID, text(row.Doc["_rev"])); err != nil {
			return nil, false, err
		}
		if doc == nil {
			return nil, true, nil
		}
	}
	if text(doc["type"]) != "data_record" || text(doc["form"]) == "" || s.wrote(doc) {
		return nil, false, nil
	}
	m, err = reportMessage(row.ID, doc, row.Deleted)
	return m, false, err
}

// skipped are documents that are never reports: designs, forms, tasks, targets,
// what phones write about themselves.
func skipped(id string) bool {
	for _, prefix := range []string{"_design/", "form:", "messages-", "task~", "target~", "telemetry", "feedback-", "org.couchdb.user:"} {
		if strings.HasPrefix(id, prefix) {
			return true
		}
	}
	switch id {
	case "settings", "resources", "branding", "partners", "service-worker-meta", "extension-libs", "privacy-policies":
		return true
	}
	return false
}

// lastContent reads what a document was before it was deleted: a tombstone may
// be bare. nil if the server has compacted it away.
func (s *System) lastContent(ctx context.Context, do call.Doer, id, rev string) (map[string]any, error) {
	var tombstone struct {
		Revisions struct {
			Start int      `json:"start"`
			IDs   []string `json:"ids"`
		} `json:"_revisions"`
	}
	path := "/medic/" + seg(id)
	found, err := s.read(ctx, do, "look at a deleted document", get(path, "rev", rev, "revs", "true"), &tombstone)
	if err != nil || !found || len(tombstone.Revisions.IDs) < 2 {
		return nil, err
	}
	before := strconv.Itoa(tombstone.Revisions.Start-1) + "-" + tombstone.Revisions.IDs[1]
	var doc map[string]any
	if found, err = s.read(ctx, do, "read a document as it was before it was deleted", get(path, "rev", before), &doc); err != nil || !found {
		return nil, err
	}
	return doc, nil
}

// working are parts of a report that the server itself changes while it works on
// it; they are in no message, so that its own revisions are no new version.
var working = []string{"_id", "_rev", "_deleted", "_attachments", "_revisions", "tasks", "scheduled_tasks", "transitions", "hidden_fields", "needs_signoff"}

// reportMessage makes a message of a report as it is stored.
func reportMessage(id string, doc map[string]any, deleted bool) (*connector.Incoming, error) {
	report := maps.Clone(doc)
	for _, name := range working {
		delete(report, name)
	}
	raw, err := json.Marshal(report)
	if err != nil {
		return nil, fmt.Errorf("write the report %s: %w", id, err)
	}
	sum := sha256.Sum256(raw)
	m := &connector.Incoming{Kind: kindReport, Doc: id, Version: hex.EncodeToString(sum[:16]), Withdrawn: deleted}
	if deleted {
		m.Version += "-deleted"
	}
	report["id"] = id
	if ref := subjectRef(doc); ref != "" {
		report["subject_id"] = ref
	}
	if at, ok := report["reported_date"].(float64); ok {
		m.Event = time.UnixMilli(int64(at)).UTC()
		report["at"] = m.Event.Format(time.RFC3339)
	}
	m.Content, err = json.Marshal(map[string]any{"report": report})
	if err != nil {
		return nil, fmt.Errorf("write the report %s: %w", id, err)
	}
	return m, nil
}

// sample makes a message of a report as the CHT stores it, for check: a flow's
// sample files are real documents. Rows of lists are contents already.
func sample(kind string, raw []byte) ([][]byte, error) {
	if kind != kindReport {
		return [][]byte{raw}, nil
	}
	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("the sample is not JSON: %w", shape(err))
	}
	if text(doc["type"]) != "data_record" || text(doc["form"]) == "" {
		return nil, fmt.Errorf("it is not a report: type must be data_record, and form say which")
	}
	m, err := reportMessage(text(doc["_id"]), doc, false)
	if err != nil {
		return nil, err
	}
	return [][]byte{m.Content}, nil
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// wrote tells that a document was made by this system's own user through Kiungo:
// it is no news.
func (s *System) wrote(doc map[string]any) bool {
	mark, _ := doc[ourMark].(map[string]any)
	return text(mark["by"]) == s.our
}

// ourMark is the property that says that Kiungo made a document.
const ourMark = "interop"
