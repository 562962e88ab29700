package demo

import (
	"encoding/json"
	"fmt"
	"sync"
)

// truth is who is whom in a world, as only its author can know: nothing of it is
// told to Kiungo.
type truth struct {
	mu       sync.Mutex
	patients map[string]string // uuid of a patient that the clinic made → person
	cases    map[string]string // id of a case that the field made → person
	numbers  map[string]string // national id → person
}

func newTruth() *truth {
	return &truth{patients: map[string]string{}, cases: map[string]string{}, numbers: map[string]string{}}
}

// know remembers records of a person; empty ids are nobody's.
func (t *truth) know(person, patient, caseID, number string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for m, id := range map[*map[string]string]string{&t.patients: patient, &t.cases: caseID, &t.numbers: number} {
		if id != "" {
			(*m)[id] = person
		}
	}
}

// People is what the check of people found: who is in the systems, in how many
// records.
type People struct {
	Patients int `json:"patients"`
	Cases    int `json:"cases"`
	Linked   int `json:"linked"` // patients that a case names
	// Twice names records (never people) of one person of whom there is another,
	// and nobody was asked.
	Twice []string `json:"twice,omitempty"`
	// Asked is how many are there twice because two people entered them at once, and
	// a clerk is, or was, asked about them.
	Asked int `json:"asked,omitempty"`
	// Unknown are records of nobody whom the world's author knows.
	Unknown []string `json:"unknown,omitempty"`
}

// patientState and caseState are what a simulator's State says of them.
type patientState struct {
	UUID        string `json:"uuid"`
	Identifiers []struct {
		Identifier string `json:"identifier"`
		Type       string `json:"identifierType"`
	} `json:"identifiers"`
	Names []struct {
		Given  string `json:"givenName"`
		Family string `json:"familyName"`
	} `json:"names"`
	Addresses []struct {
		Village string `json:"cityVillage"`
	} `json:"addresses"`
	Attributes []struct {
		Value string `json:"value"`
		Type  string `json:"attributeType"`
	} `json:"attributes"`
	Gender    string `json:"gender"`
	Birthdate string `json:"birthdate"`
}

func (p *patientState) number() string {
	for _, i := range p.Identifiers {
		if i.Type == "Old Identification Number" {
			return i.Identifier
		}
	}
	return ""
}

func patientsOf(s *system) ([]patientState, error) {
	doc, err := s.sim.State()
	if err != nil {
		return nil, err
	}
	var state struct {
		Patients []patientState `json:"patients"`
	}
	return state.Patients, json.Unmarshal(doc, &state)
}

type caseState struct {
	ID       string         `json:"case_id"`
	External string         `json:"external_id"`
	Type     string         `json:"case_type"`
	Owner    string         `json:"owner_id"`
	Closed   bool           `json:"closed"`
	Props    map[string]any `json:"properties"`
	Indices  map[string]struct {
		Case string `json:"case_id"`
	} `json:"indices"`
}

func casesOf(w *World) ([]caseState, error) {
	doc, err := w.commcare.State()
	if err != nil {
		return nil, err
	}
	var state struct {
		Cases []caseState `json:"cases"`
	}
	return state.Cases, json.Unmarshal(doc, &state)
}

// check looks whether anybody is twice in one system. asked are the people about
// whom a person was asked.
func (t *truth) check(w *World, asked map[string]bool) (*People, error) {
	out := &People{}
	of := map[string]string{} // patient → person
	seen := map[string]string{}
	note := func(person, system, record string) {
		switch first := seen[system+" "+person]; {
		case person == "":
			out.Unknown = append(out.Unknown, record)
		case first != "" && asked[person]:
			out.Asked++
		case first != "":
			out.Twice = append(out.Twice, fmt.Sprintf("%s and %s", first, record))
		default:
			seen[system+" "+person] = record
		}
	}
	for _, s := range w.systems {
		if s.connector != "openmrs" {
			continue
		}
		list, err := patientsOf(s)
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			person := t.patients[p.UUID]
			if person == "" {
				person = t.numbers[p.number()]
			}
			of[p.UUID] = person
			out.Patients++
			note(person, s.name, s.name+" patient "+p.UUID)
		}
	}
	cases, err := casesOf(w)
	if err != nil {
		return nil, err
	}
	for _, c := range cases {
		if c.Type != "patient" || c.Closed {
			continue
		}
		person := t.cases[c.ID]
		if person == "" {
			if person = t.patients[c.External]; person == "" {
				person = of[c.External]
			}
		}
		out.Cases++
		if _, ok := of[c.External]; ok {
			out.Linked++
		}
		note(person, "commcare", "case "+c.ID)
	}
	return out, nil
}
