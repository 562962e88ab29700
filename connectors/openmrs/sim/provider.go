package sim

import (
	"slices"
	"strings"
)

// createProvider makes a provider of a person who is there: an inline person
// would not be saved with it. Two may have one identifier.
func (s *Server) createProvider(req *request) (thing, *failure) {
	if f := s.strict(req.body, nil, []string{"uuid", "person", "identifier", "attributes", "retired"}, []string{"person", "identifier"}); f != nil {
		return nil, f
	}
	id := plain(req.body["uuid"])
	if s.data.meta("provider", id) != nil {
		return nil, duplicateUUID(id, "provider.provider_uuid")
	}
	r := &row{base: s.newBase("provider", req, id, nil), vals: map[string]any{"attributes": []thing{}}}
	if f := s.setProviderRow(r, req.body); f != nil {
		return nil, f
	}
	s.data.addMeta(r)
	return r, nil
}

func (s *Server) setProviderRow(r *row, m map[string]any) *failure {
	if v, ok := m["person"]; ok {
		who := s.data.persons[refOf(v)]
		if _, inline := v.(map[string]any); who == nil && inline {
			return broken("object references an unsaved transient instance - save the transient instance before flushing: org.openmrs.Provider.person -> org.openmrs.Person")
		}
		if who == nil {
			return invalid(map[string][2]string{"person": {"Provider.error.personOrName.required", "Provider.error.personOrName.required"}})
		}
		r.vals["person"] = who
	}
	if v, ok := m["identifier"]; ok {
		r.vals["identifier"] = plain(v)
	}
	return nil
}

func (s *Server) updateProvider(r *row, m map[string]any) *failure {
	if f := s.strict(m, r, []string{"person", "identifier", "attributes", "retired"}, nil); f != nil {
		return f
	}
	return s.setProviderRow(r, m)
}

// providerName is what a provider made by REST is called.
func providerName(s *Server, r *row) string {
	if who, ok := r.vals["person"].(*person); ok {
		return who.display(s)
	}
	return r.text("name")
}

// searchProviders looks at the beginnings of identifiers and, for each word, of
// the parts of a name; retired ones only with includeAll.
func (s *Server) searchProviders(req *request) (*result, *failure) {
	q := req.URL.Query()
	needle := strings.ToLower(q.Get("q"))
	out := []thing{}
	for _, r := range s.data.order["provider"] {
		parts := strings.Fields(strings.ToLower(providerName(s, r)))
		named := !slices.ContainsFunc(strings.Fields(needle), func(w string) bool {
			return !slices.ContainsFunc(parts, func(p string) bool { return strings.HasPrefix(p, w) })
		})
		if (r.voided && q.Get("includeAll") != "true") || !named && !strings.HasPrefix(strings.ToLower(r.text("identifier")), needle) {
			continue
		}
		out = append(out, r)
	}
	return s.page(req, out, nil)
}

// staff are the live providers and persons that were made by REST, for State.
func (s *Server) staff() map[string]any {
	out := map[string]any{}
	providers, others := []any{}, []any{}
	for _, r := range s.data.order["provider"] {
		if who, ok := r.vals["person"].(*person); ok && !r.voided {
			providers = append(providers, map[string]any{"uuid": r.uuid, "identifier": r.text("identifier"), "person": who.uuid})
		}
	}
	for _, who := range s.data.persons {
		if who.p == nil && !who.voided {
			others = append(others, map[string]any{"uuid": who.uuid, "name": who.display(s), "gender": who.gender})
		}
	}
	if len(providers) > 0 {
		out["providers"] = sorted(providers)
	}
	if len(others) > 0 {
		out["persons"] = sorted(others)
	}
	return out
}
