package sim

import (
	"encoding/json"
	"sort"
	"time"
)

// State is what is live, as canonical JSON: data values, registrations of
// completeness and events. Metadata is named by code, or by uid where it has
// none; category option combos by name. Left out are deleted rows, and of live
// ones the moments and names that the server puts in, since a client cannot
// choose them.
func (s *Server) State() ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	values := []any{}
	for at, cells := range s.data.values {
		for c, v := range cells {
			if !v.deleted {
				values = append(values, s.valueState(at, c, v))
			}
		}
	}
	complete := []any{}
	for k, reg := range s.data.complete {
		if reg.completed {
			m := record{"dataSet": s.codeOf("dataSets", k.set), "period": k.period, "orgUnit": s.codeOf("organisationUnits", k.unit)}
			s.addCombo(m, "attributeOptionCombo", k.aoc)
			complete = append(complete, m)
		}
	}
	events := []any{}
	for _, uid := range sorted(s.data.events) {
		if e := s.data.events[uid]; !e.deleted {
			events = append(events, s.eventState(e))
		}
	}
	return json.MarshalIndent(record{"dataValues": ordered(values), "completeDataSetRegistrations": ordered(complete), "events": events}, "", " ")
}

func (s *Server) codeOf(collection, id string) string {
	if c := text(s.meta.get(collection, id), "code"); c != "" {
		return c
	}
	return id
}

// addCombo names a category option combo, unless it is the default.
func (s *Server) addCombo(m record, key, id string) {
	if id == s.model.fallback.id {
		return
	}
	m[key] = id
	if name := text(s.meta.get("categoryOptionCombos", id), "name"); name != "" {
		m[key] = name
	}
}

func (s *Server) valueState(at place, c cell, v *value) record {
	m := record{"dataElement": s.codeOf("dataElements", c.element), "period": at.period, "orgUnit": s.codeOf("organisationUnits", at.unit), "value": v.text}
	s.addCombo(m, "categoryOptionCombo", c.coc)
	s.addCombo(m, "attributeOptionCombo", c.aoc)
	if v.comment != "" {
		m["comment"] = v.comment
	}
	if v.followup {
		m["followup"] = true
	}
	return m
}

func (s *Server) eventState(e *event) record {
	values := record{}
	for de, v := range e.values {
		values[s.codeOf("dataElements", de)] = v.text
	}
	m := record{"event": e.uid, "program": s.codeOf("programs", e.program), "orgUnit": s.codeOf("organisationUnits", e.unit), "status": e.status, "dataValues": values}
	for key, t := range map[string]time.Time{"occurredAt": e.occurred, "scheduledAt": e.scheduled} {
		if !t.IsZero() {
			m[key] = stamp(t.In(s.zone))
		}
	}
	if len(s.model.programs.id[e.program].stages) > 1 {
		m["programStage"] = s.codeOf("programStages", e.stage)
	}
	s.addCombo(m, "attributeOptionCombo", e.aoc)
	if e.geometry != nil {
		m["geometry"] = e.geometry
	}
	if len(e.notes) > 0 {
		var notes []any
		for _, n := range e.notes {
			notes = append(notes, n.text)
		}
		m["notes"] = notes
	}
	return m
}

// ordered sorts rows by what they say.
func ordered(rows []any) []any {
	keyed := make([]struct {
		key string
		row any
	}, len(rows))
	for i, r := range rows {
		b, _ := json.Marshal(r)
		keyed[i].key, keyed[i].row = string(b), r
	}
	sort.Slice(keyed, func(i, j int) bool { return keyed[i].key < keyed[j].key })
	for i := range keyed {
		rows[i] = keyed[i].row
	}
	return rows
}
