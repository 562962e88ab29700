package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"
)

// clinic is the people at one OpenMRS server: what they do, they do through its
// web services as their own user, never as Kiungo's.
type clinic struct {
	w      *World
	v      *visits
	system *system
	n      int
	own    []*being // whom the clinic registered
	seen   []string // encounters that it saved
	made   int
}

func newClinic(w *World, v *visits, s *system, n int) *clinic {
	return &clinic{w: w, v: v, system: s, n: n}
}

const (
	listReport     = "3b6f9c1e-2d47-4a85-9f30-7c1d5e8a4b62"
	vitals         = "67a71486-1a54-468f-ac3e-7091a9a79584"
	telephone      = "14d4f066-15f5-102d-96e4-000c29c2a5d7"
	toCommunity    = "e7c00000-0000-4000-8000-000000000002"
	referralEnded  = "e7c00000-0000-4000-8000-000000000003"
	referralResult = "c0ce9700-0000-4000-8000-000000000001"
	resultTreated  = "c0ce9700-0000-4000-8000-000000000002"
)

// hold gives the server a patient before anything runs.
func (c *clinic) hold(b *being) error {
	doc, err := json.Marshal(map[string]any{"patients": []any{patientDoc(b)}})
	if err != nil {
		return err
	}
	return c.system.sim.Seed(doc)
}

// post sends what a clerk does. The server's own people are not hit by faults.
func (c *clinic) post(ctx context.Context, path string, body any) error {
	method := http.MethodPost
	if body == nil {
		method = http.MethodDelete
	}
	return c.do(ctx, method, "/openmrs/ws/rest/v1/"+path, body, nil)
}

func (c *clinic) do(ctx context.Context, method, path string, body, out any) error {
	var content io.Reader = http.NoBody
	if body != nil {
		doc, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(doc)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.system.url+path, content)
	if err != nil {
		return err
	}
	req.SetBasicAuth("clerk", "Clerk123")
	req.Header.Set("Content-Type", "application/json")
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("a clerk of %s: %w", c.system.name, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("a clerk of %s: %s %s: %d %.300s", c.system.name, method, path, resp.StatusCode, text)
	}
	if out != nil {
		return json.Unmarshal(text, out)
	}
	return nil
}

func (c *clinic) id(what string) string {
	c.made++
	return uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "%s %s %s %d", c.w.ID, c.system.name, what, c.made)).String()
}

// act does the n-th thing at this clinic.
func (c *clinic) act(ctx context.Context, n int) error {
	acts := []func(context.Context, int) error{c.registersNew, c.sees, c.changesPhone, c.changesName, c.movesPatient, c.sees, c.voids, c.merges, c.correctsBirth}
	if c.v.id == "i01" {
		acts = slices.Insert(acts, 2, c.refers, c.sendsResult, c.endsReferral)
	}
	return acts[n%len(acts)](ctx, n)
}

// registered gives whom the clinic registered under that uuid, if it did.
func (c *clinic) registered(patient string) *being {
	for _, b := range c.own {
		if b.patient == patient {
			return b
		}
	}
	return nil
}

// someone is a patient of this clinic whom Kiungo may know, too.
func (c *clinic) someone(ctx context.Context, n int) (*being, error) {
	for i := range len(c.v.known) {
		b := c.v.known[(n*7+i)%len(c.v.known)]
		if b.server != c.n {
			continue
		}
		if b.patient == "" {
			if err := c.lookUp(ctx, b); err != nil {
				return nil, err
			}
		}
		if b.patient != "" {
			return b, nil
		}
	}
	return c.own[n%len(c.own)], nil
}

// lookUp finds a patient by her number, as at a counter.
func (c *clinic) lookUp(ctx context.Context, b *being) error {
	var found struct {
		Results []struct {
			UUID string `json:"uuid"`
		} `json:"results"`
	}
	if err := c.do(ctx, http.MethodGet, "/openmrs/ws/rest/v1/patient?identifier="+b.number, nil, &found); err != nil {
		return err
	}
	if len(found.Results) == 1 {
		b.patient = found.Results[0].UUID
	}
	return nil
}

func (c *clinic) registersNew(ctx context.Context, _ int) error {
	b, err := c.v.stranger(c.w, c)
	if b == nil || err != nil {
		return err
	}
	c.own = append(c.own, b)
	return c.post(ctx, "patient", patientDoc(b))
}

// registers enters a person whom the field knows, or is about to.
func (c *clinic) registers(ctx context.Context, b *being, as being) error {
	as.patient = c.id("patient")
	c.w.truth.know(b.truth, as.patient, "", "")
	return c.post(ctx, "patient", patientDoc(&as))
}

func (c *clinic) sees(ctx context.Context, n int) error {
	b, err := c.someone(ctx, n)
	if err != nil {
		return err
	}
	id := c.id("encounter")
	c.seen = append(c.seen, id)
	return c.encounter(ctx, id, b, vitals, []any{obs("5089", 40+n%30), obs("1643", padded([]string{"703", "664"}[n%2])), obs("5096", time.Now().AddDate(0, 0, 14).Format(time.DateOnly))})
}

func obs(ciel string, value any) map[string]any {
	return map[string]any{"concept": padded(ciel), "value": value}
}

func (c *clinic) encounter(ctx context.Context, id string, b *being, kind string, obs []any) error {
	return c.post(ctx, "encounter", map[string]any{"uuid": id, "patient": b.patient, "encounterType": kind,
		"encounterDatetime": time.Now().Add(-time.Minute).UTC().Format("2006-01-02T15:04:05.000+0000"), "obs": obs})
}

func (c *clinic) voids(ctx context.Context, _ int) error {
	if len(c.seen) == 0 {
		return nil
	}
	id := c.seen[0]
	c.seen = c.seen[1:]
	return c.post(ctx, "encounter/"+id, nil)
}

func (c *clinic) changesPhone(ctx context.Context, n int) error {
	b, err := c.someone(ctx, n+3)
	if err != nil {
		return err
	}
	return c.phone(ctx, b, fmt.Sprintf("+2541%08d", 20_000_000+n))
}

func (c *clinic) phone(ctx context.Context, b *being, number string) error {
	return c.post(ctx, "person/"+b.patient+"/attribute", map[string]any{"attributeType": telephone, "value": number})
}

func (c *clinic) changesName(ctx context.Context, n int) error {
	b, err := c.someone(ctx, n+5)
	if err != nil {
		return err
	}
	return c.post(ctx, "person/"+b.patient+"/name", map[string]any{"givenName": b.given, "familyName": misheard(b.family), "preferred": true})
}

func (c *clinic) movesPatient(ctx context.Context, n int) error {
	b, err := c.someone(ctx, n+11)
	if err != nil {
		return err
	}
	return c.post(ctx, "person/"+b.patient+"/address", map[string]any{"cityVillage": villages[n%len(villages)], "preferred": true})
}

func (c *clinic) correctsBirth(ctx context.Context, n int) error {
	b, err := c.someone(ctx, n+17)
	if err != nil {
		return err
	}
	return c.post(ctx, "person/"+b.patient, map[string]any{"birthdate": shifted(b.born, -1)})
}

// correctsToo: a form about her is on its way, and the clinic corrects the same.
func (c *clinic) correctsToo(ctx context.Context, b *being, n int) error {
	if b.patient == "" {
		if err := c.lookUp(ctx, b); err != nil || b.patient == "" {
			return err
		}
	}
	if n%16 == 15 {
		return c.post(ctx, "person/"+b.patient, map[string]any{"birthdate": shifted(b.born, -2)})
	}
	return c.phone(ctx, b, fmt.Sprintf("+2541%08d", 30_000_000+n))
}

// merges finds that it has a patient twice.
func (c *clinic) merges(ctx context.Context, n int) error {
	b := c.own[n%len(c.own)]
	double := *b
	double.patient, double.number = c.id("double"), ""
	c.w.truth.know(b.truth, double.patient, "", "")
	if err := c.post(ctx, "patient", patientDoc(&double)); err != nil {
		return err
	}
	return c.do(ctx, http.MethodPost, "/openmrs/admin/patients/mergePatients.form", map[string]any{"preferred": b.patient, "notPreferred": []string{double.patient}}, nil)
}

// refers sends a patient to the workers of her village, who are the north's.
func (c *clinic) refers(ctx context.Context, n int) error {
	if c.n != 0 {
		return c.sees(ctx, n)
	}
	b, err := c.someone(ctx, n+2)
	if err != nil {
		return err
	}
	return c.encounter(ctx, c.id("referral"), b, toCommunity, []any{obs("1728", padded("143264")), obs("5096", time.Now().AddDate(0, 0, 7).Format(time.DateOnly)),
		obs("160632", "Change the dressing every second day")})
}

// endsReferral says how a referral of the field ended.
func (c *clinic) endsReferral(ctx context.Context, _ int) error {
	for i, b := range c.v.referred {
		if b.server == c.n {
			c.v.referred = append(c.v.referred[:i:i], c.v.referred[i+1:]...)
			return c.encounter(ctx, c.id("ended"), b, referralEnded, []any{map[string]any{"concept": referralResult, "value": resultTreated}})
		}
	}
	return nil
}

// sendsResult is a laboratory's observation without an encounter.
func (c *clinic) sendsResult(ctx context.Context, n int) error {
	b, err := c.someone(ctx, n+13)
	if err != nil {
		return err
	}
	return c.post(ctx, "obs", map[string]any{"person": b.patient, "concept": padded("1643"), "value": padded("703"),
		"obsDatetime": time.Now().Add(-time.Minute).UTC().Format("2006-01-02T15:04:05.000+0000")})
}

// publishList has the server's report say who is to be followed up: everybody
// but a few, of whom there are more each time; the other server's first patient
// is on it, too, where both were copied from one database.
func (c *clinic) publishList(times int, other *clinic) (int, error) {
	list, err := patientsOf(c.system)
	if err != nil {
		return 0, err
	}
	var rows []any
	for i, p := range list {
		if len(p.Names) == 0 || times > 1 && i%20 == 3 {
			continue
		}
		rows = append(rows, p.row())
	}
	if c.n == 1 && c.v.id == "i04" {
		theirs, err := patientsOf(other.system)
		if err != nil {
			return 0, err
		}
		rows = append(rows, theirs[0].row())
	}
	rows = append(rows, rows[0]) // twice on the list
	var columns []any
	for _, name := range []string{"uuid", "given_name", "family_name", "givenName", "familyName", "gender", "birthdate", "phone", "national_id", "village"} {
		kind := "java.lang.String"
		if name == "birthdate" {
			kind = "java.util.Date"
		}
		columns = append(columns, map[string]any{"name": name, "label": name, "datatype": kind})
	}
	doc, err := json.Marshal(map[string]any{"reports": []any{map[string]any{"uuid": listReport, "name": "People to follow up", "parameters": []any{},
		"dataSets": []any{map[string]any{"uuid": "2f6c8e01-7d3b-4e95-a1c4-0b9d8f7e6a53", "name": "people", "columns": columns, "rows": rows}}}}})
	if err != nil {
		return 0, err
	}
	return len(rows) - 1, c.system.sim.Seed(doc)
}

func (p *patientState) row() map[string]any {
	r := map[string]any{"uuid": p.UUID, "given_name": p.Names[0].Given, "family_name": p.Names[0].Family, "givenName": p.Names[0].Given, "familyName": p.Names[0].Family,
		"gender": p.Gender, "birthdate": p.Birthdate, "national_id": p.number()}
	if len(p.Addresses) > 0 {
		r["village"] = p.Addresses[0].Village
	}
	for _, a := range p.Attributes {
		if a.Type == "Telephone Number" {
			r["phone"] = a.Value
		}
	}
	return r
}
