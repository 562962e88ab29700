package sim

import (
	"net/http"
	"slices"
	"strings"
)

// changeRow makes or changes a row of a sub-resource. Core's refusals come from
// inside its save here.
func (s *Server) changeRow(req *request) (*result, *failure) {
	rows, f := s.subRows(req.path[0], req.path[1], req.path[2])
	if f != nil {
		return nil, f
	}
	parent, _ := s.find(req.path[0], req.path[1])
	resource := req.path[0] + "/" + req.path[2]
	var r *row
	fresh := len(req.path) == 3
	if fresh {
		r = &row{base: s.newBase(resource, req, plain(req.body["uuid"]), parent), vals: map[string]any{}}
	} else if r = byUUID(*rows, req.path[3]); r == nil {
		return nil, notFound()
	}
	was := map[string]any{}
	for k, v := range r.vals {
		was[k] = v
	}
	if f = s.setSub(r, parent, req, fresh, rows); f != nil {
		if !fresh || !slices.Contains(*rows, r) { // else it was stored all the same
			r.vals = was
		}
		return nil, f
	}
	status := http.StatusOK
	if fresh {
		status = http.StatusCreated
	} else {
		s.touch(r)
	}
	s.touch(parent)
	if r.flag("preferred") {
		for _, other := range *rows {
			if other != r && other.vals["preferred"] == true {
				other.vals["preferred"] = false
			}
		}
	}
	s.reindex(r)
	if resource == "person/attribute" && fresh {
		for _, a := range *rows {
			if !a.voided && a.ref("attributeType") == r.ref("attributeType") {
				r = a
			}
		}
	}
	// Whatever v asks for (DelegatingSubResource.create and update).
	return s.as(req, r, repDefault, status)
}

func (s *Server) setSub(r *row, parent thing, req *request, fresh bool, rows *[]*row) *failure {
	var required []string
	var f *failure
	switch r.kind.resource {
	case "person/name":
		if fresh {
			required = []string{"givenName", "familyName"}
		}
		if f = s.strict(req.body, r, append([]string{"uuid"}, nameKeys...), required); f == nil {
			f = setRow(r, req.body, nameKeys)
		}
		if f == nil && r.text("givenName") == "" {
			f = invalid(map[string][2]string{"givenName": {"Patient.names.required.given.family", "You must define the Given Name"}}).inCore("PersonName")
		}
	case "person/address":
		if f = s.strict(req.body, r, append([]string{"uuid"}, addressKeys...), nil); f == nil {
			f = setRow(r, req.body, addressKeys)
		}
	case "person/attribute":
		if fresh {
			required = []string{"attributeType"}
		}
		if f = s.strict(req.body, r, []string{"uuid", "attributeType", "value", "hydratedObject"}, required); f == nil {
			f = s.setAttribute(r, req.body)
		}
		if f == nil && fresh {
			s.addAttribute(parent.(*person), r)
			return nil
		}
	case "patient/identifier":
		if fresh {
			required = []string{"identifier", "identifierType"}
		}
		if f = s.strict(req.body, r, []string{"uuid", "identifier", "identifierType", "location", "preferred"}, required); f == nil {
			return s.saveIdentifier(r, parent.(*patient), req.body, fresh, rows)
		}
	case "encounter/encounterprovider":
		if fresh {
			required = []string{"provider", "encounterRole"}
		}
		if f = s.strict(req.body, r, []string{"uuid", "provider", "encounterRole"}, required); f == nil {
			f = s.setProvider(r, req.body)
		}
	}
	if f == nil && fresh {
		*rows = append(*rows, r)
	}
	return f
}

// saveIdentifier stores an identifier. Up to module 2.44 a duplicate is answered
// with an error but stored all the same (O3-3586).
func (s *Server) saveIdentifier(r *row, p *patient, body map[string]any, fresh bool, rows *[]*row) *failure {
	s.setIdentifier(r, body)
	f := s.checkIdentifier(r, p)
	stored := f == nil
	if f != nil {
		f = f.inCore("PatientIdentifier")
		if fresh && !s.since(2, 45) && strings.Contains(f.global0(), "already in use") {
			stored = true
		}
	}
	if stored {
		if _, ok := r.vals["preferred"]; !ok {
			r.vals["preferred"] = false
		}
		if fresh {
			*rows = append(*rows, r)
		}
		s.rememberID(r)
		s.data.index(p)
	}
	return f
}

func (f *failure) global0() string {
	if len(f.global) == 0 {
		return ""
	}
	return f.global[0].Message
}

func (s *Server) setProvider(r *row, m map[string]any) *failure {
	for name, resource := range map[string]string{"provider": "provider", "encounterRole": "encounterrole"} {
		if v, ok := m[name]; ok {
			x := s.data.meta(resource, refOf(v))
			if x == nil {
				return onClass(name, "EncounterProvider")
			}
			r.vals[name] = x
		}
	}
	if r.ref("provider") == nil || r.ref("encounterRole") == nil {
		return onClass("encounterProviders", "Encounter")
	}
	return nil
}
