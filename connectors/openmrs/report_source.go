package openmrs

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
)

const (
	reportData    = "/reportingrest/reportdata/"
	reportDataSet = "/reportingrest/dataSet/"
	reportCohort  = "/reportingrest/cohort/"
	reportRequest = "/reportingrest/reportRequest"
	reportDesign  = "/reportingrest/reportDesign"
	reportFile    = "/reportingrest/downloadReport"
)

// source is what one run asks for.
type source struct {
	Report, Dataset, Cohort string
	Keys                    []string
	Async                   bool
	Rendering               string
	Params                  map[string]string // placeholders filled
	run                     connector.Run
}

// newSource reads the keys and parameters of a run. What is wrong with them is
// the flow's fault and refused in words.
func (s *System) newSource(run connector.Run) (*source, error) {
	bad := func(format string, args ...any) (*source, error) {
		return nil, s.refused("fetch report", format, args...)
	}
	if run.Kind != reportMessage.Name {
		return bad("OpenMRS has no list of kind %q; it has %s", run.Kind, reportMessage.Name)
	}
	k := run.Keys
	src := &source{Report: k["report"], Dataset: k["dataset"], Cohort: k["cohort"], Rendering: k["rendering"], run: run, Params: map[string]string{}}
	for name := range k {
		if _, known := reportMessage.From[name]; !known {
			return bad("from has no key %q for a report", name)
		}
	}
	if src.uuid() == "" || src.Cohort != "" && (src.Report != "" || src.Dataset != "") {
		return bad("from must name a report, a data set or a cohort by its uuid")
	}
	if !plainID(src.uuid()) {
		return bad("the uuid of the report is no uuid")
	}
	for _, column := range strings.Split(cmp.Or(k["key"], "uuid"), ",") {
		if column = strings.TrimSpace(column); column != "" {
			src.Keys = append(src.Keys, column)
		}
	}
	switch via := cmp.Or(k["via"], "data"); {
	case via != "data" && via != "request":
		return bad("via must be data or request, not %q", via)
	case via == "request" && src.Report == "":
		return bad("only a report can be fetched via request, not a data set or a cohort")
	default:
		src.Async = via == "request"
	}
	for name, value := range run.With {
		filled, err := fill(value, run)
		if err != nil {
			return bad("parameter %s: %v", name, err)
		}
		src.Params[name] = filled
	}
	return src, nil
}

// plainID tells whether an id can stand in a path as it is. Definition libraries
// have ids such as "kenyaemr.common.report" instead of uuids.
func plainID(id string) bool {
	for _, r := range id {
		if (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' && r != '.' && r != '_' {
			return false
		}
	}
	return id != "" && len(id) <= 200 && strings.Trim(id, ".") != ""
}

// fill puts the run's days for {start}, {end}, {period} and {at}.
func fill(value string, run connector.Run) (string, error) {
	if !strings.Contains(value, "{") {
		return value, nil
	}
	for name, text := range map[string]string{"{start}": dayOf(run.Start), "{end}": dayOf(run.End), "{period}": run.Period, "{at}": dayOf(run.At)} {
		if strings.Contains(value, name) && text == "" {
			return "", fmt.Errorf("%s is not known: the flow's schedule has no period", name)
		}
		value = strings.ReplaceAll(value, name, text)
	}
	if strings.Contains(value, "{") {
		return "", fmt.Errorf("a name in braces is not known; there are {start}, {end}, {period} and {at}")
	}
	return value, nil
}

func dayOf(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.DateOnly)
}

// uuid is the definition's.
func (src *source) uuid() string { return cmp.Or(src.Report, cmp.Or(src.Cohort, src.Dataset)) }

// id is the same for the chunks of one run and for no other.
func (src *source) id() string {
	b, _ := json.Marshal([]any{src.run.Keys, src.Params, src.run.At.Unix(), src.run.Period})
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:12])
}

// clash are the names that REST itself reads from an address: a parameter so
// called cannot be given there (RequestContext, RestConstants).
var clash = map[string]bool{"v": true, "q": true, "s": true, "t": true, "limit": true, "startIndex": true, "includeAll": true, "totalCount": true, "lang": true}

// request asks for the rows at once. The parameters stand in the address; if one
// has a name that REST uses itself, in the body of a POST, which the module takes
// as well (EvaluatedResource.getEvaluationContextWithParameters). The base
// cohort it reads from the address only.
func (src *source) request() call.Request {
	path := reportData
	switch {
	case src.Cohort != "":
		path = reportCohort
	case src.Report == "":
		path = reportDataSet
	}
	r := call.Request{Method: http.MethodGet, Path: path + seg(src.uuid()), Query: map[string][]string{}}
	if !slices.ContainsFunc(slices.Collect(maps.Keys(src.Params)), func(name string) bool { return clash[name] }) {
		for name, value := range src.Params {
			r.Query[name] = []string{value}
		}
		return r
	}
	body := map[string]any{}
	for name, value := range src.Params {
		if name == "cohort" || strings.HasPrefix(name, "cohort.") {
			r.Query[name] = []string{value}
			continue
		}
		body[name] = value
	}
	// It evaluates and writes nothing.
	r.Method, r.Read, r.Body = http.MethodPost, true, encode(body)
	return r
}

// shown is the report as a message's content tells it: what the flow gave, so
// that where filters compare the same.
func (src *source) shown(name string) map[string]any {
	out := map[string]any{"key": cmp.Or(src.run.Keys["key"], "uuid")}
	for _, f := range []struct{ name, value string }{{"uuid", src.Report}, {"dataset", src.Dataset}, {"cohort", src.Cohort},
		{"via", cmp.Or(src.run.Keys["via"], "data")}, {"rendering", src.Rendering}, {"name", name}} {
		if f.value != "" {
			out[f.name] = f.value
		}
	}
	return out
}
