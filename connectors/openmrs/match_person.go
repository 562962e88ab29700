package openmrs

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/connector"
	persons "github.com/kiungo-health/kiungo/internal/people"
	"github.com/kiungo-health/kiungo/internal/record"
)

// matchOptions say what a server's own attributes and address fields mean, where
// their names do not.
var matchOptions = []connector.Option{
	{Name: "phones", About: "Person attribute types that hold phone numbers, with commas. Known without it: those whose name says phone, mobile or cell."},
	{Name: "mother", About: "Person attribute type that holds the mother's name. Known without it: Mother's Name."},
	{Name: "places", About: "Address fields in which people live, the most local first, with commas. Default: address1 to address15, cityVillage, countyDistrict, stateProvince; KenyaEMR: address4, stateProvince, countyDistrict."},
}

// clues are how a server names what people are known by.
type clues struct {
	phones map[string]bool
	mother string
	places []string
}

func newClues(values map[string]string) clues {
	c := clues{phones: map[string]bool{}, mother: values["mother"], places: commas(values["places"])}
	for _, name := range commas(values["phones"]) {
		c.phones[name] = true
	}
	if c.places == nil {
		// From the house to the province; what each means is local.
		c.places = append(slices.Clone(addressFields[7:]), "cityVillage", "countyDistrict", "stateProvince")
	}
	return c
}

func commas(list string) []string {
	var out []string
	for _, part := range strings.Split(list, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

var (
	phoneName  = regexp.MustCompile(`(?i)phone|mobile|\bcell\b|cellular|\btel\b|simu|telefone|celular`)
	motherName = regexp.MustCompile(`(?i)^mother'?s?[ _]?name$`)
)

func (c clues) isPhone(typ string) bool { return c.phones[typ] || phoneName.MatchString(typ) }

func (c clues) isMother(typ string) bool {
	if c.mother != "" {
		return typ == c.mother
	}
	return motherName.MatchString(typ)
}

// Person gives what the canonical fields say about who it is.
func (k *patientKind) Person(f record.Fields) persons.Person {
	p := persons.Person{Born: f.Text("birthdate"), Estimated: f["birthdateEstimated"] == true, Sex: sexOf(f.Text("gender"))}
	n := persons.Name{Given: f.Text("name/given"), Middle: f.Text("name/middle"), Family: f.Text("name/family")}
	if second := f.Text("name/family2"); second != "" {
		n.Family = strings.TrimSpace(n.Family + " " + second)
	}
	if n != (persons.Name{}) {
		p.Names = append(p.Names, n)
	}
	for _, path := range slices.Sorted(maps.Keys(f)) {
		value := f.Text(path)
		if typ, ok := strings.CutPrefix(path, "identifiers/"); ok && value != "" {
			p.Identifiers = append(p.Identifiers, persons.Identifier{Type: typ, Value: value})
		}
		typ, ok := strings.CutPrefix(path, "attributes/")
		switch {
		case !ok || value == "":
		case k.clues.isPhone(typ):
			p.Phones = append(p.Phones, value)
		case k.clues.isMother(typ):
			p.Mother = value
		default:
			if p.Others == nil {
				p.Others = map[string]string{}
			}
			p.Others[typ] = value
		}
	}
	for _, field := range k.clues.places {
		if place := f.Text("address/" + field); place != "" {
			p.Places = append(p.Places, place)
		}
	}
	return p
}

// sexOf reads a gender, which is free text in OpenMRS; "U" and the like say nothing.
func sexOf(gender string) string {
	switch strings.ToUpper(strings.TrimSpace(gender)) {
	case "M", "MALE":
		return "M"
	case "F", "FEMALE":
		return "F"
	case "O", "OTHER":
		return "O"
	}
	return ""
}
