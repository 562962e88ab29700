package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const adminUUID = "45ce6c2e-dd5a-11e6-9d9c-0242ac150002"

var (
	nameKeys    = []string{"givenName", "middleName", "familyName", "familyName2", "preferred", "prefix", "familyNamePrefix", "familyNameSuffix", "degree"}
	addressKeys = []string{"preferred", "address1", "address2", "cityVillage", "stateProvince", "country", "postalCode", "countyDistrict",
		"address3", "address4", "address5", "address6", "startDate", "endDate", "latitude", "longitude",
		"address7", "address8", "address9", "address10", "address11", "address12", "address13", "address14", "address15"}
)

var kinds = func() map[string]*kind {
	address := "display,uuid," + strings.Join(addressKeys[:16], ",") + ",voided," + strings.Join(addressKeys[16:], ",")
	list := []*kind{
		{resource: "patient", class: "Patient", version: "1.8",
			def:  mustRep("default", "uuid,display,identifiers:ref,person:default,voided"),
			full: mustRep("full", "uuid,display,identifiers:default,person:full,voided,auditInfo")},
		{resource: "person", class: "Person", version: "1.11",
			def:  mustRep("default", "uuid,display,gender,age,birthdate,birthdateEstimated,dead,deathDate,causeOfDeath:ref,preferredName:ref,preferredAddress:ref,attributes:ref,voided,birthtime,deathdateEstimated"),
			full: mustRep("full", "uuid,display,gender,age,birthdate,birthdateEstimated,dead,deathDate,causeOfDeath:ref,preferredName,preferredAddress,names,addresses,attributes,voided,auditInfo,birthtime,deathdateEstimated,causeOfDeathNonCoded")},
		{resource: "person/name", class: "PersonName", version: "1.8",
			def:  mustRep("default", "display,uuid,givenName,middleName,familyName,familyName2,voided"),
			full: mustRep("full", "display,uuid,"+strings.Join(nameKeys, ",")+",voided,auditInfo")},
		{resource: "person/address", class: "PersonAddress", version: "2.0", def: mustRep("default", address), full: mustRep("full", address+",auditInfo")},
		{resource: "person/attribute", class: "PersonAttribute", version: "1.8",
			def: mustRep("default", "display,uuid,value,attributeType:ref,voided"), full: mustRep("full", "display,uuid,value,attributeType:ref,voided,auditInfo,hydratedObject")},
		{resource: "patient/identifier", class: "PatientIdentifier", version: "1.8",
			def:  mustRep("default", "display,uuid,identifier,identifierType:ref,location:ref,preferred,voided"),
			full: mustRep("full", "display,uuid,identifier,identifierType:default,location:default,preferred,voided,auditInfo")},
		{resource: "visit", class: "Visit", version: "1.9",
			def:  mustRep("default", "uuid,display,patient:ref,visitType:ref,indication:ref,location:ref,startDatetime,stopDatetime,encounters:ref,attributes:ref,voided"),
			full: mustRep("full", "uuid,display,patient:ref,visitType:ref,indication:ref,location:ref,startDatetime,stopDatetime,encounters:default,attributes:default,voided,auditInfo")},
		{resource: "encounter", class: "Encounter", version: "2.2",
			def:  mustRep("default", "uuid,display,encounterDatetime,patient:ref,location:ref,form:ref,encounterType:ref,obs:ref,orders:ref,voided,visit:ref,encounterProviders:ref,diagnoses:ref"),
			full: mustRep("full", "uuid,display,encounterDatetime,patient:ref,location:default,form:default,encounterType:default,obs:default,orders:default,voided,auditInfo,visit:default,encounterProviders:default,diagnoses:default")},
		{resource: "encounter/encounterprovider", class: "EncounterProvider", version: "1.9",
			def: mustRep("default", "uuid,provider:ref,encounterRole:ref,voided"), full: mustRep("full", "uuid,provider:default,encounterRole:default,voided,auditInfo")},
		{resource: "obs", class: "Obs", version: "2.1",
			def: mustRep("default", obsProps("ref")), full: mustRep("full", strings.Replace(obsProps("default"), ",voided,", ",voided,auditInfo,", 1))},
		meta("concept", "Concept", "2.0", "uuid,display,name:ref,datatype:ref,conceptClass:ref,set,version,retired",
			"uuid,display,name:ref,datatype:default,conceptClass:ref,set,version,retired,names:ref,descriptions:ref,mappings:ref,answers:ref,setMembers:ref,auditInfo,attributes:ref,hiNormal,hiAbsolute,hiCritical,lowNormal,lowAbsolute,lowCritical,units,allowDecimal,displayPrecision"),
		meta("patientidentifiertype", "PatientIdentifierType", "2.0", "uuid,display,name,description,format,formatDescription,required,validator,locationBehavior,uniquenessBehavior,retired", ""),
		meta("personattributetype", "PersonAttributeType", "1.8", "uuid,display,name,description,format,foreignKey,sortWeight,searchable,editPrivilege,retired", ""),
		meta("location", "Location", "2.0", "uuid,display,name,description,tags:ref,parentLocation:ref,childLocations:ref,retired,attributes:ref", ""),
		meta("provider", "Provider", "1.9", "uuid,display,person:ref,identifier,attributes:ref,retired", ""),
		meta("idgen/identifiersource", "IdentifierSource", "1.8", "uuid,name,description,retired", ""),
		meta("idgen/autogenerationoption", "AutoGenerationOption", "1.8", "uuid,identifierType:default,location:ref,source:default,manualEntryEnabled,automaticGenerationEnabled", ""),
		meta("conceptdatatype", "ConceptDatatype", "1.8", "uuid,display,name,description,hl7Abbreviation,retired", ""),
		meta("systemsetting", "GlobalProperty", "1.9", "uuid,property,value,description,display", ""),
	}
	for _, plain := range []string{"visittype:VisitType:1.9", "encountertype:EncounterType:1.8", "encounterrole:EncounterRole:1.8",
		"conceptclass:ConceptClass:1.8", "relationshiptype:RelationshipType:1.8", "form:Form:1.8", "caresetting:CareSetting:1.10", "ordertype:OrderType:1.10",
		"conceptmaptype:ConceptMapType:1.8", "conceptname:ConceptName:1.9", "conceptmapping:ConceptMap:1.8", "user:User:1.8"} {
		p := strings.Split(plain, ":")
		list = append(list, meta(p[0], p[1], p[2], "uuid,display,name,description,retired", ""))
	}
	out := map[string]*kind{}
	for _, k := range list {
		out[k.resource] = k
	}
	return out
}()

func obsProps(sub string) string {
	return "uuid,display,concept:" + sub + ",person:ref,obsDatetime,accessionNumber,obsGroup:ref,valueCodedName:ref,groupMembers:" + sub +
		",comment,location:ref,order:ref,encounter:ref,voided,value,valueModifier,formFieldPath,formFieldNamespace,status,interpretation"
}

func meta(resource, class, version, def, full string) *kind {
	if full == "" {
		full = def + ",auditInfo"
	}
	return &kind{resource: resource, class: class, version: version, retires: true, def: mustRep("default", def), full: mustRep("full", full)}
}

// row is any object without behaviour of its own: metadata, and the rows of a
// patient.
type row struct {
	base
	vals map[string]any
	open bool // unknown properties of the kind's representations are null
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

// store holds everything, with the indexes that make each look-up O(1).
type store struct {
	rows       map[string]map[string]*row // metadata by resource and uuid
	order      map[string][]*row
	names      map[string]map[string]*row // by name
	mappings   map[string][]*row          // "CIEL:5089"
	persons    map[string]*person
	patients   map[string]*patient
	visits     map[string]*visit
	encounters map[string]*encounter
	obs        map[string]*obs
	tokens     map[string]map[*patient]bool
	byPatient  map[*patient]*belongings
	byPerson   map[*person][]*obs
	ids        map[string][]*row // identifier type uuid + lower value
	uuids      map[string]bool   // of rows of patients and encounters
}

type belongings struct {
	visits     []*visit
	encounters []*encounter
}

func newStore() store {
	return store{rows: map[string]map[string]*row{}, order: map[string][]*row{}, names: map[string]map[string]*row{}, mappings: map[string][]*row{},
		persons: map[string]*person{}, patients: map[string]*patient{}, visits: map[string]*visit{}, encounters: map[string]*encounter{}, obs: map[string]*obs{},
		tokens: map[string]map[*patient]bool{}, byPatient: map[*patient]*belongings{}, byPerson: map[*person][]*obs{}, ids: map[string][]*row{}, uuids: map[string]bool{}}
}

// meta finds metadata by uuid.
func (d *store) meta(resource, uuid string) *row { return d.rows[resource][uuid] }

// named finds metadata by uuid or name: locations, encounter, visit and
// identifier types accept a name (their getByUniqueId).
func (d *store) named(resource, ref string) *row {
	if r := d.rows[resource][ref]; r != nil {
		return r
	}
	return d.names[resource][ref]
}

// concept finds a concept by uuid or SOURCE:code; of an ambiguous code it gives nil.
func (d *store) concept(ref string) *row {
	if r := d.rows["concept"][ref]; r != nil {
		return r
	}
	if list := d.mappings[ref]; len(list) == 1 {
		return list[0]
	}
	return nil
}

func (d *store) below(p *patient) *belongings {
	b := d.byPatient[p]
	if b == nil {
		b = &belongings{}
		d.byPatient[p] = b
	}
	return b
}

func idKey(typ, value string) string { return typ + "\x00" + strings.ToLower(value) }

// index renews what a patient is found by.
func (d *store) index(p *patient) {
	for _, t := range p.tokens {
		delete(d.tokens[t], p)
	}
	p.tokens = p.tokens[:0]
	add := func(text string) {
		for _, t := range append(strings.Fields(strings.ToLower(text)), strings.ToLower(text)) {
			if t != "" && !slices.Contains(p.tokens, t) {
				p.tokens = append(p.tokens, t)
			}
		}
	}
	if p.voided {
		return
	}
	for _, r := range p.identifiers {
		if !r.voided {
			add(r.text("identifier"))
		}
	}
	for _, r := range p.person.names {
		if !r.voided {
			for _, k := range nameKeys {
				add(r.text(k))
			}
		}
	}
	for _, r := range p.person.attributes {
		if !r.voided {
			add(r.text("value"))
		}
	}
	for _, t := range p.tokens {
		if d.tokens[t] == nil {
			d.tokens[t] = map[*patient]bool{}
		}
		d.tokens[t][p] = true
	}
}

func (d *store) addMeta(r *row) {
	res := r.kind.resource
	if d.rows[res] == nil {
		d.rows[res], d.names[res] = map[string]*row{}, map[string]*row{}
	}
	if old := d.rows[res][r.uuid]; old != nil {
		d.order[res][slices.Index(d.order[res], old)] = r
		delete(d.names[res], old.text("name"))
	} else {
		d.order[res] = append(d.order[res], r)
	}
	d.rows[res][r.uuid] = r
	if n := r.text("name"); n != "" {
		d.names[res][n] = r
	}
}

// fresh makes a uuid that is the same in each run of the same requests.
func (s *Server) fresh() string {
	s.seq++
	return fmt.Sprintf("00000000-5157-4000-8000-%012d", s.seq)
}
