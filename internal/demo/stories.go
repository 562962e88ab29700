package demo

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	ccsim "github.com/kiungo-health/kiungo/connectors/commcare/sim"
)

// story is one integration in the demo: its forms, its people, and what the
// servers hold at the start.
type story struct {
	id, folder string
	values     map[string]any
	gen        *ccsim.Generator
	// forwarded are the xmlns that CommCare forwards to Kiungo.
	forwarded []string
	register  string // xmlns of registrations in this story
	visit     string
	// exported: the people are in OpenMRS before they are in CommCare.
	exported bool
	sent     int
	details  []string // registrations of exported people, to be sent again with corrections
}

var allStories = []struct {
	id, folder string
	exported   bool
	register   string // the site value that takes registrations, if any
}{
	{"i01", "i01-commcare-openmrs", true, ""},
	{"i04", "i04-commcare-openmrs-reports", true, "detailsForm"},
	{"i05", "i05-commcare-openmrs-feed", false, "registrationForm"},
}

// people of each story.
const people = 60

func chooseStories(only []string, seed uint64) ([]*story, error) {
	var out []*story
	for n, a := range allStories {
		if len(only) > 0 && !slices.Contains(only, a.id) {
			continue
		}
		s := &story{id: a.id, folder: a.folder, exported: a.exported,
			register: ccsim.RegistrationXMLNS + "/" + a.id, visit: ccsim.VisitXMLNS + "/" + a.id}
		s.values = map[string]any{"visitForm": s.visit, "caseType": "patient"}
		s.forwarded = []string{s.visit}
		if a.register != "" {
			s.values[a.register] = s.register
			s.forwarded = append(s.forwarded, s.register)
		}
		s.gen = ccsim.NewGenerator(seed*100+uint64(n), people, facilities).From(time.Now().Add(-24 * time.Hour))
		s.gen.Gap = 20 * time.Second
		out = append(out, s)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("there is no integration like that; there are i01, i04 and i05")
	}
	return out, nil
}

// placesOf gives the places of the n-th server: half of each story's facilities.
func placesOf(stories []*story, n int) []string {
	var out []string
	for _, s := range stories {
		for i, f := range s.facilities() {
			if i*len(servers)/facilities == n {
				out = append(out, f)
			}
		}
	}
	return out
}

func (s *story) facilities() []string {
	var doc struct {
		Locations []struct {
			ID   string `json:"location_id"`
			Type string `json:"location_type_code"`
		} `json:"locations"`
	}
	_ = json.Unmarshal(s.gen.Seed(), &doc)
	var out []string
	for _, l := range doc.Locations {
		if l.Type == "facility" {
			out = append(out, l.ID)
		}
	}
	return out
}

// prepare fills the simulators: users and places in CommCare, the dictionary
// in OpenMRS, and the people where they are exported from OpenMRS.
func (s *story) prepare(d *Demo) error {
	if err := d.CommCare.Seed(s.gen.Seed()); err != nil {
		return err
	}
	if !s.exported {
		return nil
	}
	return s.export(d)
}

// export registers the first people in OpenMRS and gives CommCare their cases.
func (s *story) export(d *Demo) error {
	places := s.facilities()
	users := s.workerPlaces()
	for seen := 0; seen < people; {
		form := s.gen.Next()
		if form.XMLNS != ccsim.RegistrationXMLNS {
			continue
		}
		seen++
		s.details = append(s.details, s.own(form.Body))
		var doc struct {
			Form struct {
				Given     string `json:"given_name"`
				Family    string `json:"family_name"`
				Sex       string `json:"sex"`
				Birthdate string `json:"birthdate"`
				Phone     string `json:"phone"`
				NID       string `json:"national_id"`
				Village   string `json:"village"`
				Meta      struct {
					User string `json:"userID"`
				} `json:"meta"`
			} `json:"form"`
		}
		if err := json.Unmarshal([]byte(s.own(form.Body)), &doc); err != nil {
			return err
		}
		f := doc.Form
		patient := uuid.NewSHA1(uuid.NameSpaceOID, []byte("demo patient "+form.Case)).String()
		place := slices.Index(places, users[f.Meta.User])
		server := d.OpenMRS[servers[place*len(servers)/facilities]]
		if err := server.Seed(patientSeed(patient, f.Given, f.Family, f.Sex, f.Birthdate, f.NID, f.Village)); err != nil {
			return err
		}
		cases, err := json.Marshal(map[string]any{"cases": []any{map[string]any{"case_id": form.Case, "case_type": "patient",
			"case_name": f.Given + " " + f.Family, "external_id": patient, "owner_id": f.Meta.User,
			"properties": map[string]any{"first_name": f.Given, "last_name": f.Family, "sex": f.Sex, "dob": f.Birthdate,
				"phone": f.Phone, "national_id": f.NID, "village": f.Village}}}})
		if err != nil {
			return err
		}
		if err := d.CommCare.Seed(cases); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) workerPlaces() map[string]string {
	var doc struct {
		Users []struct {
			ID    string `json:"id"`
			Place string `json:"primary_location"`
		} `json:"users"`
	}
	_ = json.Unmarshal(s.gen.Seed(), &doc)
	out := map[string]string{}
	for _, u := range doc.Users {
		out[u.ID] = u.Place
	}
	return out
}

// own makes a generated form this story's: its forms have their own xmlns, and
// its people national ids of their own.
func (s *story) own(body []byte) string {
	return strings.NewReplacer(`"`+ccsim.RegistrationXMLNS+`"`, `"`+s.register+`"`, `"`+ccsim.VisitXMLNS+`"`, `"`+s.visit+`"`,
		`"national_id":"10`, `"national_id":"1`+s.id[2:]).Replace(string(body))
}

// correction is a form about details that corrects a phone number.
func (s *story) correction(form ccsim.Submission) string {
	old := s.details[s.sent%len(s.details)]
	var doc struct {
		ID   string `json:"id"`
		Form struct {
			Phone string `json:"phone"`
			Meta  struct {
				End string `json:"timeEnd"`
			} `json:"meta"`
		} `json:"form"`
	}
	_ = json.Unmarshal([]byte(old), &doc)
	return strings.NewReplacer(doc.ID, form.ID, doc.Form.Meta.End, form.At.UTC().Format("2006-01-02T15:04:05.000000Z"),
		doc.Form.Phone, fmt.Sprintf("+2547%08d", s.sent)).Replace(old)
}

// submit submits the story's next form. Now and then it is an odd one, as in
// life: a code that nobody mapped, a form sent twice.
func (s *story) submit(d *Demo) error {
	form := s.gen.Next()
	body := s.own(form.Body)
	s.sent++
	if s.sent%4 == 0 && len(s.details) > 0 && len(s.forwarded) > 1 {
		body = s.correction(form)
	}
	if s.sent%50 == 0 {
		body = strings.Replace(body, `"malaria_test":""`, `"malaria_test":"borrowed"`, 1)
	}
	_, err := d.CommCare.Submit([]byte(body))
	return err
}
