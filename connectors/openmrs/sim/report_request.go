package sim

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// reportRequest is a report that is made in the background
// (ReportRequestResource of reportingrest, read at 536df54d).
type reportRequest struct {
	uuid   string
	def    *reportSeed
	design *designSeed
	params map[string]any
	at     time.Time
	looks  int
	by     string
	file   []byte
	done   time.Time
}

// status works at the request as far as the clock says.
func (s *Server) status(r *reportRequest) string {
	if !r.done.IsZero() {
		if r.def.Fails {
			return "FAILED"
		}
		return "COMPLETED"
	}
	switch since := s.now().Sub(r.at); {
	case since < r.def.slow || r.looks < r.def.Polls:
		if since < time.Second && r.looks == 0 {
			return "REQUESTED"
		}
		return "PROCESSING"
	}
	r.done = s.now()
	s.reports.evaluated[r.def.UUID]++
	if r.def.Fails {
		return "FAILED"
	}
	if r.design != nil {
		r.file = s.render(r)
	}
	return "COMPLETED"
}

// requestReport queues a report. The uuid is the server's; the design is found by
// the argument of the rendering mode.
func (s *Server) requestReport(req *request) (*result, *failure) {
	if f := s.strict(req.body, nil, []string{"status", "reportDefinition", "baseCohort", "renderingMode", "priority", "schedule"}, nil); f != nil {
		return nil, f
	}
	mapped, _ := req.body["reportDefinition"].(map[string]any)
	if mapped["parameterizable"] == nil {
		return nil, conversion("reportDefinition", "Missing parameterizable")
	}
	def := s.report(refOf(mapped["parameterizable"]))
	if def == nil {
		return nil, &failure{status: 500, text: "", code: "org.openmrs.module.reportingrest.web.resource.ReportRequestResource:141"} // a null pointer
	}
	given, _ := mapped["parameterMappings"].(map[string]any)
	params, f := s.parameters(def, func(name string) (any, bool) { v, ok := given[name]; return v, ok },
		"Parameter %s is required", "org.openmrs.module.reportingrest.web.resource.ReportRequestResource:168")
	if f != nil {
		return nil, f
	}
	mode, _ := req.body["renderingMode"].(map[string]any)
	r := &reportRequest{def: def, params: params, at: s.stored(s.now()), by: req.user}
	for i := range def.Designs {
		if def.Designs[i].UUID == mode["argument"] {
			r.design = &def.Designs[i]
		}
	}
	s.reports.mu.Lock()
	defer s.reports.mu.Unlock()
	r.uuid = fmt.Sprintf("00000000-7e90-4000-8000-%012d", len(s.reports.requests)+1)
	s.reports.requests = append(s.reports.requests, r)
	return &result{status: http.StatusCreated, body: encodeJSON(s.requestBody(req, r))}, nil
}

func (s *Server) requestBody(req *request, r *reportRequest) any {
	status := s.status(r)
	params := map[string]any{}
	for name, v := range r.params {
		params[name] = s.shown(v)
	}
	var mode, done any
	if r.design != nil {
		mode = ordered{{"rendererType", r.design.Renderer}, {"argument", r.design.UUID}, {"label", r.design.Name}, {"sortWeight", 0}}
	}
	if !r.done.IsZero() {
		done = s.shown(r.done)
	}
	return ordered{{"uuid", r.uuid}, {"parameterizable", s.definition(req, "reportDefinition", r.def.UUID, r.def.Name)}, {"parameterMappings", params},
		{"renderingMode", mode}, {"priority", "NORMAL"}, {"schedule", nil}, {"requestDate", s.shown(r.at)}, {"status", status},
		{"evaluateStartDatetime", s.shown(r.at)}, {"evaluateCompleteDatetime", done}, {"renderCompleteDatetime", done}, {"description", nil},
		{"requestedBy", ordered{{"uuid", s.userUUID(r.by)}, {"display", r.by}}}, {"links", selfLink(req, "reportingrest/reportRequest/"+r.uuid)}, {"resourceVersion", "1.8"}}
}

func (s *Server) oneRequest(req *request, uuid string) (*result, *failure) {
	s.reports.mu.Lock()
	defer s.reports.mu.Unlock()
	i := slices.IndexFunc(s.reports.requests, func(r *reportRequest) bool { return r != nil && r.uuid == uuid })
	if i < 0 {
		return nil, notFound()
	}
	if req.Method == http.MethodDelete { // purges
		s.reports.requests[i] = nil
		return &result{status: http.StatusNoContent}, nil
	}
	r := s.reports.requests[i]
	body := s.requestBody(req, r)
	r.looks++
	return &result{status: 200, body: encodeJSON(body)}, nil
}

// listRequests pages by pages: startIndex is the number of a page, and its
// default 0 begins before the first, which gives nothing.
func (s *Server) listRequests(req *request) (*result, *failure) {
	q := req.URL.Query()
	if start, _ := strconv.Atoi(q.Get("startIndex")); start != 1 {
		return resultsOf(nil, q), nil
	}
	s.reports.mu.Lock()
	defer s.reports.mu.Unlock()
	var out []any
	for _, r := range s.reports.requests {
		if r == nil || q.Get("reportDefinition") != "" && q.Get("reportDefinition") != r.def.UUID {
			continue
		}
		body := s.requestBody(req, r)
		if want := q.Get("status"); want == "" || slices.Contains(strings.Split(want, ","), s.status(r)) {
			out = append(out, body)
		}
	}
	return resultsOf(out, q), nil
}

func (s *Server) listDesigns(req *request) (*result, *failure) {
	def := s.report(req.URL.Query().Get("reportDefinitionUuid"))
	if def == nil {
		return nil, broken("ReportDefinition not found with uuid: " + req.URL.Query().Get("reportDefinitionUuid"))
	}
	var out []any
	for _, d := range def.Designs {
		out = append(out, ordered{{"uuid", d.UUID}, {"name", d.Name}, {"rendererType", d.Renderer}, {"display", d.Name}})
	}
	return resultsOf(out, req.URL.Query()), nil
}

// downloadReport gives the rendered file in base64 inside JSON (ReportFile).
func (s *Server) downloadReport(req *request) (*result, *failure) {
	s.reports.mu.Lock()
	defer s.reports.mu.Unlock()
	id := req.URL.Query().Get("reportRequestUuid")
	i := slices.IndexFunc(s.reports.requests, func(r *reportRequest) bool { return r != nil && r.uuid == id })
	if i < 0 {
		return nil, broken("Report request not found for UUID: " + id)
	}
	r := s.reports.requests[i]
	if s.status(r); r.file == nil {
		return nil, broken("Error during loading rendered output")
	}
	name := strings.ReplaceAll(r.def.Name, " ", "_") + "." + r.design.extension()
	return &result{status: 200, body: r.def.cut(encodeJSON(ordered{{"filename", name}, {"contentType", "text/" + r.design.extension()},
		{"fileContent", base64.StdEncoding.EncodeToString(r.file)}}))}, nil
}

func (d *designSeed) extension() string {
	if strings.Contains(d.Renderer, "Tsv") {
		return "tsv"
	}
	return "csv"
}

// render writes the first data set as DelimitedTextReportRenderer does; several
// are packed, of which only the beginning is told here.
func (s *Server) render(r *reportRequest) []byte {
	if len(r.def.DataSets) > 1 {
		return []byte("PK\x03\x04")
	}
	comma := ","
	if r.design.extension() == "tsv" {
		comma = "\t"
	}
	d := &r.def.DataSets[0]
	var b strings.Builder
	cell := func(i int, text string) {
		if i > 0 {
			b.WriteString(comma)
		}
		b.WriteString(`"` + strings.ReplaceAll(text, `"`, `""`) + `"`)
	}
	for i, c := range d.Columns {
		cell(i, c.Label)
	}
	b.WriteString("\r\n")
	for _, row := range s.reportRows(r.def, d, r.params) {
		m, _ := row.(map[string]any)
		for i, c := range d.Columns {
			text := ""
			if t, err := s.dateOf(c, m[c.Name]); err == nil {
				text = t.In(s.zone).Format(orDefault(r.design.DateFormat, "2006-01-02 15:04:05.0"))
			} else if v := m[c.Name]; v != nil {
				text = fmt.Sprint(v)
			}
			cell(i, text)
		}
		b.WriteString("\r\n")
	}
	return []byte(b.String())
}

func orDefault(a, b string) string {
	if a == "" {
		return b
	}
	return a
}
