package commcare

import "github.com/kiungo-health/kiungo/internal/connector"

var indexFields = []connector.FieldSpec{
	{Name: "case_id", Type: connector.RefTo, Ref: "commcare/Case", Required: true, About: "The case referred to, or its id."},
	{Name: "case_type", Type: connector.Text, Required: true, About: "Its type."},
	{Name: "relationship", Type: connector.Text, About: "child (default) or extension."},
}

var caseSpec = &connector.KindSpec{
	Name:   "Case",
	About:  "A case of a project space, by case API v2. CommCare chooses the ids of new cases, so that a case is made under its external_id; a case made without one gets an external_id of ours.",
	Person: true, ServerChooses: true, IDName: "case_id",
	Finds: []connector.FieldSpec{
		{Name: "id", Type: connector.Text, About: "Its case_id."},
		{Name: "external_id", Type: connector.Text, About: "Its external_id, exactly; several with one external_id are a question."},
		{Name: "property", Type: connector.Object, Open: true, About: "Properties with exactly these values, by name; the search index may be seconds behind."},
		{Name: "case_type", Type: connector.Text, About: "Only cases of this type; beside any of the others."},
	},
	Fields: []connector.FieldSpec{
		{Name: "case_type", Type: connector.Text, Required: true, About: "Type of the case, as in the app."},
		{Name: "case_name", Type: connector.Text, Required: true, About: "Its name in case lists."},
		{Name: "owner_id", Type: connector.Text, Required: true, About: "Id of the worker, place or case sharing group that has it; CommCare does not check it."},
		{Name: "external_id", Type: connector.Text, About: "The one foreign id that CommCare looks cases up by."},
		{Name: "closed", Type: connector.Bool, About: "Yes closes the case. The API cannot open it again."},
		{Name: "properties", Type: connector.Text, Open: true, List: true, Key: []string{"name"},
			About:  "Properties by their names, or rows of name and value. A property can be emptied, never removed.",
			Fields: []connector.FieldSpec{{Name: "name", Type: connector.Text, Required: true}, {Name: "value", Type: connector.Text}}},
		{Name: "indices", Type: connector.Object, Open: true, Fields: indexFields, About: "References to other cases, by name: parent, host."},
	},
	Open:      connector.Text,
	OpenUnder: "properties",
	ByDefault: "by the external_id that is set",
	Gives: []connector.FieldSpec{
		{Name: "case_id", Type: connector.Text, About: "Its id."},
		{Name: "date_opened", Type: connector.Moment},
		{Name: "last_modified", Type: connector.Moment},
	},
}

// childCaseSpec is a case that is no person: it is never linked to one in the
// crosswalk, so that a person's own case is never mistaken for it.
var childCaseSpec = func() *connector.KindSpec {
	spec := *caseSpec
	spec.Name, spec.Person = "ChildCase", false
	spec.About = "A case that is no person: a referral, a household, a delivery; most often a child of a person's case. Else as commcare/Case."
	return &spec
}()
