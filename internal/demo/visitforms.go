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

	ccsim "github.com/kiungo-health/kiungo/connectors/commcare/sim"
)

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
	if err := w.settle(ctx, time.Now().Add(patience)); err != nil {
		return err
	}
	// Each of them: one alone may meet a fault, and wait for a person.
	for v.id == "i01" {
		ended, err := v.referralEnded(w, v.gen.Next())
		if err != nil {
			return err
		}
		if ended == nil {
			break
		}
		if err := v.submit(w, ended); err != nil {
			return err
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
