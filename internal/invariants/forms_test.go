package invariants

import (
	"encoding/json"
	"fmt"
	"regexp"
	"sort"
	"strings"
	"time"

	"github.com/google/uuid"
)

const (
	registrationXMLNS = "http://openrosa.org/formdesigner/0F961E26-3BE6-4D39-9FF1-E41D405346DD"
	visitXMLNS        = "http://openrosa.org/formdesigner/C6BA187D-FEF6-4BE9-98B6-BC3BA5406F12"
)

// places are two clinics, each with a worker.
var places = func() []byte {
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
}()

// person is somebody who is registered and visited.
type person struct {
	n      int
	clinic string // "a" or "b"
	given  string
	family string
	phone  string
	sex    string
}

// somebody is the n-th person, of that clinic; nobody else has her names and numbers.
func somebody(n int, clinic string) person {
	letters := string([]rune{rune('a' + n/676%26), rune('a' + n/26%26), rune('a' + n%26)})
	return person{n: n, clinic: clinic, given: "Zawaxqv" + letters, family: "Qorjwyk" + letters, phone: fmt.Sprintf("+2547119%05d", n), sex: "f"}
}

func (p person) caseID() string {
	return uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "case %d", p.n)).String()
}
func (p person) nationalID() string { return fmt.Sprintf("93%06d", p.n) }
func (p person) village() string    { return "Kabondo" }

// markers are the words that tell who she is.
func (p person) markers() []string {
	return []string{p.given, p.family, p.phone[1:], p.phone[4:], p.nationalID()}
}

func (p person) properties() map[string]any {
	return map[string]any{"first_name": p.given, "last_name": p.family, "sex": p.sex, "dob": "1988-05-17",
		"phone": p.phone, "national_id": p.nationalID(), "village": p.village()}
}

// known is the case of a person that CommCare has without any form.
func (p person) known() map[string]any {
	return map[string]any{"case_id": p.caseID(), "case_type": "patient", "case_name": p.given + " " + p.family, "external_id": "",
		"owner_id": "worker-" + p.clinic, "properties": p.properties()}
}

// form is a form that a worker fills in.
type form struct {
	id     string
	doc    map[string]any
	worker string
	at     time.Time
	// archived: CommCare says that it was withdrawn.
	archived bool
}

const iso = "2006-01-02T15:04:05.000000Z"

func (f form) body() []byte {
	doc := map[string]any{"#type": "data", "@uiVersion": "1", "@version": "22"}
	for k, v := range f.doc {
		doc[k] = v
	}
	doc["meta"] = map[string]any{"@xmlns": "http://openrosa.org/jr/xforms", "deviceID": "device", "instanceID": f.id, "timeStart": f.at.Add(-time.Minute).UTC().Format(iso),
		"timeEnd": f.at.UTC().Format(iso), "userID": f.worker, "username": "chw"}
	envelope := map[string]any{"app_id": "app", "domain": "demo", "form": doc, "id": f.id}
	if f.archived {
		envelope["doc_type"], envelope["archived"] = "XFormArchived", true
	}
	return asJSON(envelope)
}

// day is the n-th morning of all forms, before any bubble's time begins.
func day(n int) time.Time { return time.Date(1999, 11, 21+n, 6, 0, 0, 0, time.UTC) }

func formID(what string, p person, at time.Time) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "%s %d %d", what, p.n, at.Unix())).String()
}

func (p person) block(at time.Time, more map[string]any) map[string]any {
	b := map[string]any{"@case_id": p.caseID(), "@date_modified": at.UTC().Format(iso), "@user_id": "worker-" + p.clinic,
		"@xmlns": "http://commcarehq.org/case/transaction/v2"}
	for k, v := range more {
		b[k] = v
	}
	return b
}

// register is the form that registers her; on a later day it corrects what she is.
func (p person) register(at time.Time) form {
	create := map[string]any{"case_name": p.given + " " + p.family, "case_type": "patient", "owner_id": "worker-" + p.clinic}
	return form{id: formID("register", p, at), worker: "worker-" + p.clinic, at: at, doc: map[string]any{"@xmlns": registrationXMLNS, "@name": "Register",
		"case": p.block(at, map[string]any{"create": create, "update": p.properties()})}}
}

// visit is a home visit with her weight.
func (p person) visit(at time.Time, weight string) form {
	return form{id: formID("visit", p, at), worker: "worker-" + p.clinic, at: at, doc: map[string]any{"@xmlns": visitXMLNS, "@name": "Followup",
		"case":   p.block(at, map[string]any{"update": map[string]any{"last_weight": weight}}),
		"vitals": map[string]any{"weight": weight, "temperature": "37.1", "height": ""}, "malaria_test": "negative", "danger_signs": "fever cough",
		"next_visit": at.AddDate(0, 0, 28).Format(time.DateOnly), "notes": ""}}
}

// with is the form with other answers: an edit, when its id stays.
func (f form) with(changes map[string]any) form {
	doc := map[string]any{}
	for k, v := range f.doc {
		doc[k] = v
	}
	for k, v := range changes {
		doc[k] = v
	}
	f.doc = doc
	return f
}

// edited is a visit with another weight and one answer taken back.
func (f form) edited(weight string) form {
	return f.with(map[string]any{"vitals": map[string]any{"weight": weight, "temperature": "", "height": ""}})
}

// few is a small workload: registration, visit, a second visit the same day,
// an edited visit, of two people of two clinics, who come in turn.
func few() []form {
	p, q := somebody(1, "a"), somebody(2, "b")
	q.sex = "m"
	moved := p
	moved.phone = "+254711900777"
	visit := p.visit(day(2), "51.5")
	return []form{p.register(day(1)), q.register(day(1)), visit, q.visit(day(2), "60"), p.visit(day(2).Add(time.Hour), "51.6"),
		visit.edited("52.5"), moved.register(day(3)), q.visit(day(4), "61")}
}

var drawn = regexp.MustCompile(`"identifier": "1[0-9A-Z]{4,6}"`)

// undrawn masks the numbers that OpenMRS draws: a lost answer uses one up.
func undrawn(states map[string]string) map[string]string {
	out := map[string]string{}
	for name, s := range states {
		out[name] = drawn.ReplaceAllString(s, `"identifier": "drawn"`)
	}
	return out
}

// unnamed masks also the ids of what was made: after an undo the next try uses
// another. Patients go by their national id, what is below by its time; two
// of a kind stay two.
func unnamed(states map[string]string) (map[string]string, error) {
	names := map[string]string{}
	for _, s := range states {
		var doc struct {
			Patients []struct {
				UUID        string
				Identifiers []struct{ Identifier, IdentifierType string }
			}
			Visits     []struct{ UUID, Patient, Start string }
			Encounters []struct{ UUID, Patient, At string }
		}
		if err := json.Unmarshal([]byte(s), &doc); err != nil {
			return nil, err
		}
		of := map[string]string{}
		for _, p := range doc.Patients {
			for _, i := range p.Identifiers {
				if i.IdentifierType == "Old Identification Number" {
					of[p.UUID] = i.Identifier
				}
			}
			names[p.UUID] = "patient " + of[p.UUID]
		}
		for _, v := range doc.Visits {
			names[v.UUID] = "visit " + of[v.Patient] + " " + v.Start
		}
		for _, e := range doc.Encounters {
			names[e.UUID] = "encounter " + of[e.Patient] + " " + e.At
		}
	}
	out := map[string]string{}
	for name, s := range undrawn(states) {
		for id, label := range names {
			s = strings.ReplaceAll(s, id, label)
		}
		lines, err := ordered(s)
		if err != nil {
			return nil, err
		}
		out[name] = lines
	}
	return out, nil
}

// ordered writes a state with its lists ordered by content: the ids that
// ordered them are masked.
func ordered(s string) (string, error) {
	var doc map[string][]any
	if err := json.Unmarshal([]byte(s), &doc); err != nil {
		return "", err
	}
	for _, list := range doc {
		sort.Slice(list, func(i, j int) bool { return string(asJSON(list[i])) < string(asJSON(list[j])) })
	}
	b, err := json.MarshalIndent(doc, "", " ")
	return string(b), err
}
