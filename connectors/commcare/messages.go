package commcare

import "github.com/kiungo-health/kiungo/internal/connector"

// placeFields are the fields of a place; ancestors is the list of the places
// above it, nearest first.
var placeFields = []string{"id", "name", "site_code", "type", "type_name", "data", "parent", "ancestors", "latitude", "longitude"}

// kindCaseRecord is the record kind that the name case is one of.
const kindCaseRecord = "Case"

func messages() []connector.MessageSpec {
	worker := connector.NameSpec{Name: "worker", Remote: true, About: "Who filled the form in: their name, phone, data, and place.",
		Fields: []string{"id", "username", "name", "first_name", "last_name", "phone", "email", "groups", "data", "place", "places"}}
	place := connector.NameSpec{Name: "place", Remote: true, About: "The worker's place, with its ancestors.", Fields: placeFields}
	owner := connector.NameSpec{Name: "owner", Remote: true, About: "Whose the case is: a worker, a place or a group, and their place.",
		Fields: []string{"id", "kind", "name", "place", "worker"}}
	stored := connector.NameSpec{Name: "case", Remote: true, Open: true, Kind: kindCaseRecord, Key: "case_id",
		About:  "The case as CommCare has it, with what this form says about it over that; its properties by their names.",
		Fields: []string{"case_id", "id", "type", "case_type", "name", "case_name", "owner_id", "external_id", "date_opened", "closed", "properties", "indices"}}
	return []connector.MessageSpec{
		{Name: kindForm, About: "A form as submitted: pushed by data forwarding, or found by the sweep. An edited form comes again, an archived one is withdrawn.",
			From: map[string]string{"xmlns": "form/xmlns", "app": "form/app_id"},
			Names: []connector.NameSpec{
				{Name: "form", Sampled: true, About: "The answers by the names of their questions, and xmlns, id, meta, cases, received_on, app_id.",
					Fields: []string{"xmlns", "id", "meta", "cases", "received_on", "app_id", "answers"}},
				stored, worker, place, owner,
			}},
		{Name: kindCase, About: "A case as it is now, whoever changed it: pushed by case forwarding, or found by the sweep if sweep_cases is on.",
			From: map[string]string{"type": "case/case_type"},
			Names: []connector.NameSpec{
				{Name: "case", Open: true, Kind: kindCaseRecord, Key: "case_id", About: "The case; its properties by their names.",
					Fields: []string{"case_id", "type", "case_type", "name", "case_name", "owner_id", "external_id", "date_opened", "date_closed", "closed", "last_modified", "user_id", "properties", "indices"}},
				worker, place, owner,
			}},
		{Name: kindReport, List: "row",
			About: "A row of a configurable report (Reports, Report Builder or UCR), fetched on the flow's schedule. with gives its filters; the completed period goes to its first date filter.",
			From:  map[string]string{"report": "report/id", "key": "report/key"},
			Names: []connector.NameSpec{
				{Name: "row", Sampled: true, Open: true, About: "The row's values by the column's slug and by its header: row.clinic_id, row[\"Live births\"]. A value that was not counted is absent, which is not 0.",
					Fields: []string{"change"}},
				{Name: "report", About: "The report; columns are the names of its columns, in order, each as row has it by its slug.", Fields: []string{"id", "title", "key", "columns"}},
				{Name: "period", About: "The period that the rows are of, with its first and last day (YYYY-MM-DD).", Fields: []string{"name", "start", "end"}},
			}},
		{Name: kindUnreadable, About: "A document of the sweep that could not be read; its id and why. It never stops the sweep.",
			Names: []connector.NameSpec{{Name: "document", Fields: []string{"id", "reason"}}}},
	}
}
