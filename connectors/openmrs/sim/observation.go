package sim

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

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
	next.base = s.newBase("obs", &request{user: s.actor}, "", nil)
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
	s.void(o, s.actor, "", s.seq)
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
