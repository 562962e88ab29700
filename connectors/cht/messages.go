package cht

import "github.com/kiungo-health/kiungo/internal/connector"

// rowFields are what the rows of both lists have.
var rowFields = []string{"period", "orgUnit", "place_id", "place_name", "supervisor", "workers", "workers_expected", "workers_reported", "workers_final",
	"complete", "late", "missing", "expected_by_users", "change"}

func messages() []connector.MessageSpec {
	period := connector.NameSpec{Name: "period", About: "The month, as DHIS2 writes it: 202610."}
	orgUnit := connector.NameSpec{Name: "orgUnit", About: "The org unit that the place has in DHIS2."}
	place := connector.NameSpec{Name: "place", About: "The place in the CHT.", Fields: []string{"id", "name", "type"}}
	person := []string{"id", "name", "type", "role", "phone", "sex", "date_of_birth", "patient_id", "external_id", "place", "places"}
	return []connector.MessageSpec{
		{Name: kindReport, About: "A report as the CHT stores it, whoever made it and over whichever channel. A changed one comes again, a deleted one is withdrawn.",
			From: map[string]string{"form": "report/form"},
			Names: []connector.NameSpec{
				{Name: "report", Sampled: true, About: "The document: id, form, fields (the answers), at (when it was reported), subject_id (whom it is about, a uuid or a short code, as the form has it), contact, errors, and whatever else it holds.",
					Fields: []string{"id", "type", "form", "fields", "at", "subject_id", "reported_date", "from", "contact", "errors", "content_type", "patient_id", "place_id", "case_id", "sms_message", "geolocation", "verified"}},
				{Name: "worker", Remote: true, Open: true, About: "Who made it: the contact, the place it is in, and places, all above, nearest first.", Fields: person},
				{Name: "subject", Remote: true, Open: true, About: "Whom it is about: the person or place that patient_uuid, patient_id, place_uuid or place_id names.", Fields: person},
			}},
		{Name: kindExport, List: "row",
			About: "The CHT's own DHIS2 export of the month just completed, a message per org unit, with each worker's part in every value and who has not reported. Runs on a monthly schedule.",
			From:  map[string]string{"dataSet": "row/dataSet", "orgUnit": "orgUnit", "place": "place/id"},
			Names: []connector.NameSpec{
				{Name: "row", About: "values: dataElement, categoryOptionCombo, attributeOptionCombo, value, the targets and workers behind it. agrees: the workers' targets add up to what the CHT exports; differs: the data elements where not. " +
					"complete: every worker's device has counted since the month ended; late and missing: names of those whose has not. below: org units below this one that have the same figures again.",
					Fields: append([]string{"dataSet", "values", "agrees", "differs", "below"}, rowFields...)},
				period, orgUnit, place,
			}},
		{Name: kindTargets, List: "row",
			About: "The workers' targets of the month just completed, added up per place, for a CHT that has no DHIS2 configuration. with: level is the contact type of the places. Runs on a monthly schedule.",
			From:  map[string]string{"orgUnit": "orgUnit", "place": "place/id"},
			Names: []connector.NameSpec{
				{Name: "row", About: "targets: by the target's id, total (how many) and pass (how many as they should be); workers: each one's own targets.",
					Fields: append([]string{"targets"}, rowFields...)},
				period, orgUnit, place,
			}},
	}
}
