package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Seed adds content from a JSON object with any of:
//
//	settings  merged into the app settings
//	docs      documents of the database as they are stored; _rev is kept if given, else they replace what is there
//	users     {username, password, roles, place, contact}
//	remove    usernames, and ids of documents, to remove
//
// Contacts, targets and reports are all docs, as in CouchDB.
func (s *Sim) Seed(doc []byte) error {
	var in struct {
		Settings map[string]any   `json:"settings"`
		Docs     []map[string]any `json:"docs"`
		Users    []*user          `json:"users"`
		Remove   []string         `json:"remove"`
	}
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return fmt.Errorf("read the seed: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	merge(s.settings, in.Settings)
	for i, d := range in.Docs {
		id := text(d["_id"])
		if id == "" {
			return fmt.Errorf("read the seed: document %d has no _id", i+1)
		}
		if err := s.seed(id, d); err != nil {
			return fmt.Errorf("read the seed: document %s: %w", id, err)
		}
	}
	for _, u := range in.Users {
		if u.Username == "" {
			return fmt.Errorf("read the seed: a user has no username")
		}
		s.users[u.Username] = u
	}
	for _, id := range in.Remove {
		delete(s.users, id)
		if d := s.live(id); d != nil {
			if _, err := s.put(id, map[string]any{"_rev": d.rev, "_deleted": true}); err != nil {
				return fmt.Errorf("read the seed: remove %s: %w", id, err)
			}
		}
	}
	return nil
}

// seed stores a document under its own revision, or as the next one of what is there.
func (s *Sim) seed(id string, doc map[string]any) error {
	if rev := text(doc["_rev"]); rev != "" {
		return s.force(id, rev, doc)
	}
	if was := s.docs[id]; was != nil {
		doc["_rev"] = was.rev
	}
	_, err := s.put(id, doc)
	return err
}

// State is every document by its id, without its revision, and the users by name.
func (s *Sim) State() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	docs, users := map[string]any{}, map[string]any{}
	for _, id := range s.ids() {
		d := s.docs[id].whole()
		delete(d, "_rev")
		delete(d, "_id")
		docs[id] = d
	}
	for name, u := range s.users {
		if name != clerkName {
			users[name] = map[string]any{"roles": u.Roles, "place": u.Place, "contact": u.Contact}
		}
	}
	return json.MarshalIndent(map[string]any{"docs": docs, "users": users}, "", " ")
}

// Count is what a worker's device counted for one target.
type Count struct {
	ID          string
	Total, Pass int
	Percent     bool
}

// Sync stores a worker's targets of a month ("2026-10") as the worker's device
// does when it syncs; at is when it counted.
func (s *Sim) Sync(username, month string, at time.Time, counts ...Count) error {
	s.mu.Lock()
	u := s.users[username]
	s.mu.Unlock()
	if u == nil || u.Contact == "" {
		return fmt.Errorf("there is no user %s with a contact", username)
	}
	return s.Put(targetDoc(u.Username, u.Contact, month, at, counts))
}

// targetDoc writes a target document as a device does.
func targetDoc(username, owner, month string, at time.Time, counts []Count) map[string]any {
	list := []any{}
	for _, c := range counts {
		value := map[string]any{"pass": float64(c.Pass), "total": float64(c.Total)}
		if c.Percent && c.Total > 0 {
			value["percent"] = float64(c.Pass * 100 / c.Total)
		}
		list = append(list, map[string]any{"id": c.ID, "value": value})
	}
	return map[string]any{"_id": "target~" + month + "~" + owner + "~org.couchdb.user:" + username, "type": "target", "user": "org.couchdb.user:" + username,
		"owner": owner, "reporting_period": month, "updated_date": float64(at.UnixMilli()), "targets": list}
}
