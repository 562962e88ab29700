package openmrs

import (
	"strings"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// sweepRig has Jane and John in the patient feed.
func sweepRig(t *testing.T, settings ...string) *feedRig {
	t.Helper()
	return newFeedRig(t, bahmniFeed, people, append([]string{"feeds=patient", "sweep=patient,encounter", "sweep_every=24h"}, settings...)...)
}

// round sweeps until the round rests.
func (r *feedRig) round() (messages []connector.Incoming, alarms []string) {
	r.t.Helper()
	for range 200 {
		b, err := r.chunk("sweep")
		if err != nil {
			r.t.Fatal(err)
		}
		messages, alarms = append(messages, b.Messages...), append(alarms, b.Alarms...)
		if b.More {
			r.t.Error("the sweep does not rest between portions")
		}
		if strings.Contains(string(b.Position), `"resting":true`) {
			return messages, alarms
		}
	}
	r.t.Fatal("the round never ends")
	return nil, nil
}

func docs(messages []connector.Incoming) string {
	var out []string
	for _, m := range messages {
		d := m.Doc
		if m.Withdrawn {
			d += " withdrawn"
		}
		if m.Problem != "" {
			d += " problem"
		}
		out = append(out, d)
	}
	return strings.Join(out, ", ")
}

func TestTheSweepBeginsNowAndThenComesEverySweepEvery(t *testing.T) {
	r := sweepRig(t)
	if got, _ := r.round(); len(got) != 0 {
		t.Errorf("history was sent: %s", docs(got))
	}
	r.requests("")
	r.round()
	if n := r.requests(""); n != 0 {
		t.Errorf("%d requests while it rests", n)
	}
}

// every is a rig whose rounds follow one another at once.
func every(t *testing.T) *feedRig {
	r := sweepRig(t, "sweep_every=0s")
	r.round()
	return r
}

// What Bahmni's module does not announce (sim/feed_publish.go).
func TestTheSweepFindsWhatNoFeedAnnounces(t *testing.T) {
	nameOf := func(r *feedRig) string {
		a, err := r.Do(t.Context(), "read names", read("/person/"+jane+"/name"))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(a.Body), `"uuid":"`)
		return rest[:36]
	}
	for name, c := range map[string]struct {
		do   func(r *feedRig)
		want string
	}{
		"a name":     {func(r *feedRig) { r.write("POST", "/person/"+jane+"/name/"+nameOf(r), `{"givenName":"Janet"}`) }, "patient/" + jane},
		"an address": {func(r *feedRig) { r.write("POST", "/person/"+jane+"/address", `{"cityVillage":"Kibera"}`) }, "patient/" + jane},
		"a gender":   {func(r *feedRig) { r.write("POST", "/person/"+jane, `{"gender":"O"}`) }, "patient/" + jane},
		"an identifier": {func(r *feedRig) {
			r.write("POST", "/patient/"+jane+"/identifier", `{"identifier":"23456780","identifierType":"49af6cdc-7968-4abb-bf46-de10d7f4859f","location":"`+unknownLocation+`"}`)
		}, "patient/" + jane},
		"a void":            {func(r *feedRig) { r.void("/patient/" + john) }, "patient/" + john + " withdrawn"},
		"a plain encounter": {func(r *feedRig) { r.seed(fullEncounter) }, "encounter/" + visitOf(1)},
	} {
		r := every(t)
		before, _ := r.round() // the overlap: what the seed wrote just now
		r.quietly("patient")
		c.do(r)
		if got := r.quietly("patient"); len(got) != 0 {
			t.Fatalf("%s: the feed announces it", name)
		}
		got, alarms := r.round()
		fresh := newOnes(before, got)
		if docs(fresh) != c.want || len(alarms) != 0 || len(before) != 2 {
			t.Errorf("%s: found %q, want %q; alarms %q", name, docs(fresh), c.want, alarms)
		}
	}
}

// newOnes are messages whose document and version were not given before: what
// the ledger would take.
func newOnes(before, after []connector.Incoming) []connector.Incoming {
	known := map[string]bool{}
	for _, m := range before {
		known[m.Doc+" "+m.Version] = true
	}
	var out []connector.Incoming
	for _, m := range after {
		if !known[m.Doc+" "+m.Version] {
			out = append(out, m)
		}
	}
	return out
}

func TestTheSweepFindsChangesInsideAnEncounter(t *testing.T) {
	r := every(t)
	r.seed(fullEncounter)
	first, _ := r.round()
	if again, _ := r.round(); len(newOnes(first, again)) != 0 {
		t.Errorf("nothing changed and new versions were given: %s", docs(again))
	}
	for _, m := range first {
		if m.Kind == "encounter" && contentOf(t, m).Subject["id"] != jane {
			t.Errorf("%s", m.Content)
		}
	}
	r.void("/encounter/" + visitOf(1))
	second, _ := r.round()
	if got := docs(newOnes(first, second)); got != "encounter/"+visitOf(1)+" withdrawn" {
		t.Errorf("found %q", got)
	}
	r.write("POST", "/encounter/"+visitOf(1), `{"deleted":"false"}`)
	third, _ := r.round()
	if got := docs(newOnes(nil, third)); !strings.Contains(got, "encounter/"+visitOf(1)) || strings.Contains(got, "withdrawn") {
		t.Errorf("found %q", got)
	}
}

func TestTheSweepLeavesOutWhatIsOlderThanTheRoundBefore(t *testing.T) {
	for name, c := range map[string]struct {
		before time.Duration // the round before began so long from now
		want   int
	}{"within the overlap": {30 * time.Minute, 2}, "older": {90 * time.Minute, 0}} {
		r := newFeedRig(t, bahmniFeed, people, "feeds=patient", "sweep=patient")
		began := time.Now().Add(c.before).UTC()
		r.position["sweep"] = []byte(`{"round":1,"resting":true,"started":"` + began.Format(time.RFC3339) + `"}`)
		r.sys.now = func() time.Time { return began.Add(25 * time.Hour) }
		if got, _ := r.round(); len(got) != c.want {
			t.Errorf("%s: given %q", name, docs(got))
		}
	}
}

// The feed announces the winner only.
func TestTheSweepFindsWhoWasMergedAway(t *testing.T) {
	r := every(t)
	before, _ := r.round()
	r.seed(`{"merges":[{"preferred":"` + jane + `","notPreferred":["` + john + `"]}]}`)
	after, _ := r.round()
	got := docs(newOnes(before, after))
	if !strings.Contains(got, "patient/"+john) || strings.Contains(got, "withdrawn") || !strings.Contains(got, "patient/"+jane) {
		t.Errorf("found %q: she is to be followed, not withdrawn", got)
	}
	if p := r.surround(about("patient", "patient", john), "patient")["patient"]; at(t, p, "uuid") != jane || at(t, p, "voided") != false {
		t.Errorf("shown as %v", p)
	}
}

func TestTheSweepReadsEachPersonOncePerRound(t *testing.T) {
	r := every(t)
	for range 20 {
		r.write("POST", "/patient/"+jane, `{"person":{"gender":"F"}}`)
	}
	r.requests("")
	r.round()
	if n := r.requests("/patient/" + jane); n != 1 {
		t.Errorf("she was read %d times", n)
	}
}

func TestTheSweepRestsAfterAPortion(t *testing.T) {
	r := newFeedRig(t, `{"feed":"bahmni","feedPage":20}`, "", "feeds=patient", "sweep=patient", "sweep_every=0s")
	r.announce("patient", 1, 60, 1000)
	if _, err := r.chunk("sweep"); err != nil {
		t.Fatal(err)
	}
	var portions []int
	for {
		r.requests("")
		b, err := r.chunk("sweep")
		if err != nil {
			t.Fatal(err)
		}
		portions = append(portions, r.requests("/patient/10000000"))
		if strings.Contains(string(b.Position), `"resting":true`) {
			break
		}
	}
	if len(portions) != 3 || portions[0] != sweepPeople || portions[1] != sweepPeople || portions[2] != 10 {
		t.Errorf("read %v", portions)
	}
}

func TestAPersonWhoIsGoneIsWithdrawnInOneVersion(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=patient", "sweep=patient,encounter", "sweep_every=0s")
	r.announce("patient", 1, 1, 5)
	r.round()
	first, _ := r.round()
	second, _ := r.round()
	if docs(first) != "patient/"+personID(1)+" withdrawn" || len(newOnes(first, second)) != 0 {
		t.Errorf("%s, then %s", docs(first), docs(second))
	}
}

func TestTheSweepGoesOnAfterAPersonOnWhomOpenMRSFails(t *testing.T) {
	r := every(t)
	r.sim.Traffic().Switch(simulate.Fault{Kind: simulate.Error500, Match: "GET /openmrs/ws/rest/v1/patient/" + jane})
	got, alarms := r.round()
	if !strings.Contains(docs(got), "patient/"+john) || strings.Contains(docs(got), jane) || len(alarms) != 1 || strings.Contains(alarms[0], jane) {
		t.Errorf("%s, alarms %q", docs(got), alarms)
	}
	r.sim.Traffic().Calm()
	if got, _ := r.round(); !strings.Contains(docs(got), jane) {
		t.Errorf("%s", docs(got))
	}
}

func TestASystemThatIsDownFailsTheSweepAndNobodyIsLeftOut(t *testing.T) {
	r := every(t)
	was := string(r.position["sweep"])
	r.sim.Traffic().Switch(simulate.Fault{Kind: simulate.Error503, Match: "GET /openmrs/ws/rest/v1/obs"})
	if _, err := r.chunk("sweep"); err == nil {
		t.Error("no error")
	}
	if string(r.position["sweep"]) != was {
		t.Error("the position moved")
	}
	r.sim.Traffic().Calm()
	if got, _ := r.round(); !strings.Contains(docs(got), jane) || !strings.Contains(docs(got), john) {
		t.Errorf("%s", docs(got))
	}
}

func TestTheSweepOfAnArchiveWithHolesEnds(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=patient", "sweep=patient", "sweep_every=0s")
	r.announce("patient", 1, 23, 1000)
	r.change("patient", `"hidePage":1`)
	r.change("patient", `"hidePage":3`)
	r.round()
	if got, _ := r.round(); len(got) != 13 {
		t.Errorf("%d people", len(got))
	}
	r.change("patient", `"reset":true`)
	if got, _ := r.round(); len(got) != 0 {
		t.Errorf("%d people in an empty feed", len(got))
	}
}
