package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/kiungo-health/kiungo/connectors/commcare/xform"
)

func (s *Sim) getCase(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := r.PathValue("id")
	if strings.Contains(id, ",") {
		answer(w, http.StatusOK, s.fetch(strings.Split(id, ","), nil))
		return
	}
	c := s.cases[id]
	if c == nil {
		problem(w, http.StatusNotFound, "Case '"+id+"' not found")
		return
	}
	answer(w, http.StatusOK, c.json(s.o.Domain))
}

func (s *Sim) byExternal(id string) []*caze {
	var found []*caze
	for _, key := range slices.Sorted(slices.Values(s.externals[id])) {
		if c := s.cases[key]; c != nil && c.external == id {
			found = append(found, c)
		}
	}
	return found
}

func (s *Sim) getExternal(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := r.PathValue("id")
	switch found := s.byExternal(id); len(found) {
	case 0:
		problem(w, http.StatusNotFound, "Case '"+id+"' not found")
	case 1:
		answer(w, http.StatusOK, found[0].json(s.o.Domain))
	default:
		problem(w, http.StatusBadRequest, "There are multiple cases with external_id "+id)
	}
}

func (s *Sim) bulkFetch(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		CaseIDs     []string `json:"case_ids"`
		ExternalIDs []string `json:"external_ids"`
	}
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
		problem(w, http.StatusBadRequest, "Payload must be valid JSON")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	answer(w, http.StatusOK, s.fetch(ask.CaseIDs, ask.ExternalIDs))
}

func (s *Sim) fetch(ids, externals []string) map[string]any {
	cases, found, missing := []any{}, 0, 0
	for _, id := range ids {
		if c := s.cases[id]; c != nil {
			cases = append(cases, c.json(s.o.Domain))
			found++
		} else {
			cases = append(cases, map[string]any{"case_id": id, "error": "not found"})
			missing++
		}
	}
	for _, id := range externals {
		if hits := s.byExternal(id); len(hits) > 0 {
			cases = append(cases, hits[0].json(s.o.Domain))
			found++
		} else {
			cases = append(cases, map[string]any{"external_id": id, "error": "not found"})
			missing++
		}
	}
	return map[string]any{"matching_records": found, "missing_records": missing, "cases": cases}
}

func decodeBody(r *http.Request) (any, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, userError("Payload must be valid JSON")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var doc any
	if err := d.Decode(&doc); err != nil {
		return nil, userError("Payload must be valid JSON")
	}
	return doc, nil
}

func (s *Sim) postCase(w http.ResponseWriter, r *http.Request) {
	doc, err := decodeBody(r)
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch doc := doc.(type) {
	case map[string]any:
		c, err := wrap(doc, true)
		s.finish(w, r, []*change{c}, err, false)
	case []any:
		changes, err := s.wrapBulk(doc)
		s.finish(w, r, changes, err, true)
	default:
		problem(w, http.StatusBadRequest, "Payload must be a JSON object or list")
	}
}

// wrapBulk checks a list of at most 100: create true makes, false updates, and
// without it external_id decides (#37118).
func (s *Sim) wrapBulk(rows []any) ([]*change, error) {
	if len(rows) > 100 {
		return nil, userError("You cannot submit more than 100 updates in a single request")
	}
	var changes []*change
	var errs []string
	for i, row := range rows {
		doc, _ := row.(map[string]any)
		c, err := s.wrapRow(clone(doc))
		if err != nil {
			errs = append(errs, fmt.Sprintf("Error in row %d: %v", i+1, err))
			continue
		}
		changes = append(changes, c)
	}
	if len(errs) > 0 {
		return nil, userError(strings.Join(errs, "; "))
	}
	return changes, nil
}

func (s *Sim) wrapRow(doc map[string]any) (*change, error) {
	flag := doc["create"]
	delete(doc, "create")
	if create, ok := flag.(bool); ok {
		return wrap(doc, create)
	}
	external := xform.Text(doc["external_id"])
	if external == "" {
		return nil, userError("A 'create' flag is required for each update.")
	}
	return wrap(doc, len(s.byExternal(external)) == 0)
}

func (s *Sim) putCase(w http.ResponseWriter, r *http.Request) {
	s.put(w, r, func(doc map[string]any) (*change, error) {
		if id := r.PathValue("id"); id != "" {
			doc["case_id"] = id
		}
		return wrap(doc, false)
	})
}

// upsertCase is PUT ext/ID/: it makes the case or updates it.
func (s *Sim) upsertCase(w http.ResponseWriter, r *http.Request) {
	s.put(w, r, func(doc map[string]any) (*change, error) {
		id := r.PathValue("id")
		if _, has := doc["external_id"]; !has {
			doc["external_id"] = id
		}
		found := s.byExternal(id)
		switch len(found) {
		case 0:
			return wrap(doc, true)
		case 1:
			doc["case_id"] = found[0].id
			return wrap(doc, false)
		}
		return nil, userError("There are multiple cases with external_id " + id)
	})
}

func (s *Sim) put(w http.ResponseWriter, r *http.Request, check func(map[string]any) (*change, error)) {
	body, err := decodeBody(r)
	doc, ok := body.(map[string]any)
	if err != nil || !ok {
		problem(w, http.StatusBadRequest, "Payload must be a single JSON object")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := check(doc)
	s.finish(w, r, []*change{c}, err, false)
}

// finish submits the changes as one form, all or none, and answers. The lock
// is held.
func (s *Sim) finish(w http.ResponseWriter, r *http.Request, changes []*change, err error, bulk bool) {
	var ids []string
	var formID string
	if err == nil {
		formID, ids, err = s.write(changes, r.UserAgent())
	}
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	cases := make([]any, len(ids))
	for i, id := range ids {
		doc := s.cases[id].json(s.o.Domain)
		doc["indexed_on"] = s.stamp().Format(iso)
		cases[i] = doc
	}
	if bulk {
		answer(w, http.StatusOK, map[string]any{"xform_id": formID, "cases": cases})
		return
	}
	answer(w, http.StatusOK, map[string]any{"xform_id": formID, "case": cases[0]})
}

// write makes one form of the changes, with the API's own xmlns and the
// User-Agent as device id, and processes it.
func (s *Sim) write(changes []*change, agent string) (string, []string, error) {
	temporary := map[string]string{}
	for _, c := range changes {
		if c.create {
			c.caseID = s.newID(c)
			if c.temporary != "" {
				temporary[c.temporary] = c.caseID
			}
		}
	}
	now := s.stamp().Format(iso)
	var blocks []any
	var ids []string
	for _, c := range changes {
		if err := s.identify(c); err != nil {
			return "", nil, err
		}
		b, err := s.block(c, temporary, now)
		if err != nil {
			return "", nil, err
		}
		blocks, ids = append(blocks, b), append(ids, c.caseID)
	}
	formID := uuid.NewSHA1(uuid.NameSpaceOID, []byte(fmt.Sprintf("%s/form/%d", s.o.Domain, len(s.forms)))).String()
	doc := map[string]any{"#type": "system", "@xmlns": xform.CaseAPI, "@version": "1", "@uiVersion": "1", "case": blocks,
		"meta": map[string]any{"@xmlns": "http://openrosa.org/jr/xforms", "deviceID": agent, "instanceID": formID, "timeStart": now, "timeEnd": now,
			"userID": s.apiUser(), "username": s.o.Username}}
	if len(blocks) == 1 {
		doc["case"] = blocks[0]
	}
	if _, err := s.submit(doc, nil, ""); err != nil {
		return "", nil, fmt.Errorf("%w", err)
	}
	return formID, ids, nil
}

func (s *Sim) apiUser() string {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte(s.o.Domain+"/user/"+s.o.Username)).String()
}

// newID derives the id of a new case from what it is made with, so that the
// same story told twice makes the same ids; a second case alike gets another.
func (s *Sim) newID(c *change) string {
	key := s.o.Domain + "/case/" + c.externalID
	if c.externalID == "" {
		key = fmt.Sprintf("%s/case/%s/%s/%v", s.o.Domain, c.own["case_type"], c.own["case_name"], c.props)
	}
	s.made[key]++
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte(fmt.Sprintf("%s/%d", key, s.made[key]))).String()
}

func (s *Sim) identify(c *change) error {
	if c.create {
		return nil
	}
	if c.caseID != "" {
		if s.cases[c.caseID] == nil {
			return userError("No case found with ID '" + c.caseID + "'")
		}
		return nil
	}
	found := s.byExternal(c.externalID)
	switch len(found) {
	case 0:
		return userError("Could not find a case with external_id '" + c.externalID + "'")
	case 1:
		c.caseID = found[0].id
		return nil
	}
	return userError("There are multiple cases with external_id " + c.externalID)
}

func (s *Sim) block(c *change, temporary map[string]string, now string) (map[string]any, error) {
	said := map[string]any{}
	for k, v := range c.props {
		said[k] = v
	}
	b := map[string]any{"@case_id": c.caseID, "@date_modified": now, "@user_id": s.apiUser(), "@xmlns": xform.CaseV2, "update": said}
	create := map[string]any{}
	for name, v := range c.own {
		if c.create && name != "external_id" {
			create[name] = v
		} else {
			said[name] = v
		}
	}
	if c.create {
		b["create"] = create
	}
	if c.close {
		b["close"] = ""
	}
	if len(c.indices) > 0 {
		index := map[string]any{}
		for _, name := range sorted(c.indices) {
			id, err := s.target(c.indices[name], temporary)
			if err != nil {
				return nil, err
			}
			index[name] = map[string]any{"@case_type": c.indices[name]["case_type"], "@relationship": c.indices[name]["relationship"], "#text": id}
		}
		b["index"] = index
	}
	return b, nil
}

func (s *Sim) target(index map[string]string, temporary map[string]string) (string, error) {
	if t := index["temporary_id"]; t != "" {
		if id := temporary[t]; id != "" {
			return id, nil
		}
		return "", userError("Could not find a case with temporary_id '" + t + "'")
	}
	if e := index["external_id"]; e != "" {
		found := s.byExternal(e)
		switch len(found) {
		case 0:
			return "", userError("Could not find a case with external_id '" + e + "'")
		case 1:
			return found[0].id, nil
		}
		return "", userError("There are multiple cases with external_id " + e)
	}
	return index["case_id"], nil
}

// parsed reads a filter's moment or day.
func parsed(v string) (time.Time, error) {
	if t, ok := moment(v); ok {
		return t, nil
	}
	return time.Time{}, userError("Cannot parse datetime")
}
