//go:build unix

package chaos

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/clinictest"
)

// holding is what one record should hold, worked out from the messages alone,
// and what it held before the newest of them.
type holding struct {
	now   string
	older []string
}

func (h *holding) set(text string) {
	if h.now != "" && h.now != text {
		h.older = append(h.older, h.now)
	}
	h.now = text
}

var nairobi = time.FixedZone("EAT", 3*60*60)

// wanted works out from the acknowledged forms what the systems should hold: a
// patient for each person, a visit for each of her days, an encounter for each
// visit form with the answers of its newest version, and the case's link.
func (l *load) wanted() map[string]*holding {
	out := map[string]*holding{}
	put := func(key, text string) {
		if out[key] == nil {
			out[key] = &holding{}
		}
		out[key].set(text)
	}
	for _, s := range l.people {
		days := map[string]time.Time{}
		for _, f := range s.forms[:s.acked.Load()] {
			block := f.Doc["case"].(map[string]any)["update"].(map[string]any)
			who := s.NationalID()
			if f.Doc["@xmlns"] == clinictest.RegistrationXMLNS {
				put("patient "+who+" at openmrs-"+s.Clinic, fmt.Sprintf("%s %s, F, %s, %s, %s", s.Given, s.Family, block["dob"], block["village"], block["phone"]))
				put("case "+s.CaseID(), "is patient "+who)
				continue
			}
			day := f.At.In(nairobi).Format(time.DateOnly)
			if _, ok := days[day]; !ok {
				days[day] = f.At
				put("visit of "+who+" from "+moment(f.At), "Facility Visit until "+moment(endOfDay(f.At)))
			}
			vitals := f.Doc["vitals"].(map[string]any)
			obs := []string{"Rapid test for malaria = Negative", "Return visit date = " + midnight(f.Doc["next_visit"].(string)), "Sign or symptom name = Cough", "Sign or symptom name = Fever",
				fmt.Sprintf("Weight (kg) = %v", vitals["weight"])}
			if t := vitals["temperature"]; t != "" {
				obs = append(obs, fmt.Sprintf("Temperature (C) = %v", t))
			}
			if h := vitals["height"]; h != "" {
				obs = append(obs, fmt.Sprintf("Height (cm) = %v", h))
			}
			sort.Strings(obs)
			put("encounter of "+who+" at "+moment(f.At), "Vitals in the visit from "+moment(days[day])+": "+strings.Join(obs, "; "))
		}
	}
	return out
}

func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// midnight is when a day begins at the clinic.
func midnight(day string) string {
	t, err := time.ParseInLocation(time.DateOnly, day, nairobi)
	if err != nil {
		return day
	}
	return moment(t)
}

func endOfDay(t time.Time) time.Time {
	t = t.In(nairobi)
	return time.Date(t.Year(), t.Month(), t.Day(), 23, 59, 59, 0, nairobi)
}

// held is what the systems hold, in the same words; several of a key are
// several records.
func (w *world) held() map[string][]string {
	w.Helper()
	out := map[string][]string{}
	put := func(key, text string) { out[key] = append(out[key], text) }
	patients := map[string]string{} // by uuid, national id
	for _, name := range []string{clinictest.ServerA, clinictest.ServerB} {
		state, err := w.sims[name].State()
		w.must(err)
		var s clinicState
		w.must(json.Unmarshal(state, &s))
		visits := map[string]string{}
		for _, p := range s.Patients {
			who := p.id("Old Identification Number")
			patients[p.UUID] = who
			put("patient "+who+" at "+name, p.text())
		}
		for _, v := range s.Visits {
			visits[v.UUID] = v.Start
			put("visit of "+patients[v.Patient]+" from "+v.Start, v.Type+" until "+v.Stop)
		}
		for _, e := range s.Encounters {
			var obs []string
			for _, o := range e.Obs {
				obs = append(obs, fmt.Sprintf("%s = %v", o.Concept, o.Value))
			}
			sort.Strings(obs)
			put("encounter of "+patients[e.Patient]+" at "+e.At, e.Type+" in the visit from "+visits[e.Visit]+": "+strings.Join(obs, "; "))
		}
		if len(s.Obs) > 0 {
			put("observations of no encounter at "+name, fmt.Sprint(len(s.Obs)))
		}
	}
	state, err := w.sims[clinictest.Source].State()
	w.must(err)
	var cc struct {
		Cases []struct {
			ID       string `json:"case_id"`
			External string `json:"external_id"`
		}
	}
	w.must(json.Unmarshal(state, &cc))
	for _, c := range cc.Cases {
		text := "is nobody"
		if who, ok := patients[c.External]; ok {
			text = "is patient " + who
		}
		put("case "+c.ID, text)
	}
	return out
}

type clinicState struct {
	Patients []patientState
	Visits   []struct{ UUID, Patient, Type, Start, Stop string }

	Encounters []struct {
		UUID, Patient, Visit, Type, At string

		Obs []struct {
			Concept string
			Value   any
		}
	}
	Obs []any
}

type patientState struct {
	UUID, Gender, Birthdate string

	Names       []struct{ GivenName, FamilyName string }
	Addresses   []struct{ CityVillage string }
	Identifiers []struct{ Identifier, IdentifierType string }
	Attributes  []struct{ AttributeType, Value string }
}

func (p *patientState) id(kind string) string {
	for _, i := range p.Identifiers {
		if i.IdentifierType == kind {
			return i.Identifier
		}
	}
	return "without a number"
}

func (p *patientState) text() string {
	var names, villages, phones []string
	for _, n := range p.Names {
		names = append(names, n.GivenName+" "+n.FamilyName)
	}
	for _, a := range p.Addresses {
		villages = append(villages, a.CityVillage)
	}
	for _, a := range p.Attributes {
		phones = append(phones, a.Value)
	}
	return fmt.Sprintf("%s, %s, %s, %s, %s", strings.Join(names, "+"), p.Gender, p.Birthdate, strings.Join(villages, "+"), strings.Join(phones, "+"))
}

// faults are what is wrong with the systems' state.
type faults struct{ lost, doubled, disordered, half []string }

func (e *faults) all() []string {
	return slices.Concat(label("lost", e.lost), label("doubled", e.doubled), label("out of order", e.disordered), label("half done", e.half))
}

func label(what string, list []string) (out []string) {
	for _, s := range list {
		out = append(out, what+": "+s)
	}
	return out
}

// compare balances what the systems hold with what they should.
func compare(want map[string]*holding, got map[string][]string) *faults {
	e := &faults{}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		h, list := want[key], got[key]
		if len(list) == 0 {
			e.lost = append(e.lost, key)
			continue
		}
		if len(list) > 1 {
			e.doubled = append(e.doubled, fmt.Sprintf("%s: %d of them", key, len(list)))
		}
		switch text := list[0]; {
		case text == h.now:
		case slices.Contains(h.older, text):
			e.disordered = append(e.disordered, fmt.Sprintf("%s: %q, want %q", key, text, h.now))
		default:
			e.half = append(e.half, fmt.Sprintf("%s: %q, want %q", key, text, h.now))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if want[key] == nil {
			e.doubled = append(e.doubled, key+": nobody asked for it")
		}
	}
	return e
}
