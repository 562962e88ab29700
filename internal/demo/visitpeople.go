package demo

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	ccsim "github.com/kiungo-health/kiungo/connectors/commcare/sim"
)

// readPlaces reads which facilities and workers the generator made.
func (v *visits) readPlaces() {
	var doc struct {
		Locations []struct {
			ID   string `json:"location_id"`
			Type string `json:"location_type_code"`
		} `json:"locations"`
		Users []struct {
			ID    string `json:"id"`
			Place string `json:"primary_location"`
		} `json:"users"`
	}
	_ = json.Unmarshal(v.gen.Seed(), &doc)
	v.workers = map[string]string{}
	for _, l := range doc.Locations {
		if l.Type == "facility" {
			v.places = append(v.places, l.ID)
		}
	}
	for _, u := range doc.Users {
		v.workers[u.ID] = u.Place
	}
}

func (v *visits) anyWorker() string {
	ids := make([]string, 0, len(v.workers))
	for id := range v.workers {
		ids = append(ids, id)
	}
	return slices.Min(ids)
}

// person reads who a registration is about.
func (v *visits) person(form ccsim.Submission, own string) (*being, error) {
	body := v.own(form.Body, own)
	var doc struct {
		Form struct {
			Given   string `json:"given_name"`
			Family  string `json:"family_name"`
			Sex     string `json:"sex"`
			Born    string `json:"birthdate"`
			Phone   string `json:"phone"`
			Number  string `json:"national_id"`
			Village string `json:"village"`
			Meta    struct {
				User string `json:"userID"`
			} `json:"meta"`
		} `json:"form"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, fmt.Errorf("read a generated form: %w", err)
	}
	f := doc.Form
	b := &being{caseID: form.Case, given: f.Given, family: f.Family, sex: f.Sex, born: f.Born, phone: f.Phone, number: f.Number, village: f.Village, by: f.Meta.User, form: body}
	b.truth = "field " + form.Case
	place := slices.Index(v.places, v.workers[b.by])
	b.server = max(0, place) * len(servers) / facilities
	return b, nil
}

// own makes a generated form this world's: its forms have xmlns of its own, and
// its people national ids of their own.
func (v *visits) own(body []byte, first string) []byte {
	return []byte(strings.NewReplacer(`"`+ccsim.RegistrationXMLNS+`"`, `"`+v.xmlns("details")+`"`, `"`+ccsim.VisitXMLNS+`"`, `"`+v.xmlns("visit")+`"`,
		`"national_id":"10`, `"national_id":"`+first+v.id[2:]).Replace(string(body)))
}

// export registers the people of the field in OpenMRS and gives CommCare their
// cases, as a one-time import has done.
func (v *visits) export(w *World) error {
	var cases []any
	for len(v.known) < people {
		form := v.gen.Next()
		if form.XMLNS != ccsim.RegistrationXMLNS {
			continue
		}
		b, err := v.person(form, "1")
		if err != nil {
			return err
		}
		b.patient = uuid.NewSHA1(uuid.NameSpaceOID, []byte("demo patient "+form.Case)).String()
		if err := v.clinics[b.server].hold(b); err != nil {
			return err
		}
		v.know(w, b)
		cases = append(cases, b.asCase(b.patient, b.by))
	}
	doc, err := json.Marshal(map[string]any{"cases": cases})
	if err != nil {
		return err
	}
	return w.commcare.Seed(doc)
}

func (v *visits) know(w *World, b *being) {
	v.known = append(v.known, b)
	v.byCase[b.caseID] = b
	w.truth.know(b.truth, b.patient, b.caseID, b.number)
}

func (b *being) asCase(external, owner string) map[string]any {
	return map[string]any{"case_id": b.caseID, "case_type": "patient", "case_name": b.given + " " + b.family, "external_id": external, "owner_id": owner,
		"properties": map[string]any{"first_name": b.given, "last_name": b.family, "sex": b.sex, "dob": b.born, "phone": b.phone, "national_id": b.number, "village": b.village}}
}

// patientsOfTheClinics are people whom only the clinics know yet.
func (v *visits) patientsOfTheClinics(w *World) error {
	for i := range listed {
		c := v.clinics[i%len(v.clinics)]
		b, err := v.stranger(w, c)
		if err != nil {
			return err
		}
		if err := c.hold(b); err != nil {
			return err
		}
		c.own = append(c.own, b)
	}
	if v.id == "i01" || v.id == "i04" {
		return v.localCase(w)
	}
	return nil
}

// localCase is a person whom a worker has registered in CommCare alone: no
// OpenMRS has brought her, and these integrations make no patients.
func (v *visits) localCase(w *World) error {
	b := *v.known[0]
	b.caseID, b.given, b.number, b.patient = uuid.NewSHA1(uuid.NameSpaceOID, []byte("local "+v.id)).String(), "Salama", "", ""
	b.truth, b.form = "local "+b.caseID, nil
	doc, err := json.Marshal(map[string]any{"cases": []any{b.asCase("", b.by)}})
	if err != nil {
		return err
	}
	w.truth.know(b.truth, "", b.caseID, "")
	v.local = &b
	return w.commcare.Seed(doc)
}

// misheard is a name as somebody else would write it.
func misheard(name string) string {
	for _, r := range [][2]string{{"ee", "i"}, {"ch", "sh"}, {"j", "dj"}, {"w", "u"}, {"c", "k"}, {"i", "y"}, {"a", "aa"}, {"e", "ee"}} {
		if at := strings.Index(name[1:], r[0]); at >= 0 {
			return name[:1] + strings.Replace(name[1:], r[0], r[1], 1)
		}
	}
	return name + "h"
}

// stranger is a person whom a clinic knows and the field does not,
// nil when there are no more.
func (v *visits) stranger(w *World, c *clinic) (*being, error) {
	if v.met++; v.met > strangers {
		return nil, nil
	}
	for {
		form := v.others.Next()
		if form.XMLNS != ccsim.RegistrationXMLNS {
			continue
		}
		b, err := v.person(form, "2")
		if err != nil {
			return nil, err
		}
		b.server, b.caseID = c.n, ""
		b.patient = uuid.NewSHA1(uuid.NameSpaceOID, []byte("demo clinic "+form.Case)).String()
		b.truth = "clinic " + b.patient
		w.truth.know(b.truth, b.patient, "", b.number)
		return b, nil
	}
}
