package trace

import "strings"

// words are the parts of paths that say what kind of thing is asked for, in the
// interfaces of the systems that Kiungo knows. Everything else in a path may be
// somebody's: it is left out.
var words = func() map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(`
a api api-core ext recent rest ws v1 v2 v3 v0.5 v0.6 module fhir R4 fhir2 rest-ws openmrs metadata
case case_importer cases form forms receiver app apps user users web-user location locations location_type fixture lookup_table lookup_table_item group groups bulk submission secure phone ota
patient person visit visits encounter obs order concept concepts conceptclass conceptdatatype conceptsource identifier identifiers patientidentifiertype personattributetype
address name attribute relationship relationshiptype provider session location locationtag visittype encountertype encounterrole form role privilege systemsetting idgen identifiersource
nextIdentifier reportingrest reportdata dataSet reportDefinition cohort atomfeed programenrollment program drug diagnosis condition conditions allergy appointments appointment
tracker trackedEntities trackedEntityInstances enrollments events relationships dataValueSets dataSets dataElements categoryCombos categoryOptionCombos organisationUnits programs programStages
optionSets options trackedEntityTypes trackedEntityAttributes system info ping id jobs report analytics metadata me dataStore sharing completeDataSetRegistrations periodTypes attributes sqlViews data
medic _all_docs _bulk_docs _changes _design _view _find _local _session _users contacts-by-type people places reports hydrate records settings sms messages deploy-info monitoring facility person place contact freetext
Patient Encounter Observation Task Practitioner Location Organization Bundle QuestionnaireResponse Condition Immunization metadata
contacts flow_starts flows broadcasts runs channels fields labels globals archives workspace
openclinica rest-study studies clinicaldata ODM json xml view import participants events odm pages auth token
`) {
		m[w] = true
	}
	return m
}()

// Route is a request's path without what is somebody's: parts that are not of
// an interface's own words are {}. What comes after a question mark is left out.
func Route(path string) string {
	path, _, _ = strings.Cut(path, "?")
	parts := strings.Split(path, "/")
	for i, p := range parts {
		base, ext, _ := strings.Cut(p, ".")
		known := p == "" || words[p] || words[base] && (ext == "json" || ext == "xml")
		if !known {
			parts[i] = "{}"
		}
	}
	return strings.Join(parts, "/")
}
