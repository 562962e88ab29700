package dhis2

import (
	"fmt"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
)

// wait says what must happen before a refused row is taken.
type wait string

const (
	never   wait = "never"   // not as it is: the value, or the flow, is wrong
	mapping wait = "mapping" // a person corrects an identifier or the metadata
	admin   wait = "admin"   // an administrator of DHIS2 gives a right, opens or unlocks
	later   wait = "later"   // nobody: time passes
	gone    wait = "gone"    // the record was deleted there: its identifier is used up
)

// rule is what a code of DHIS2 means: the field, in the flow's names, and what
// to do, in words for a person who administers it.
type rule struct {
	until wait
	field string
	text  string
}

// rules holds the codes of data value imports (E76xx), of reading them (E20xx)
// and of the tracker importer. Codes are matched, never texts: those changed in
// 2.39 and 2.42 (ErrorCode, ValidationCode). A code that is not here is shown as
// it is.
var rules = map[string]rule{
	"E7600": {mapping, "dataSet", "the data set is not there, or the user may not read it"},
	"E7601": {admin, "dataSet", "the user may not write data of this data set: give data-write sharing on it"},
	"E7602": {mapping, "dataSet", "the server wants a data set with every import: give dataSet"},
	"E7603": {mapping, "orgUnit", "the organisation unit is not there, or the user may not read it"},
	"E7604": {mapping, "attributeOptionCombo", "the attribute option combination is not there, or the user may not read it"},
	"E7610": {mapping, "", "the data element is not there, or the user may not read it"},
	"E7611": {never, "period", "the period's name is not one that DHIS2 knows"},
	"E7612": {mapping, "orgUnit", "the organisation unit is not there, or the user may not read it"},
	"E7613": {mapping, "", "the category option combination is not there, or the user may not write to it"},
	"E7614": {admin, "", "the user may not write to a category option of this combination: give data-write sharing on it"},
	"E7615": {mapping, "attributeOptionCombo", "the attribute option combination is not there, or the user may not write to it"},
	"E7616": {admin, "attributeOptionCombo", "the user may not write to an option of the attribute option combination: give data-write sharing on it"},
	"E7617": {admin, "orgUnit", "the organisation unit is not below the user's data capture units: add it, or one above it, to the user"},
	"E7618": {never, "", "no value was given"},
	"E7619": {never, "", "the value is not of the data element's value type"},
	"E7620": {never, "", "the comment is too long"},
	"E7621": {mapping, "", "the value is not a code of the data element's option set"},
	"E7622": {admin, "orgUnit", "the user has no data capture organisation unit at all: add one to the user"},
	"E7630": {never, "", "the server wants a category option combination with every value"},
	"E7631": {never, "attributeOptionCombo", "the server wants an attribute option combination with every value"},
	"E7632": {mapping, "period", "the period is not of the data set's period type"},
	"E7633": {mapping, "", "the data element is not in the data set: add it there, or take it out of the mapping"},
	"E7634": {mapping, "", "the category option combination does not belong to the data element's category combination"},
	"E7635": {mapping, "attributeOptionCombo", "the attribute option combination does not belong to the data set's category combination"},
	"E7636": {admin, "orgUnit", "the data set is not assigned to the organisation unit: assign it there"},
	"E7637": {never, "", "the name of who stored it is too long"},
	"E7638": {mapping, "attributeOptionCombo", "the attribute option is not valid in this period"},
	"E7639": {mapping, "attributeOptionCombo", "the attribute option is not valid for this organisation unit"},
	"E7640": {admin, "period", "the period is locked, its days for entering data are over: make a lock exception for this data set, period and organisation unit, then retry"},
	"E7641": {later, "period", "the period is not open yet: DHIS2 takes it once it is over, or once the data set allows future periods"},
	"E7642": {admin, "period", "the data of this period are approved already: the approval has to be taken back first"},
	"E7643": {admin, "period", "the data set takes no data for this period now: open its data input period"},
	"E7644": {admin, "period", "no data set with this data element has this period open: open a data input period"},
	"E7645": {never, "", "the file that the value names is not there"},

	"E2010": {admin, "dataSet", "the user may not read data of this data set: give data-read sharing on it"},
	"E2011": {admin, "attributeOptionCombo", "the user may not read data of the attribute option combination"},
	"E2012": {admin, "orgUnit", "the user may not view the organisation unit: add it to the user's data view units"},
	"E2013": {mapping, "dataSet", "the data set is not there, or the user may not read it"},
	"E2017": {admin, "period", "the data set is locked for this period: make a lock exception, then retry"},
	"E2020": {admin, "orgUnit", "the organisation unit is not below the user's data capture units"},
	"E1100": {mapping, "", "the data element is not there, or the user may not read it"},
	"E1101": {never, "period", "the period's name is not one that DHIS2 knows"},
	"E1102": {mapping, "orgUnit", "the organisation unit is not there, or the user may not read it"},
	"E1105": {mapping, "dataSet", "the data set is not there, or the user may not read it"},
	"E1005": {mapping, "", "the record is not there"},

	// 2.43's data entry pipeline (DefaultDataEntryService).
	"E8000": {never, "", "DHIS2 refused the whole because of one of its values"},
	"E8002": {mapping, "dataSet", "the data elements belong to several data sets"},
	"E8003": {mapping, "dataSet", "the data elements belong to no data set, or to several"},
	"E8010": {admin, "dataSet", "the user may not write data of this data set: give data-write sharing on it"},
	"E8011": {admin, "orgUnit", "the organisation unit is not below the user's data capture units: add it, or one above it, to the user"},
	"E8012": {admin, "", "the user may not write to a category option: give data-write sharing on it"},
	"E8020": {mapping, "", "a data element is not in the data set: add it there, or take it out of the mapping"},
	"E8021": {mapping, "period", "the period is not of the data set's period type"},
	"E8022": {admin, "orgUnit", "the data set is not assigned to the organisation unit: assign it there"},
	"E8023": {mapping, "attributeOptionCombo", "the attribute option combination does not belong to the data set's category combination"},
	"E8024": {mapping, "", "a category option combination does not belong to its data element"},
	"E8025": {mapping, "attributeOptionCombo", "the attribute option combination is not valid for this organisation unit"},
	"E8030": {admin, "period", "the data set takes no data for this period now: it is locked, or not open yet"},
	"E8031": {mapping, "orgUnit", "the organisation unit was not open in this period"},
	"E8032": {mapping, "attributeOptionCombo", "the attribute option is not valid in this period"},
	"E8033": {admin, "period", "the data of this period are approved already: the approval has to be taken back first"},
	"E8120": {never, "", "no value was given"},
	"E8121": {never, "", "neither a value nor a comment was given"},
	"E8122": {never, "", "the value is not of the data element's value type"},
	"E8123": {mapping, "", "the value is not a code of the data element's option set"},
	"E8124": {mapping, "", "the comment is not a code of the data element's option set for comments"},
	"E8125": {never, "", "the comment is too long"},
	"E8128": {never, "", "the same place is written twice in one request"},

	"E1000": {admin, "orgUnit", "the user may not write to the organisation unit: add it, or one above it, to the user's data capture units"},
	"E1010": {mapping, "program", "the program is not there, or the user may not read it"},
	"E1011": {mapping, "orgUnit", "the organisation unit is not there, or the user may not read it"},
	"E1012": {never, "coordinates", "the coordinates are not of the kind that the program stage takes"},
	"E1013": {mapping, "programStage", "the program stage is not there, or the user may not read it"},
	"E1029": {admin, "orgUnit", "the program is not assigned to the organisation unit: assign it there"},
	"E1030": {gone, "", "an event with this identifier is there already"},
	"E1031": {never, "at", "the date of the event is missing"},
	"E1032": {gone, "", "the event is not there any more"},
	"E1035": {mapping, "programStage", "the program stage is missing"},
	"E1042": {never, "status", "a completed event needs the day when it was completed"},
	"E1043": {admin, "status", "the event was completed too long ago to be changed: a user with F_EDIT_EXPIRED may"},
	"E1044": {never, "at", "the date of the event is missing"},
	"E1045": {admin, "at", "the program's expiry date has passed"},
	"E1046": {never, "at", "the date of the event is missing"},
	"E1047": {admin, "at", "the date of the event is in a period that has expired for this program: a user with F_EDIT_EXPIRED may"},
	"E1048": {never, "", "an identifier is not a UID"},
	"E1050": {never, "at", "an event with status SCHEDULE needs a scheduled date"},
	"E1051": {never, "status", "only a completed event has a day of completion"},
	"E1054": {mapping, "attributeOptionCombo", "the attribute option combination does not belong to the program's category combination"},
	"E1055": {mapping, "attributeOptionCombo", "the program has a category combination of its own: give attributeOptionCombo"},
	"E1056": {mapping, "attributeOptionCombo", "the event is before the attribute option begins"},
	"E1057": {mapping, "attributeOptionCombo", "the event is after the attribute option ends"},
	"E1074": {never, "coordinates", "the program stage takes no coordinates"},
	"E1076": {never, "", "a required value is empty"},
	"E1082": {gone, "", "the event was deleted in DHIS2, and its identifier cannot be used again"},
	"E1083": {admin, "status", "the user may not change completed events: give the authority F_UNCOMPLETE_EVENT"},
	"E1086": {mapping, "programStage", "the program registers people, and its stage is missing: only programs without registration take such events"},
	"E1087": {mapping, "dataValues", "a data element is not there"},
	"E1088": {mapping, "programStage", "the program stage does not belong to the program"},
	"E1089": {mapping, "programStage", "the program stage does not belong to the program"},
	"E1091": {admin, "program", "the user may not write data of this program: give data-write sharing on it"},
	"E1095": {admin, "programStage", "the user may not write data of this program stage: give data-write sharing on it"},
	"E1096": {admin, "program", "the user may not read data of this program: give data-read sharing on it"},
	"E1099": {admin, "attributeOptionCombo", "the user may not write to the category option: give data-write sharing on it"},
	"E1110": {never, "program", "the program of an event cannot be changed"},
	"E1115": {mapping, "attributeOptionCombo", "the attribute option combination is not there"},
	"E1116": {mapping, "attributeOptionCombo", "a category option is not there"},
	"E1117": {mapping, "attributeOptionCombo", "there is no such attribute option combination"},
	"E1123": {never, "", "a required property of the event is missing"},
	"E1125": {mapping, "dataValues", "a value is not a code of its option set"},
	"E1128": {never, "", "the program of an event cannot be changed"},
	"E1300": {never, "dataValues", "a rule of the program refuses the event"},
	"E1301": {never, "dataValues", "a rule of the program wants a value that is missing"},
	"E1302": {never, "dataValues", "a value is not of its data element's value type"},
	"E1303": {never, "dataValues", "a value that the program stage requires is missing"},
	"E1304": {mapping, "dataValues", "a data element is not there, or the user may not read it"},
	"E1305": {mapping, "dataValues", "a data element is not in the program stage: add it there, or take it out of the mapping"},
	"E1307": {never, "dataValues", "a rule of the program reckons a value that must not be sent"},
	"E1308": {never, "dataValues", "a rule of the program puts another value in the place of one that was sent"},
	"E1314": {never, "dataValues", "a rule of the program does not let the value be emptied"},
	"E1315": {never, "status", "an event with this status takes no values"},
	"E1316": {never, "status", "the event cannot go from its status to this one"},
	"E1326": {admin, "status", "the event is completed, and its program stage allows no change: reopen it in DHIS2"},
}

// ruleOf gives what a code means; a code that is not known needs a person.
func ruleOf(code string) rule {
	if r, ok := rules[code]; ok {
		return r
	}
	return rule{until: never, text: "DHIS2 refuses it"}
}

// class is what the code means for the call.
func (r rule) class() call.Class {
	switch r.until {
	case later:
		return call.RetryLater
	case gone:
		// Whether our own user deleted it is read back; then a new generation of the
		// id is used (law 9).
		return call.Uncertain
	}
	return call.Refusal
}

// verdict is the verdict on a request that was refused with one code.
func (r rule) verdict(code, field string) call.Verdict {
	if field == "" {
		field = r.field
	}
	return call.Verdict{Class: r.class(), Reason: fmt.Sprintf("%s (%s)", r.text, code), Field: field}
}

// oldConflicts finds the code of a conflict without one, as the registration of
// completeness gives in every version, by the fixed beginning of its text.
var oldConflicts = []struct{ text, code string }{
	{"Data set not found", "E7600"}, {"Data element not found", "E7610"}, {"Period not valid", "E7611"},
	{"Organisation unit not found", "E7612"}, {"Org unit not found", "E7603"},
	{"Attribute option combo not found", "E7604"}, {"Category option combo not found", "E7613"},
	{"Organisation unit not in hierarchy", "E7617"}, {"Period type of period", "E7632"},
	{"User does not have write access for DataSet", "E7601"}, {"Current date is past expiry days", "E7640"},
	{"Data set is locked", "E2017"}, {"Locked Data set", "E2017"},
}

func codeOf(text string) string {
	for _, o := range oldConflicts {
		if strings.HasPrefix(text, o.text) {
			return o.code
		}
	}
	return ""
}
