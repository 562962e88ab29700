package dhis2

import (
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

const (
	eventID  = "6f3c2f0e-6a55-5b6c-9c4e-3a9d1d1f7c10"
	eventUID = "X84FZNs5Kv5"
)

func fever12() map[string]any {
	return seen(value(ageMonth, 12.0), value("FC_TEMPERATURE", 38.5), value(onset, "2024-01-14"), value(rdt, "POS"), value(actGiven, true), value("EvDeOutco06", nil))
}

func TestAnEventIsMadeChangedDeletedOnEveryVersion(t *testing.T) {
	for _, v := range versions {
		t.Run(v, func(t *testing.T) {
			r := newRig(t, `{"version":"`+v+`"}`)
			create := r.plan("Event", eventID, connector.Query{}, fever12())
			if len(create) != 1 || create[0].Target != eventUID || create[0].Name != "event.create" || !create[0].Undo.Voids {
				t.Fatalf("%+v", create)
			}
			r.apply("Event", create[0])
			made := connector.Query{Made: eventID, Base: r.canon("Event", fever12())}
			if again := r.plan("Event", eventID, made, fever12()); again != nil {
				t.Fatalf("equal, and yet sent again: %+v", again[0].Check)
			}
			changed := fever12()
			changed["at"], changed["dataValues"] = "2024-01-16", []any{value(ageMonth, 13), value(temp, "38.5"), value(rdt, "NEG"), value(actGiven, false)}
			update := r.plan("Event", eventID, made, changed)
			if len(update) != 1 || update[0].Name != "event.update" {
				t.Fatalf("%+v", update)
			}
			r.roundTrip("Event", update)
			r.apply("Event", update[0])
			if strings.Contains(r.state(), "FC_ONSET") {
				t.Error("a value that is no longer wanted is still there")
			}
			r.remove(eventID)
			if strings.Contains(r.state(), eventUID) {
				t.Error("the event is still there")
			}
		})
	}
}

// remove withdraws an event, twice: the second time it is gone already.
func (r *rig) remove(id string) {
	r.t.Helper()
	k := r.sys.Kind("Event")
	found, err := k.Find(r.t.Context(), r, connector.Query{Made: id})
	if err != nil || !found.Exists || found.ID != id {
		r.t.Fatalf("%+v %v", found, err)
	}
	calls, err := k.Calls(r.t.Context(), r, connector.Change{Record: "event", ID: id, Found: &found, Remove: true})
	if err != nil || len(calls) != 1 || calls[0].Reversal != call.Final {
		r.t.Fatalf("%+v %v", calls, err)
	}
	r.apply("Event", calls[0])
	if a, err := r.do(r.t.Context(), "again", calls[0].Request); err != nil {
		r.t.Errorf("deleted twice: %v %s", err, a.Body)
	}
}

func TestASentEventLooksAsDHIS2AsksFor(t *testing.T) {
	r := newRig(t, "")
	c := r.plan("Event", eventID, connector.Query{}, fever12())[0]
	want := `{"events":[{"event":"X84FZNs5Kv5","program":"EvPrFever01","programStage":"EvStFever01","orgUnit":"OuVilYal001","occurredAt":"2024-01-15","completedAt":"2024-01-15","status":"COMPLETED","attributeOptionCombo":"HllvX50cXC0","geometry":{"type":"Point","coordinates":[34.53,-0.09]},` +
		`"dataValues":[{"dataElement":"EvDeActGi05","value":"true"},{"dataElement":"EvDeAgeMo01","value":"12"},{"dataElement":"EvDeOnset03","value":"2024-01-14"},{"dataElement":"EvDeRdtRe04","value":"POS"},{"dataElement":"EvDeTempe02","value":"38.5"}]}]}`
	if string(c.Request.Body) != want {
		t.Errorf("sent\n%s\nwant\n%s", c.Request.Body, want)
	}
	if q := url.Values(c.Request.Query).Encode(); q != "async=false&atomicMode=ALL&importStrategy=CREATE_AND_UPDATE" || c.Request.Path != "/tracker" {
		t.Errorf("%s?%s", c.Request.Path, q)
	}
}

func TestAnEventThatIsPlannedHasAScheduledDate(t *testing.T) {
	r := newRig(t, "")
	wanted := seen()
	wanted["status"], wanted["at"] = "schedule", "2024-03-01"
	calls := r.plan("Event", eventID, connector.Query{}, wanted)
	if body := string(calls[0].Request.Body); !holds(body, `"scheduledAt":"2024-03-01"`, `"status":"SCHEDULE"`) || strings.Contains(body, "completedAt") {
		t.Errorf("%s", body)
	}
}

// A lost answer: the same event again is the same event.
func TestAnEventSentTwiceIsThereOnce(t *testing.T) {
	r := newRig(t, "")
	c := r.plan("Event", eventID, connector.Query{}, fever12())[0]
	r.apply("Event", c)
	state := r.state()
	if _, err := r.do(t.Context(), "again", c.Request); err != nil || r.state() != state {
		t.Errorf("%v\n%s", err, r.state())
	}
	// And a new plan, after a crash, finds it.
	if again := r.plan("Event", eventID, connector.Query{}, fever12()); again != nil {
		t.Errorf("%+v", again)
	}
}

// Law 9: a deleted event's identifier is used up, so what was undone is made
// under the next generation's.
func TestADeletedEventsIdentifierIsNeverUsedAgain(t *testing.T) {
	for _, v := range versions {
		t.Run(v, func(t *testing.T) {
			r := newRig(t, `{"version":"`+v+`"}`)
			c := r.plan("Event", eventID, connector.Query{}, fever12())[0]
			r.apply("Event", c)
			if sent, rev := r.undo("Event", c); !sent {
				t.Fatalf("%+v", rev)
			}
			_, err := r.do(t.Context(), "again", c.Request)
			var e *call.Error
			if !errors.As(err, &e) || e.Class != call.Uncertain || !strings.Contains(e.Reason, "E1082") {
				t.Fatalf("%v", err)
			}
			if o := r.look("Event", *c.Check); !o.Voided || o.Exists {
				t.Errorf("%+v", o)
			}
			found, err := r.sys.Kind("Event").Find(t.Context(), r, connector.Query{ID: eventID})
			if err != nil || found.Exists || !found.Voided {
				t.Errorf("%+v %v", found, err)
			}
			next := r.plan("Event", "00000000-0000-0000-0000-000000000000", connector.Query{}, fever12())[0]
			r.apply("Event", next)
		})
	}
}

// Who deleted it is told by who changed it last.
func TestOurOwnDeletionIsToldFromAPersons(t *testing.T) {
	k := opened(t, nil).Kind("Event").(*eventKind)
	check := call.Check{Key: eventUID, Want: record.Fields{"at": "2024-01-15"}}
	answer := func(by string) call.Answer {
		return call.Answer{Status: 200, Body: []byte(`{"events":[{"event":"` + eventUID + `","deleted":true` + by + `}]}`)}
	}
	for by, want := range map[string]bool{`,"updatedBy":{"username":"kiungo"}`: true, `,"updatedBy":{"username":"clerk"}`: false, ``: false} {
		k.learnUser("kiungo")
		if o, err := k.Observe(check, answer(by)); err != nil || !o.Voided || o.ByUs != want {
			t.Errorf("%q: %+v %v", by, o, err)
		}
	}
}

func TestAnUndoLeavesAnEventThatAPersonChangedSince(t *testing.T) {
	r := newRig(t, "")
	c := r.plan("Event", eventID, connector.Query{}, fever12())[0]
	r.apply("Event", c)
	r.person("POST", trackerPath, map[string]any{"events": []any{map[string]any{"event": eventUID, "program": fever, "programStage": feverSt, "orgUnit": yala,
		"occurredAt": "2024-01-15", "status": "COMPLETED", "completedAt": "2024-01-15", "dataValues": []any{value(ageMonth, "14"), value(rdt, "POS")}}}})
	if sent, rev := r.undo("Event", c); sent || len(rev.LeftOver) != 1 {
		t.Errorf("%v %+v", sent, rev)
	}
}

// An undo of a change would send the whole event: it is sent only while nothing
// else in it was changed.
func TestAnUndoOfAChangeNeverOverwritesAPersonsEdit(t *testing.T) {
	r := newRig(t, "")
	r.apply("Event", r.plan("Event", eventID, connector.Query{}, fever12())[0])
	changed := fever12()
	changed["dataValues"] = []any{value(ageMonth, 13), value(rdt, "POS")}
	c := r.plan("Event", eventID, connector.Query{Made: eventID}, changed)[0]
	r.apply("Event", c)
	r.person("POST", trackerPath, map[string]any{"events": []any{map[string]any{"event": eventUID, "program": fever, "programStage": feverSt, "orgUnit": yala,
		"occurredAt": "2024-01-10", "status": "COMPLETED", "completedAt": "2024-01-15", "dataValues": []any{value(ageMonth, "13"), value(rdt, "POS")}}}})
	if sent, rev := r.undo("Event", c); sent || len(rev.LeftOver) != 1 {
		t.Errorf("%v %+v", sent, rev)
	}
	if !strings.Contains(r.state(), "2024-01-10") {
		t.Error("the person's date is lost")
	}
}

// What an update does not know of the event is sent back as it was read.
func TestAnUpdateKeepsWhatItDoesNotChange(t *testing.T) {
	was := `{"event":"` + eventUID + `","program":"P2345678901","programStage":"S2345678901","orgUnit":"O2345678901","occurredAt":"2024-01-15T10:30:00.000","scheduledAt":"2024-01-14T00:00:00.000",` +
		`"completedAt":"2024-01-16T00:00:00.000","status":"COMPLETED","attributeOptionCombo":"HllvX50cXC0","geometry":{"type":"Polygon","coordinates":[[[1,2]]]},"assignedUser":{"uid":"U2345678901"},"updatedAt":"2024-01-16T00:00:00.000","updatedBy":{"username":"x"},"dataValues":[{"dataElement":"D2345678901","value":"1"}]}`
	s := opened(t, nil)
	w, err := decodeEvent(call.Answer{Status: 200, Body: []byte(`{"instances":[` + was + `]}`)}, eventUID)
	if err != nil {
		t.Fatal(err)
	}
	found := (&eventKind{s}).asFound(w, eventID, "made before", connector.Query{})
	calls, err := s.Kind("Event").Calls(t.Context(), nobody{}, connector.Change{Record: "event", ID: eventID, Found: &found, Write: record.Fields{valuePath("D2345678901"): "2"}})
	if err != nil {
		t.Fatal(err)
	}
	for body, v := range map[string]string{string(calls[0].Request.Body): "2", string(calls[0].Undo.Request.Body): "1"} {
		want := strings.Replace(strings.Replace(was, `,"updatedAt":"2024-01-16T00:00:00.000","updatedBy":{"username":"x"}`, "", 1), `"value":"1"`, `"value":"`+v+`"`, 1)
		var a, b any
		if json.Unmarshal([]byte(body), &a) != nil || json.Unmarshal([]byte(`{"events":[`+want+`]}`), &b) != nil {
			t.Fatal("not JSON")
		}
		x, _ := json.Marshal(a)
		y, _ := json.Marshal(b)
		if string(x) != string(y) {
			t.Errorf("sent\n%s\nwant\n%s", x, y)
		}
	}
	gone := record.Fields{valuePath("D2345678901"): record.Clear{}}
	if calls, err = s.Kind("Event").Calls(t.Context(), nobody{}, connector.Change{Record: "event", ID: eventID, Found: &found, Write: gone}); err != nil ||
		!strings.Contains(string(calls[0].Request.Body), `"value":null`) {
		t.Errorf("%s %v", calls[0].Request.Body, err)
	}
}

func TestWhatDHIS2WouldRefuseOfAnEventIsSaidBefore(t *testing.T) {
	r := newRig(t, "", `{"programs":[{"id":"RgProgram01","code":"REGISTERED","name":"With people","programType":"WITH_REGISTRATION","programStages":[{"id":"`+feverSt+`"}]}]}`)
	with := func(name string, v any) map[string]any { m := fever12(); m[name] = v; return m }
	for name, c := range map[string]struct {
		wanted map[string]any
		want   string
	}{
		"all right":           {fever12(), ""},
		"unknown program":     {with("program", "NOPE"), "program metadata"},
		"program of people":   {with("program", "REGISTERED"), "orgUnit assignment, program program-type"},
		"another stage":       {with("programStage", "EvStHouse01"), "programStage metadata"},
		"unknown org unit":    {with("orgUnit", "NOPE"), "orgUnit metadata"},
		"not assigned":        {with("orgUnit", "KE"), "orgUnit assignment"},
		"closed":              {with("orgUnit", "OuFacClosed"), "orgUnit assignment, orgUnit closed"},
		"not a day":           {with("at", "yesterday"), "at day"},
		"tomorrow":            {with("at", "2024-02-04"), "at future"},
		"a year ahead":        {with("at", "2025-02-04T08:00:00Z"), "at future"},
		"status":              {with("status", "DONE"), "status option"},
		"coordinates":         {with("coordinates", map[string]any{"longitude": 34.5, "latitude": 95}), "coordinates coordinate"},
		"element of another":  {with("dataValues", []any{value("HvDeMembe01", 3)}), "dataValues[1]/dataElement data-element"},
		"value type":          {with("dataValues", []any{value(ageMonth, "a year")}), "dataValues/EvDeAgeMo01 value-type"},
		"name for the code":   {with("dataValues", []any{value(rdt, "Positive")}), "dataValues/EvDeRdtRe04 option"},
		"said twice":          {with("dataValues", []any{value(ageMonth, 1), value(ageMonth, 2)}), "dataValues/EvDeAgeMo01 twice"},
		"said twice the same": {with("dataValues", []any{value(ageMonth, 1), value(ageMonth, "1")}), ""},
		"not a list":          {with("dataValues", "12"), "dataValues list"},
		"a row that is none":  {with("dataValues", []any{"12"}), "dataValues[1] object"},
		"a field unknown":     {with("enrollment", "x"), "enrollment field"},
		"values, no program":  {map[string]any{"dataValues": []any{value(ageMonth, 1)}}, "program required"},
		"no field but status": {map[string]any{"status": "active"}, ""},
	} {
		got := r.problems("Event", c.wanted)
		parts := strings.Split(got, ", ")
		for _, want := range strings.Split(c.want, ", ") {
			if c.want != "" && !strings.Contains(got, want) || c.want == "" && got != "" || len(parts) != len(strings.Split(c.want, ", ")) {
				t.Errorf("%s: %s, want %s", name, got, c.want)
			}
		}
	}
}

// What is only known by the server is read from its verdict, with the field.
func TestAServersRefusalNamesTheField(t *testing.T) {
	for _, v := range versions {
		t.Run(v, func(t *testing.T) {
			r := newRig(t, `{"version":"`+v+`"}`)
			c := r.plan("Event", eventID, connector.Query{}, seen(value(temp, 38.5)))[0] // two compulsory ones are missing
			before := r.state()
			_, err := r.do(t.Context(), c.About, c.Request)
			var e *call.Error
			if !errors.As(err, &e) || e.Class != call.Refusal || !strings.Contains(e.Reason, "E1303") || e.Field != valuePath(ageMonth) && e.Field != valuePath(rdt) {
				t.Fatalf("%+v", err)
			}
			if r.state() != before {
				t.Error("something was saved")
			}
		})
	}
}

func TestAnEventIsFoundByItsUID(t *testing.T) {
	r := newRig(t, "")
	r.apply("Event", r.plan("Event", eventID, connector.Query{}, fever12())[0])
	find := func(q connector.Query) connector.Found {
		f, err := r.sys.Kind("Event").Find(t.Context(), r, q)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	if f := find(connector.Query{By: []map[string]any{{"uid": eventUID}}}); !f.Exists || f.ID != eventUID || f.Fields["uid"] != eventUID || f.How != "uid" {
		t.Errorf("%+v", f)
	}
	for _, q := range []connector.Query{{}, {By: []map[string]any{{"uid": "Qh5kzLvJ2aT"}}}, {By: []map[string]any{{"uid": "not one"}}}, {ID: "00000000-0000-0000-0000-000000000000"}} {
		if f := find(q); f.Exists || f.Voided {
			t.Errorf("%+v: %+v", q, f)
		}
	}
}

func TestAServerThatImportsInTheBackgroundIsAwaited(t *testing.T) {
	r := newRig(t, "")
	c := r.plan("Event", eventID, connector.Query{}, fever12())[0]
	c.Request.Query["async"] = []string{"true"}
	_, err := r.do(t.Context(), c.About, c.Request)
	if call.ClassOf(err) != call.Queued || c.Await == nil {
		t.Fatalf("%v", err)
	}
	var o call.Observed
	for range 50 { // the simulator does it after some polls
		if o = r.look("Event", c.Await.Check); o.Exists {
			break
		}
	}
	if c.Await.Check.Judge(o, nil) != call.Yes {
		t.Errorf("%+v", o)
	}
}

func TestAnOldServerIsRefusedInWords(t *testing.T) {
	s := opened(t, nil)
	s.version = Version{}
	answers := doer(func(r call.Request) call.Answer {
		return call.Answer{Status: 200, Body: []byte(`{"version":"2.36.4","calendar":"iso8601"}`)}
	})
	_, err := s.Kind("Event").Find(t.Context(), answers, connector.Query{ID: eventID})
	if call.ClassOf(err) != call.Refusal || !strings.Contains(err.Error(), "2.38") {
		t.Errorf("%v", err)
	}
}
