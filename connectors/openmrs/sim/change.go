package sim

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// change answers a request that changes something.
func (s *Server) change(req *request) (*result, *failure) {
	p := req.path
	if p[0] == "session" {
		if c, err := req.Cookie("JSESSIONID"); err == nil && req.Method == http.MethodDelete {
			s.ended[c.Value] = true
		}
		if req.Method == http.MethodDelete {
			return &result{status: http.StatusNoContent}, nil
		}
		return s.sessionBody(req)
	}
	if p[0] == "idgen" {
		return s.idgen(req)
	}
	if kinds[p[0]] == nil || len(p) >= 3 && kinds[p[0]+"/"+p[2]] == nil {
		return nil, unknownResource(strings.Join(p, "/"))
	}
	switch {
	case req.Method == http.MethodDelete && (len(p) == 2 || len(p) == 4):
		return s.delete(req)
	case req.Method == http.MethodDelete:
		return nil, unsupported()
	case len(p) == 1:
		return s.create(req)
	case len(p) == 2:
		return s.update(req)
	case len(p) == 3 || len(p) == 4:
		return s.changeRow(req)
	}
	return nil, unknownResource(strings.Join(p, "/"))
}

func (s *Server) create(req *request) (*result, *failure) {
	var t thing
	var f *failure
	switch req.path[0] {
	case "patient":
		t, f = s.createPatient(req)
	case "visit":
		t, f = s.createVisit(req)
	case "encounter":
		t, f = s.createEncounter(req)
	case "obs":
		t, f = s.createObs(req)
	case "person":
		t, f = s.createPerson(req)
	case "provider":
		t, f = s.createProvider(req)
	default:
		return nil, unsupported()
	}
	if f != nil {
		return nil, f
	}
	s.made = t
	return s.one(req, t, http.StatusCreated)
}

func (s *Server) update(req *request) (*result, *failure) {
	t, f := s.find(req.path[0], req.path[1])
	if f != nil {
		return nil, f
	}
	if len(req.body) == 1 && req.body["deleted"] == "false" {
		s.unvoid(t)
		return s.one(req, t, http.StatusOK)
	}
	switch x := t.(type) {
	case *person:
		f = s.updatePerson(x, req.body)
	case *patient:
		if m, ok := req.body["person"].(map[string]any); ok && len(req.body) == 1 {
			f = s.updatePerson(x.person, m)
		} else {
			f = notAllowed(without(req.body, "person"))
		}
	case *visit:
		f = s.updateVisit(x, req.body)
	case *encounter:
		f = s.updateEncounter(x, req.body)
	case *obs:
		t, f = s.updateObs(x, req.body)
	case *row:
		if f = unsupported(); req.path[0] == "provider" {
			f = s.updateProvider(x, req.body)
		}
	default:
		f = unsupported()
	}
	if f != nil {
		return nil, f
	}
	if t == thing(nil) {
		return nil, unsupported()
	}
	s.touch(t)
	return s.one(req, t, http.StatusOK)
}

func without(body map[string]any, known ...string) []string {
	var out []string
	for k := range body {
		if !slices.Contains(known, k) && !slices.Contains(ignored, k) {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// ignored properties are dropped from any body.
var ignored = []string{"display", "links", "auditInfo", "resourceVersion"}

func notAllowed(names []string) *failure {
	f := conversion("Some properties are not allowed to be set: " + strings.Join(names, ", "))
	f.code = "org.openmrs.module.webservices.rest.web.resource.impl.BaseDelegatingResource:630"
	return f
}

// strict checks the properties of a top-level body. A read-only property with
// its present value passes.
func (s *Server) strict(body map[string]any, now thing, known, required []string) *failure {
	bad := without(body, known...)
	if now != nil {
		bad = slices.DeleteFunc(bad, func(name string) bool {
			if name == "uuid" {
				return body[name] == now.about().uuid
			}
			v, ok := now.prop(s, name)
			if t, isThing := v.(thing); isThing {
				v = t.about().uuid
			}
			return ok && v == body[name]
		})
	}
	if len(bad) > 0 {
		return notAllowed(bad)
	}
	var missing []string
	for _, name := range required {
		if _, ok := body[name]; !ok {
			missing = append(missing, name)
		}
	}
	if missing != nil {
		f := conversion("Some required properties are missing: " + strings.Join(missing, ", "))
		f.code = "org.openmrs.module.webservices.rest.web.resource.impl.BaseDelegatingResource:642"
		return f
	}
	return nil
}

// refOf reads a reference: a uuid, or an object that has one. What the server
// does not know becomes null without an error.
func refOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case map[string]any:
		id, _ := v["uuid"].(string)
		return id
	}
	return ""
}

func plain(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		if v {
			return "true"
		}
		return "false"
	}
	return ""
}

func isTrue(v any) bool { return plain(v) == "true" }

// delete voids or retires, with a reason; with purge it removes the row.
func (s *Server) delete(req *request) (*result, *failure) {
	var t thing
	var f *failure
	if len(req.path) == 4 {
		var rows *[]*row
		if rows, f = s.subRows(req.path[0], req.path[1], req.path[2]); f == nil {
			r := byUUID(*rows, req.path[3])
			if r == nil {
				return nil, notFound()
			}
			t = r
		}
	} else {
		t, f = s.find(req.path[0], req.path[1])
	}
	purge := req.URL.Query().Get("purge") == "true"
	if f != nil {
		if purge && f.status == http.StatusNotFound {
			return &result{status: http.StatusNoContent}, nil
		}
		return nil, f
	}
	if purge {
		if f := s.purge(t); f != nil {
			return nil, f
		}
		return &result{status: http.StatusNoContent}, nil
	}
	reason := req.URL.Query().Get("reason")
	if reason == "" {
		reason = "web service call"
	}
	if !t.about().voided {
		s.seq++
		s.void(t, req.user, reason, s.seq)
		s.reindex(t)
		if who, ok := t.about().parent.(*person); ok {
			s.touch(who) // PersonNameResource, PersonAttributeResource save the person
		}
	}
	return &result{status: http.StatusNoContent}, nil
}

// void voids an object and what goes with it: of a patient the person, the
// identifiers and the encounters (PatientDataVoidHandler), of an encounter its
// observations, of a group its members. Names stay (patient-voided.response).
func (s *Server) void(t thing, by, reason string, batch int) {
	b := t.about()
	if b.voided {
		return
	}
	b.voided, b.batch, b.voidedBy, b.voidReason, b.dateVoided = true, batch, by, reason, s.stored(s.now())
	for _, kid := range s.taken(t) {
		s.void(kid, by, reason, batch)
	}
}

func (s *Server) taken(t thing) []thing {
	var out []thing
	switch t := t.(type) {
	case *patient:
		out = append(out, t.person)
		for _, r := range t.identifiers {
			out = append(out, r)
		}
		for _, e := range s.data.below(t).encounters {
			out = append(out, e)
		}
	case *encounter:
		for _, o := range t.obs {
			out = append(out, o)
		}
	case *obs:
		for _, o := range t.members {
			out = append(out, o)
		}
	}
	return out
}

// unvoid brings back an object and what was voided with it.
func (s *Server) unvoid(t thing) {
	b := t.about()
	if !b.voided {
		return
	}
	s.restore(t, b.batch)
	s.reindex(t)
}

func (s *Server) restore(t thing, batch int) {
	b := t.about()
	if !b.voided || b.batch != batch {
		return
	}
	b.voided, b.batch, b.voidedBy, b.voidReason = false, 0, "", ""
	for _, kid := range s.taken(t) {
		s.restore(kid, batch)
	}
}

func (s *Server) reindex(t thing) {
	switch t := t.(type) {
	case *patient:
		s.data.index(t)
	case *person:
		if t.p != nil {
			s.data.index(t.p)
		}
	case *row:
		if t.parent != nil {
			s.reindex(t.parent)
		}
	}
}

// purge removes a row that nothing refers to.
func (s *Server) purge(t thing) *failure {
	referenced := &failure{status: 500, text: "could not execute statement", causes: []string{"Cannot delete or update a parent row: a foreign key constraint fails"},
		code: "org.hibernate.exception.internal.SQLStateConversionDelegate:109"}
	switch t := t.(type) {
	case *patient:
		if b := s.data.below(t); len(b.encounters)+len(b.visits) > 0 || len(s.data.byPerson[t.person]) > 0 {
			return referenced
		}
		t.voided = true
		for _, r := range t.identifiers {
			r.voided = true // its row goes with her
		}
		s.data.index(t)
		delete(s.data.patients, t.uuid)
		delete(s.data.persons, t.uuid)
	case *encounter:
		if len(t.obs) > 0 {
			return referenced
		}
		b := s.data.below(t.patient)
		b.encounters = slices.DeleteFunc(b.encounters, func(e *encounter) bool { return e == t })
		if t.visit != nil {
			t.visit.encounters = slices.DeleteFunc(t.visit.encounters, func(e *encounter) bool { return e == t })
		}
		delete(s.data.encounters, t.uuid)
	case *visit:
		if len(t.encounters) > 0 {
			return referenced
		}
		b := s.data.below(t.patient)
		b.visits = slices.DeleteFunc(b.visits, func(v *visit) bool { return v == t })
		delete(s.data.visits, t.uuid)
	case *obs:
		s.detach(t)
		delete(s.data.obs, t.uuid)
	default:
		return unsupported()
	}
	return nil
}

// idgen draws identifiers.
func (s *Server) idgen(req *request) (*result, *failure) {
	p := req.path
	if len(p) == 4 && p[1] == "identifiersource" && p[3] == "identifier" && req.Method == http.MethodPost {
		src := s.data.meta("idgen/identifiersource", p[2])
		if src == nil {
			return nil, notFound()
		}
		id, f := s.draw()
		if f != nil {
			return nil, f
		}
		b, _ := json.Marshal(map[string]any{"identifier": id})
		return &result{status: http.StatusCreated, body: b}, nil
	}
	if len(p) == 2 && p[1] == "identifiersource" && isTrue(req.body["generateIdentifiers"]) {
		var n int
		if num, ok := req.body["numberToGenerate"].(json.Number); ok {
			i, _ := num.Int64()
			n = int(i)
		}
		if n < 1 || n > 10000 {
			return nil, broken("Invalid number to generate")
		}
		ids := []string{}
		for range n {
			id, f := s.draw()
			if f != nil {
				return nil, f
			}
			ids = append(ids, id)
		}
		b, _ := json.Marshal(map[string]any{"identifiers": ids})
		return &result{status: http.StatusCreated, body: b}, nil
	}
	return nil, unknownResource(strings.Join(p, "/"))
}
