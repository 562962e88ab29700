package openmrs

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/internal/connector"
	persons "github.com/kiungo-health/kiungo/internal/people"
	"github.com/kiungo-health/kiungo/internal/record"
)

func (r *rig) candidates(p persons.Person) []connector.Found {
	r.t.Helper()
	list, err := r.sys.Kind("Patient").(connector.Matcher).Candidates(r.t.Context(), r, p)
	if err != nil {
		r.t.Fatal(err)
	}
	return list
}

func ids(list []connector.Found) string {
	var out []string
	for _, f := range list {
		name := map[string]string{jane: "jane", john: "john"}[f.ID]
		out = append(out, cmp.Or(name, f.ID)+" by "+f.How)
	}
	return strings.Join(out, ", ")
}

// attributed makes the reference application's phone attribute searchable.
var attributed = strings.Replace(people, `{"patients":[`, `{"personattributetypes":[{"uuid":"14d4f066-15f5-102d-96e4-000c29c2a5d7","name":"Telephone Number","format":"java.lang.String","searchable":true}],"patients":[`, 1)

func TestWhoAPatientIs(t *testing.T) {
	r := newRig(t, "", "")
	f := record.Fields{"uuid": jane, "name/given": "Jane", "name/middle": "Wanjiku", "name/family": "Test", "name/family2": "Otieno", "gender": "f", "birthdate": "1988-07-01", "birthdateEstimated": true,
		"identifiers/OpenMRS ID": "100DWN", "identifiers/National ID": "", "attributes/Telephone Number": "+254711000333", "attributes/Mobile": "0722", "attributes/Mother's Name": "Grace", "attributes/School": "St Mary's",
		"address/address4": "Kangemi ward", "address/cityVillage": "Kangemi", "address/countyDistrict": "Nairobi", "address/country": "Kenya", "attributes/Empty": record.Unreadable{}}
	want := persons.Person{Names: []persons.Name{{Given: "Jane", Middle: "Wanjiku", Family: "Test Otieno"}}, Identifiers: []persons.Identifier{{Type: "OpenMRS ID", Value: "100DWN"}},
		Born: "1988-07-01", Estimated: true, Sex: "F", Phones: []string{"0722", "+254711000333"}, Places: []string{"Kangemi ward", "Kangemi", "Nairobi"}, Mother: "Grace", Others: map[string]string{"School": "St Mary's"}}
	if got := r.sys.Kind("Patient").(connector.Matcher).Person(f); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	r.sys.clues = newClues(map[string]string{"phones": "Contact", "mother": "Mama", "places": "countyDistrict, address4"})
	f = record.Fields{"attributes/Contact": "0711", "attributes/Mama": "Grace", "address/address4": "a", "address/countyDistrict": "b", "gender": "U"}
	want = persons.Person{Phones: []string{"0711"}, Mother: "Grace", Places: []string{"b", "a"}}
	if got := r.sys.Kind("Patient").(connector.Matcher).Person(f); !reflect.DeepEqual(got, want) {
		t.Errorf("by options: got %+v, want %+v", got, want)
	}
}

func TestCandidatesShareSomethingWithTheWantedOne(t *testing.T) {
	for name, c := range map[string]struct {
		seed string
		p    persons.Person
		want string
	}{
		"an identifier, of whatever type":        {people, persons.Person{Identifiers: []persons.Identifier{{Type: "Clinic No", Value: "100dwn"}}}, "jane by identifier Clinic No"},
		"not the beginning of an identifier":     {people, persons.Person{Identifiers: []persons.Identifier{{Type: "National ID", Value: "2345678"}}}, ""},
		"both names, the other way round":        {people, persons.Person{Names: []persons.Name{{Given: "Test", Family: "Jane"}}}, "jane by name"},
		"a name in one piece":                    {people, persons.Person{Names: []persons.Name{{Given: "jane test"}}}, "jane by name"},
		"a family name that begins alike":        {people, persons.Person{Names: []persons.Name{{Given: "Janet", Family: "Tester"}}}, "jane by name"},
		"one name of two":                        {people, persons.Person{Names: []persons.Name{{Given: "John", Family: "Otieno"}}}, "john by name"},
		"signs of the query language are blanks": {people, persons.Person{Names: []persons.Name{{Given: "Ja%", Family: "Te*s+\"("}}}, "jane by name"},
		"two letters find nothing":               {people, persons.Person{Names: []persons.Name{{Given: "Jo"}}}, ""},
		"a phone in another spelling":            {attributed, persons.Person{Phones: []string{"+254 711 000 333"}}, "jane by phone"},
		"a phone of a type not searched":         {people, persons.Person{Phones: []string{"+254711000333"}}, ""},
		"nothing is known":                       {people, persons.Person{Born: "1988-05-17", Places: []string{"Kangemi"}}, ""},
	} {
		r := newRig(t, `{"minSearch":3}`, c.seed)
		if got := ids(r.candidates(c.p)); got != c.want {
			t.Errorf("%s: %q, want %q by\n%s", name, got, c.want, strings.Join(r.log, "\n"))
		}
	}
}

// TestACandidateIsReadAsFindReadsIt, and by no request of its own.
func TestACandidateIsReadAsFindReadsIt(t *testing.T) {
	r := newRig(t, "", people)
	list := r.candidates(persons.Person{Names: []persons.Name{{Given: "Jane", Family: "Test"}}})
	if slices.ContainsFunc(r.log, func(l string) bool { return strings.Contains(l, "/patient/") }) {
		t.Errorf("a read for each candidate: %v", r.log)
	}
	f, err := r.sys.Kind("Patient").Find(t.Context(), r, by(map[string]any{"uuid": jane}))
	if err != nil || len(list) != 1 || !reflect.DeepEqual(f.Fields, list[0].Fields) || !reflect.DeepEqual(f.Rows, list[0].Rows) || !list[0].Exists {
		t.Errorf("%v\nfound     %+v\ncandidate %+v", err, f, list)
	}
}

func TestVoidedPatientsAreNoCandidates(t *testing.T) {
	r := newRig(t, "", people)
	if _, err := r.do(t.Context(), "void", void("/patient/"+jane, "died")); err != nil {
		t.Fatal(err)
	}
	if list := r.candidates(persons.Person{Names: []persons.Name{{Given: "Jane", Family: "Test"}}}); len(list) != 0 {
		t.Errorf("%v", ids(list))
	}
}

// TestOfACommonNameTheRightAgeComesFirst: a server that has a family name 450
// times; the sharper searches come first, at most 200 are given, and none twice.
func TestOfACommonNameTheRightAgeComesFirst(t *testing.T) {
	var list []string
	for i := range 450 {
		list = append(list, fmt.Sprintf(`{"person":{"uuid":"00000000-0000-4000-8000-%012d","gender":"F","birthdate":"%d-05-01","names":[{"givenName":"Given%d","familyName":"Otieno"}]},"identifiers":[{"identifier":"7%05d","identifierType":"Old Identification Number","location":"Unknown Location"}]}`, i, 1940+i%60, i, i))
	}
	list = append(list, `{"person":{"uuid":"`+jane+`","gender":"F","birthdate":"1950-01-01","names":[{"givenName":"Akinyi","familyName":"Otieno"}]},"identifiers":[{"identifier":"1704","identifierType":"Old Identification Number","location":"Unknown Location"}]}`)
	r := newRig(t, "", `{"patientidentifiertypes":[{"uuid":"`+openmrsID+`","name":"OpenMRS ID","required":false}],"patients":[`+strings.Join(list, ",")+`]}`)
	got := r.candidates(persons.Person{Names: []persons.Name{{Given: "Akinyi", Family: "Otieno"}}, Born: "1985-02-03"})
	if len(got) != 200 || got[0].ID != jane || got[1].Fields.Text("birthdate")[:4] != "1985" {
		t.Fatalf("%d candidates, first %s", len(got), ids(got[:min(3, len(got))]))
	}
	seen := map[string]bool{}
	for _, f := range got {
		if seen[f.ID] {
			t.Fatalf("%s twice", f.ID)
		}
		seen[f.ID] = true
	}
	if r.reads > 12 {
		t.Errorf("%d requests", r.reads)
	}
}
