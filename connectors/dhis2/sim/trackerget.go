package sim

import (
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// shown is an event as GET /api/tracker/events has it.
func (s *Server) shown(e *event) record {
	out := record{"event": e.uid, "status": e.status, "program": e.program, "programStage": e.stage, "orgUnit": e.unit, "deleted": e.deleted,
		"followUp": false, "followup": false, "createdAt": stamp(e.created.In(s.zone)), "updatedAt": stamp(e.updated.In(s.zone)), "storedBy": e.storedBy,
		"attributeOptionCombo": e.aoc, "relationships": []any{}}
	if s.minor < 41 {
		delete(out, "followUp")
	}
	for name, t := range map[string]time.Time{"occurredAt": e.occurred, "scheduledAt": e.scheduled, "completedAt": e.completed} {
		if !t.IsZero() {
			out[name] = stamp(t.In(s.zone))
		}
	}
	if e.completedBy != "" {
		out["completedBy"] = e.completedBy
	}
	if e.geometry != nil {
		out["geometry"] = e.geometry
	}
	if e.assigned != "" {
		out["assignedUser"] = record{"username": e.assigned}
	}
	if k := s.model.cocs.id[e.aoc]; k != nil {
		var ids []string
		for _, o := range k.options {
			ids = append(ids, o.id)
		}
		mark := ","
		if s.minor < 41 {
			mark = ";"
		}
		out["attributeCategoryOptions"] = strings.Join(ids, mark)
	}
	values := []any{}
	for _, de := range sorted(e.values) {
		v := e.values[de]
		values = append(values, record{"dataElement": de, "value": v.text, "providedElsewhere": v.elsewhere, "storedBy": v.storedBy,
			"createdAt": stamp(v.created.In(s.zone)), "updatedAt": stamp(v.updated.In(s.zone))})
	}
	notes := []any{}
	for _, n := range e.notes {
		notes = append(notes, record{"note": n.uid, "value": n.text})
	}
	out["dataValues"], out["notes"] = values, notes
	return out
}

func (s *Server) trackerEvents(r *request) answer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	fields := parseFields(strings.Join(r.query["fields"], ","))
	if len(fields) == 0 {
		fields = []field{{name: "*"}, {name: "relationships", exclude: true}}
	}
	render := func(e *event) record { return s.trimmed(s.shown(e), fields) }
	if len(r.path) == 3 {
		e := s.data.events[r.path[2]]
		if e == nil || e.deleted || !s.readable(r, e) {
			return coded(http.StatusNotFound, "E1005", "Event with id "+r.path[2]+" could not be found.")
		}
		return ok(render(e))
	}
	hits, refused := s.eventsWanted(r)
	if refused != nil {
		return *refused
	}
	return ok(s.eventPage(r, hits, render))
}

// trimmed applies fields to an event: it refers to nothing.
func (s *Server) trimmed(e record, fields []field) record {
	out := s.show(e, fields, &user{})
	delete(out, "access")
	return out
}

func (s *Server) readable(r *request, e *event) bool {
	u := s.model.units.id[e.unit]
	return r.user.may("ALL") || u != nil && u.under(r.scope)
}

// eventsWanted applies the parameters of a list.
func (s *Server) eventsWanted(r *request) ([]*event, *answer) {
	bad := func(text string) ([]*event, *answer) {
		a := message(http.StatusBadRequest, text)
		return nil, &a
	}
	uids := map[string]bool{}
	for _, v := range r.all("event", "events") {
		for _, id := range strings.FieldsFunc(v, func(c rune) bool { return c == ',' || c == ';' }) {
			uids[id] = true
		}
	}
	root := r.get("orgUnit")
	mode := r.get("orgUnitMode")
	if mode == "" {
		mode = r.get("ouMode")
	}
	if root != "" && s.model.units.id[root] == nil {
		return bad("Organisation unit is specified but does not exist: " + root)
	}
	if p := r.get("program"); p != "" && s.model.programs.id[p] == nil {
		return bad("Program is specified but does not exist: " + p)
	}
	bounds := map[string]time.Time{}
	for _, name := range []string{"occurredAfter", "occurredBefore", "updatedAfter", "updatedBefore"} {
		v := r.get(name)
		if v == "" {
			continue
		}
		var at instant
		if err := at.UnmarshalJSON([]byte(strconv.Quote(v))); err != nil {
			return bad("Value '" + v + "' is not valid for parameter " + name)
		}
		bounds[name] = at.in(s.zone)
		if len(v) == 10 && strings.HasSuffix(name, "Before") {
			bounds[name] = bounds[name].AddDate(0, 0, 1).Add(-time.Millisecond)
		}
	}
	within := func(name string, t time.Time) bool {
		after, has := bounds[name+"After"]
		before, also := bounds[name+"Before"]
		return (!has || !t.Before(after)) && (!also || !t.After(before))
	}
	var out []*event
	candidates := sorted(uids)
	if len(uids) == 0 {
		candidates = sorted(s.data.events)
	}
	for _, id := range candidates {
		e := s.data.events[id]
		wanted := e != nil && (!e.deleted || r.is("includeDeleted")) && s.readable(r, e) &&
			(r.get("program") == "" || e.program == r.get("program")) && (r.get("programStage") == "" || e.stage == r.get("programStage")) &&
			(r.get("status") == "" || e.status == r.get("status")) && s.inUnit(e, root, mode) && within("occurred", e.occurred) && within("updated", e.updated)
		if wanted && s.valuesWanted(r, e) {
			out = append(out, e)
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].created.After(out[j].created) })
	for _, o := range r.query["order"] {
		property, way, _ := strings.Cut(o, ":")
		of := func(e *event) string {
			switch property {
			case "occurredAt":
				return stamp(e.occurred.UTC())
			case "updatedAt":
				return stamp(e.updated.UTC())
			}
			return stamp(e.created.UTC())
		}
		sort.SliceStable(out, func(i, j int) bool {
			if way == "desc" {
				i, j = j, i
			}
			return of(out[i]) < of(out[j])
		})
	}
	return out, nil
}

func (s *Server) inUnit(e *event, root, mode string) bool {
	u := s.model.units.id[e.unit]
	switch {
	case root == "" || u == nil:
		return root == ""
	case mode == "DESCENDANTS":
		return u.under([]string{root})
	case mode == "CHILDREN":
		return u.id == root || idOf(u.r["parent"]) == root
	}
	return u.id == root
}

// valuesWanted applies filter=DATAELEMENT:eq:VALUE, and like and in.
func (s *Server) valuesWanted(r *request, e *event) bool {
	for _, f := range r.query["filter"] {
		parts := strings.SplitN(f, ":", 3)
		if len(parts) < 3 {
			continue
		}
		v := e.values[parts[0]]
		arg := strings.ReplaceAll(parts[2], ";", ",")
		if v == nil || !compare(strings.ToLower(parts[1]), v.text, arg) {
			return false
		}
	}
	return true
}

// eventPage is the list in the words of the version: instances up to 2.40.
func (s *Server) eventPage(r *request, hits []*event, render func(*event) record) record {
	page, size := 1, 50
	if n, err := strconv.Atoi(r.get("page")); err == nil && n > 0 {
		page = n
	}
	if n, err := strconv.Atoi(r.get("pageSize")); err == nil && n > 0 {
		size = n
	}
	all := r.get("paging") == "false" || r.is("skipPaging")
	total := len(hits)
	if !all {
		from := min((page-1)*size, total)
		hits = hits[from:min(from+size, total)]
	}
	list := make([]any, 0, len(hits))
	for _, e := range hits {
		list = append(list, render(e))
	}
	if !s.since(41) {
		out := record{"instances": list}
		if !all {
			out["page"], out["pageSize"] = page, size
			if r.is("totalPages") {
				out["total"], out["pageCount"] = total, (total+size-1)/size
			}
		}
		return out
	}
	out := record{"events": list}
	if all {
		return out
	}
	pager := record{"page": page, "pageSize": size}
	if r.is("totalPages") {
		pager["total"], pager["pageCount"] = total, (total+size-1)/size
	}
	if s.minor == 41 {
		out["page"], out["pageSize"] = page, size
	}
	if link := fmt.Sprintf("http://%s/api/tracker/events?page=%d&pageSize=%d", r.Host, page+1, size); page*size < total && s.since(42) {
		pager["nextPage"] = link
	}
	out["pager"] = pager
	return out
}

// legacyEvents is POST /api/events, which 2.42 no longer has: without a uid a
// message that is sent again makes a second event.
func (s *Server) legacyEvents(r *request) answer {
	body, err := unpacked(r)
	if err != nil {
		return message(http.StatusBadRequest, err.Error())
	}
	in, err := legacyBody(body)
	if err != nil {
		return message(http.StatusBadRequest, "Could not read JSON: "+err.Error())
	}
	o := optionsOf(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &summaries{ResponseType: "ImportSummaries", Status: "SUCCESS", Options: o, Summaries: []*legacySummary{}, Total: len(in)}
	for _, e := range in {
		one := s.legacyOne(r, e, o)
		out.Summaries = append(out.Summaries, one)
		out.Imported += one.Count.Imported
		out.Updated += one.Count.Updated
		out.Deleted += one.Count.Deleted
		out.Ignored += one.Count.Ignored
		if one.Status == "ERROR" || one.Status == "WARNING" && out.Status == "SUCCESS" {
			out.Status = one.Status
		}
	}
	if r.plain {
		return ok(out)
	}
	switch out.Status {
	case "SUCCESS":
		return envelope(http.StatusOK, "OK", "Import was successful.", out)
	case "WARNING":
		return envelope(http.StatusOK, "WARNING", "One more conflicts encountered, please check import summary.", out)
	}
	return envelope(http.StatusConflict, "ERROR", "An error occurred, please check import summary.", out)
}

// readLegacy is GET /api/events/UID of the older servers.
func (s *Server) readLegacy(r *request) answer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(r.path) != 2 {
		return notFound("HTTP 404 Not Found")
	}
	e := s.data.events[r.path[1]]
	if e == nil || e.deleted {
		return notFound("Event not found for uid: " + r.path[1])
	}
	values := []any{}
	for _, de := range sorted(e.values) {
		values = append(values, record{"dataElement": de, "value": e.values[de].text})
	}
	return ok(record{"event": e.uid, "program": e.program, "programStage": e.stage, "orgUnit": e.unit, "status": e.status,
		"eventDate": stamp(e.occurred.In(s.zone)), "storedBy": e.storedBy, "dataValues": slices.Clip(values)})
}
