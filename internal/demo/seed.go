package demo

import (
	"encoding/json"

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
	signs := []string{"140238", "113054", "143264", "142412", "122983", "512"}
	doc, err := json.Marshal(map[string]any{
		"personattributetypes": []any{map[string]any{"uuid": "14d4f066-15f5-102d-96e4-000c29c2a5d7", "name": "Telephone Number", "format": "java.lang.String"}},
		"concepts": []any{
			concept("140238", "Fever", "N/A"), concept("113054", "Convulsion", "N/A"), concept("143264", "Cough", "N/A"),
			concept("142412", "Diarrhoea", "N/A"), concept("122983", "Vomiting", "N/A"), concept("512", "Rash", "N/A"),
			concept("1728", "Sign or symptom name", "Coded", signs...),
			concept("1643", "Rapid test for malaria", "Coded", "703", "664"),
			concept("5096", "Return visit date", "Date"),
			concept("1256", "Start drugs", "N/A"), concept("1257", "Continue regimen", "N/A"), concept("1260", "Stop all medications", "N/A"),
			concept("1255", "Antiretroviral plan", "Coded", "1256", "1257", "1260"),
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

// patientSeed is a patient that OpenMRS has before CommCare knows of her.
func patientSeed(id, given, family, sex, born, nationalID, village string) []byte {
	gender := "F"
	if sex == "m" {
		gender = "M"
	}
	// The reference application wants its own number, with a check digit, of every patient.
	base := "7" + nationalID[1:2] + nationalID[len(nationalID)-4:]
	check, ok := checkdigit.ModN(base, "0123456789ACDEFGHJKLMNPRTUVWXY")
	if !ok {
		panic("the base holds digits only")
	}
	number := base + string(check)
	doc, err := json.Marshal(map[string]any{"patients": []any{map[string]any{
		"person": map[string]any{"uuid": id, "gender": gender, "birthdate": born,
			"names":     []any{map[string]any{"givenName": given, "familyName": family, "preferred": true}},
			"addresses": []any{map[string]any{"cityVillage": village, "preferred": true}}},
		"identifiers": []any{map[string]any{"identifier": number, "identifierType": openmrsID, "location": someplace},
			map[string]any{"identifier": nationalID, "identifierType": oldNumber, "location": someplace, "preferred": true}},
	}}})
	if err != nil {
		panic(err) // strings only
	}
	return doc
}
