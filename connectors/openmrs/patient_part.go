package openmrs

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/record"
)

// personRep is what the answer to a change of a person's properties shows: all
// that such a change can write.
const personRep = "custom:(uuid,voided,gender,birthdate,birthdateEstimated,dead,deathDate,causeOfDeath:(uuid))"

// observePart reads one part of a patient from the answer to the call that wrote
// it: the row of a sub-resource in its default representation (the module shows
// no other after a POST: DelegatingSubResource.create and update, seen up to
// 3.x), the person, or nothing after a row was deleted. It gives false for a
// whole patient. Where the answer does not show all that was written (a name's
// prefix), or shows something else, the part does not exist: it is to be read.
func (k *patientKind) observePart(c call.Check, a call.Answer) (call.Observed, bool, error) {
	if a.Status == http.StatusNoContent {
		return call.Observed{Exists: true, Fields: nothing(c.Want)}, true, nil
	}
	if a.Status == http.StatusNotFound {
		return call.Observed{}, false, nil
	}
	var row wireRow
	if err := json.Unmarshal(a.Body, &row); err != nil {
		return call.Observed{}, false, fmt.Errorf("read the %s that OpenMRS sent: %w", c.As, err)
	}
	for _, name := range []string{"identifiers", "person", "auditInfo"} { // as patientRep asks
		if _, whole := row[name]; whole {
			return call.Observed{}, false, nil
		}
	}
	if voided, _ := row.value("voided"); voided == true {
		return call.Observed{}, true, nil
	}
	fields := record.Fields{}
	for _, f := range []record.Fields{c.Want, c.Pre} {
		for path := range f {
			v, shown := k.partField(c, row, path)
			if !shown {
				return call.Observed{}, true, nil
			}
			fields[path] = v
		}
	}
	o := call.Observed{Exists: true, Fields: fields}
	if v, _ := row.value("uuid"); c.Key != "" {
		if id, _ := v.(string); id != "" {
			o.Outputs = call.Outputs{"uuid": id}
		}
	}
	return o, true, nil
}

// wireRow is a row of a sub-resource: large, and few of its properties are asked for.
type wireRow map[string]json.RawMessage

func (w wireRow) value(property string) (v any, shown bool) {
	raw, shown := w[property]
	if shown {
		_ = json.Unmarshal(raw, &v) // it was read as JSON before
	}
	return v, shown
}

// partField reads one field from a row; false if the row does not show it.
func (k *patientKind) partField(c call.Check, row wireRow, path string) (any, bool) {
	property, isText := path, true
	switch c.As {
	case "name":
		property = nameField(strings.TrimPrefix(path, "name/"))
	case "address":
		property = strings.TrimPrefix(path, "address/")
	case "identifier":
		// A value in other letters may be the same; that depends on its type.
		v, _ := row.value("identifier")
		number, shown := v.(string)
		wanted := c.Want.Text(path)
		return number, shown && (number == wanted || wanted == "")
	case "attribute":
		v, shown := row.value("value")
		return attributeValue(v), shown
	default:
		isText = false
	}
	v, shown := row.value(property)
	if !shown {
		return nil, false
	}
	if isText {
		return fieldText(v), true
	}
	words, _ := v.(string)
	switch property {
	case "birthdate":
		return dayFromWire(words), true
	case "deathDate":
		return k.deathDate(words, []record.Fields{c.Want, c.Pre}), true
	case "causeOfDeath":
		return attributeValue(v), true
	case "gender":
		return words, true
	}
	b, isBool := v.(bool) // birthdateEstimated, dead
	return b, isBool
}
