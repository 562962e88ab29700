package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sort"
	"strings"
	"time"
)

// State is what is live, as canonical JSON. The ids of patients, visits and
// encounters are in it; the uuids of names, identifiers, attributes, providers
// and observations are not: the server makes them anew when it voids and
// re-makes such a row, and no client can bring them back.
func (s *Server) State() ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	patients := []any{}
	for _, id := range slices.Sorted(maps.Keys(s.data.patients)) {
		if p := s.data.patients[id]; !p.voided {
			patients = append(patients, s.patientState(p))
		}
	}
	visits := []any{}
	for _, id := range slices.Sorted(maps.Keys(s.data.visits)) {
		v := s.data.visits[id]
		if !v.voided {
			visits = append(visits, map[string]any{"uuid": v.uuid, "patient": v.patient.uuid, "type": nameOf(v.typ), "location": nameOf(v.location),
				"start": moment(v.start), "stop": moment(v.stop)})
		}
	}
	encounters := []any{}
	for _, id := range slices.Sorted(maps.Keys(s.data.encounters)) {
		if e := s.data.encounters[id]; !e.voided {
			encounters = append(encounters, s.encounterState(e))
		}
	}
	loose := []any{}
	for _, id := range slices.Sorted(maps.Keys(s.data.obs)) {
		if o := s.data.obs[id]; !o.voided && o.encounter == nil && o.group == nil {
			st := s.obsState(o)
			st["person"], st["at"] = o.person.uuid, moment(o.at)
			loose = append(loose, st)
		}
	}
	out := s.staff()
	maps.Copy(out, map[string]any{"patients": patients, "visits": visits, "encounters": encounters, "obs": sorted(loose)})
	return json.MarshalIndent(out, "", " ")
}

func moment(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

func nameOf(r *row) any {
	if r == nil {
		return nil
	}
	return r.text("name")
}

// sorted orders rows by what they say.
func sorted(list []any) []any {
	sort.SliceStable(list, func(i, j int) bool {
		a, _ := json.Marshal(list[i])
		b, _ := json.Marshal(list[j])
		return bytes.Compare(a, b) < 0
	})
	return list
}

func (s *Server) patientState(p *patient) map[string]any {
	who := p.person
	rows := func(list []*row) []any {
		out := []any{}
		for _, r := range list {
			if r.voided {
				continue
			}
			m := map[string]any{}
			for k, v := range r.vals {
				switch v := v.(type) {
				case nil:
				case *row:
					m[k] = nameOf(v)
				default:
					if v != "" {
						m[k] = v
					}
				}
			}
			out = append(out, m)
		}
		return sorted(out)
	}
	birthdate := any(nil)
	if !who.birthdate.IsZero() {
		birthdate = who.birthdate.In(s.zone).Format(time.DateOnly)
	}
	return map[string]any{"uuid": p.uuid, "gender": who.gender, "birthdate": birthdate, "birthdateEstimated": who.estimated, "dead": who.dead,
		"deathDate": moment(who.deathDate), "causeOfDeath": nameOf(who.cause), "causeOfDeathNonCoded": who.causeText,
		"names": rows(who.names), "addresses": rows(who.addresses), "attributes": rows(who.attributes), "identifiers": rows(p.identifiers)}
}

func (s *Server) encounterState(e *encounter) map[string]any {
	providers := []any{}
	for _, r := range e.providers {
		if !r.voided {
			providers = append(providers, map[string]any{"provider": nameOf(r.ref("provider")), "role": nameOf(r.ref("encounterRole"))})
		}
	}
	list := []any{}
	for _, o := range e.obs {
		if !o.voided {
			list = append(list, s.obsState(o))
		}
	}
	return map[string]any{"uuid": e.uuid, "patient": e.patient.uuid, "type": nameOf(e.typ), "location": nameOf(e.location), "form": nameOf(e.form),
		"visit": uuidOrNil(e.visit), "at": moment(e.at), "providers": sorted(providers), "obs": sorted(list)}
}

func (s *Server) obsState(o *obs) map[string]any {
	m := map[string]any{"concept": nameOf(o.concept)}
	if o.comment != "" {
		m["comment"] = o.comment
	}
	if len(o.members) > 0 {
		list := []any{}
		for _, k := range o.members {
			if !k.voided {
				list = append(list, s.obsState(k))
			}
		}
		m["members"] = sorted(list)
		return m
	}
	switch v := o.value(s).(type) {
	case *row:
		m["value"] = nameOf(v)
	case time.Time:
		m["value"] = moment(v)
	default:
		m["value"] = v
	}
	return m
}

// seed is what Seed takes: metadata in a short form, and patients, visits,
// encounters and observations as they would be posted, each with its uuid.
type seed struct {
	Concepts        []conceptSeed     `json:"concepts"`
	IdentifierTypes []map[string]any  `json:"patientidentifiertypes"`
	AttributeTypes  []map[string]any  `json:"personattributetypes"`
	VisitTypes      []map[string]any  `json:"visittypes"`
	EncounterTypes  []map[string]any  `json:"encountertypes"`
	EncounterRoles  []map[string]any  `json:"encounterroles"`
	Locations       []map[string]any  `json:"locations"`
	Providers       []map[string]any  `json:"providers"`
	Forms           []map[string]any  `json:"forms"`
	Patients        []json.RawMessage `json:"patients"`
	Visits          []json.RawMessage `json:"visits"`
	Encounters      []json.RawMessage `json:"encounters"`
	Obs             []json.RawMessage `json:"obs"`
	Reports         []reportSeed      `json:"reports"`
	Merges          []mergeSeed       `json:"merges"`
	Feeds           []feedSeed        `json:"feeds"`
}

// Seed adds content. Clinical content goes through the server's own checks, as
// if it were posted; nothing of it is in the record of traffic.
func (s *Server) Seed(doc []byte) error {
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.DisallowUnknownFields()
	var in seed
	if err := dec.Decode(&in); err != nil {
		return fmt.Errorf("read the seed: %w", err)
	}
	s.mu.Lock()
	for resource, list := range map[string][]map[string]any{"patientidentifiertype": in.IdentifierTypes, "personattributetype": in.AttributeTypes, "visittype": in.VisitTypes,
		"encountertype": in.EncounterTypes, "encounterrole": in.EncounterRoles, "location": in.Locations, "provider": in.Providers, "form": in.Forms} {
		for _, m := range list {
			id, _ := m["uuid"].(string)
			if id == "" {
				id = s.fresh()
			}
			delete(m, "uuid")
			retired, _ := m["retired"].(bool)
			delete(m, "retired")
			if resource == "provider" && m["person"] == nil {
				m["person"] = map[string]any{"uuid": id, "display": m["name"]}
			}
			s.addMeta(resource, id, m).voided = retired
		}
	}
	for _, c := range in.Concepts {
		if err := s.addConcept(c); err != nil {
			s.mu.Unlock()
			return err
		}
	}
	s.mu.Unlock()
	for _, part := range []struct {
		resource string
		list     []json.RawMessage
	}{{"patient", in.Patients}, {"visit", in.Visits}, {"encounter", in.Encounters}, {"obs", in.Obs}} {
		for i, body := range part.list {
			r := httptest.NewRequest(http.MethodPost, marker+part.resource, bytes.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			r.SetBasicAuth(s.opt.Username, s.opt.Password)
			w := httptest.NewRecorder()
			s.serve(w, r)
			if w.Code != http.StatusCreated {
				return fmt.Errorf("seed %s %d: HTTP %d: %s", part.resource, i+1, w.Code, strings.TrimSpace(w.Body.String()))
			}
		}
	}
	for i, m := range in.Merges {
		if err := s.merge(m, orDefault(s.otherUser(), s.opt.Username)); err != nil {
			return fmt.Errorf("seed merge %d: %w", i+1, err)
		}
	}
	for i, def := range in.Reports {
		if err := s.seedReport(def); err != nil {
			return fmt.Errorf("seed report %d: %w", i+1, err)
		}
	}
	for i, in := range in.Feeds {
		if err := s.changeFeed(in); err != nil {
			return fmt.Errorf("seed feed %d: %w", i+1, err)
		}
	}
	return nil
}
