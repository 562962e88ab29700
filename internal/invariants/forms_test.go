package invariants

import (
	"encoding/json"
	"regexp"
	"sort"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/clinictest"
)

type (
	person = clinictest.Person
	form   = clinictest.Form
)

// Short names of what the tests say most often.
var (
	somebody = clinictest.Somebody
	day      = clinictest.Day
)

const (
	registrationXMLNS = clinictest.RegistrationXMLNS
	iso               = clinictest.ISO
)

// few is a small workload: registration, visit, a second visit the same day,
// an edited visit, of two people of two clinics, who come in turn.
func few() []form {
	p, q := somebody(1, "a"), somebody(2, "b")
	q.Sex = "m"
	moved := p
	moved.Phone = "+254711900777"
	visit := p.Visit(day(2), "51.5")
	return []form{p.Register(day(1)), q.Register(day(1)), visit, q.Visit(day(2), "60"), p.Visit(day(2).Add(time.Hour), "51.6"),
		visit.Edited("52.5"), moved.Register(day(3)), q.Visit(day(4), "61")}
}

var drawn = regexp.MustCompile(`"identifier": "1[0-9A-Z]{4,6}"`)

// undrawn masks the numbers that OpenMRS draws: a lost answer uses one up.
func undrawn(states map[string]string) map[string]string {
	out := map[string]string{}
	for name, s := range states {
		out[name] = drawn.ReplaceAllString(s, `"identifier": "drawn"`)
	}
	return out
}

// unnamed masks also the ids of what was made: after an undo the next try uses
// another. Patients go by their national id, what is below by its time; two
// of a kind stay two.
func unnamed(states map[string]string) (map[string]string, error) {
	names := map[string]string{}
	for _, s := range states {
		var doc struct {
			Patients []struct {
				UUID        string
				Identifiers []struct{ Identifier, IdentifierType string }
			}
			Visits     []struct{ UUID, Patient, Start string }
			Encounters []struct{ UUID, Patient, At string }
		}
		if err := json.Unmarshal([]byte(s), &doc); err != nil {
			return nil, err
		}
		of := map[string]string{}
		for _, p := range doc.Patients {
			for _, i := range p.Identifiers {
				if i.IdentifierType == "Old Identification Number" {
					of[p.UUID] = i.Identifier
				}
			}
			names[p.UUID] = "patient " + of[p.UUID]
		}
		for _, v := range doc.Visits {
			names[v.UUID] = "visit " + of[v.Patient] + " " + v.Start
		}
		for _, e := range doc.Encounters {
			names[e.UUID] = "encounter " + of[e.Patient] + " " + e.At
		}
	}
	out := map[string]string{}
	for name, s := range undrawn(states) {
		for id, label := range names {
			s = strings.ReplaceAll(s, id, label)
		}
		lines, err := ordered(s)
		if err != nil {
			return nil, err
		}
		out[name] = lines
	}
	return out, nil
}

// ordered writes a state with its lists ordered by content: the ids that
// ordered them are masked.
func ordered(s string) (string, error) {
	var doc map[string][]any
	if err := json.Unmarshal([]byte(s), &doc); err != nil {
		return "", err
	}
	for _, list := range doc {
		sort.Slice(list, func(i, j int) bool { return string(asJSON(list[i])) < string(asJSON(list[j])) })
	}
	b, err := json.MarshalIndent(doc, "", " ")
	return string(b), err
}
