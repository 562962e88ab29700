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
func (s *System) imported(r call.Request, status int, body []byte) (call.Verdict, bool) {
	switch {
	case r.Method == http.MethodDelete && r.Path == completionPath:
		return uncompleted(status, body), true
	case r.Method != http.MethodPost:
		return call.Verdict{}, false
	case r.Path == trackerPath:
		return s.tracked(r, status, body)
	case r.Path == valuesPath, r.Path == completionPath:
		return s.summed(r, status, body)
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
func (s *System) summed(r call.Request, status int, body []byte) (call.Verdict, bool) {
	if m := decodeMessage(body); queued(m.Response) {
		return accepted, true
	}
	if status == http.StatusBadRequest || status == http.StatusNotFound {
		return call.Verdict{}, false
	}
	sum, ok := decodeSummary(body)
	if !ok || sum.Type == "" && sum.Description == "" && len(sum.Conflicts) == 0 {
		return call.Verdict{}, false
	}
	v := sum.judge(s.rowsOf(r), r.Changes(), s.countsAll())
	if code := decodeMessage(body).ErrorCode; v.Class == call.Refusal && len(sum.Conflicts) == 0 && code != "" {
		v = ruleOf(code).verdict(code, "")
	}
	return v, true
}

// countsAll tells whether the server is known to count every row that it was
// sent as imported, updated, deleted or ignored, but for a zero that it does not
// store: up to 2.42 (DefaultDataValueSetService). Of 2.43 this was not read.
func (s *System) countsAll() bool {
	v := s.version
	if v.Major == 0 {
		if in, ok := s.meta.lastInfo(); ok {
			v, _ = ParseVersion(in.Version)
		}
	}
	return v.Major == 2 && v.before(43)
}

// sentRow is a row of a request as its verdict names it: the path of the value,
// its name in words, and whether the row takes it away.
type sentRow struct {
	path, name string
	deleted    bool
}

// rowsOf lists the data values that a request carried, in order.
func (s *System) rowsOf(r call.Request) []sentRow {
	var body valueSet
	if json.Unmarshal(r.Body, &body) != nil {
		return nil
	}
	out := make([]sentRow, len(body.Values))
	for i, row := range body.Values {
		out[i] = sentRow{cell(row.DataElement, row.Combo), s.meta.cellName(row.DataElement, row.Combo), row.Deleted}
	}
	return out
}

// judge is the verdict on the rows that were sent. wrote tells that it was no dry
// run; all, that every row must be in the counts.
func (s *summary) judge(rows []sentRow, wrote, all bool) call.Verdict {
	v := call.Verdict{Class: call.Done} // values that are there already are ignored, and need nothing
	counted := s.saved() + s.Count.Ignored
	switch {
	case len(s.Conflicts) > 0:
		v = s.conflicting(rows)
	case s.lost(rows):
		v = call.Verdict{Class: call.Refusal, Reason: fmt.Sprintf("DHIS2 refused %d of the rows and gave no reason", len(s.Rejected))}
	case s.Status == "ERROR":
		v = call.Verdict{Class: call.Refusal, Reason: "DHIS2 could not read the import: its log says more"}
	case all && counted < len(rows):
		v = call.Verdict{Class: call.Refusal, Reason: fmt.Sprintf("DHIS2 says nothing about %d of %d values: it may not store zeros of a data element any more (zeroIsSignificant). "+
			"Its metadata is read again within %d minutes; then retry", len(rows)-counted, len(rows), int(metadataAge.Minutes()))}
	}
	if v.Class == call.Done {
		return v
	}
	if s.saved() > 0 && wrote {
		// The others were saved: what is there is read and taken back.
		v.Class, v.Traces = call.Refusal, true
		v.Reason = fmt.Sprintf("%s (the other rows were saved: %d)", v.Reason, s.saved())
	}
	if v.Class == call.Uncertain {
		v.Class = call.Refusal
	}
	return v
}

func (s *summary) saved() int { return s.Count.Imported + s.Count.Updated + s.Count.Deleted }

// lost tells whether rows were rejected without a conflict, other than those that
// were to be deleted: these are gone already.
func (s *summary) lost(rows []sentRow) bool {
	return slices.ContainsFunc(s.Rejected, func(i int) bool { return i < 0 || i >= len(rows) || !rows[i].deleted })
}

// conflicting puts the conflicts into words.
func (s *summary) conflicting(rows []sentRow) call.Verdict {
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
	v.Reason = strings.Join(slices.Compact(texts), "; ")
	return v
}

// field is the flow's field that a conflict is about.
func (c conflict) field(rows []sentRow) string {
	if f := ruleOf(c.Code).field; f != "" {
		return f
	}
	for _, i := range c.Indexes {
		if i >= 0 && i < len(rows) {
			return rows[i].path
		}
	}
	return ""
}

// where names what a conflict is about: metadata only.
func (c conflict) where(rows []sentRow) string {
	var names []string
	for _, i := range c.Indexes {
		if i >= 0 && i < len(rows) && len(names) < 5 {
			names = append(names, rows[i].name)
		}
	}
	switch {
	case len(names) == 0 && IsUID(c.Object):
		return c.Object + ": "
	case len(names) == 0:
		return ""
	case len(c.Indexes) == len(rows) && len(rows) > 1:
		return fmt.Sprintf("all %d values: ", len(rows))
	}
	if more := len(c.Indexes) - len(names); more > 0 && len(names) == 5 {
		names = append(names, fmt.Sprintf("and %d more", more))
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
func (s *System) tracked(r call.Request, status int, body []byte) (call.Verdict, bool) {
	if m := decodeMessage(body); queued(m.Response) {
		return accepted, true
	}
	var rep report
	if json.Unmarshal(body, &rep) != nil || rep.Stats == nil {
		return call.Verdict{}, false
	}
	if len(rep.Validation.Errors) > 0 {
		return rep.refused(r, s.meta.nameOf), true
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

// refused is the verdict of a report with errors; nameOf names data elements.
func (rep *report) refused(r call.Request, nameOf func(uid string) string) call.Verdict {
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
			one.Reason = nameOf(de) + ": " + one.Reason
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
