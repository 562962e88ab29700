package dhis2

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
)

// Paths of the requests that import.
const (
	trackerPath    = "/tracker"
	valuesPath     = "/dataValueSets"
	completionPath = "/completeDataSetRegistrations"
)

// imported reads the verdict of an import, row by row; it tells whether the
// request is one.
func imported(r call.Request, status int, body []byte) (call.Verdict, bool) {
	switch {
	case r.Method == http.MethodDelete && r.Path == completionPath:
		return uncompleted(status, body), true
	case r.Method != http.MethodPost:
		return call.Verdict{}, false
	case r.Path == trackerPath:
		return tracked(r, status, body)
	case r.Path == valuesPath, r.Path == completionPath:
		return summed(r, status, body)
	}
	return call.Verdict{}, false
}

// job is the answer of a server that imports in the background. Older ones leave
// its type out.
type job struct {
	ID       string `json:"id"`
	Notifier string `json:"relativeNotifierEndpoint"`
	Location string `json:"location"`
}

// queued tells whether the answer means accepted, not done.
func queued(response json.RawMessage) bool {
	var j job
	if json.Unmarshal(response, &j) != nil {
		return false
	}
	return j.ID != "" && (j.Notifier != "" || j.Location != "")
}

var accepted = call.Verdict{Class: call.Queued, Reason: "DHIS2 imports in the background"}

// summary is what an import of data values, or of registrations, gives
// (ImportSummary).
type summary struct {
	Type        string     `json:"responseType"`
	Status      string     `json:"status"`
	Description string     `json:"description"`
	Conflicts   []conflict `json:"conflicts"`
	// Rejected is missing in 2.38.
	Rejected []int `json:"rejectedIndexes"`
	Count    struct {
		Imported, Updated, Ignored, Deleted int
	} `json:"importCount"`
}

// conflict is one reason for which one or more rows were refused.
type conflict struct {
	Object  string            `json:"object"`
	Objects map[string]string `json:"objects"`
	Value   string            `json:"value"`
	Code    string            `json:"errorCode"`
	Indexes []int             `json:"indexes"`
}

// decodeSummary reads a summary, in its envelope or plain: /api/37 and older,
// and the summary of a job, have none.
func decodeSummary(body []byte) (*summary, bool) {
	m := decodeMessage(body)
	if len(m.Response) > 0 && string(m.Response) != "null" {
		body = m.Response
	}
	s := &summary{}
	if json.Unmarshal(body, s) != nil {
		return nil, false
	}
	switch s.Status {
	case "SUCCESS", "OK", "WARNING", "ERROR":
		return s, s.Type == "ImportSummary" || s.Type == ""
	}
	return nil, false
}

// summed reads the verdict on data values and on registrations.
func summed(r call.Request, status int, body []byte) (call.Verdict, bool) {
	if m := decodeMessage(body); queued(m.Response) {
		return accepted, true
	}
	if status == http.StatusBadRequest || status == http.StatusNotFound {
		return call.Verdict{}, false
	}
	s, ok := decodeSummary(body)
	if !ok || s.Type == "" && s.Description == "" && len(s.Conflicts) == 0 {
		return call.Verdict{}, false
	}
	if len(s.Conflicts) == 0 && !s.lost(r) {
		if code := decodeMessage(body).ErrorCode; s.Status == "ERROR" && code != "" {
			return ruleOf(code).verdict(code, ""), true
		}
		if s.Status == "ERROR" {
			return call.Verdict{Class: call.Refusal, Reason: "DHIS2 could not read the import: its log says more"}, true
		}
		// Values that are there already are ignored, and need nothing.
		return call.Verdict{Class: call.Done}, true
	}
	return s.verdict(r), true
}

// lost tells whether rows were rejected without a conflict, other than those that
// were to be deleted: these are gone already.
func (s *summary) lost(r call.Request) bool {
	var body valueSet
	if json.Unmarshal(r.Body, &body) != nil {
		return len(s.Rejected) > 0
	}
	return slices.ContainsFunc(s.Rejected, func(i int) bool {
		return i < 0 || i >= len(body.Values) || !body.Values[i].Deleted
	})
}

// verdict of a summary with refused rows.
func (s *summary) verdict(r call.Request) call.Verdict {
	rows := rowsOf(r)
	saved := s.Count.Imported + s.Count.Updated + s.Count.Deleted
	var v call.Verdict
	var texts []string
	for i, c := range s.Conflicts {
		code := c.Code
		if code == "" {
			code = codeOf(c.Value)
		}
		one := ruleOf(code).verdict(cmp.Or(code, "no code"), c.field(rows))
		texts = append(texts, c.where(rows)+one.Reason)
		switch {
		case i == 0:
			v = one
		case v.Class != one.Class:
			v.Class = call.Refusal
		}
	}
	if len(s.Conflicts) == 0 {
		v = call.Verdict{Class: call.Refusal}
		texts = []string{fmt.Sprintf("DHIS2 refused %d of the rows and gave no reason", len(s.Rejected))}
	}
	v.Reason = strings.Join(slices.Compact(texts), "; ")
	if saved > 0 && r.Changes() {
		// The others were saved: what is there is read and taken back.
		v.Class, v.Traces = call.Refusal, true
		v.Reason = fmt.Sprintf("%s (the other rows were saved: %d)", v.Reason, saved)
	}
	if v.Class == call.Uncertain {
		v.Class = call.Refusal
	}
	return v
}

// rowsOf lists the fields of the data values that a request carried, in order.
func rowsOf(r call.Request) []string {
	var body valueSet
	if json.Unmarshal(r.Body, &body) != nil {
		return nil
	}
	out := make([]string, len(body.Values))
	for i, row := range body.Values {
		out[i] = cell(row.DataElement, row.Combo)
	}
	return out
}

// field is the flow's field that a conflict is about.
func (c conflict) field(rows []string) string {
	if f := ruleOf(c.Code).field; f != "" {
		return f
	}
	for _, i := range c.Indexes {
		if i >= 0 && i < len(rows) {
			return rows[i]
		}
	}
	return ""
}

// where names what a conflict is about: identifiers of metadata only.
func (c conflict) where(rows []string) string {
	var names []string
	for _, i := range c.Indexes {
		if i >= 0 && i < len(rows) && len(names) < 5 {
			names = append(names, rows[i])
		}
	}
	if more := len(c.Indexes) - len(names); more > 0 && len(names) == 5 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	if len(names) == 0 {
		if IsUID(c.Object) {
			return c.Object + ": "
		}
		return ""
	}
	return strings.Join(names, ", ") + ": "
}

// uncompleted reads the answer to the removal of a registration.
func uncompleted(status int, body []byte) call.Verdict {
	if status < 300 {
		return call.Verdict{Class: call.Done}
	}
	m := decodeMessage(body)
	code := m.ErrorCode
	if code == "" {
		code = codeOf(m.Message)
	}
	if status == http.StatusNotFound {
		return call.Verdict{Class: call.Done} // not registered
	}
	return ruleOf(code).verdict(cmp.Or(code, "no code"), "")
}

// report is what the tracker importer gives.
type report struct {
	Status     string `json:"status"`
	Validation struct {
		Errors []trouble `json:"errorReports"`
	} `json:"validationReport"`
	Stats *struct {
		Created, Updated, Deleted, Ignored, Total int
	} `json:"stats"`
}

// trouble is one reason for which an event was refused. Their order is random.
type trouble struct {
	Message string   `json:"message"`
	Code    string   `json:"errorCode"`
	UID     string   `json:"uid"`
	Args    []string `json:"args"` // from 2.41 on
}

// tracked reads the verdict on an event. With atomicMode=OBJECT a refused event
// is answered 200 with status OK, so the reports count, not the status.
func tracked(r call.Request, status int, body []byte) (call.Verdict, bool) {
	if m := decodeMessage(body); queued(m.Response) {
		return accepted, true
	}
	var rep report
	if json.Unmarshal(body, &rep) != nil || rep.Stats == nil {
		return call.Verdict{}, false
	}
	if len(rep.Validation.Errors) > 0 {
		return rep.refused(r), true
	}
	if rep.Status != "OK" && rep.Status != "WARNING" {
		return call.Verdict{Class: call.Refusal, Reason: "DHIS2 could not import the event: its log says more"}, true
	}
	if rep.Stats.Ignored > 0 {
		return call.Verdict{Class: call.Refusal, Reason: "DHIS2 ignored the event and gave no reason"}, true
	}
	if status >= 300 {
		return call.Verdict{}, false
	}
	return call.Verdict{Class: call.Done}, true
}

// refused is the verdict of a report with errors.
func (rep *report) refused(r call.Request) call.Verdict {
	errs := slices.Clone(rep.Validation.Errors)
	slices.SortFunc(errs, func(a, b trouble) int {
		return strings.Compare(a.Code+a.UID+a.Message, b.Code+b.UID+b.Message)
	})
	elements := elementsOf(r)
	removal := slices.Equal(r.Query["importStrategy"], []string{"DELETE"})
	var v call.Verdict
	var texts []string
	for _, e := range errs {
		ru := ruleOf(e.Code)
		if removal && ru.until == gone && e.Code != "E1030" {
			continue // what was to be deleted is not there
		}
		one := ru.verdict(cmp.Or(e.Code, "no code"), "")
		if de := e.element(elements); de != "" {
			one.Field = "dataValues/" + de
			one.Reason = de + ": " + one.Reason
		}
		if len(texts) == 0 {
			v = one
		} else if v.Class != one.Class {
			v.Class = call.Refusal
		}
		texts = append(texts, one.Reason)
	}
	if len(texts) == 0 {
		return call.Verdict{Class: call.Done}
	}
	v.Reason = strings.Join(slices.Compact(texts), "; ")
	return v
}

// elementsOf lists the data elements of the events in a request.
func elementsOf(r call.Request) []string {
	var body struct {
		Events []wireEvent `json:"events"`
	}
	if json.Unmarshal(r.Body, &body) != nil {
		return nil
	}
	var out []string
	for _, e := range body.Events {
		for _, v := range e.Values {
			out = append(out, v.DataElement)
		}
	}
	return out
}

// element is the data element that an error names, if it does: E1302 names it
// up to 2.40 and the value type instead from 2.41 on. E1303 names one that was
// not sent.
func (e trouble) element(sent []string) string {
	words := e.Args
	if len(words) == 0 {
		for i, quoted := range strings.Split(e.Message, "`") {
			if i%2 == 1 { // "DataElement `BuZ5LGNfGEU`", "`DataElement (BuZ5LGNfGEU)`"
				words = append(words, strings.FieldsFunc(quoted, func(r rune) bool { return r == ' ' || r == '(' || r == ')' })...)
			}
		}
	}
	for _, w := range words {
		if slices.Contains(sent, w) || e.Code == "E1303" && IsUID(w) && w != "DataElement" {
			return w
		}
	}
	return ""
}
