package openmrs

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
)

const (
	// pollFirst and pollMost bound how long is waited between two looks at a
	// report request; in between it is a quarter of the time since it began.
	pollFirst = time.Second
	pollMost  = 5 * time.Minute
	// requestMost is how long a report may take on the server.
	requestMost = 12 * time.Hour
	// requestSkew is how much older than the run a request may be and still be
	// the run's: the clocks differ, and the module writes whole seconds.
	requestSkew = time.Minute
)

// wireRequest is a report request as the module shows it (ReportRequestResource).
type wireRequest struct {
	UUID       string          `json:"uuid"`
	Status     string          `json:"status"`
	Requested  json.RawMessage `json:"requestDate"`
	Parameters json.RawMessage `json:"parameterMappings"`
	Rendering  *struct {
		Argument string `json:"argument"`
	} `json:"renderingMode"`
}

// await brings an asynchronous run forward: request the report, then ask how far
// it is. A request has no uuid of our choice, and its answer can be lost; so the
// first page only notes when the run began, and before a request is made one
// that was made since then is looked for.
func (s *System) await(ctx context.Context, do call.Doer, src *source, c reportCursor) (connector.Page, error) {
	if c.Begun.IsZero() {
		if c.Again > maxAgain {
			return connector.Page{}, s.refused("request report", "the report requests of this run were removed from OpenMRS %d times before they could be read", maxAgain)
		}
		c.Begun = s.serverNow()
		return connector.Page{Cursor: encode(c), Wait: time.Second}, nil
	}
	waited := s.serverNow().Sub(c.Begun)
	pause := min(pollMost, max(pollFirst, waited/4))
	if c.Request == "" {
		id, err := s.requested(ctx, do, src, c)
		if err != nil {
			return connector.Page{}, err
		}
		c.Request = id
		return connector.Page{Cursor: encode(c), Wait: pause}, nil
	}
	var w wireRequest
	err := get(ctx, do, "look at report request", read(reportRequest+"/"+seg(c.Request)), &w)
	if errors.Is(err, errUnknown) {
		return again(c, pause), nil
	}
	if err != nil {
		return connector.Page{}, err
	}
	switch w.Status {
	case "COMPLETED", "SAVED", "SCHEDULE_COMPLETED":
		c.Ready = true
		return connector.Page{Cursor: encode(c), Wait: time.Second}, nil
	case "FAILED":
		return connector.Page{}, s.refused("request report", "OpenMRS could not make the report (status FAILED): its own log, and the report's page under Reporting, say why")
	case "REQUESTED", "PROCESSING", "SCHEDULED":
		if waited > requestMost {
			return connector.Page{}, s.refused("request report", "the report is not ready after %v (status %s): see whether OpenMRS still works at it", requestMost, w.Status)
		}
		return connector.Page{Cursor: encode(c), Wait: pause}, nil
	}
	return connector.Page{}, s.refused("request report", "OpenMRS gives the report request a status that is not known")
}

// requested finds the request of this run, or makes it.
func (s *System) requested(ctx context.Context, do call.Doer, src *source, c reportCursor) (string, error) {
	design, err := s.design(ctx, do, src)
	if err != nil {
		return "", err
	}
	// startIndex is the number of a page here, from 1; from 0 the module would
	// begin fifty rows before the first (ReportRequestResource.doSearch).
	var found struct {
		Results []wireRequest `json:"results"`
	}
	err = get(ctx, do, "look for report request", read(reportRequest, "reportDefinition", src.Report, "v", "default", "startIndex", "1", "limit", pageSize,
		"status", "REQUESTED,PROCESSING,COMPLETED,SAVED"), &found)
	if err != nil && !errors.Is(err, errUnknown) {
		return "", err
	}
	for _, w := range found.Results {
		if w.Rendering != nil && w.Rendering.Argument == design && s.isOf(w, src, c.Begun) {
			return w.UUID, nil
		}
	}
	body := map[string]any{"status": "REQUESTED", "priority": "NORMAL",
		"reportDefinition": map[string]any{"parameterizable": map[string]any{"uuid": src.Report}, "parameterMappings": without(src.Params, "cohort")},
		"renderingMode":    map[string]any{"argument": design}}
	if cohort := src.Params["cohort"]; cohort != "" {
		body["baseCohort"] = map[string]any{"parameterizable": map[string]any{"uuid": cohort}, "parameterMappings": map[string]any{}}
	}
	// It makes a report, no record: planning may ask for it.
	a, err := do.Do(ctx, "request report", call.Request{Method: http.MethodPost, Path: reportRequest, Body: encode(body), Read: true})
	if err != nil {
		return "", err
	}
	var made wireRequest
	if err := json.Unmarshal(a.Body, &made); err != nil || made.UUID == "" {
		return "", &call.Error{System: s.name, About: "request report", Err: err,
			Verdict: call.Verdict{Class: call.RetryLater, Reason: "OpenMRS did not say which report request it made: it is looked for"}}
	}
	return made.UUID, nil
}

func without(m map[string]string, name string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		if k != name {
			out[k] = v
		}
	}
	return out
}

// isOf tells whether a request is this run's: made since it began, with the same
// parameters. Dates come back as moments, whatever was sent.
func (s *System) isOf(w wireRequest, src *source, begun time.Time) bool {
	at, ok := s.wireTime(w.Requested)
	if !ok || at.Before(begun.Add(-requestSkew)) {
		return false
	}
	has := map[string]any{}
	if json.Unmarshal(w.Parameters, &has) != nil { // or a list of key and value, as Mapped is converted elsewhere
		var list []struct {
			Key   string `json:"key"`
			Value any    `json:"value"`
		}
		if json.Unmarshal(w.Parameters, &list) != nil {
			return false
		}
		for _, e := range list {
			has[e.Key] = e.Value
		}
	}
	for name, want := range without(src.Params, "cohort") {
		got := fieldText(has[name])
		if m, isDate := reportMoment(got, s.zone); isDate && len(want) == len(time.DateOnly) {
			got = m[:len(time.DateOnly)]
		}
		if got != want {
			return false
		}
	}
	return true
}

// wireTime reads a moment as text or as milliseconds.
func (s *System) wireTime(raw json.RawMessage) (time.Time, bool) {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return time.Time{}, false
	}
	if ms, ok := v.(float64); ok {
		return time.UnixMilli(int64(ms)), true
	}
	t, err := parseMoment(fieldText(v), s.zone)
	return t, err == nil
}

// design gives the uuid of the report design that writes a table: the one that
// the flow names, else the only one.
func (s *System) design(ctx context.Context, do call.Doer, src *source) (string, error) {
	if src.Rendering != "" {
		return src.Rendering, nil
	}
	type wireDesign struct {
		UUID     string `json:"uuid"`
		Name     string `json:"name"`
		Renderer string `json:"rendererType"`
	}
	all, err := list[wireDesign](ctx, do, "read report designs", read(reportDesign, "reportDefinitionUuid", src.Report))
	if err != nil {
		return "", err
	}
	var fit []string
	for _, d := range all {
		if strings.Contains(d.Renderer, "CsvReportRenderer") || strings.Contains(d.Renderer, "DelimitedTextReportRenderer") || strings.Contains(d.Renderer, "TsvReportRenderer") {
			fit = append(fit, d.UUID)
		}
	}
	if len(fit) != 1 {
		return "", s.refused("request report", "the report has %d designs that write CSV: name the uuid of one under rendering", len(fit))
	}
	return fit[0], nil
}

// isGone tells that the server no longer has what was asked for: an old request
// is purged after reporting.deleteReportsAgeInHours (72).
func isGone(err error) bool {
	var e *call.Error
	return errors.As(err, &e) && e.Verdict.Class == call.Refusal && e.Verdict.Reason == requestGone
}

const requestGone = "OpenMRS no longer has this report request"
