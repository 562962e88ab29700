package openmrs

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

// TestRequestsComeInTheSameOrder: what is read, and what is planned, is the same
// in each run, byte for byte.
func TestRequestsComeInTheSameOrder(t *testing.T) {
	run := func() (log []string, plan string) {
		r := newRig(t, "", people)
		patient := mary()
		patient["deathDate"], patient["dead"], patient["causeOfDeath"] = "2024-06-04", false, "CIEL:116128"
		calls := r.plan("Patient", newPatient, connector.Query{}, patient)
		calls = append(calls, changeJane(r)...)
		calls = append(calls, r.plan("Visit", newVisit, visitQuery("2024-06-03T09:20:00+03:00"), visitWanted())...)
		encounter := encounterWanted()
		encounter["visit"], encounter["provider"], encounter["role"] = newVisit, superUser, "Unknown"
		encounter["location"] = "Unknown Location"
		calls = append(calls, r.plan("Encounter", newEncounter, connector.Query{}, encounter)...)
		// Values that are known later: their binds have an order, too.
		later := func(name string) any { return record.Later{Call: name, Output: "uuid"} }
		visit := visitWanted()
		visit["patient"], visit["type"], visit["location"] = later("patient.create"), later("a"), later("b")
		calls = append(calls, r.plan("Visit", newVisit, connector.Query{}, visit)...)
		b, err := json.Marshal(calls)
		if err != nil {
			t.Fatal(err)
		}
		return r.log, string(b)
	}
	log, plan := run()
	if len(log) < 12 {
		t.Fatalf("only %d requests: %v", len(log), log)
	}
	for range 10 {
		again, same := run()
		if !slices.Equal(log, again) {
			t.Fatalf("requests differ:\n%s\n\n%s", strings.Join(log, "\n"), strings.Join(again, "\n"))
		}
		if plan != same {
			t.Fatalf("plans differ:\n%s", firstDifference(plan, same))
		}
	}
}

// TestAConceptIsReadOnce: found by its code, it is known by its uuid.
func TestAConceptIsReadOnce(t *testing.T) {
	r := newRig(t, "", people)
	r.apply(r.plan("Encounter", newEncounter, connector.Query{}, encounterWanted())[0])
	for i, l := range r.log {
		if strings.HasPrefix(l, "GET /concept/"+weight) || slices.Contains(r.log[:i], l) {
			t.Errorf("read again: %s", l)
		}
	}
}

// TestChangesAreReadFromTheirOwnAnswers: no read is needed after them.
func TestChangesAreReadFromTheirOwnAnswers(t *testing.T) {
	r := newRig(t, "", people)
	for _, c := range changeJane(r) {
		if !c.ReadBack {
			t.Errorf("%s is read again", c.Name)
		}
		r.apply(c)
	}
	for _, c := range r.plan("Patient", newPatient, connector.Query{By: []map[string]any{{"uuid": jane}}}, map[string]any{
		"dead": true, "deathDate": "2024-06-04", "causeOfDeath": "CIEL:116128", "birthdateEstimated": true,
		"attributes": map[string]any{"Civil Status": "CIEL:1065"}, "address": map[string]any{"address1": "x"}}) {
		r.apply(c)
	}
	r.apply(r.plan("Encounter", newEncounter, connector.Query{}, encounterWanted())[0])
	next := encounterWanted()
	rows := next["obs"].([]any)
	rows[0].(map[string]any)["value"] = 71
	next["obs"] = append(rows[:len(rows)-1], map[string]any{"concept": "CIEL:5090", "value": 150})
	next["provider"] = superUser
	q := connector.Query{Made: newEncounter, Base: r.canon("Encounter", encounterWanted())}
	calls := r.plan("Encounter", newEncounter, q, next)
	for _, c := range calls {
		if !c.ReadBack {
			t.Errorf("%s is read again", c.Name)
		}
		r.apply(c)
	}
	if len(calls) < 3 || r.partial > 0 {
		t.Errorf("%d answers did not show what was written; calls %s", r.partial, names(calls))
	}
}

// TestAnAnswerThatDoesNotShowAllIsNoReading: the default representation of a name
// has no prefix, and OpenMRS gives no other after a POST.
func TestAnAnswerThatDoesNotShowAllIsNoReading(t *testing.T) {
	r := newRig(t, "", people)
	calls := r.plan("Patient", newPatient, connector.Query{By: []map[string]any{{"uuid": jane}}},
		map[string]any{"name": map[string]any{"given": "Janet", "prefix": "Mama"}})
	r.apply(calls[0])
	if r.partial != 1 {
		t.Errorf("%d", r.partial)
	}
}

// TestAnotherPatientsIdentifierIsAskedForOnlyWhereItMayClash.
func TestAnotherPatientsIdentifierIsAskedForOnlyWhereItMayClash(t *testing.T) {
	const old = `{"uuid":"8d79403a-c2cc-11de-8d13-0010c6dffd0f","name":"Old Identification Number","uniquenessBehavior":"`
	for _, c := range []struct {
		name, types string
		wanted      map[string]any
		asks        bool
	}{
		{"a new value", "", map[string]any{"identifiers": map[string]any{"Old Identification Number": "17"}}, true},
		{"unique per location", old + `LOCATION"}`, map[string]any{"identifiers": map[string]any{"Old Identification Number": "17"}}, true},
		{"not unique", old + `NON_UNIQUE"}`, map[string]any{"identifiers": map[string]any{"Old Identification Number": "17"}}, false},
		{"the value she has", "", map[string]any{"identifiers": map[string]any{"OpenMRS ID": "100DWN"}, "gender": "O"}, false},
		{"in other letters, of a type that does not tell them apart", "", map[string]any{"identifiers": map[string]any{"OpenMRS ID": "100dwn"}, "gender": "O"}, false},
		{"taken away", "", map[string]any{"identifiers": map[string]any{"OpenMRS ID": record.Clear{}}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, "", strings.Replace(people, `{"patients":[`, `{"patientidentifiertypes":[`+c.types+`],"patients":[`, 1))
			calls := r.plan("Patient", newPatient, connector.Query{By: []map[string]any{{"uuid": jane}}}, c.wanted)
			asked := slices.ContainsFunc(r.log, func(l string) bool { return strings.HasPrefix(l, "GET /patient?") })
			if asked != c.asks || len(calls) == 0 {
				t.Errorf("asked %v, want %v: %s", asked, c.asks, names(calls))
			}
		})
	}
}

func TestQueriesAreEncodedAsTheStandardDoes(t *testing.T) {
	for _, q := range []map[string][]string{{"v": {patientRep}}, {"b": {"x y", "é&="}, "a": {"", "+"}}, {"limit": {"50"}, "v": {encounterRep}, "pa tient": {jane}}} {
		if got, want := encodeQuery(q), url.Values(q).Encode(); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
}

// BenchmarkSend is one read, but for the network.
func BenchmarkSend(b *testing.B) {
	r := newRig(b, "", people)
	body := []byte(`{"uuid":"` + jane + `"}`)
	r.sys.http.Transport = roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{"Date": {"Mon, 03 Jun 2024 06:20:00 GMT"}}, Body: io.NopCloser(bytes.NewReader(body))}, nil
	})
	req := read("/patient/"+jane, "v", patientRep)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.sys.Send(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
