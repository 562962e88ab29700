package openmrs

import (
	"strconv"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// nameFields maps our names of the parts of a person's name to OpenMRS's.
var nameFields = []struct{ ours, theirs, about string }{
	{"given", "givenName", "Given name. OpenMRS keeps no name without one."},
	{"middle", "middleName", "Middle name."},
	{"family", "familyName", "Family name."},
	{"family2", "familyName2", "Second family name."},
	{"prefix", "prefix", "Title before the name: Mr, Mama."},
	{"familyPrefix", "familyNamePrefix", "Particle before the family name: van."},
	{"familySuffix", "familyNameSuffix", "After the family name: Jr."},
	{"degree", "degree", "Academic degree."},
}

// addressFields are OpenMRS's; what each means is local (KenyaEMR: countyDistrict
// is the county, stateProvince the sub-county, address4 the ward).
var addressFields = func() []string {
	out := []string{"cityVillage", "stateProvince", "countyDistrict", "country", "postalCode", "latitude", "longitude"}
	for i := 1; i <= 15; i++ {
		out = append(out, "address"+strconv.Itoa(i))
	}
	return out
}()

var patientSpec = connector.KindSpec{
	Name:   "Patient",
	Person: true,
	Lasts:  true,
	About: "A patient and the person she is. Names, identifiers, address and attributes are written one call each, and only those that differ; " +
		"the preferred name and the preferred address are meant.",
	ByDefault: "by the id that an earlier message of the same source document made or used, by the link that the crosswalk knows, or by the id that Kiungo derives",
	Finds: []connector.FieldSpec{
		{Name: "uuid", Type: connector.Text, About: "Uuid of the patient."},
		{Name: "identifier", Type: connector.Text, Open: true, About: "Identifier type, by name or uuid, and value. With several, all must fit the same patient. Compared exactly: OpenMRS's own search is not exact."},
		{Name: "link", Type: connector.Text, About: "An id by which the crosswalk knows the person."},
	},
	Fields: []connector.FieldSpec{
		{Name: "identifiers", Type: connector.Text, Open: true, About: "Identifier type, by name or uuid, and value. Required types without a value are drawn from the server's generator when the patient is made."},
		{Name: "name", Type: connector.Object, Required: true, About: "The preferred name.", Fields: nameSpecs()},
		{Name: "gender", Type: connector.Text, Required: true, About: "M, F, or another code that the server uses."},
		{Name: "birthdate", Type: connector.Day, About: "Day of birth. Not in the future, not over 140 years ago."},
		{Name: "birthdateEstimated", Type: connector.Bool, About: "Whether the day of birth is a guess."},
		{Name: "dead", Type: connector.Bool, About: "Whether the person has died. OpenMRS then wants a causeOfDeath."},
		{Name: "deathDate", Type: connector.Moment, About: "When the person died; a day will do."},
		{Name: "causeOfDeath", Type: connector.Text, About: "Concept, by uuid or SOURCE:code."},
		{Name: "address", Type: connector.Object, About: "The preferred address.", Fields: addressSpecs()},
		{Name: "attributes", Type: connector.Text, Open: true, About: "Person attribute type, by name or uuid, and value. Attributes that are concepts take a uuid or SOURCE:code, those that are locations a name or uuid."},
	},
	Gives: []connector.FieldSpec{
		{Name: "uuid", Type: connector.Text, About: "Uuid of the patient and of the person."},
	},
}

func nameSpecs() []connector.FieldSpec {
	var out []connector.FieldSpec
	for _, f := range nameFields {
		out = append(out, connector.FieldSpec{Name: f.ours, Type: connector.Text, About: f.about, Required: f.ours == "given"})
	}
	return out
}

func addressSpecs() []connector.FieldSpec {
	var out []connector.FieldSpec
	for _, f := range addressFields {
		out = append(out, connector.FieldSpec{Name: f, Type: connector.Text, About: "Address field " + f + "; what it means is local to the server."})
	}
	return out
}
