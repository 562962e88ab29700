package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/connectors/openmrs/checkdigit"
)

func (s *Server) newBase(resource string, req *request, uuid string, parent thing) base {
	if uuid == "" {
		uuid = s.fresh()
	}
	s.seq++
	return base{kind: kinds[resource], uuid: uuid, seq: s.seq, creator: req.user, created: s.stored(s.now()), parent: parent}
}

var personProps = []string{"uuid", "names", "gender", "age", "birthdate", "birthdateEstimated", "dead", "deathDate", "causeOfDeath", "causeOfDeathNonCoded",
	"addresses", "attributes", "birthtime", "deathdateEstimated", "preferredName", "preferredAddress"}

func (s *Server) createPatient(req *request) (thing, *failure) {
	if f := s.strict(req.body, nil, []string{"person", "identifiers"}, []string{"person", "identifiers"}); f != nil {
		return nil, f
	}
	var who *person
	switch v := req.body["person"].(type) {
	case string:
		if who = s.data.persons[v]; who == nil {
			return nil, onClass("person", "Patient")
		}
	case map[string]any:
		id, _ := v["uuid"].(string)
		if s.data.persons[id] != nil {
			return nil, duplicateUUID(id, "person.person_uuid_index")
		}
		var f *failure
		if who, f = s.makePerson(req, v, id); f != nil {
			return nil, f
		}
	default:
		return nil, onClass("person", "Patient")
	}
	if who.p != nil {
		return nil, duplicateUUID(who.uuid, "patient.PRIMARY")
	}
	p := &patient{base: s.newBase("patient", req, who.uuid, nil), person: who}
	list, _ := req.body["identifiers"].([]any)
	if len(list) == 0 {
		return nil, globally("At least one identifier is required")
	}
	for _, v := range list {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, onClass("identifiers", "Patient")
		}
		for k := range m {
			if !slices.Contains([]string{"uuid", "identifier", "identifierType", "location", "preferred"}, k) {
				return nil, onClass(k, "PatientIdentifier")
			}
		}
		p.identifiers = append(p.identifiers, s.makeIdentifier(req, m, p))
	}
	if f := s.checkPatient(p); f != nil {
		return nil, f
	}
	who.p = p
	s.data.patients[p.uuid], s.data.persons[p.uuid] = p, who
	for _, r := range p.identifiers {
		s.rememberID(r)
	}
	s.data.index(p)
	return p, nil
}

func (s *Server) createPerson(req *request) (thing, *failure) {
	if f := s.strict(req.body, nil, personProps, []string{"names", "gender"}); f != nil {
		return nil, f
	}
	id, _ := req.body["uuid"].(string)
	if s.data.persons[id] != nil {
		return nil, duplicateUUID(id, "person.person_uuid_index")
	}
	who, f := s.makePerson(req, req.body, id)
	if f != nil {
		return nil, f
	}
	if f := s.checkPerson(who); f != nil {
		return nil, f
	}
	s.data.persons[who.uuid] = who
	return who, nil
}

// makePerson converts an inline person; nothing is stored yet.
func (s *Server) makePerson(req *request, m map[string]any, id string) (*person, *failure) {
	who := &person{base: s.newBase("person", req, id, nil)}
	for k := range m {
		if !slices.Contains(personProps, k) && !slices.Contains(ignored, k) {
			return nil, onClass(k, "Person")
		}
	}
	if f := s.setPerson(who, m); f != nil {
		return nil, f
	}
	for _, part := range []struct {
		name, resource string
		keys           []string
		into           *[]*row
	}{{"names", "person/name", nameKeys, &who.names}, {"addresses", "person/address", addressKeys, &who.addresses}} {
		list, _ := m[part.name].([]any)
		for _, v := range list {
			vals, ok := v.(map[string]any)
			if !ok {
				return nil, onClass(part.name, "Person")
			}
			r := &row{base: s.newBase(part.resource, req, plain(vals["uuid"]), who), vals: map[string]any{}}
			if f := setRow(r, vals, part.keys); f != nil {
				return nil, f
			}
			*part.into = append(*part.into, r)
		}
	}
	list, _ := m["attributes"].([]any)
	for _, v := range list {
		vals, ok := v.(map[string]any)
		if !ok {
			return nil, onClass("attributes", "Person")
		}
		r := &row{base: s.newBase("person/attribute", req, plain(vals["uuid"]), who), vals: map[string]any{}}
		if f := s.setAttribute(r, vals); f != nil {
			return nil, f
		}
		s.addAttribute(who, r)
	}
	return who, nil
}

// setRow sets texts and flags of a name or an address.
func setRow(r *row, m map[string]any, keys []string) *failure {
	for k, v := range m {
		switch {
		case k == "uuid" || slices.Contains(ignored, k) || k == "voided":
		case !slices.Contains(keys, k):
			return onClass(k, r.kind.class)
		case k == "preferred":
			r.vals[k] = isTrue(v)
		case v == nil || plain(v) == "":
			r.vals[k] = nil
		default:
			r.vals[k] = plain(v)
		}
	}
	if _, ok := r.vals["preferred"]; !ok {
		r.vals["preferred"] = false
	}
	return nil
}

func (s *Server) setAttribute(r *row, m map[string]any) *failure {
	for k := range m {
		if !slices.Contains([]string{"attributeType", "value", "hydratedObject", "uuid"}, k) && !slices.Contains(ignored, k) {
			return onClass(k, "PersonAttribute")
		}
	}
	if v, ok := m["attributeType"]; ok {
		// By uuid only: getByUniqueId of this type takes no name.
		t := s.data.meta("personattributetype", refOf(v))
		if t == nil {
			return onClass("attributeType", "PersonAttribute")
		}
		r.vals["attributeType"] = t
	}
	if r.ref("attributeType") == nil {
		return conversion("Some required properties are missing: attributeType")
	}
	v, ok := m["value"]
	if !ok {
		v, ok = m["hydratedObject"]
	}
	if ok {
		value := plain(v)
		if value == "" {
			value = refOf(v)
		}
		if r.ref("attributeType").text("format") == "org.openmrs.Concept" {
			c := s.data.concept(value)
			if c == nil {
				return onClass("value", "PersonAttribute")
			}
			value = c.uuid
		}
		r.vals["value"] = value
	}
	return nil
}

// addAttribute is core's Person.addAttribute: the same value is not added
// again, another value voids the one that was there.
func (s *Server) addAttribute(who *person, r *row) *row {
	for _, old := range who.attributes {
		if old.voided || old.ref("attributeType") != r.ref("attributeType") {
			continue
		}
		if old.text("value") == r.text("value") {
			return old
		}
		s.seq++
		s.void(old, r.creator, "New value: "+r.text("value"), s.seq)
	}
	who.attributes = append(who.attributes, r)
	return r
}

// setPerson sets the plain properties of a person.
func (s *Server) setPerson(who *person, m map[string]any) *failure {
	if v, ok := m["gender"]; ok {
		who.gender = plain(v)
	}
	for name, into := range map[string]*time.Time{"birthdate": &who.birthdate, "deathDate": &who.deathDate} {
		v, ok := m[name]
		if !ok {
			continue
		}
		if v == nil {
			*into = time.Time{}
			continue
		}
		t, err := s.parseDate(plain(v))
		if err != nil {
			return onClass(name, "Person", badDate, fmt.Sprintf("Invalid format: %q is malformed", plain(v)))
		}
		if name == "birthdate" {
			// The column is a date.
			y, mo, d := t.In(s.zone).Date()
			t = time.Date(y, mo, d, 0, 0, 0, 0, s.zone)
		}
		*into = t
	}
	if v, ok := m["birthdateEstimated"]; ok {
		who.estimated = isTrue(v)
	}
	if v, ok := m["dead"]; ok {
		who.dead = isTrue(v)
	}
	if v, ok := m["causeOfDeath"]; ok {
		who.cause = s.data.concept(refOf(v))
	}
	if v, ok := m["causeOfDeathNonCoded"]; ok {
		who.causeText = plain(v)
	}
	return nil
}

// checkPerson are core's validators, as one submission.
func (s *Server) checkPerson(who *person) *failure {
	f := &failure{status: 400, isForm: true, fields: map[string][]violation{}}
	add := func(field, code, text string) { f.fields[field] = append(f.fields[field], violation{code, text}) }
	if len(live(who.names)) == 0 {
		add("names", "Person.names.length", "At least one name is required")
	}
	for i, n := range who.names {
		if !n.voided && n.text("givenName") == "" {
			add(fmt.Sprintf("names[%d].givenName", i), "Patient.names.required.given.family", "You must define the Given Name")
		}
	}
	if who.gender == "" {
		add("gender", "Person.gender.required", "Gender is required")
	}
	now := s.now()
	if who.birthdate.After(now) {
		add("birthdate", "error.date.future", "Cannot be a date in the future")
	} else if !who.birthdate.IsZero() && who.birthdate.Before(now.AddDate(-140, 0, 0)) {
		add("birthdate", "error.date.nonsensical", "Cannot be more than 140 years ago")
	}
	if who.deathDate.After(now) {
		add("deathDate", "error.date.future", "Cannot be a date in the future")
	}
	if who.dead && who.cause == nil && who.causeText == "" {
		add("causeOfDeath", "Person.dead.causeOfDeathAndCauseOfDeathNonCodedNull", "A cause of death is required")
	}
	if who.cause != nil && who.causeText != "" {
		add("causeOfDeath", "Person.dead.shouldHaveOnlyOneCauseOfDeathOrCauseOfDeathNonCodedSet", "Only one cause of death may be set")
	}
	for _, a := range who.addresses {
		for _, field := range s.opt.RequiredAddress {
			if !a.voided && a.text(field) == "" {
				text := "Required address field " + field + " is blank."
				f.global = append(f.global, violation{text, text})
			}
		}
	}
	if len(f.fields) == 0 && f.global == nil {
		return nil
	}
	return f
}

func (s *Server) checkPatient(p *patient) *failure {
	if f := s.checkPerson(p.person); f != nil {
		return f
	}
	count := 0
	for _, r := range p.identifiers {
		if r.flag("preferred") {
			count++
		}
	}
	if count > 1 {
		return &failure{status: 400, isForm: true, fields: map[string][]violation{}, global: []violation{{"error.preferredIdentifier", "More than one preferred identifier"}}}
	}
	if count == 0 {
		p.identifiers[0].vals["preferred"] = true
	}
	for i, r := range p.identifiers {
		if f := s.checkIdentifier(r, p); f != nil {
			return f
		}
		for _, other := range p.identifiers[:i] {
			if other.ref("identifierType") == r.ref("identifierType") && strings.EqualFold(other.text("identifier"), r.text("identifier")) {
				return globally("Identifier " + r.text("identifier") + " already in use by this patient")
			}
		}
	}
	for _, t := range s.data.order["patientidentifiertype"] {
		if t.flag("required") && !t.voided && !slices.ContainsFunc(p.identifiers, func(r *row) bool { return r.ref("identifierType") == t }) {
			return globally("Patient is missing the following required identifier(s): " + t.text("name"))
		}
	}
	return nil
}

var personUpdatable = []string{"age", "gender", "birthdate", "birthdateEstimated", "preferredName", "preferredAddress", "addresses", "attributes", "names",
	"causeOfDeath", "dead", "deathDate", "deathdateEstimated", "birthtime", "causeOfDeathNonCoded"}

func (s *Server) updatePerson(who *person, m map[string]any) *failure {
	if f := s.strict(m, who, personUpdatable, nil); f != nil {
		return f
	}
	was, names := *who, live(who.names)
	f := s.setPerson(who, m)
	if list, ok := m["names"].([]any); ok && f == nil {
		f = s.replaceNames(who, list)
	}
	if f == nil {
		f = s.checkPerson(who)
	}
	if f != nil {
		*who = was
		for _, n := range names {
			n.about().voided = false
		}
		return f
	}
	s.touch(who)
	s.reindex(who)
	return nil
}

// replaceNames makes new names and voids the old ones (recorded: person-update-o3).
func (s *Server) replaceNames(who *person, list []any) *failure {
	var names []*row
	for _, v := range list {
		vals, ok := v.(map[string]any)
		if !ok {
			return onClass("names", "Person")
		}
		r := &row{base: base{kind: kinds["person/name"], uuid: s.fresh(), creator: s.actor, created: s.stored(s.now()), parent: who}, vals: map[string]any{}}
		if f := setRow(r, vals, nameKeys); f != nil {
			return f
		}
		names = append(names, r)
	}
	for _, old := range who.names {
		s.seq++
		s.void(old, s.actor, "replaced", s.seq)
	}
	who.names = append(slices.Clone(who.names), names...)
	return nil
}

// draw takes the next identifier of the pool.
func (s *Server) draw() (string, *failure) {
	if s.opt.Pool > 0 && s.drawn >= s.opt.Pool {
		return "", &failure{status: 500, text: "Unable to retrieve 1 available identifiers from Pool Local Pool.  Maybe you need to add more identifiers to your pool first.",
			code: "org.openmrs.module.idgen.service.db.HibernateIdentifierSourceDAO:114"}
	}
	s.drawn++
	n := s.drawn + 30*30*30*30 // five characters, from 10000
	var b []byte
	for n > 0 {
		b = append(b, checkdigit.Mod30[n%30])
		n /= 30
	}
	slices.Reverse(b)
	check, _ := checkdigit.ModN(string(b), checkdigit.Mod30)
	return string(b) + string(check), nil
}
