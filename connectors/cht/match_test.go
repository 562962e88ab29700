package cht

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kiungo-health/kiungo/connectors/cht/sim"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/people"
)

func TestPeopleWhoMightBeMeantShareAClue(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	wanted := achieng()
	wanted["mother_name"] = "Akoth"
	r.write(t, "Person", connector.Query{ID: newID}, wanted)
	k := r.Kind("Person").(connector.Matcher)
	for name, c := range map[string]struct {
		person people.Person
		ids    []string
	}{
		"phone without the country's code": {people.Person{Phones: []string{"0712 345 678"}}, []string{newID}},
		"day of birth":                     {people.Person{Born: "1992-06-05"}, []string{newID}},
		"year of birth":                    {people.Person{Born: "1992"}, []string{newID}},
		"another spelling":                 {people.Person{Names: []people.Name{{Given: "Atienno"}}}, []string{sim.ContactID(43)}},
		"identifier":                       {people.Person{Identifiers: []people.Identifier{{Type: "external_id", Value: "MRN-1"}}}, []string{newID}},
		"nobody":                           {people.Person{Names: []people.Name{{Given: "Zawadi"}}}, nil},
		"what regular expressions mean":    {people.Person{Names: []people.Name{{Given: ".*x"}}}, nil},
		"nothing known":                    {people.Person{}, nil},
	} {
		got, err := k.Candidates(t.Context(), r, c.person)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, f := range got {
			ids = append(ids, f.ID)
		}
		slices.Sort(ids)
		if d := cmp.Diff(c.ids, ids); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	found, err := r.Kind("Person").Find(t.Context(), r, connector.Query{ID: newID})
	if err != nil {
		t.Fatal(err)
	}
	want := people.Person{Names: []people.Name{{Given: "Achieng Otieno"}}, Identifiers: []people.Identifier{{Type: "external_id", Value: "MRN-1"}},
		Born: "1992-06-05", Sex: "F", Phones: []string{"+254712345678"}, Mother: "Akoth", Others: map[string]string{"next_of_kin/name": "Otieno"}}
	if d := cmp.Diff(want, k.Person(found.Fields)); d != "" {
		t.Error(d)
	}
}
