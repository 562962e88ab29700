package sim

import (
	"encoding/json"
	"net/http"
	"strings"
)

// What is announced was read in ICT4H/openmrs-atomfeed @f7910fa8 (PatientAdvice,
// EncounterSaveAdvice, EncounterServiceSaveAdvice) and in
// openmrs/openmrs-module-atomfeed @2adcccb6 (HibernateEventInterceptor,
// defaultAtomfeedConfig.json).
//
// Bahmni's module announces PatientService.savePatient, which only POST /patient
// and POST /patient/UUID call, and encounters saved through emrapi, which are
// Bahmni's own screens: here those of the clerk. Of the encounters of plain REST
// only those of type INVESTIGATION are announced. Nothing is said of a void, of
// POST /person/…, of identifiers, of observations.
//
// The other module announces every row that a transaction writes, several times
// for one save.

// watched is what a request may change, as it was before.
type watched struct {
	target thing
	before map[thing]bool // voided
}

// watch looks at what a request may change. It is under the server's lock.
func (s *Server) watch(req *request) *watched {
	s.made = nil
	if s.feed.module == "" {
		return nil
	}
	w := &watched{before: map[thing]bool{}}
	if len(req.path) < 2 {
		return w
	}
	t, f := s.find(req.path[0], req.path[1])
	if f != nil {
		return w
	}
	w.target = t
	if len(req.path) == 4 {
		if rows, f := s.subRows(req.path[0], req.path[1], req.path[2]); f == nil {
			if r := byUUID(*rows, req.path[3]); r != nil {
				w.target = r
			}
		}
	}
	for _, t := range s.saved(t) {
		w.before[t] = t.about().voided
	}
	return w
}

// announce writes the events of a change that was made.
func (s *Server) announce(req *request, w *watched) {
	switch {
	case w == nil:
	case s.feed.module == feedOpenMRS:
		s.announceRows(req, w)
	default:
		s.announceSave(req)
	}
}

func (s *Server) announceSave(req *request) {
	if req.Method != http.MethodPost || len(req.path) > 2 || len(req.body) == 1 && req.body["deleted"] == "false" {
		return
	}
	var t thing
	if t = s.made; len(req.path) == 2 {
		t, _ = s.find(req.path[0], req.path[1])
	}
	switch t := t.(type) {
	case *patient:
		s.AnnouncePatient(t.uuid)
	case *encounter:
		if t.typ.text("name") == "INVESTIGATION" || req.user == s.otherUser() {
			s.AnnounceEncounter(t.uuid)
		}
	}
}

// AnnouncePatient writes the event of PatientService.savePatient, for what in
// this simulator changes patients by itself. The caller holds the lock.
func (s *Server) AnnouncePatient(uuid string) {
	switch s.feed.module {
	case "":
	case feedOpenMRS:
		if p := s.data.patients[uuid]; p != nil {
			s.announceRow(p, "UPDATED")
		}
	default:
		s.feedAdd(&feedEntry{title: "Patient", category: "patient", content: "/openmrs/ws/rest/v1/patient/" + uuid + "?v=full"})
	}
}

// AnnounceEncounter writes the event of an encounter saved through emrapi. The
// caller holds the lock.
func (s *Server) AnnounceEncounter(uuid string) {
	switch s.feed.module {
	case "":
	case feedOpenMRS:
		if e := s.data.encounters[uuid]; e != nil {
			s.announceRow(e, "UPDATED")
		}
	default:
		path := "/openmrs/ws/rest/v1/bahmnicore/bahmniencounter/"
		if s.feed.module == feedICT4H {
			path = "/openmrs/ws/rest/emrapi/encounter/"
		}
		s.feedAdd(&feedEntry{title: "Encounter", category: "Encounter", content: path + uuid + "?includeAll=true"})
	}
}

// announceRows compares what there is now with what was there before: first
// what is gone, then what is new, what was written, what was voided and what
// was brought back (beforeTransactionCompletion).
func (s *Server) announceRows(req *request, w *watched) {
	root := s.made
	if root == nil && len(req.path) >= 2 {
		root, _ = s.find(req.path[0], req.path[1])
	}
	// The person of a patient is one object with the patient in Hibernate, and a
	// name, an address or an attribute is saved with its person.
	owner := thing(nil)
	if who, ok := root.(*person); ok && who.p != nil {
		owner = who.p
	}
	var made, written, voided, back []thing
	there := map[thing]bool{}
	var now []thing
	if root != nil {
		now = s.saved(root)
	}
	for _, t := range now {
		there[t] = true
		was, known := w.before[t]
		switch {
		case !known:
			made = append(made, t)
		case t.about().voided && !was:
			written, voided = append(written, t), append(voided, t)
		case !t.about().voided && was:
			written, back = append(written, t), append(back, t)
		case t == w.target, t == owner:
			written = append(written, t)
		}
	}
	for t := range w.before {
		if !there[t] && t == w.target {
			s.announceRow(t, "DELETED")
		}
	}
	for _, part := range []struct {
		list   []thing
		action string
	}{{made, "CREATED"}, {written, "UPDATED"}, {voided, "VOIDED"}, {back, "UNVOIDED"}} {
		for _, t := range part.list {
			s.announceRow(t, part.action)
		}
	}
}

// saved lists the rows that are written with a thing.
func (s *Server) saved(t thing) []thing {
	var out []thing
	switch t := t.(type) {
	case *person:
		if t.p != nil {
			return s.saved(t.p)
		}
		out = append(out, t)
	case *patient:
		out = append(out, t)
		for _, rows := range [][]*row{t.person.names, t.person.addresses, t.person.attributes, t.identifiers} {
			for _, r := range rows {
				out = append(out, r)
			}
		}
		for _, e := range s.data.below(t).encounters {
			out = append(out, s.saved(e)...)
		}
	case *encounter:
		out = append(out, t)
		for _, o := range t.obs {
			out = append(out, s.saved(o)...)
		}
	case *obs:
		out = append(out, t)
		for _, o := range t.members {
			out = append(out, s.saved(o)...)
		}
		if t.encounter != nil && t.group == nil { // the one that takes its place
			for _, o := range t.encounter.obs {
				if o != t {
					out = append(out, o)
				}
			}
		}
	case *visit:
		out = append(out, t)
	}
	return unique(out)
}

func unique(list []thing) []thing {
	seen := map[thing]bool{}
	out := list[:0]
	for _, t := range list {
		if !seen[t] {
			seen[t] = true
			out = append(out, t)
		}
	}
	return out
}

// feedRow is a feedConfiguration: title, category and links of a class. Links
// have no context path.
type feedRow struct{ title, category, rest, fhir string }

var feedRows = map[string]feedRow{
	"patient":            {"Patient", "patient", "/ws/rest/v1/patient/{uuid}?v=full", "/ws/fhir/Patient/{uuid}"},
	"person":             {"Person", "person", "/ws/rest/v1/person/{uuid}?v=full", "/ws/fhir/Person/{uuid}"},
	"person/name":        {"PersonName", "person_name", "/ws/rest/v1/person/{parent-uuid}/name/{uuid}?v=full", ""},
	"person/address":     {"PersonAddress", "person_address", "/ws/rest/v1/person/{parent-uuid}/address/{uuid}?v=full", ""},
	"person/attribute":   {"PersonAttribute", "person_attribute", "/ws/rest/v1/person/{parent-uuid}/attribute/{uuid}?v=full", ""},
	"patient/identifier": {"PatientIdentifier", "patient_identifier", "/ws/rest/v1/patient/{parent-uuid}/identifier/{uuid}?v=full", ""},
	"encounter":          {"Encounter", "encounter", "/ws/rest/v1/encounter/{uuid}?v=full", "/ws/fhir/Encounter/{uuid}"},
	"obs":                {"Observation", "observation", "/ws/rest/v1/obs/{uuid}?v=full", "/ws/fhir/Observation/{uuid}"},
	"visit":              {"Visit", "visit", "/ws/rest/v1/visit/{uuid}?v=full", "/ws/fhir/Encounter/{uuid}"},
}

func (s *Server) announceRow(t thing, action string) {
	b := t.about()
	row, ok := feedRows[b.kind.resource]
	if !ok {
		return
	}
	fill := func(template string) string {
		parent := ""
		if b.parent != nil {
			parent = b.parent.about().uuid
		}
		return strings.NewReplacer("{uuid}", b.uuid, "{parent-uuid}", parent).Replace(template)
	}
	rest, _ := json.Marshal(fill(row.rest))
	content := `{"rest":` + string(rest)
	if row.fhir != "" {
		fhir, _ := json.Marshal(fill(row.fhir))
		content += `,"fhir":` + string(fhir)
	}
	s.feedAdd(&feedEntry{title: row.title, category: row.category, tags: []string{action}, content: content + "}"})
}
