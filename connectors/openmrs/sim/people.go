package sim

import (
	"fmt"
	"net/http"
	"regexp"
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
			return onClass(name, "Person", err.Error(), fmt.Sprintf("Invalid format: %q is malformed", plain(v)))
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

func (s *Server) makeIdentifier(req *request, m map[string]any, p *patient) *row {
	r := &row{base: s.newBase("patient/identifier", req, plain(m["uuid"]), p), vals: map[string]any{"preferred": false}}
	s.setIdentifier(r, m)
	return r
}

func (s *Server) setIdentifier(r *row, m map[string]any) {
	if v, ok := m["identifier"]; ok {
		r.vals["identifier"] = plain(v)
	}
	if v, ok := m["identifierType"]; ok {
		r.vals["identifierType"] = nil
		if t := s.data.named("patientidentifiertype", refOf(v)); t != nil {
			r.vals["identifierType"] = t
		}
	}
	if v, ok := m["location"]; ok {
		r.vals["location"] = nil
		if l := s.data.named("location", refOf(v)); l != nil {
			r.vals["location"] = l
		}
	}
	if v, ok := m["preferred"]; ok {
		r.vals["preferred"] = isTrue(v)
	}
}

var formats = map[string]*regexp.Regexp{}

func formatOf(format string) *regexp.Regexp {
	if re, ok := formats[format]; ok {
		return re
	}
	re, _ := regexp.Compile("^(?:" + format + ")$")
	formats[format] = re // under the server's lock: only changes get here
	return re
}

func (s *Server) checkIdentifier(r *row, p *patient) *failure {
	t, value := r.ref("identifierType"), r.text("identifier")
	if t == nil {
		return invalid(map[string][2]string{"identifierType": {"PatientIdentifier.error.nullIdentifierType", "Identifier type is required"}})
	}
	if value == "" {
		return globally("Identifier cannot be null or blank")
	}
	if format := t.text("format"); format != "" {
		if re := formatOf(format); re != nil && !re.MatchString(value) {
			return globally(fmt.Sprintf("Identifier %q does not match : \"%s\"", value, format))
		}
	}
	if checkdigit.Valid(t.text("validator"), value) == checkdigit.Bad {
		return globally("Invalid check digit for identifier: " + value)
	}
	if r.ref("location") == nil && t.text("locationBehavior") != "NOT_USED" {
		return globally("Identifier Location cannot be null for " + value)
	}
	if t.text("uniquenessBehavior") == "NON_UNIQUE" {
		return nil
	}
	for _, other := range s.data.ids[idKey(t.uuid, value)] {
		if other == r || other.voided || !strings.EqualFold(other.text("identifier"), value) || other.ref("identifierType") != t {
			continue
		}
		if t.text("uniquenessBehavior") == "LOCATION" && other.ref("location") != r.ref("location") {
			continue
		}
		if other.parent == thing(p) {
			return globally("Identifier " + value + " already in use by this patient")
		}
		return globally("Identifier " + value + " already in use by another patient")
	}
	return nil
}

func (s *Server) rememberID(r *row) {
	k := idKey(r.ref("identifierType").uuid, r.text("identifier"))
	s.data.ids[k] = append(s.data.ids[k], r)
}

var personUpdatable = []string{"age", "gender", "birthdate", "birthdateEstimated", "preferredName", "preferredAddress", "addresses", "attributes", "names",
	"causeOfDeath", "dead", "deathDate", "deathdateEstimated", "birthtime", "causeOfDeathNonCoded"}

func (s *Server) updatePerson(who *person, m map[string]any) *failure {
	if f := s.strict(m, who, personUpdatable, nil); f != nil {
		return f
	}
	was := *who
	f := s.setPerson(who, m)
	if list, ok := m["names"].([]any); ok && f == nil {
		f = s.replaceNames(who, list)
	}
	if f == nil {
		f = s.checkPerson(who)
	}
	if f != nil {
		*who = was
		return f
	}
	who.changed = s.stored(s.now())
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
		r := &row{base: base{kind: kinds["person/name"], uuid: s.fresh(), creator: who.creator, created: s.stored(s.now()), parent: who}, vals: map[string]any{}}
		if f := setRow(r, vals, nameKeys); f != nil {
			return f
		}
		names = append(names, r)
	}
	for _, old := range who.names {
		s.seq++
		s.void(old, who.creator, "replaced", s.seq)
	}
	who.names = append(slices.Clone(who.names), names...)
	return nil
}

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
		r.changed = s.stored(s.now())
	}
	parent.about().changed = s.stored(s.now())
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
	return s.one(req, r, status)
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
