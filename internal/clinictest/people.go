// Package clinictest is the small world of the property tests and of the fault
// suite: two clinics, people, the forms that workers fill in about them, and a
// site that joins CommCare with the OpenMRS of each clinic.
package clinictest

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/google/uuid"
)

// The forms of the app.
const (
	RegistrationXMLNS = "http://openrosa.org/formdesigner/0F961E26-3BE6-4D39-9FF1-E41D405346DD"
	VisitXMLNS        = "http://openrosa.org/formdesigner/C6BA187D-FEF6-4BE9-98B6-BC3BA5406F12"
)

// ISO is how CommCare writes a time, in UTC.
const ISO = "2006-01-02T15:04:05.000000Z"

// Places is the seed of CommCare: two clinics, each with a worker.
func Places() []byte {
	var locations, users []any
	locations = append(locations, map[string]any{"location_id": "county", "name": "County", "site_code": "county", "location_type_code": "county",
		"location_type_name": "County", "location_data": map[string]any{}, "parent_location_id": nil})
	for _, c := range []string{"a", "b"} {
		locations = append(locations, map[string]any{"location_id": "clinic-" + c, "name": "Clinic " + c, "site_code": "clinic_" + c,
			"location_type_code": "facility", "location_type_name": "Facility", "location_data": map[string]any{}, "parent_location_id": "county"})
		users = append(users, map[string]any{"id": "worker-" + c, "username": "chw." + c + "@demo.commcarehq.org", "first_name": "Grace", "last_name": "Okello",
			"primary_location": "clinic-" + c, "locations": []any{"clinic-" + c}, "groups": []any{}, "phone_numbers": []any{}, "user_data": map[string]any{}})
	}
	return asJSON(map[string]any{"users": users, "locations": locations})
}

// Person is somebody who is registered and visited.
type Person struct {
	N      int
	Clinic string // "a" or "b"
	Given  string
	Family string
	Phone  string
	Sex    string
}

// Somebody is the n-th person, of that clinic; nobody else has her names and numbers.
func Somebody(n int, clinic string) Person {
	letters := string([]rune{rune('a' + n/676%26), rune('a' + n/26%26), rune('a' + n%26)})
	return Person{N: n, Clinic: clinic, Given: "Zawaxqv" + letters, Family: "Qorjwyk" + letters, Phone: fmt.Sprintf("+2547119%05d", n), Sex: "f"}
}

// CaseID is the id of her case, derived from her number.
func (p Person) CaseID() string {
	return uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "case %d", p.N)).String()
}

// NationalID is the number that no other person has.
func (p Person) NationalID() string { return fmt.Sprintf("93%06d", p.N) }

// Village is where she lives.
func (p Person) Village() string { return "Kabondo" }

// Markers are the words that tell who she is.
func (p Person) Markers() []string {
	return []string{p.Given, p.Family, p.Phone[1:], p.Phone[4:], p.NationalID()}
}

// Properties are those of her case.
func (p Person) Properties() map[string]any {
	return map[string]any{"first_name": p.Given, "last_name": p.Family, "sex": p.Sex, "dob": "1988-05-17",
		"phone": p.Phone, "national_id": p.NationalID(), "village": p.Village()}
}

// Known is the case of a person that CommCare has without any form.
func (p Person) Known() map[string]any {
	return map[string]any{"case_id": p.CaseID(), "case_type": "patient", "case_name": p.Given + " " + p.Family, "external_id": "",
		"owner_id": "worker-" + p.Clinic, "properties": p.Properties()}
}

// Form is a form that a worker fills in.
type Form struct {
	ID     string
	Doc    map[string]any
	Worker string
	At     time.Time
	// Archived: CommCare says that it was withdrawn.
	Archived bool
}

// Body is the form as CommCare forwards it.
func (f Form) Body() []byte {
	doc := map[string]any{"#type": "data", "@uiVersion": "1", "@version": "22"}
	maps.Copy(doc, f.Doc)
	doc["meta"] = map[string]any{"@xmlns": "http://openrosa.org/jr/xforms", "deviceID": "device", "instanceID": f.ID, "timeStart": f.At.Add(-time.Minute).UTC().Format(ISO),
		"timeEnd": f.At.UTC().Format(ISO), "userID": f.Worker, "username": "chw"}
	envelope := map[string]any{"app_id": "app", "domain": "demo", "form": doc, "id": f.ID}
	if f.Archived {
		envelope["doc_type"], envelope["archived"] = "XFormArchived", true
	}
	return asJSON(envelope)
}

// Day is the n-th morning of all forms, before any bubble's time begins.
func Day(n int) time.Time { return time.Date(1999, 11, 21+n, 6, 0, 0, 0, time.UTC) }

// FormID is the id of her form of that time.
func FormID(what string, p Person, at time.Time) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "%s %d %d", what, p.N, at.Unix())).String()
}

// Block is what a form says of her case, with more.
func (p Person) Block(at time.Time, more map[string]any) map[string]any {
	b := map[string]any{"@case_id": p.CaseID(), "@date_modified": at.UTC().Format(ISO), "@user_id": "worker-" + p.Clinic,
		"@xmlns": "http://commcarehq.org/case/transaction/v2"}
	maps.Copy(b, more)
	return b
}

// Register is the form that registers her; on a later day it corrects what she is.
func (p Person) Register(at time.Time) Form {
	create := map[string]any{"case_name": p.Given + " " + p.Family, "case_type": "patient", "owner_id": "worker-" + p.Clinic}
	return Form{ID: FormID("register", p, at), Worker: "worker-" + p.Clinic, At: at, Doc: map[string]any{"@xmlns": RegistrationXMLNS, "@name": "Register",
		"case": p.Block(at, map[string]any{"create": create, "update": p.Properties()})}}
}

// Visit is a home visit with her weight.
func (p Person) Visit(at time.Time, weight string) Form {
	return Form{ID: FormID("visit", p, at), Worker: "worker-" + p.Clinic, At: at, Doc: map[string]any{"@xmlns": VisitXMLNS, "@name": "Followup",
		"case":   p.Block(at, map[string]any{"update": map[string]any{"last_weight": weight}}),
		"vitals": map[string]any{"weight": weight, "temperature": "37.1", "height": ""}, "malaria_test": "negative", "danger_signs": "fever cough",
		"next_visit": at.AddDate(0, 0, 28).Format(time.DateOnly), "notes": ""}}
}

// With is the form with other answers: an edit, when its id stays.
func (f Form) With(changes map[string]any) Form {
	doc := map[string]any{}
	maps.Copy(doc, f.Doc)
	maps.Copy(doc, changes)
	f.Doc = doc
	return f
}

// Edited is a visit with another weight and one answer taken back.
func (f Form) Edited(weight string) Form {
	return f.With(map[string]any{"vitals": map[string]any{"weight": weight, "temperature": "", "height": ""}})
}

func asJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain maps
	}
	return b
}
