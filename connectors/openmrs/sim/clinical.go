package sim

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
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
		return onClass(name, class, err.Error(), fmt.Sprintf("Invalid format: %q is malformed at %q", text, text[min(len(text), 2):]))
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
	made, f := s.setEncounter(e, m, &request{user: e.creator})
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

var obsPropsSet = []string{"uuid", "person", "obsDatetime", "concept", "location", "order", "encounter", "accessionNumber", "groupMembers", "valueCodedName",
	"comment", "value", "valueModifier", "formFieldPath", "formFieldNamespace", "status", "interpretation"}

func (s *Server) createObs(req *request) (thing, *failure) {
	if f := s.strict(req.body, nil, obsPropsSet, []string{"person", "obsDatetime", "concept"}); f != nil {
		return nil, f
	}
	var e *encounter
	if v, ok := req.body["encounter"]; ok {
		e = s.data.encounters[refOf(v)]
	}
	var made []*obs
	o, f := s.makeObs(req, req.body, e, nil, &made)
	if f != nil {
		return nil, f
	}
	if o.person == nil {
		return nil, invalid(map[string][2]string{"person": {"error.null", "Required"}})
	}
	if f := s.checkObs(made); f != nil {
		f.core = false // validated by ws itself
		return nil, f
	}
	if e != nil {
		e.obs = append(e.obs, o)
	}
	s.keep(made)
	return o, nil
}

// makeObs converts one observation and its members.
func (s *Server) makeObs(req *request, m map[string]any, e *encounter, group *obs, made *[]*obs) (*obs, *failure) {
	id := plain(m["uuid"])
	if s.data.obs[id] != nil {
		return nil, duplicateUUID(id, "obs.obs_uuid_index")
	}
	o := &obs{base: s.newBase("obs", req, id, nil), encounter: e, group: group, status: "FINAL"}
	*made = append(*made, o)
	for k := range m {
		if !slices.Contains(obsPropsSet, k) && !slices.Contains(ignored, k) {
			return nil, onClass(k, "Obs")
		}
	}
	if e != nil {
		o.person, o.at, o.location = e.patient.person, e.at, e.location
	}
	if group != nil {
		o.person, o.at = group.person, group.at
	}
	if v, ok := m["person"]; ok {
		o.person = s.data.persons[refOf(v)]
	}
	if v, ok := m["obsDatetime"]; ok {
		if f := s.setTime(&o.at, v, "obsDatetime", "Obs"); f != nil {
			return nil, f
		}
	}
	name := refOf(m["concept"])
	if len(s.data.mappings[name]) > 1 {
		return nil, onClass("concept", "Obs", "Found multiple non retired concepts with mapping "+name)
	}
	o.concept = s.data.concept(name)
	if f := s.setObs(o, m); f != nil {
		return nil, f
	}
	members, _ := m["groupMembers"].([]any)
	for _, v := range members {
		vals, ok := v.(map[string]any)
		if !ok {
			if member := s.data.obs[refOf(v)]; member != nil {
				member.group = o
				o.members = append(o.members, member)
				continue
			}
			return nil, onClass("groupMembers", "Obs")
		}
		kid, f := s.makeObs(req, vals, e, o, made)
		if f != nil {
			return nil, f
		}
		o.members = append(o.members, kid)
	}
	if o.concept == nil {
		return nil, onClass("concept", "Obs")
	}
	return o, nil
}

// setObs sets the value and what is beside it.
func (s *Server) setObs(o *obs, m map[string]any) *failure {
	if v, ok := m["comment"]; ok {
		o.comment = plain(v)
	}
	if v, ok := m["location"]; ok {
		o.location = s.data.named("location", refOf(v))
	}
	if v, ok := m["formFieldPath"]; ok {
		o.path = plain(v)
	}
	if v, ok := m["formFieldNamespace"]; ok {
		o.ns = plain(v)
	}
	v, ok := m["value"]
	if !ok {
		return nil
	}
	if o.concept == nil {
		return onClass("value", "Obs") // a null pointer: nothing after it
	}
	if v == nil {
		return onClass("value", "Obs", "The value for an observation cannot be null")
	}
	o.number, o.boolean, o.coded, o.when, o.words = nil, nil, nil, time.Time{}, ""
	text := plain(v)
	switch datatype(o.concept) {
	case "Numeric":
		return o.setNumber(text)
	case "Boolean":
		return s.setBoolean(o, text, refOf(v))
	case "Coded":
		answer := s.data.concept(refOf(v))
		if answer == nil {
			return onClass("value", "Obs", o.concept.text("name")+":"+refOf(v))
		}
		o.coded = answer
	case "Text":
		o.words = text
		if l := s.data.meta("location", text); l != nil {
			// Stored as a location's answer; it is shown by its uuid here too.
			o.words = l.uuid
		}
	case "Date", "Datetime", "Time":
		return s.setWhen(o, text)
	default:
		return onClass("value", "Obs", "Don't know how to handle the datatype "+datatype(o.concept))
	}
	return nil
}

func (o *obs) setNumber(text string) *failure {
	if units := o.concept.text("units"); units != "" {
		text = strings.TrimSpace(strings.TrimSuffix(text, units))
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return onClass("value", "Obs", text+" has invalid units", fmt.Sprintf("For input string: %q", text))
	}
	o.number = &f
	return nil
}

func (s *Server) setBoolean(o *obs, text, ref string) *failure {
	b := false
	switch strings.ToLower(text) {
	case "true", "1", "on", "yes":
		b = true
	case "false", "0", "off", "no":
	default:
		switch ref {
		case yesConcept:
			b = true
		case noConcept:
		default:
			return onClass("value", "Obs", "Unexpected value: "+text+" set as the value of boolean. true, 1, on, yes, false, 0, off, no are expected")
		}
	}
	o.boolean = &b
	return nil
}

// setWhen is Obs.setValueAsString; the form with T only from core 2.8.7 on.
func (s *Server) setWhen(o *obs, text string) *failure {
	layouts := map[string][]string{"Date": {"2006-01-02"}, "Datetime": {"2006-01-02 15:04:05"}, "Time": {"15:04:05", "15:04"}}[datatype(o.concept)]
	for _, l := range layouts {
		if t, err := time.ParseInLocation(l, text, s.zone); err == nil {
			if datatype(o.concept) == "Time" {
				t = time.Date(1970, 1, 1, t.Hour(), t.Minute(), t.Second(), 0, s.zone)
			}
			o.when = t
			return nil
		}
	}
	return onClass("value", "Obs", fmt.Sprintf("Unparseable date: %q", text))
}

// checkObs is core's ObsValidator; of a member only that it is wrong is said.
func (s *Server) checkObs(made []*obs) *failure {
	for _, o := range made {
		f := o.check()
		if f == nil {
			continue
		}
		if o.group != nil {
			f = invalid(map[string][2]string{"groupMembers": {"Obs.error.inGroupMember", "Obs.error.inGroupMember"}})
		}
		return f.inCore("Obs")
	}
	return nil
}

func (o *obs) check() *failure {
	if len(o.members) > 0 {
		return nil
	}
	if o.number == nil && o.boolean == nil && o.coded == nil && o.when.IsZero() && o.words == "" {
		return invalid(map[string][2]string{"value": {"error.noValue", "error.noValue"}})
	}
	if len(o.words) > 65535 {
		return invalid(map[string][2]string{"valueText": {"error.exceededMaxLengthOfField", "error.exceededMaxLengthOfField"}})
	}
	if o.number == nil {
		return nil
	}
	if hi, ok := o.concept.vals["hiAbsolute"].(*float64); ok && hi != nil && *o.number > *hi {
		return invalid(map[string][2]string{"valueNumeric": {"error.value.outOfRange.high", "error.value.outOfRange.high"}})
	}
	if lo, ok := o.concept.vals["lowAbsolute"].(*float64); ok && lo != nil && *o.number < *lo {
		return invalid(map[string][2]string{"valueNumeric": {"error.value.outOfRange.low", "error.value.outOfRange.low"}})
	}
	if o.concept.vals["allowDecimal"] == false && *o.number != math.Trunc(*o.number) {
		return invalid(map[string][2]string{"valueNumeric": {"Obs.error.precision", "Obs.error.precision"}})
	}
	return nil
}

func (s *Server) keep(made []*obs) {
	for _, o := range made {
		s.data.obs[o.uuid] = o
		s.data.byPerson[o.person] = append(s.data.byPerson[o.person], o)
	}
}

func (s *Server) detach(o *obs) {
	s.data.byPerson[o.person] = slices.DeleteFunc(s.data.byPerson[o.person], func(x *obs) bool { return x == o })
	if o.encounter != nil {
		o.encounter.obs = slices.DeleteFunc(o.encounter.obs, func(x *obs) bool { return x == o })
	}
	if o.group != nil {
		o.group.members = slices.DeleteFunc(o.group.members, func(x *obs) bool { return x == o })
	}
}

// updateObs voids the observation and makes a new one with a new uuid, FINAL
// becomes AMENDED (ObsServiceImpl.saveObs).
func (s *Server) updateObs(o *obs, m map[string]any) (thing, *failure) {
	if f := s.strict(m, o, slices.DeleteFunc(slices.Clone(obsPropsSet), func(n string) bool { return n == "uuid" }), nil); f != nil {
		return nil, f
	}
	next := *o
	next.base = s.newBase("obs", &request{user: o.creator}, "", nil)
	next.status = "AMENDED"
	next.members = slices.Clone(o.members)
	if v, ok := m["obsDatetime"]; ok {
		if f := s.setTime(&next.at, v, "obsDatetime", "Obs"); f != nil {
			return nil, f
		}
	}
	if v, ok := m["encounter"]; ok {
		next.encounter = s.data.encounters[refOf(v)]
	}
	if f := s.setObs(&next, m); f != nil {
		return nil, f
	}
	if f := s.checkObs([]*obs{&next}); f != nil {
		return nil, f
	}
	s.seq++
	members := o.members
	o.members = nil // they go on in the new one
	s.void(o, o.creator, "", s.seq)
	o.members = members
	for _, kid := range next.members {
		kid.group = &next
	}
	switch {
	case next.group != nil:
		next.group.members = append(next.group.members, &next)
	case next.encounter != nil:
		next.encounter.obs = append(next.encounter.obs, &next)
	}
	s.keep([]*obs{&next})
	return &next, nil
}
