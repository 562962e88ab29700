package sim

import (
	"crypto/md5" //nolint:gosec // CouchDB's revisions are md5 sums; nothing is protected by them.
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// stored is a document with its revision and its place in the changes.
type stored struct {
	id      string
	rev     string
	seq     int
	deleted bool
	doc     map[string]any // without _id and _rev
	// history are the revisions, newest first, until the database is compacted.
	history []revision
}

type revision struct {
	rev string
	doc map[string]any
}

// whole is the document as it is read.
func (d *stored) whole() map[string]any {
	out := maps.Clone(d.doc)
	if out == nil {
		out = map[string]any{}
	}
	out["_id"], out["_rev"] = d.id, d.rev
	if d.deleted {
		out["_deleted"] = true
	}
	return out
}

// nextRev makes the revision after one: its number, and a sum of the content.
func nextRev(rev string, doc map[string]any) (string, error) {
	n := 0
	if number, _, ok := strings.Cut(rev, "-"); ok {
		n, _ = strconv.Atoi(number)
	}
	raw, err := json.Marshal([]any{rev, doc})
	if err != nil {
		return "", fmt.Errorf("write the document: %w", err)
	}
	sum := md5.Sum(raw) //nolint:gosec // see the import
	return fmt.Sprintf("%d-%s", n+1, hex.EncodeToString(sum[:])), nil
}

// live gives a document that is there and not deleted. Called with the lock held.
func (s *Sim) live(id string) *stored {
	d := s.docs[id]
	if d == nil || d.deleted {
		return nil
	}
	return d
}

// conflict is CouchDB's refusal of a write against another revision.
type conflict struct{}

func (conflict) Error() string { return "Document update conflict" }

// put writes a document under CouchDB's rule: its _rev must be the current one,
// and there is none for a new or a deleted document. Called with the lock held.
func (s *Sim) put(id string, doc map[string]any) (string, error) {
	was := s.docs[id]
	rev := text(doc["_rev"])
	switch {
	case was == nil && rev != "", was != nil && !was.deleted && rev != was.rev, was != nil && was.deleted && rev != "" && rev != was.rev:
		return "", conflict{}
	}
	if was != nil {
		rev = was.rev
	}
	deleted, _ := doc["_deleted"].(bool)
	body := bodyOf(doc)
	next, err := nextRev(rev, body)
	if err != nil {
		return "", err
	}
	s.keep(id, next, body, deleted)
	return next, nil
}

// force writes a document with a revision of the writer's own, as a phone's
// replication does.
func (s *Sim) force(id, rev string, doc map[string]any) error {
	body := bodyOf(doc)
	if rev == "" {
		var err error
		if rev, err = nextRev("", body); err != nil {
			return err
		}
	}
	if was := s.docs[id]; was != nil && generation(was.rev) > generation(rev) {
		return nil // the older revision loses, and is kept as a conflict that nobody reads
	}
	deleted, _ := doc["_deleted"].(bool)
	s.keep(id, rev, body, deleted)
	return nil
}

func generation(rev string) int {
	number, _, _ := strings.Cut(rev, "-")
	n, _ := strconv.Atoi(number)
	return n
}

func (s *Sim) keep(id, rev string, body map[string]any, deleted bool) {
	s.seq++
	d := &stored{id: id, rev: rev, seq: s.seq, deleted: deleted, doc: body, history: []revision{{rev, body}}}
	if was := s.docs[id]; was != nil {
		d.history = append(d.history, was.history...)
	}
	s.docs[id] = d
}

// Compact forgets what documents were before their newest revision, as CouchDB
// does from time to time; the numbers of the revisions stay.
func (s *Sim) Compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.docs {
		for i := range d.history[1:] {
			d.history[i+1].doc = nil
		}
	}
}

// at is a document as it was at a revision; nil if that is gone.
func (d *stored) at(rev string) map[string]any {
	for _, r := range d.history {
		if r.rev == rev && r.doc != nil {
			out := maps.Clone(r.doc)
			out["_id"], out["_rev"] = d.id, rev
			if rev == d.rev && d.deleted {
				out["_deleted"] = true
			}
			return out
		}
	}
	return nil
}

// revisions lists the revisions as CouchDB does with revs=true, from one on.
func (d *stored) revisions(from string) map[string]any {
	ids := []string{}
	for _, r := range d.history {
		if _, sum, ok := strings.Cut(r.rev, "-"); ok && (len(ids) > 0 || r.rev == from) {
			ids = append(ids, sum)
		}
	}
	return map[string]any{"start": generation(from), "ids": ids}
}

func bodyOf(doc map[string]any) map[string]any {
	body := maps.Clone(doc)
	for _, name := range []string{"_id", "_rev", "_deleted"} {
		delete(body, name)
	}
	return body
}

// ids lists the live documents in CouchDB's order.
func (s *Sim) ids() []string {
	out := make([]string, 0, len(s.docs))
	for id, d := range s.docs {
		if !d.deleted {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// sequence writes a place in the changes as CouchDB 3 does: opaque.
func sequence(n int) string {
	sum := md5.Sum([]byte(strconv.Itoa(n))) //nolint:gosec // see the import
	return strconv.Itoa(n) + "-g1AAAACh" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// place reads a sequence back; one of another database, or of before a restore,
// starts anew.
func (s *Sim) place(since string) (int, bool) {
	switch since {
	case "", "0":
		return 0, true
	case "now":
		return s.seq, true
	}
	number, _, _ := strings.Cut(since, "-")
	n, err := strconv.Atoi(number)
	if err != nil {
		return 0, false
	}
	if n > s.seq || since != number && since != sequence(n) {
		return 0, true
	}
	return n, true
}

// Put stores a document as a person or a phone would, whatever is there.
func (s *Sim) Put(doc map[string]any) error {
	id := text(doc["_id"])
	if id == "" {
		return fmt.Errorf("the document has no _id")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	doc = maps.Clone(doc)
	delete(doc, "_rev")
	if was := s.live(id); was != nil {
		doc["_rev"] = was.rev
	}
	_, err := s.put(id, doc)
	return err
}

// Get reads a document, nil if it is not there.
func (s *Sim) Get(id string) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.live(id); d != nil {
		return d.whole()
	}
	return nil
}

// Delete removes a document as a person would.
func (s *Sim) Delete(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.live(id)
	if d == nil {
		return fmt.Errorf("there is no document %s", id)
	}
	_, err := s.put(id, map[string]any{"_rev": d.rev, "_deleted": true})
	return err
}
