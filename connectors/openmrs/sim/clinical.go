package sim

import (
	"fmt"
	"slices"
	"time"
)

var visitProps = []string{"uuid", "patient", "visitType", "startDatetime", "location", "indication", "stopDatetime", "encounters", "attributes"}

func (s *Server) createVisit(req *request) (thing, *failure) {
	if f := s.strict(req.body, nil, visitProps, []string{"patient", "visitType"}); f != nil {
		return nil, f
	}
	id := plain(req.body["uuid"])
	if s.data.visits[id] != nil {
		return nil, duplicateUUID(id, "visit.visit_uuid_index")
	}
	v := &visit{base: s.newBase("visit", req, id, nil), start: s.stored(s.now())}
	v.patient = s.data.patients[refOf(req.body["patient"])]
	if f := s.setVisit(v, req.body); f != nil {
		return nil, f
	}
	if f := s.checkVisit(v, false); f != nil {
		return nil, f
	}
	s.data.visits[v.uuid] = v
	b := s.data.below(v.patient)
	b.visits = append(b.visits, v)
	return v, nil
}

func (s *Server) setVisit(v *visit, m map[string]any) *failure {
	if x, ok := m["visitType"]; ok {
		v.typ = s.data.named("visittype", refOf(x))
	}
	if x, ok := m["location"]; ok {
		v.location = s.data.named("location", refOf(x))
	}
	for name, into := range map[string]*time.Time{"startDatetime": &v.start, "stopDatetime": &v.stop} {
		if x, ok := m[name]; ok {
			if f := s.setTime(into, x, name, "Visit"); f != nil {
				return f
			}
		}
	}
	return nil
}

func (s *Server) setTime(into *time.Time, v any, name, class string) *failure {
	if v == nil {
		*into = time.Time{}
		return nil
	}
	t, err := s.parseDate(plain(v))
	if err != nil {
		text := plain(v)
		return onClass(name, class, badDate, fmt.Sprintf("Invalid format: %q is malformed at %q", text, text[min(len(text), 2):]))
	}
	*into = t
	return nil
}

func (s *Server) updateVisit(v *visit, m map[string]any) *failure {
	if f := s.strict(m, v, slices.DeleteFunc(slices.Clone(visitProps), func(n string) bool { return n == "patient" || n == "uuid" }), nil); f != nil {
		return f
	}
	was := *v
	f := s.setVisit(v, m)
	if f == nil {
		_, ending := m["stopDatetime"]
		f = s.checkVisit(v, ending && len(m) == 1)
	}
	if f != nil {
		*v = was
	}
	return f
}

func (s *Server) checkVisit(v *visit, ending bool) *failure {
	f := map[string][2]string{}
	switch {
	case v.patient == nil:
		f["patient"] = [2]string{"Visit.error.patient.required", "A patient is required"}
	case v.typ == nil:
		f["visitType"] = [2]string{"Visit.error.visitType.required", "A visit type is required"}
	case v.start.IsZero():
		f["startDatetime"] = [2]string{"Visit.error.startDate.required", "A start date is required"}
	case !v.stop.IsZero() && v.stop.Before(v.start):
		f["stopDatetime"] = [2]string{"Visit.error.endDateBeforeStartDate", "The end date cannot be before the start date."}
	case !v.patient.person.birthdate.IsZero() && v.start.Before(v.patient.person.birthdate):
		f["startDatetime"] = [2]string{"Visit.startDateCannotFallBeforeTheBirthDateOfTheSamePatient", "The visit cannot start before the birth of the patient."}
	}
	if len(f) == 0 {
		for _, e := range v.encounters {
			if e.voided {
				continue
			}
			if e.at.Before(v.start) {
				f["startDatetime"] = [2]string{"Visit.encountersCannotBeBeforeStartDate", "This visit has encounters whose dates cannot be before the start date of the visit."}
			} else if !v.stop.IsZero() && e.at.After(v.stop) {
				f["stopDatetime"] = [2]string{"Visit.encountersCannotBeAfterStopDate", "This visit has encounters whose dates cannot be after the stop date of the visit."}
			}
		}
	}
	if len(f) == 0 && s.opt.NoOverlap && !ending {
		for _, o := range s.data.below(v.patient).visits {
			if o != v && !o.voided && (o.stop.IsZero() || !o.stop.Before(v.start)) && (v.stop.IsZero() || !v.stop.Before(o.start)) {
				f["startDatetime"] = [2]string{"Visit.visitCannotOverlapAnotherVisitOfTheSamePatient", "This visit overlaps with another visit of the same patient."}
			}
		}
	}
	if len(f) == 0 {
		return nil
	}
	return invalid(f)
}

var encounterProps = []string{"uuid", "encounterDatetime", "patient", "encounterType", "location", "form", "provider", "orders", "obs", "visit", "encounterProviders", "diagnoses"}

func (s *Server) createEncounter(req *request) (thing, *failure) {
	if f := s.strict(req.body, nil, encounterProps, []string{"patient", "encounterType"}); f != nil {
		return nil, f
	}
	id := plain(req.body["uuid"])
	if s.data.encounters[id] != nil {
		return nil, duplicateUUID(id, "encounter.encounter_uuid_index")
	}
	e := &encounter{base: s.newBase("encounter", req, id, nil), at: s.stored(s.now())}
	e.patient = s.data.patients[refOf(req.body["patient"])]
	if e.patient == nil {
		return nil, invalid(map[string][2]string{"patient": {"Encounter.error.patient.required", "A patient is required"}})
	}
	made, f := s.setEncounter(e, req.body, req)
	if f != nil {
		return nil, f
	}
	if e.visit == nil && !s.opt.NoVisitAssignment {
		for _, v := range s.data.below(e.patient).visits { // ExistingVisitAssignmentHandler
			if !v.voided && v.open(e.at) && (v.location == nil || e.location == nil || v.location == e.location) {
				e.visit = v
				break
			}
		}
	}
	if f := s.checkEncounter(e); f != nil {
		return nil, f
	}
	if f := s.checkObs(made); f != nil {
		return nil, f
	}
	s.data.encounters[e.uuid] = e
	b := s.data.below(e.patient)
	b.encounters = append(b.encounters, e)
	if e.visit != nil {
		e.visit.encounters = append(e.visit.encounters, e)
	}
	s.keep(made)
	return e, nil
}

// setEncounter sets what a body names. It gives all observations made, members
// included; they are not stored yet.
func (s *Server) setEncounter(e *encounter, m map[string]any, req *request) ([]*obs, *failure) {
	if v, ok := m["encounterDatetime"]; ok {
		was := e.at
		if f := s.setTime(&e.at, v, "encounterDatetime", "Encounter"); f != nil {
			return nil, f
		}
		s.moveObs(e.obs, was, e.at)
	}
	if v, ok := m["encounterType"]; ok {
		e.typ = s.data.named("encountertype", refOf(v))
	}
	if v, ok := m["location"]; ok {
		e.location = s.data.named("location", refOf(v))
	}
	if v, ok := m["form"]; ok {
		e.form = s.data.meta("form", refOf(v))
	}
	if v, ok := m["visit"]; ok {
		was := e.visit
		e.visit = s.data.visits[refOf(v)]
		if was != e.visit && s.data.encounters[e.uuid] == e {
			if was != nil {
				was.encounters = slices.DeleteFunc(was.encounters, func(x *encounter) bool { return x == e })
			}
			if e.visit != nil {
				e.visit.encounters = append(e.visit.encounters, e)
			}
		}
	}
	list, _ := m["encounterProviders"].([]any)
	for _, v := range list {
		vals, ok := v.(map[string]any)
		if !ok {
			return nil, onClass("encounterProviders", "Encounter")
		}
		r := &row{base: s.newBase("encounter/encounterprovider", req, plain(vals["uuid"]), e), vals: map[string]any{}}
		if f := s.setProvider(r, vals); f != nil {
			return nil, f
		}
		e.providers = append(e.providers, r)
	}
	var made []*obs
	list, _ = m["obs"].([]any)
	for _, v := range list {
		vals, ok := v.(map[string]any)
		if !ok {
			return nil, onClass("obs", "Encounter")
		}
		o, f := s.makeObs(req, vals, e, nil, &made)
		if f != nil {
			return nil, f
		}
		e.obs = append(e.obs, o)
	}
	return made, nil
}

func (s *Server) moveObs(list []*obs, was, now time.Time) {
	for _, o := range list {
		if o.at.Equal(was) {
			o.at = now
		}
		s.moveObs(o.members, was, now)
	}
}

func (s *Server) checkEncounter(e *encounter) *failure {
	f := map[string][2]string{}
	switch {
	case e.typ == nil:
		f["encounterType"] = [2]string{"Encounter.error.encounterType.required", "An encounter type is required"}
	case e.at.IsZero():
		f["encounterDatetime"] = [2]string{"Encounter.datetime.required", "The encounter datetime is required."}
	case e.at.After(s.now()):
		f["encounterDatetime"] = [2]string{"Encounter.datetimeShouldBeBeforeCurrent", "The encounter datetime should be before the current date."}
	case e.visit != nil && e.visit.patient != e.patient:
		f["visit"] = [2]string{"Encounter.visit.patients.dontMatch", "The patient of the visit must be the patient of the encounter."}
	case e.visit != nil && !e.visit.open(e.at):
		f["encounterDatetime"] = [2]string{"Encounter.datetimeShouldBeInVisitDatesRange", "The encounter datetime should be between the visit start and stop dates."}
	}
	if len(f) == 0 {
		return nil
	}
	return invalid(f)
}

func (s *Server) updateEncounter(e *encounter, m map[string]any) *failure {
	if f := s.strict(m, e, slices.DeleteFunc(slices.Clone(encounterProps), func(n string) bool { return n == "uuid" }), nil); f != nil {
		return f
	}
	if v, ok := m["patient"]; ok && refOf(v) != e.patient.uuid {
		return onClass("patient", "Encounter")
	}
	was := *e
	made, f := s.setEncounter(e, m, &request{user: s.actor})
	if f == nil {
		f = s.checkEncounter(e)
	}
	if f == nil {
		if f = s.checkObs(made); f == nil {
			s.keep(made)
			return nil
		}
	}
	s.moveObs(e.obs, e.at, was.at)
	if e.visit != was.visit {
		_, _ = s.setEncounter(e, map[string]any{"visit": uuidOrNil(was.visit)}, nil)
	}
	*e = was
	return f
}

func uuidOrNil(v *visit) any {
	if v == nil {
		return nil
	}
	return v.uuid
}
