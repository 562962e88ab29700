package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	ccsim "github.com/kiungo-health/kiungo/connectors/commcare/sim"
	"github.com/kiungo-health/kiungo/internal/connector"
)

// unitPlaces are locations of CommCare that are org units in DHIS2; of the last
// nobody has said which.
var unitPlaces = []struct{ code, name, unit string }{{"nyamninia", "Nyamninia", ""}, {"marenyo", "Marenyo", ""}, {"sirembe", "Sirembe", "CU-MAL-1"}, {"usigu", "Usigu", ""}}

// field is CommCare with a worker in each of those places, and a household.
func field(seed uint64) (*ccsim.Sim, *reporters, error) {
	cc, err := ccsim.New([]byte(`{"hour":"1s"}`))
	if err != nil {
		return nil, nil, err
	}
	r := &reporters{rng: rand.New(rand.NewPCG(seed, 0x6b69756e676f))}
	var users, locations, cases []any
	for i, p := range unitPlaces {
		data := map[string]any{}
		if p.unit != "" {
			data["dhis2_code"] = p.unit
		}
		locations = append(locations, map[string]any{"location_id": "loc-" + p.code, "name": p.name, "site_code": p.code, "location_type_code": "unit",
			"location_type_name": "Unit", "location_data": data, "parent_location_id": nil})
		id := r.id("worker", i)
		r.workers = append(r.workers, id)
		users = append(users, map[string]any{"id": id, "username": fmt.Sprintf("chw%d@demo.commcarehq.org", i+1), "first_name": "Worker", "last_name": p.name,
			"primary_location": "loc-" + p.code, "locations": []any{"loc-" + p.code}, "groups": []any{}, "phone_numbers": []any{}, "user_data": map[string]any{}})
		r.households = append(r.households, r.id("household", i))
		cases = append(cases, map[string]any{"case_id": r.households[i], "case_type": "household", "case_name": "House", "external_id": "", "owner_id": id, "properties": map[string]any{}})
	}
	doc, err := json.Marshal(map[string]any{"users": users, "locations": locations, "cases": cases})
	if err != nil {
		return nil, nil, err
	}
	return cc, r, cc.Seed(doc)
}

// reporters are the workers who report to DHIS2.
type reporters struct {
	rng                 *rand.Rand
	workers, households []string
	made                int
}

func (r *reporters) id(kind string, n int) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "demo %s %d", kind, n)).String()
}

// form writes a form of a worker, about her household if she goes to one.
func (r *reporters) form(xmlns string, place int, at time.Time, answers map[string]any, household bool) []byte {
	r.made++
	id, when := uuid.Must(uuid.NewRandomFromReader(reader{r.rng})).String(), at.UTC().Format("2006-01-02T15:04:05.000000Z")
	form := map[string]any{"#type": "data", "@name": "Report", "@uiVersion": "1", "@version": "12", "@xmlns": xmlns,
		"meta": map[string]any{"@xmlns": "http://openrosa.org/jr/xforms", "appVersion": "CommCare Android 2.56", "deviceID": "phone", "instanceID": id,
			"timeStart": when, "timeEnd": when, "userID": r.workers[place], "username": "chw"}}
	for k, v := range answers {
		form[k] = v
	}
	if household {
		form["case"] = map[string]any{"@case_id": r.households[place], "@date_modified": when, "@user_id": r.workers[place],
			"@xmlns": "http://commcarehq.org/case/transaction/v2", "update": map[string]any{"last_form": xmlns}}
	}
	doc, err := json.Marshal(map[string]any{"app_id": "9393007a6921eecd4a9f20eefb7b97f4", "domain": "demo", "id": id, "form": form})
	if err != nil {
		panic(err) // strings and maps only
	}
	return doc
}

// reader draws bytes of a generator.
type reader struct{ rng *rand.Rand }

func (r reader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r.rng.UintN(256))
	}
	return len(p), nil
}

// anonymous is a world of CommCare and DHIS2: each form becomes an event.
type anonymous struct {
	*reporters
	seed uint64
}

func events(seed uint64) *World {
	return &World{ID: "i02", Folder: "i02-commcare-dhis2-events", story: &anonymous{seed: seed}, zone: "Africa/Nairobi", region: "KE"}
}

const eventForm = "http://openrosa.org/formdesigner/F0C2A7E1-000%d-4D51-9A3B-5E1D2C3B4A0%d"

func (a *anonymous) turns(messages int) int { return messages }

func (a *anonymous) forwarded() []ccsim.Repeater { return []ccsim.Repeater{{Format: ccsim.FormJSON}} }

func (a *anonymous) prepare(w *World, reg connector.Registry) error {
	var err error
	if w.commcare, a.reporters, err = field(a.seed); err != nil {
		return err
	}
	return w.addDHIS2(reg)
}

// addDHIS2 adds CommCare, where there is one, and a DHIS2 server.
func (w *World) addDHIS2(reg connector.Registry) error {
	if w.commcare != nil {
		w.systems = append(w.systems, &system{name: "commcare", connector: "commcare", sim: w.commcare,
			options: map[string]string{"sweep_every": "1m", "sweep_from": time.Now().UTC().Format(time.RFC3339)}})
	}
	sim, err := reg["dhis2"].Simulate(nil)
	if err != nil {
		return err
	}
	w.systems = append(w.systems, &system{name: "dhis2", connector: "dhis2", sim: sim})
	return nil
}

func (a *anonymous) begin(context.Context, *World) error { return nil }
func (a *anonymous) end(context.Context, *World) error   { return nil }

func (a *anonymous) turn(_ context.Context, w *World, n int) error {
	now := time.Now()
	kind, place := 1+n%3, a.rng.IntN(3)
	if n%40 == 17 {
		place = 3 // nobody has said which org unit that is
	}
	yes := []string{"yes", "no"}[a.rng.IntN(2)]
	day := now.AddDate(0, 0, -1-a.rng.IntN(5)).Format(time.DateOnly)
	var answers map[string]any
	switch kind {
	case 1:
		answers = map[string]any{"visit_date": day, "where": "0.1021 34.5362 1280.0 4.9", "test": []string{"positive", "negative", "not_done"}[a.rng.IntN(3)], "act_given": yes,
			"child":   map[string]any{"age_months": fmt.Sprint(2 + a.rng.IntN(58)), "temperature": fmt.Sprintf("%.1f", 36+a.rng.Float64()*4), "fever_began": day},
			"outcome": []string{"treated", "referred"}[a.rng.IntN(2)]}
		if n%45 == 30 {
			answers["outcome"] = "went_home" // a code that nobody mapped
		}
	case 2:
		answers = map[string]any{"members": fmt.Sprint(1 + a.rng.IntN(9)), "nets": fmt.Sprint(a.rng.IntN(4)), "water": []string{"piped", "borehole", "river"}[a.rng.IntN(3)],
			"latrine": yes, "next_visit": now.AddDate(0, 0, 30).Format(time.DateOnly), "remarks": "seen"}
	case 3:
		answers = map[string]any{"reason": "fever", "urgent": yes, "referred_on": day, "arrived": yes, "arrived_on": day, "hours_waited": fmt.Sprint(a.rng.IntN(9)), "outcome": "treated"}
	}
	xmlns := fmt.Sprintf(eventForm, kind, kind)
	if n%30 == 22 { // a kind of form that no program takes
		xmlns = "http://openrosa.org/formdesigner/F0C2A7E1-0030-4D51-9A3B-5E1D2C3B4A30"
	}
	id, err := w.commcare.Submit(a.form(xmlns, place, now.Add(-time.Minute), answers, kind > 1))
	if err != nil {
		return err
	}
	w.account.sent("commcare", "form", id)
	return nil
}
