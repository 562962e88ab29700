package sim

import (
	"strconv"
	"strings"
	"time"
)

const adminUUID = "45ce6c2e-dd5a-11e6-9d9c-0242ac150002"

// row is any object without behaviour of its own: metadata, and the rows of a
// patient.
type row struct {
	base
	vals map[string]any
}

func (r *row) prop(s *Server, name string) (any, bool) {
	if r.kind.resource == "person/attribute" && (name == "value" || name == "hydratedObject") {
		return s.attributeValue(r), true
	}
	if v, ok := r.vals[name]; ok {
		return v, true
	}
	for _, f := range r.kind.full.fields {
		if f.name == name {
			return nil, true
		}
	}
	return nil, false
}

func (r *row) text(name string) string {
	if r == nil {
		return ""
	}
	t, _ := r.vals[name].(string)
	return t
}

func (r *row) flag(name string) bool {
	b, _ := r.vals[name].(bool)
	return b
}

func (r *row) ref(name string) *row {
	x, _ := r.vals[name].(*row)
	return x
}

func (r *row) display(s *Server) string {
	switch r.kind.resource {
	case "person/name":
		var parts []string
		for _, k := range []string{"prefix", "givenName", "middleName", "familyNamePrefix", "familyName", "familyName2", "familyNameSuffix", "degree"} {
			if t := r.text(k); t != "" {
				parts = append(parts, t)
			}
		}
		return strings.Join(parts, " ")
	case "person/address":
		return r.text("address1")
	case "person/attribute":
		v := r.text("value")
		if t, ok := s.attributeValue(r).(thing); ok {
			v = t.display(s)
		}
		return r.ref("attributeType").text("name") + " = " + v
	case "patient/identifier":
		return r.ref("identifierType").text("name") + " = " + r.text("identifier")
	case "encounter/encounterprovider":
		return r.ref("provider").display(s) + ": " + r.ref("encounterRole").text("name")
	}
	if d := r.text("display"); d != "" {
		return d
	}
	if who, ok := r.vals["person"].(*person); ok { // a provider
		return r.text("identifier") + " - " + who.display(s)
	}
	return r.text("name")
}

// attributeValue hydrates the value of an attribute that is a concept or a location.
func (s *Server) attributeValue(r *row) any {
	v := r.text("value")
	switch r.ref("attributeType").text("format") {
	case "org.openmrs.Concept":
		if c := s.data.concept(v); c != nil {
			return c
		}
		return nil
	case "org.openmrs.Location":
		if l := s.data.meta("location", v); l != nil {
			return l
		}
		return nil
	}
	return v
}

// patient is a patient and the person she is; both have one uuid.
type patient struct {
	base
	person      *person
	identifiers []*row
	own         belongings
	tokens      []string
}

type person struct {
	base
	p          *patient // nil: only a person
	gender     string
	birthdate  time.Time
	estimated  bool
	dead       bool
	deathDate  time.Time
	cause      *row
	causeText  string
	names      []*row
	addresses  []*row
	attributes []*row
}

func live(rows []*row) []thing {
	out := []thing{}
	for _, r := range rows {
		if !r.voided {
			out = append(out, r)
		}
	}
	return out
}

// preferred is the row marked so, else the first that is not voided; of a
// voided person a voided name will do.
func preferred(rows []*row) *row {
	var first *row
	for _, r := range rows {
		if r.voided {
			continue
		}
		if r.flag("preferred") {
			return r
		}
		if first == nil {
			first = r
		}
	}
	return first
}

func orNull(r *row) any {
	if r == nil {
		return nil
	}
	return r
}

func (p *patient) prop(_ *Server, name string) (any, bool) {
	switch name {
	case "identifiers":
		return live(p.identifiers), true
	case "person":
		return p.person, true
	}
	return nil, false
}

func (p *patient) display(s *Server) string {
	if p.voided {
		return ""
	}
	id := preferred(p.identifiers)
	if id == nil {
		return p.person.display(s)
	}
	return id.text("identifier") + " - " + p.person.display(s)
}

func (p *person) prop(s *Server, name string) (any, bool) {
	switch name {
	case "gender":
		return p.gender, true
	case "age":
		return p.age(s), true
	case "birthdate":
		return p.birthdate, true
	case "birthdateEstimated":
		return p.estimated, true
	case "dead":
		return p.dead, true
	case "deathDate":
		return p.deathDate, true
	case "causeOfDeath":
		return orNull(p.cause), true
	case "causeOfDeathNonCoded":
		return emptyNull(p.causeText), true
	case "preferredName":
		if n := preferred(p.names); n != nil || len(p.names) == 0 {
			return orNull(n), true
		}
		return p.names[0], true
	case "preferredAddress":
		return orNull(preferred(p.addresses)), true
	case "names":
		return live(p.names), true
	case "addresses":
		return live(p.addresses), true
	case "attributes":
		return live(p.attributes), true
	case "birthtime":
		return nil, true
	case "deathdateEstimated":
		return false, true
	}
	return nil, false
}

func emptyNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func (p *person) age(s *Server) any {
	if p.birthdate.IsZero() {
		return nil
	}
	now := s.now().In(s.zone)
	born := p.birthdate.In(s.zone)
	age := now.Year() - born.Year()
	if now.YearDay() < born.YearDay() {
		age--
	}
	return age
}

func (p *person) display(s *Server) string {
	v, _ := p.prop(s, "preferredName")
	if n, ok := v.(*row); ok {
		return n.display(s)
	}
	return ""
}

type visit struct {
	base
	patient     *patient
	typ         *row
	location    *row
	start, stop time.Time
	encounters  []*encounter
}

func (v *visit) prop(_ *Server, name string) (any, bool) {
	switch name {
	case "patient":
		return v.patient, true
	case "visitType":
		return orNull(v.typ), true
	case "location":
		return orNull(v.location), true
	case "startDatetime":
		return v.start, true
	case "stopDatetime":
		return v.stop, true
	case "encounters":
		out := []thing{}
		for _, e := range v.encounters {
			if !e.voided {
				out = append(out, e)
			}
		}
		return out, true
	case "attributes":
		return []thing{}, true
	case "indication":
		return nil, true
	}
	return nil, false
}

func (v *visit) display(s *Server) string {
	place := "null"
	if v.location != nil {
		place = v.location.text("name")
	}
	return v.typ.text("name") + " @ " + place + " - " + v.start.In(s.zone).Format("02/01/2006 15:04")
}

// open tells whether the visit covers a moment.
func (v *visit) open(at time.Time) bool {
	return !at.Before(v.start) && (v.stop.IsZero() || !at.After(v.stop))
}

type encounter struct {
	base
	patient   *patient
	typ       *row
	location  *row
	form      *row
	visit     *visit
	at        time.Time
	providers []*row
	obs       []*obs // top level, voided ones too
}

func (e *encounter) prop(_ *Server, name string) (any, bool) {
	switch name {
	case "encounterDatetime":
		return e.at, true
	case "patient":
		return e.patient, true
	case "location":
		return orNull(e.location), true
	case "form":
		return orNull(e.form), true
	case "encounterType":
		return orNull(e.typ), true
	case "visit":
		if e.visit == nil {
			return nil, true
		}
		return e.visit, true
	case "obs":
		return liveObs(e.obs), true
	case "encounterProviders":
		return live(e.providers), true
	case "orders", "diagnoses":
		return []thing{}, true
	}
	return nil, false
}

func (e *encounter) display(s *Server) string {
	return e.typ.text("name") + " " + e.at.In(s.zone).Format("02/01/2006")
}

type obs struct {
	base
	person    *person
	encounter *encounter
	concept   *row
	at        time.Time
	location  *row
	group     *obs
	members   []*obs
	comment   string
	status    string
	path, ns  string

	number  *float64
	boolean *bool
	coded   *row
	when    time.Time
	words   string
}

func liveObs(list []*obs) []thing {
	out := []thing{}
	for _, o := range list {
		if !o.voided {
			out = append(out, o)
		}
	}
	return out
}

func (o *obs) prop(s *Server, name string) (any, bool) {
	switch name {
	case "concept":
		return o.concept, true
	case "person":
		if o.person.p != nil {
			// What the person is called is the same; the link is the person's.
			return o.person, true
		}
		return o.person, true
	case "obsDatetime":
		return o.at, true
	case "obsGroup":
		if o.group == nil {
			return nil, true
		}
		return o.group, true
	case "groupMembers":
		if len(o.members) == 0 {
			return nil, true
		}
		return liveObs(o.members), true
	case "comment":
		return emptyNull(o.comment), true
	case "location":
		return orNull(o.location), true
	case "encounter":
		if o.encounter == nil {
			return nil, true
		}
		return o.encounter, true
	case "value":
		return o.value(s), true
	case "status":
		return o.status, true
	case "formFieldPath":
		return emptyNull(o.path), true
	case "formFieldNamespace":
		return emptyNull(o.ns), true
	case "order", "accessionNumber", "valueCodedName", "valueModifier", "interpretation":
		return nil, true
	}
	return nil, false
}

// value is as the resource's getter gives it: a date of a Date concept is a day
// from module 2.49 on, a moment before.
func (o *obs) value(s *Server) any {
	switch {
	case len(o.members) > 0:
		return nil
	case o.number != nil:
		return *o.number
	case o.boolean != nil:
		if *o.boolean {
			return s.data.concept(yesConcept)
		}
		return s.data.concept(noConcept)
	case o.coded != nil:
		return o.coded
	case !o.when.IsZero():
		if datatype(o.concept) == "Date" && s.since(2, 49) {
			return o.when.In(s.zone).Format(time.DateOnly)
		}
		return o.when
	case o.words != "":
		return o.words
	}
	return nil
}

const (
	yesConcept = "1065AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	noConcept  = "1066AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)

func datatype(concept *row) string { return concept.ref("datatype").text("name") }

func (o *obs) display(s *Server) string {
	return o.concept.display(s) + ": " + o.shown(s)
}

func (o *obs) shown(s *Server) string {
	if len(o.members) > 0 {
		var parts []string
		for _, m := range o.members {
			if !m.voided {
				parts = append(parts, m.shown(s))
			}
		}
		return strings.Join(parts, ", ")
	}
	switch v := o.value(s).(type) {
	case float64:
		if o.concept.vals["allowDecimal"] == false {
			return strconv.FormatInt(int64(v), 10)
		}
		t := strconv.FormatFloat(v, 'f', -1, 64)
		if !strings.Contains(t, ".") {
			t += ".0"
		}
		return t
	case thing:
		if o.boolean != nil {
			return strconv.FormatBool(*o.boolean)
		}
		return v.display(s)
	case time.Time:
		return v.In(s.zone).Format("2006-01-02 15:04:05")
	case string:
		return v
	}
	return ""
}
