package invariants

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"time"
)

// one is a person of the walk. Everything that is ever said about her carries
// her number, so that nothing of hers can pass for another's.
type one struct {
	n       int
	caseID  string   // of the case that a worker registered, "" if none did
	ids     []string // under which she is or was known besides
	patient string   // that a clerk registered, "" if none did
	forms   []form   // those that can be archived
	// loose: she was voided, closed, archived, merged or left alone by a person,
	// so that both sides need not say the same.
	loose string
	said  map[string]*saying // by field
	shown map[string]int     // how many values there were
}

// saying is what people last said of a field, by side; whoever said it last
// on a side, it was the value that was agreed if nobody did since.
type saying struct {
	base  string            // agreed when all was quiet
	by    map[string]string // system: the last value since then
	at    map[string]time.Time
	older []string
}

// fields of a person, with their names on both sides.
var fields = []struct{ name, property string }{
	{"given", "first_name"}, {"family", "last_name"}, {"sex", "sex"}, {"dob", "dob"}, {"phone", "phone"}, {"village", "village"}, {"mother", "mother"},
}

func letters(n int) string {
	return string([]rune{rune('a' + n/676%26), rune('a' + n/26%26), rune('a' + n%26)})
}

func (p *one) nationalID() string { return fmt.Sprintf("94%06d", p.n) }

// mark is what each value of a field carries; "" where a value cannot.
func (p *one) mark(field string) string {
	switch field {
	case "given", "family", "village", "mother":
		return p.word(field)
	case "phone":
		return fmt.Sprintf("+25471%02d", p.n)
	case "dob":
		return fmt.Sprintf("%d-", 1930+7*p.n)
	}
	return ""
}

// word is hers alone, and sounds like nobody else's.
func (p *one) word(field string) string {
	r := rand.New(rand.NewPCG(uint64(p.n), uint64(len(field))<<8|uint64(field[0])))
	out := ""
	for range 4 {
		out += string("bdfgjklmnprstvz"[r.IntN(15)]) + string("aeiou"[r.IntN(5)])
	}
	return strings.ToUpper(out[:1]) + out[1:]
}

// fresh is a value that was never said of her.
func (p *one) fresh(field string) string {
	p.shown[field]++
	k := p.shown[field]
	switch field {
	case "sex":
		return []string{"f", "m"}[k%2]
	case "phone":
		return fmt.Sprintf("%s%05d", p.mark(field), k)
	case "dob":
		return fmt.Sprintf("%s%02d-%02d", p.mark(field), 1+k%12, 1+k%28)
	}
	return p.mark(field) + letters(k)
}

func (w *walk) somebodyNew() *one {
	p := &one{n: len(w.people) + 1, said: map[string]*saying{}, shown: map[string]int{}}
	for _, f := range fields {
		p.said[f.name] = &saying{base: p.fresh(f.name), by: map[string]string{}, at: map[string]time.Time{}}
	}
	w.people = append(w.people, p)
	return p
}

// value draws what a side says next of a field: often new, sometimes old.
func (w *walk) value(p *one, field string) string {
	s := p.said[field]
	old := append([]string{s.base}, s.older...)
	if w.rng.IntN(5) == 0 {
		return pick(w.rng, old...)
	}
	v := p.fresh(field)
	s.older = append(s.older, v)
	return v
}

// says notes what a side was told.
func (p *one) says(field, system, value string) {
	p.said[field].by[system], p.said[field].at[system] = value, time.Now()
}

// registerInCommCare has a worker fill in the form that registers her.
func (w *walk) registerInCommCare(p *one) {
	p.caseID = fmt.Sprintf("%08d-0000-4000-8000-%012d", w.seed%100000000, p.n)
	update := map[string]any{"national_id": p.nationalID()}
	for _, f := range fields {
		update[f.property] = p.said[f.name].base
		p.says(f.name, source, p.said[f.name].base)
	}
	create := map[string]any{"case_name": p.said["given"].base + " " + p.said["family"].base, "case_type": "patient", "owner_id": "worker-a"}
	f := w.fillIn(p, map[string]any{"create": create, "update": update})
	p.forms = append(p.forms, f)
}

// fillIn submits a form with one case block about her.
func (w *walk) fillIn(p *one, block map[string]any) form {
	w.forms++
	at := time.Now()
	f := form{ID: fmt.Sprintf("%08d-0000-4000-9000-%012d", w.seed%100000000, w.forms), Worker: "worker-a", At: at}
	b := map[string]any{"@case_id": w.caseOf(p), "@date_modified": at.UTC().Format(iso), "@user_id": "worker-a", "@xmlns": "http://commcarehq.org/case/transaction/v2"}
	for k, v := range block {
		b[k] = v
	}
	f.Doc = map[string]any{"@xmlns": registrationXMLNS, "@name": "Details", "case": b}
	w.must(submit(w.commcare, f))
	return f
}

// changeInCommCare has a worker change fields of her case.
func (w *walk) changeInCommCare(p *one, names ...string) {
	if w.caseOf(p) == "" {
		return
	}
	update := map[string]any{}
	text := ""
	for _, f := range fields {
		if slices.Contains(names, f.name) {
			v := w.value(p, f.name)
			update[f.property] = v
			p.says(f.name, source, v)
			text += fmt.Sprintf(" %s=%s", f.name, v)
		}
	}
	f := w.fillIn(p, map[string]any{"update": update})
	p.forms = append(p.forms, f)
	w.note(p.n, "a worker changes in form %s%s", f.ID[24:], text)
}

// clerk sends a request to OpenMRS as a person of the clinic, past all faults.
func (w *walk) clerk(path string, body map[string]any) map[string]any {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/ws/rest/v1/"+path, bytes.NewReader(asJSON(body)))
	r.Header.Set("Content-Type", "application/json")
	return w.atClinic(r)
}

func (w *walk) atClinic(r *http.Request) map[string]any {
	w.t.Helper()
	r.SetBasicAuth("clerk", "Clerk123")
	out := httptest.NewRecorder()
	w.openmrs.ServeHTTP(out, r)
	if out.Code >= 400 {
		w.t.Fatalf("the clerk's %s %s was answered %d: %s", r.Method, r.URL.Path, out.Code, out.Body)
	}
	var doc map[string]any
	_ = json.Unmarshal(out.Body.Bytes(), &doc) // not all answers have a body
	return doc
}

func (w *walk) look(path string) map[string]any {
	w.t.Helper()
	return w.atClinic(httptest.NewRequest(http.MethodGet, "/ws/rest/v1/"+path, nil))
}

// Types of the simulated clinic.
const (
	oldNumber   = "8d79403a-c2cc-11de-8d13-0010c6dffd0f" // Old Identification Number
	openmrsID   = "05a29f94-c0ed-11e2-94be-8c13b969e334"
	phoneType   = "14d4f066-15f5-102d-96e4-000c29c2a5d7"
	motherType  = "8d871d18-c2cc-11de-8d13-0010c6dffd0f"
	theClinic   = "8d6c993e-c2cc-11de-8d13-0010c6dffd0f"
	idGenerator = "691eed12-c0f1-11e2-94be-8c13b969e334"
)

var genders = map[string]string{"f": "F", "m": "M"}

// registerInOpenMRS has a clerk register her, with a number drawn.
func (w *walk) registerInOpenMRS(p *one) {
	w.t.Helper()
	for _, f := range fields {
		p.says(f.name, serverA, p.said[f.name].base)
	}
	v := func(name string) string { return p.said[name].base }
	drawn := w.clerk("idgen/identifiersource/"+idGenerator+"/identifier", map[string]any{})
	number, _ := drawn["identifier"].(string)
	doc := w.clerk("patient", map[string]any{
		"person": map[string]any{"gender": genders[v("sex")], "birthdate": v("dob"),
			"names":      []any{map[string]any{"givenName": v("given"), "familyName": v("family"), "preferred": true}},
			"addresses":  []any{map[string]any{"cityVillage": v("village"), "preferred": true}},
			"attributes": []any{map[string]any{"attributeType": phoneType, "value": v("phone")}, map[string]any{"attributeType": motherType, "value": v("mother")}}},
		"identifiers": []any{map[string]any{"identifier": number, "identifierType": openmrsID, "location": theClinic, "preferred": true},
			map[string]any{"identifier": p.nationalID(), "identifierType": oldNumber, "location": theClinic}}})
	p.patient, _ = doc["uuid"].(string)
	w.note(p.n, "a clerk registers her as patient %s", p.patient)
}

// changeInOpenMRS has a clerk change fields of her patient.
func (w *walk) changeInOpenMRS(p *one, names ...string) {
	w.t.Helper()
	id := w.patientOf(p)
	if id == "" {
		return
	}
	text := ""
	for _, name := range names {
		v := w.value(p, name)
		w.correct(id, name, v)
		p.says(name, serverA, v)
		text += fmt.Sprintf(" %s=%s", name, v)
	}
	// A screen of the clinic saves the patient at last, which the feed announces.
	w.clerk("patient/"+id, map[string]any{"person": map[string]any{}})
	w.note(p.n, "a clerk changes%s", text)
}

func (w *walk) correct(id, name, v string) {
	w.t.Helper()
	who := w.look("person/" + id + "?v=full")
	preferred := func(part string) string {
		row, _ := who[part].(map[string]any)
		uuid, _ := row["uuid"].(string)
		return "/" + uuid
	}
	attribute := func(typ string) string {
		rows, _ := who["attributes"].([]any)
		for _, r := range rows {
			m, _ := r.(map[string]any)
			t, _ := m["attributeType"].(map[string]any)
			if uuid, ok := m["uuid"].(string); ok && t["uuid"] == typ && m["voided"] != true {
				return "/" + uuid
			}
		}
		return ""
	}
	switch name {
	case "given":
		w.clerk("person/"+id+"/name"+preferred("preferredName"), map[string]any{"givenName": v})
	case "family":
		w.clerk("person/"+id+"/name"+preferred("preferredName"), map[string]any{"familyName": v})
	case "sex":
		w.clerk("person/"+id, map[string]any{"gender": genders[v]})
	case "dob":
		w.clerk("person/"+id, map[string]any{"birthdate": v})
	case "village":
		w.clerk("person/"+id+"/address"+preferred("preferredAddress"), map[string]any{"cityVillage": v})
	case "phone":
		w.clerk("person/"+id+"/attribute"+attribute(phoneType), map[string]any{"attributeType": phoneType, "value": v})
	case "mother":
		w.clerk("person/"+id+"/attribute"+attribute(motherType), map[string]any{"attributeType": motherType, "value": v})
	}
}

// patientDoc and caseDoc are what the systems hold now.
type patientDoc struct {
	UUID              string
	Gender, Birthdate string
	Names             []struct{ GivenName, FamilyName string }
	Addresses         []struct{ CityVillage string }
	Attributes        []struct{ AttributeType, Value string }
	Identifiers       []struct{ IdentifierType, Identifier string }
}

type caseDoc struct {
	ID         string `json:"case_id"`
	External   string `json:"external_id"`
	Closed     bool
	Properties map[string]string
}

func (w *walk) patients() (out []patientDoc) {
	w.t.Helper()
	b, err := w.openmrs.State()
	w.must(err)
	var doc struct{ Patients []patientDoc }
	w.must(json.Unmarshal(b, &doc))
	return doc.Patients
}

func (w *walk) cases() (out []caseDoc) {
	w.t.Helper()
	b, err := w.commcare.State()
	w.must(err)
	var doc struct{ Cases []caseDoc }
	w.must(json.Unmarshal(b, &doc))
	return doc.Cases
}

// fields gives a patient's fields by the walk's names.
func (d *patientDoc) fields() map[string]string {
	out := map[string]string{"dob": d.Birthdate, "sex": strings.ToLower(d.Gender)}
	for _, n := range d.Names {
		out["given"], out["family"] = n.GivenName, n.FamilyName
	}
	for _, a := range d.Addresses {
		out["village"] = a.CityVillage
	}
	for _, a := range d.Attributes {
		out[map[string]string{"Telephone Number": "phone", "Mother's Name": "mother"}[a.AttributeType]] = a.Value
	}
	return out
}

func (d *patientDoc) number() string {
	for _, i := range d.Identifiers {
		if i.IdentifierType == "Old Identification Number" {
			return i.Identifier
		}
	}
	return ""
}

func (d *caseDoc) fields() map[string]string {
	out := map[string]string{}
	for _, f := range fields {
		out[f.name] = d.Properties[f.property]
	}
	return out
}

// caseOf is the id of her case, if she has one.
func (w *walk) caseOf(p *one) string {
	if p.caseID != "" {
		return p.caseID
	}
	for _, c := range w.cases() {
		if c.Properties["national_id"] == p.nationalID() && !c.Closed {
			return c.ID
		}
	}
	return ""
}

// patientOf is the uuid of her live patient, if she has one.
func (w *walk) patientOf(p *one) string {
	for _, d := range w.patients() {
		if d.number() == p.nationalID() {
			return d.UUID
		}
	}
	return ""
}
