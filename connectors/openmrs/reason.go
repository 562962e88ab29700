package openmrs

import (
	"cmp"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
)

// serverSays is OpenMRS's error body, reduced to what is read.
type serverSays struct {
	text   string // message and all its parts, for looking only
	code   string
	fields map[string][]message
	global []message
}

type message struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func decodeError(a call.Answer) serverSays {
	var body struct {
		Error struct {
			Message      string               `json:"message"`
			Code         string               `json:"code"`
			GlobalErrors []message            `json:"globalErrors"`
			FieldErrors  map[string][]message `json:"fieldErrors"`
		} `json:"error"`
	}
	if json.Unmarshal(a.Body, &body) != nil {
		return serverSays{text: string(a.Body[:min(len(a.Body), 4096)])}
	}
	e := serverSays{text: body.Error.Message, code: body.Error.Code, fields: body.Error.FieldErrors, global: body.Error.GlobalErrors}
	for _, m := range e.global {
		e.text += "\n" + m.Message
	}
	return e
}

// why is an error in our own words.
type why struct {
	reason, field string
	where         string // " at Class:line", for the administrator's log
	permanent     bool   // a repeat would be refused again
	duplicate     bool   // a unique key of the database
	empty         bool   // an identifier pool ran dry
	inUse         bool
	taken         string // the identifier that another patient has
	early         bool   // in the server's future: a moment later it will be taken
}

// traces tells whether the refused call may have been stored: up to module 2.44
// a duplicate identifier was (O3-3586, REST module PR 615).
func (w why) traces(r call.Request) bool {
	return w.inUse && r.Method == http.MethodPost && strings.Contains(r.Path, "/identifier")
}

// known texts of OpenMRS, in English: give the integration's user that locale.
// Most quote an identifier or a value; our words never do.
var known = []struct {
	says  string
	ours  string
	field string
}{
	{"already in use by another patient", "an identifier of this patient is already in use by another patient in OpenMRS", "identifiers"},
	{"already in use by this patient", "this patient already has that identifier in OpenMRS", "identifiers"},
	{"Invalid check digit", "the check digit of an identifier is wrong", "identifiers"},
	{"Identifier Location cannot be null", "an identifier needs a location: set the option location of the system", "identifiers"},
	{"does not match : ", "an identifier does not have the format that its type asks for", "identifiers"},
	{"Required address field", "the server's address template asks for an address field that is blank", "address"},
	{"preferredIdentifier", "more than one identifier, or none, is marked as preferred", "identifiers"},
	{"has invalid units", "a number is expected, with no unit or with the unit of its concept", "obs"},
	{"value for an observation cannot be null", "an observation has no value", "obs"},
	{"inGroupMember", "a member of an observation group is not valid", "obs"},
	{"absolute limit", "more rows were asked for than the administrator allows (webservices.rest.maxResultsAbsolute)", ""},
	{"fromIndex(", "a page after the last was asked for", ""},
	{"Missing parameter", "a parameter is missing", ""},
	{"Report request not found", requestGone, ""},
	{"loading rendered output", "OpenMRS has no file of this report request: its report design could not write one", ""},
	{"multiple non retired", "a concept code fits more than one concept of this server", "concept"},
	{"Could not read JSON", "OpenMRS could not read the request", ""},
	{"is not recognized", "OpenMRS does not know this search", ""},
	{"search is ambiguous", "OpenMRS finds the search ambiguous", ""},
	{"Does not Support the Requested Operation", "OpenMRS does not support this operation on this kind of record", ""},
	{"not supported", "OpenMRS does not support this method", ""},
}

// codes of core's validators that a field error may carry.
var codes = map[string]string{
	"error.date.future":                                           "is in the future",
	"error.date.notWithinRange":                                   "is out of range",
	"error.date.nonsensical":                                      "is not plausible",
	"error.null":                                                  "is missing",
	"error.name":                                                  "is missing",
	"error.required":                                              "is missing",
	"Patient.names.required.given.family":                         "must be given",
	"Encounter.datetimeShouldBeBeforeCurrent":                     "is later than the server's clock",
	"Encounter.datetimeShouldBeInVisitDatesRange":                 "is outside the visit",
	"Visit.visitCannotOverlapAnotherVisitOfTheSamePatient":        "overlaps another visit of the same patient",
	"Visit.error.endDateBeforeStartDate":                          "is before the start of the visit",
	"Visit.encountersCannotBeAfterStopDate":                       "would leave an encounter after the end of the visit",
	"Visit.encountersCannotBeBeforeStartDate":                     "would leave an encounter before the start of the visit",
	"Visit.startDateCannotFallBeforeTheBirthDateOfTheSamePatient": "is before the patient's birth",
	"error.value.outOfRange.high":                                 "is above the highest value that the concept allows",
	"error.value.outOfRange.low":                                  "is below the lowest value that the concept allows",
	"error.outOfRange.high":                                       "is above the highest value that the concept allows",
	"error.outOfRange.low":                                        "is below the lowest value that the concept allows",
	"Obs.error.precision":                                         "must be a whole number",
	"error.exceededMaxLengthOfField":                              "is too long",
}

// fields of OpenMRS in the words of our kinds.
var fieldNames = map[string]string{
	"encounterDatetime": "at", "startDatetime": "start", "stopDatetime": "stop", "valueNumeric": "obs", "valueText": "obs", "value": "obs",
	"birthdate": "birthdate", "gender": "gender", "deathDate": "deathDate", "causeOfDeath": "causeOfDeath", "obsDatetime": "at",
	"names[0].givenName": "name/given", "names[0].familyName": "name/family", "givenName": "name/given", "familyName": "name/family",
	"names": "name", "identifiers": "identifiers", "identifier": "identifiers", "visit": "visit", "patient": "patient", "location": "location",
}

var (
	safeName     = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.\[\]]{0,60}$`)
	properties   = regexp.MustCompile(`(not allowed to be set|required properties are missing): ([A-Za-z0-9_, .]{1,200})`)
	onClass      = regexp.MustCompile(`\[?([A-Za-z][A-Za-z0-9]*) on class org\.openmrs\.([A-Za-z]+)`)
	failedToVal  = regexp.MustCompile(`failed to validate with reason: ([A-Za-z][A-Za-z0-9\[\].]*)`)
	parameter    = regexp.MustCompile(`Missing parameter: ([A-Za-z][A-Za-z0-9_.]{0,60})|Parameter ([A-Za-z][A-Za-z0-9_.]{0,60}) is required`)
	takenID      = regexp.MustCompile(`Identifier (\S.{0,100}?) already in use by another patient`)
	codeOfServer = regexp.MustCompile(`([A-Za-z]{1,60}:[0-9]{1,6})$`)
)

// explain puts an error into our own words. Nothing of the server's text is
// copied but names of properties, resources and privileges.
func explain(a call.Answer) why {
	e := decodeError(a)
	w := why{permanent: true}
	if m := codeOfServer.FindStringSubmatch(e.code); m != nil {
		w.where = " at " + m[1] + " of its log"
	}
	if strings.Contains(e.text, "Unable to retrieve") && strings.Contains(e.text, "available identifiers") {
		return why{empty: true, field: "identifiers", reason: "the pool of identifiers has run dry: an administrator must add identifiers to it"}
	}
	if strings.Contains(e.text, "Duplicate entry") || strings.Contains(e.text, "duplicate key value") {
		return why{duplicate: true, reason: "OpenMRS says the record is there already"}
	}
	if fields := fieldErrors(e); fields != "" {
		w.reason, w.field = fields, firstField(e)
		w.early = len(e.fields) == 1 && hasCode(e, "Encounter.datetimeShouldBeBeforeCurrent")
		return w
	}
	if m := parameter.FindStringSubmatch(e.text); m != nil {
		w.reason = "the report asks for a parameter that the flow does not give: " + cmp.Or(m[1], m[2])
		return w
	}
	for _, k := range known {
		if strings.Contains(e.text, k.says) {
			w.reason, w.field = k.ours, k.field
			w.inUse = strings.Contains(k.says, "already in use")
			if m := takenID.FindStringSubmatch(e.text); m != nil {
				w.taken = m[1]
			}
			return w
		}
	}
	if m := properties.FindStringSubmatch(e.text); m != nil {
		w.reason = "OpenMRS says that these properties are not allowed: " + m[2]
		if strings.HasPrefix(m[1], "required") {
			w.reason = "OpenMRS says that these properties are missing: " + m[2]
		}
		return w
	}
	if m := onClass.FindStringSubmatch(e.text); m != nil {
		w.field = fieldName(m[1])
		w.reason = "OpenMRS cannot take the value of " + m[1]
		switch {
		case m[2] == "Obs" && m[1] == "value" && strings.HasSuffix(strings.TrimSpace(e.text), "org.openmrs.Obs]"):
			w.reason = "OpenMRS does not know the concept of an observation"
		case m[2] == "Obs" && m[1] == "value":
			w.reason = "OpenMRS cannot take the value of an observation: a coded answer that it does not know, or a value of another kind"
		case strings.Contains(e.text, "converting date"):
			w.reason = "OpenMRS cannot read the date of " + m[1]
		}
		return w
	}
	if m := failedToVal.FindStringSubmatch(e.text); m != nil {
		w.field = fieldName(m[1])
		w.reason = "OpenMRS does not accept " + cmp.Or(w.field, m[1])
		for _, text := range validation {
			if strings.Contains(e.text, text.says) {
				w.reason = cmp.Or(w.field, m[1]) + " " + text.ours
				w.early = strings.HasPrefix(text.says, "should be before the current")
			}
		}
		return w
	}
	if strings.Contains(e.text, "failed to validate") {
		w.reason = "OpenMRS does not accept the values" + w.where
		return w
	}
	w.permanent = a.Status < 500
	w.reason = "OpenMRS refused the request" + w.where
	return w
}

// validation holds the texts of core's messages.properties that a 500 quotes on
// modules before 3.2.0.
var validation = []struct{ says, ours string }{
	{"should be before the current date", "is later than the server's clock"},
	{"between the visit start and stop dates", "is outside the visit"},
	{"outOfRange.high", "is above the highest value that the concept allows"},
	{"outOfRange.low", "is below the lowest value that the concept allows"},
	{"must define the Given Name", "must be given"},
	{"cannot be a date in the future", "is in the future"},
	{"Cannot be a date in the future", "is in the future"},
	{"overlaps with another visit", "overlaps another visit of the same patient"},
}

func fieldErrors(e serverSays) string {
	var parts []string
	for field, list := range e.fields {
		name := cmp.Or(fieldName(field), "a field")
		for _, m := range list {
			text, ok := codes[m.Code]
			if !ok {
				text = "is not accepted"
				if safeName.MatchString(m.Code) {
					text += " (" + m.Code + ")"
				}
			}
			parts = append(parts, name+" "+text)
		}
	}
	slices.Sort(parts)
	return strings.Join(slices.Compact(parts), "; ")
}

func hasCode(e serverSays, code string) bool {
	for _, list := range e.fields {
		for _, m := range list {
			if m.Code == code {
				return true
			}
		}
	}
	return false
}

func firstField(e serverSays) string {
	var names []string
	for field := range e.fields {
		if n := fieldName(field); n != "" {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

func fieldName(theirs string) string {
	if ours, ok := fieldNames[theirs]; ok {
		return ours
	}
	if safeName.MatchString(theirs) {
		return theirs
	}
	return ""
}
