package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	ccsim "github.com/kiungo-health/kiungo/connectors/commcare/sim"
	"github.com/kiungo-health/kiungo/internal/connector"
)

const (
	facilities = 4    // the first half belongs to the north server, the rest to the south
	people     = 60   // whom the field knows
	listed     = 12   // whom at first only the clinics know
	strangers  = 4000 // whom the clinics may come to know
)

var servers = []string{"openmrs-north", "openmrs-south"}

// visits is a world of CommCare and two OpenMRS servers: workers register and
// visit people, and the clinics see them, too.
type visits struct {
	id       string
	gen      *ccsim.Generator // whom the field knows, and all forms
	others   *ccsim.Generator // whom the clinics know
	exported bool             // the people of the field were in OpenMRS first
	clinics  []*clinic
	places   []string
	workers  map[string]string // worker → place
	known    []*being          // exported people, and those whom the field registered
	byCase   map[string]*being
	asked    int // how often the list was asked for
	referred []*being
	local    *being // whom no OpenMRS has brought
	met      int    // strangers so far
}

// being is a person of a world, as her author knows her.
type being struct {
	truth, caseID, patient                               string
	given, family, sex, born, phone, number, village, by string
	server                                               int
	form                                                 []byte // her registration
}

func visitsBothWays(id, folder string) func(seed uint64) *World {
	return func(seed uint64) *World {
		v := &visits{id: id, exported: id != "i05", byCase: map[string]*being{}}
		v.gen = ccsim.NewGenerator(seed, people, facilities)
		v.others = ccsim.NewGenerator(seed+7, strangers, facilities)
		return &World{ID: id, Folder: folder, story: v, zone: "Africa/Nairobi", region: "KE"}
	}
}

func (v *visits) turns(messages int) int { return messages }

func (v *visits) xmlns(what string) string {
	return "http://openrosa.org/formdesigner/demo/" + v.id + "/" + what
}

func (v *visits) forwarded() []ccsim.Repeater {
	var out []ccsim.Repeater
	for _, what := range []string{"visit", "details", "referral", "outcome"} {
		if what == "details" || what == "visit" || v.id == "i01" {
			out = append(out, ccsim.Repeater{Format: ccsim.FormJSON, XMLNS: v.xmlns(what)})
		}
	}
	if v.id == "i05" { // a case that changes by any way
		out = append(out, ccsim.Repeater{Format: ccsim.CaseJSON, CaseType: "patient"})
	}
	return out
}

func (v *visits) prepare(w *World, reg connector.Registry) error {
	// What happens in the field takes minutes; the last form ends about now.
	v.gen.From(time.Now().Add(-90 * time.Minute))
	v.gen.Gap = 15 * time.Second
	cc, err := ccsim.New([]byte(`{"hour":"1s"}`))
	if err != nil {
		return err
	}
	if err := cc.Seed(v.gen.Seed()); err != nil {
		return err
	}
	w.commcare = cc
	v.readPlaces()
	w.systems = append(w.systems, &system{name: "commcare", connector: "commcare", sim: cc,
		options: map[string]string{"sweep_every": "1m", "sweep_from": time.Now().UTC().Format(time.RFC3339), "cache_for": "1m"}})
	for i, name := range servers {
		module := "openmrs"
		if v.id == "i05" && i == 1 {
			module = "bahmni" // which announces less: the sweep finds the rest
		}
		sim, err := reg["openmrs"].Simulate(fmt.Appendf(nil, `{"feed":%q,"feedPage":25}`, module))
		if err != nil {
			return err
		}
		if err := sim.Seed(dictionary); err != nil {
			return err
		}
		s := &system{name: name, connector: "openmrs", sim: sim, options: map[string]string{}}
		for n, p := range v.places {
			if n*len(servers)/facilities == i {
				s.places = append(s.places, p)
			}
		}
		switch v.id {
		case "i01":
			s.options["feeds"], s.options["feed_every"] = "patient,encounter,observation", "1s"
		case "i05":
			s.options["feeds"], s.options["feed_every"] = "patient,encounter", "1s"
			s.options["sweep"], s.options["sweep_every"], s.options["sweep_pause"] = "patient,encounter", "5s", "1s"
		}
		w.systems = append(w.systems, s)
		v.clinics = append(v.clinics, newClinic(w, v, s, i))
	}
	if v.id == "i04" {
		sim, err := reg["openmrs"].Simulate(nil)
		if err != nil {
			return err
		}
		w.systems = append(w.systems, &system{name: "openmrs-east", connector: "openmrs", sim: sim, off: true})
	}
	v.siteValues(w)
	if v.exported {
		if err := v.export(w); err != nil {
			return err
		}
	}
	return v.patientsOfTheClinics(w)
}

// siteValues are what a site of this integration writes down.
func (v *visits) siteValues(w *World) {
	w.values = map[string]any{"visitForm": v.xmlns("visit"), "caseType": "patient"}
	switch v.id {
	case "i01":
		w.values["detailsForm"], w.values["followUpReport"], w.values["formWorker"] = v.xmlns("details"), listReport, v.anyWorker()
		w.values["referralForm"], w.values["referralOutcomeForm"] = v.xmlns("referral"), v.xmlns("outcome")
		areas := "village,owner\n"
		for _, name := range villages[1:] { // of one village nobody has said whose area it is
			areas += strings.ToLower(name) + "," + v.places[0] + "\n"
		}
		w.tables["areas"] = areas
	case "i04":
		w.values["detailsForm"], w.values["participantsReport"] = v.xmlns("details"), listReport
	case "i05":
		w.values["registrationForm"] = v.xmlns("details")
		// Shipped is near: create; here a clerk is asked, and conflicts are, too.
		w.values["near"], w.values["wins"] = "ask", "ask"
	}
	supervisors := "place,owner\n"
	for _, p := range v.places {
		supervisors += p + "," + p + "\n"
	}
	w.tables["supervisors"] = supervisors
}

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

func (v *visits) begin(ctx context.Context, w *World) error { return v.askLists(ctx, w) }

// askLists has the clinics' reports say who is on the list today, and asks.
func (v *visits) askLists(ctx context.Context, w *World) error {
	if v.id == "i05" {
		return nil
	}
	v.asked++
	for i, c := range v.clinics {
		rows, err := c.publishList(v.asked, v.clinics[(i+1)%len(v.clinics)])
		if err != nil {
			return err
		}
		w.account.lists(c.system.name, "report", rows)
	}
	return w.ask(ctx)
}

// end: once all that went either way has arrived, workers end what the clinics
// referred to them and visit people whom only a clinic had known; then the lists
// are asked for again.
func (v *visits) end(ctx context.Context, w *World) error {
	if err := w.settle(ctx, time.Now().Add(time.Minute)); err != nil {
		return err
	}
	if v.id == "i01" {
		ended, err := v.referralEnded(w, v.gen.Next())
		if err != nil {
			return err
		}
		if ended != nil {
			if err := v.submit(w, ended); err != nil {
				return err
			}
		}
	}
	if err := v.visitTheirs(w); err != nil {
		return err
	}
	return v.askLists(ctx, w)
}

// visitTheirs is a visit to somebody who came from a clinic: the round trip.
func (v *visits) visitTheirs(w *World) error {
	cases, err := casesOf(w)
	if err != nil {
		return err
	}
	form := v.gen.Next()
	for form.XMLNS != ccsim.VisitXMLNS {
		form = v.gen.Next()
	}
	server := v.byCase[form.Case].server
	for _, c := range cases {
		if b := v.clinics[server].registered(c.External); b != nil && v.byCase[c.ID] == nil {
			return v.submit(w, []byte(strings.ReplaceAll(string(v.own(form.Body, "1")), form.Case, c.ID)))
		}
	}
	return nil
}

func (v *visits) submit(w *World, body []byte) error {
	id, err := w.commcare.Submit(body)
	if err != nil {
		return fmt.Errorf("submit a form: %w", err)
	}
	w.account.sent("commcare", "form", id)
	return nil
}

var tested = regexp.MustCompile(`"malaria_test":"[a-z_]*"`)

// turn sends the next form; now and then it is an odd one, as in life, and now
// and then somebody at a clinic does something.
func (v *visits) turn(ctx context.Context, w *World, n int) error {
	if n%2 == 1 {
		if err := v.clinics[n/2%len(v.clinics)].act(ctx, n/2/len(v.clinics)); err != nil {
			return err
		}
	}
	form := v.gen.Next()
	body := v.own(form.Body, "1")
	switch {
	case form.XMLNS == ccsim.RegistrationXMLNS:
		b, err := v.person(form, "1")
		if err != nil {
			return err
		}
		if err := v.registered(ctx, w, b); err != nil {
			return err
		}
		body = b.form
	case v.id == "i01" && n%12 == 10:
		ended, err := v.referralEnded(w, form)
		if err != nil {
			return err
		}
		if ended != nil {
			body = ended
		}
	case v.id == "i05" && n%12 == 10:
		if err := v.editCase(ctx, w, v.byCase[form.Case], n); err != nil {
			return err
		}
	case v.id == "i01" && n%12 == 6:
		b := v.byCase[form.Case]
		v.referred = append(v.referred, b)
		body = v.referral(form, b)
	case n%4 == 3:
		b := v.byCase[form.Case]
		body = v.correction(form, b, n)
		if n%8 == 7 { // the clinic corrects the same field while the form is under way
			if err := v.clinics[b.server].correctsToo(ctx, b, n); err != nil {
				return err
			}
		}
	case n == 12 && v.local != nil:
		body = []byte(strings.ReplaceAll(string(body), form.Case, v.local.caseID))
	case n%25 == 10:
		body = tested.ReplaceAll(body, []byte(`"malaria_test":"borrowed"`))
	}
	return v.submit(w, body)
}

// registered: a worker registers a person, whom a clinic may know already.
func (v *visits) registered(ctx context.Context, w *World, b *being) error {
	n := len(v.known)
	v.know(w, b)
	c := v.clinics[b.server]
	switch n % 10 {
	case 2: // the same, with her number
		return c.registers(ctx, b, *b)
	case 4: // the same, without her number: known by all else
		same := *b
		same.number = ""
		return c.registers(ctx, b, same)
	case 6: // likely the same: her name as it sounds, no number, another phone
		like := *b
		like.number, like.phone, like.given = "", "", misheard(b.given)
		return c.registers(ctx, b, like)
	case 8: // her twin, who is somebody else
		twin := *b
		twin.number, twin.given = "", "Pendo"
		twin.truth = "twin of " + b.truth
		return c.registers(ctx, &twin, twin)
	}
	return nil
}

// correction is a form that corrects details: the phone, and now and then the
// day of birth.
func (v *visits) correction(form ccsim.Submission, b *being, n int) []byte {
	var old struct {
		ID   string `json:"id"`
		Form struct {
			Meta struct {
				End string `json:"timeEnd"`
			} `json:"meta"`
		} `json:"form"`
	}
	_ = json.Unmarshal(b.form, &old)
	phone, born := fmt.Sprintf("+2547%08d", 10_000_000+n), b.born
	if n%16 == 15 {
		born = shifted(b.born, 1)
	}
	return []byte(strings.NewReplacer(old.ID, form.ID, old.Form.Meta.End, time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"), b.phone, phone, b.born, born).Replace(string(b.form)))
}

// shifted is a date some days later.
func shifted(date string, days int) string {
	t, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return date
	}
	return t.AddDate(0, 0, days).Format(time.DateOnly)
}

// referral is a form that refers a person to the clinic.
func (v *visits) referral(form ccsim.Submission, b *being) []byte {
	return v.form(form, "referral", b.caseID, b.by, map[string]any{"reason": "fever cough", "note": "Since three days."}, map[string]any{"referred": "yes"}, false)
}

// referralEnded is a form by which a worker ends a referral from the clinic, nil
// if there is none open.
func (v *visits) referralEnded(w *World, form ccsim.Submission) ([]byte, error) {
	cases, err := casesOf(w)
	if err != nil {
		return nil, err
	}
	for _, c := range cases {
		if c.Type == "referral" && !c.Closed && c.Props["referral_direction"] == "to_community" && c.Props["referral_status"] == "open" {
			return v.form(form, "outcome", c.ID, v.workerAt(c.Owner), map[string]any{"outcome": "treated", "note": "Wound clean.", "person_case": c.Indices["parent"].Case}, map[string]any{"referral_outcome": "treated"}, true), nil
		}
	}
	return nil, nil
}

func (v *visits) workerAt(place string) string {
	for _, id := range slices.Sorted(maps.Keys(v.workers)) {
		if v.workers[id] == place {
			return id
		}
	}
	return v.anyWorker()
}

// editCase is somebody at the office who corrects a phone in the data, not by a
// form.
func (v *visits) editCase(ctx context.Context, w *World, b *being, n int) error {
	s := w.systems[0]
	doc := fmt.Sprintf(`{"properties":{"phone":"+2547%08d"}}`, 40_000_000+n)
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, s.url+"/a/demo/api/case/v2/"+b.caseID+"/", strings.NewReader(doc))
	if err != nil {
		return err
	}
	settings := s.sim.Settings()
	req.Header.Set("Authorization", "ApiKey "+settings["username"]+":"+settings["api_key"])
	req.Header.Set("Content-Type", "application/json")
	for range 5 {
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
		if resp.StatusCode != http.StatusTooManyRequests {
			return fmt.Errorf("edit a case in CommCare: %s", resp.Status)
		}
		req.Body = io.NopCloser(strings.NewReader(doc))
	}
	return nil // CommCare was busy: the office gives up
}

// form writes a form about a case.
func (v *visits) form(from ccsim.Submission, what, caseID, worker string, answers, update map[string]any, closing bool) []byte {
	at := from.At.UTC().Format("2006-01-02T15:04:05.000000Z")
	block := map[string]any{"@case_id": caseID, "@date_modified": at, "@user_id": worker, "@xmlns": "http://commcarehq.org/case/transaction/v2", "update": update}
	if closing {
		block["close"] = ""
	}
	form := map[string]any{"#type": "data", "@name": what, "@uiVersion": "1", "@version": "22", "@xmlns": v.xmlns(what), "case": block,
		"meta": map[string]any{"@xmlns": "http://openrosa.org/jr/xforms", "appVersion": "Formplayer Version: 2.53", "deviceID": "phone", "instanceID": from.ID,
			"timeStart": at, "timeEnd": at, "userID": worker, "username": "chw"}}
	for k, x := range answers {
		form[k] = x
	}
	doc, err := json.Marshal(map[string]any{"app_id": "9393007a6921eecd4a9f20eefb7b97f4", "domain": "demo", "id": from.ID, "form": form})
	if err != nil {
		panic(err) // strings and maps only
	}
	return doc
}
