package demo

import (
	"encoding/json"
	"fmt"

	"github.com/kiungo-health/kiungo/connectors/openmrs/checkdigit"
)

// dictionary is what both OpenMRS servers know besides the reference
// application's metadata: the concepts and the attribute type that the
// shipped integrations name. CIEL numbers padded to uuids, as is the custom.
var dictionary = func() []byte {
	concept := func(ciel, name, datatype string, answers ...string) map[string]any {
		var ids []string
		for _, a := range answers {
			ids = append(ids, padded(a))
		}
		return map[string]any{"uuid": padded(ciel), "name": name, "datatype": datatype, "answers": ids, "mappings": []string{"CIEL:" + ciel}}
	}
	local := func(n, name, code, datatype string, answers ...string) map[string]any {
		const id = "c0ce9700-0000-4000-8000-00000000000"
		var ids []string
		for _, a := range answers {
			ids = append(ids, id+a)
		}
		return map[string]any{"uuid": id + n, "name": name, "datatype": datatype, "answers": ids, "mappings": []string{"Local:referral-" + code}}
	}
	kind := func(n, name string) map[string]any {
		return map[string]any{"uuid": "e7c00000-0000-4000-8000-00000000000" + n, "name": name}
	}
	signs := []string{"140238", "113054", "143264", "142412", "122983", "512"}
	doc, err := json.Marshal(map[string]any{
		"personattributetypes": []any{map[string]any{"uuid": "14d4f066-15f5-102d-96e4-000c29c2a5d7", "name": "Telephone Number", "format": "java.lang.String"}},
		"encountertypes":       []any{kind("1", "Referral from community"), kind("2", "Referral to community"), kind("3", "Referral outcome")},
		"concepts": []any{
			concept("140238", "Fever", "N/A"), concept("113054", "Convulsion", "N/A"), concept("143264", "Cough", "N/A"),
			concept("142412", "Diarrhoea", "N/A"), concept("122983", "Vomiting", "N/A"), concept("512", "Rash", "N/A"),
			concept("1728", "Sign or symptom name", "Coded", signs...),
			concept("1643", "Rapid test for malaria", "Coded", "703", "664"),
			concept("5096", "Return visit date", "Date"),
			concept("1256", "Start drugs", "N/A"), concept("1257", "Continue regimen", "N/A"), concept("1260", "Stop all medications", "N/A"),
			concept("1255", "Antiretroviral plan", "Coded", "1256", "1257", "1260"),
			local("2", "Treated", "treated", "N/A"), local("3", "Admitted", "admitted", "N/A"), local("4", "Not found", "not-found", "N/A"), local("5", "Refused", "refused", "N/A"),
			local("1", "Referral outcome", "outcome", "Coded", "2", "3", "4", "5"),
			concept("1659", "Tuberculosis status", "Coded", "1065", "1066"),
		},
	})
	if err != nil {
		panic(err) // a literal
	}
	return doc
}()

func padded(ciel string) string {
	const as = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	return ciel + as[len(ciel):]
}

const (
	openmrsID = "05a29f94-c0ed-11e2-94be-8c13b969e334" // OpenMRS ID
	oldNumber = "8d79403a-c2cc-11de-8d13-0010c6dffd0f" // Old Identification Number
	someplace = "8d6c993e-c2cc-11de-8d13-0010c6dffd0f" // Unknown Location
)

// villages of the generated people.
var villages = []string{"Kabondo", "Kiptere", "Lower Hill", "Mabanga", "Mawego", "Nyalenda", "Riverside", "Sirisia", "Umoja"}

// patientDoc is a patient as OpenMRS takes her from its own people.
func patientDoc(b *being) map[string]any {
	gender := "F"
	if b.sex == "m" {
		gender = "M"
	}
	who := map[string]any{"uuid": b.patient, "gender": gender, "birthdate": b.born,
		"names":     []any{map[string]any{"givenName": b.given, "familyName": b.family, "preferred": true}},
		"addresses": []any{map[string]any{"cityVillage": b.village, "preferred": true}}}
	if b.phone != "" {
		who["attributes"] = []any{map[string]any{"attributeType": telephone, "value": b.phone}}
	}
	// The reference application wants its own number, with a check digit, of every patient.
	identifiers := []any{map[string]any{"identifier": openmrsNumber(b.patient), "identifierType": openmrsID, "location": someplace, "preferred": true}}
	if b.number != "" {
		identifiers = append(identifiers, map[string]any{"identifier": b.number, "identifierType": oldNumber, "location": someplace})
	}
	return map[string]any{"person": who, "identifiers": identifiers}
}

// openmrsNumber is a number of OpenMRS with its check digit, of a uuid's digits.
func openmrsNumber(id string) string {
	sum := uint64(14695981039346656037)
	for _, b := range []byte(id) {
		sum = (sum ^ uint64(b)) * 1099511628211
	}
	base := fmt.Sprintf("9%09d", sum%1_000_000_000)
	check, ok := checkdigit.ModN(base, "0123456789ACDEFGHJKLMNPRTUVWXY")
	if !ok {
		panic("the base holds digits only")
	}
	return base + string(check)
}
