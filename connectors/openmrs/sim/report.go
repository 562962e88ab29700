package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// reportSeed is a report definition in a seed document, with what the server
// would find when it evaluates it. Seeding a uuid again replaces it.
type reportSeed struct {
	UUID       string        `json:"uuid"`
	Name       string        `json:"name"`
	Parameters []paramSeed   `json:"parameters"`
	DataSets   []dataSetSeed `json:"dataSets"`
	Designs    []designSeed  `json:"designs"`
	// Epoch: dates are written as milliseconds, as older servers do; NoZone: as
	// text without a zone.
	Epoch  bool `json:"epoch"`
	NoZone bool `json:"noZone"`
	// NoMetadata leaves the columns out.
	NoMetadata bool `json:"noMetadata"`
	// Slow is how long the evaluation takes ("1h"); a request at once waits so
	// long. Polls is how often a report request is looked at before it is ready.
	Slow  string `json:"slow"`
	Polls int    `json:"polls"`
	// Fails: the evaluation fails. Cut ends the answer after so many bytes, though
	// as a whole answer of HTTP. Page answers a web page instead, status 200.
	Fails bool `json:"fails"`
	Cut   int  `json:"cut"`
	Page  bool `json:"page"`

	slow time.Duration
}

type paramSeed struct {
	Name     string `json:"name"`
	Type     string `json:"type"` // "date", else text
	Required bool   `json:"required"`
	// Column filters the rows: only those with this value in it.
	Column string `json:"column"`
}

type dataSetSeed struct {
	UUID    string       `json:"uuid"`
	Name    string       `json:"name"`
	Columns []columnSeed `json:"columns"`
	Rows    []any        `json:"rows"`
	// Of "patients": the rows are the live patients, with the columns of the
	// reference's sample.
	Of string `json:"of"`
	// Generate makes so many rows; each row whose number Bad divides is bad: no
	// object, no uuid, or an empty one, in turn.
	Generate int `json:"generate"`
	Bad      int `json:"bad"`
}

type columnSeed struct {
	Name     string `json:"name"`
	Label    string `json:"label"`
	Datatype string `json:"datatype"`
}

type designSeed struct {
	UUID     string `json:"uuid"`
	Name     string `json:"name"`
	Renderer string `json:"rendererType"`
	// DateFormat is Go's layout of the design's dateFormat; without it dates are
	// written as Java's Timestamp.
	DateFormat string `json:"dateFormat"`
}

// reports are the definitions and what was requested of them. They have a lock
// of their own: looking at a request counts.
type reports struct {
	mu       sync.Mutex
	defs     map[string]*reportSeed
	requests []*reportRequest
	// Evaluated counts evaluations by definition.
	evaluated map[string]int
}

const patientColumns = "personId:Integer familyName:String givenName:String middleName:String gender:String birthdate:Date uuid:String"

func (s *Server) seedReport(def reportSeed) error {
	if def.UUID == "" {
		return fmt.Errorf("a report needs a uuid")
	}
	if def.Slow != "" {
		var err error
		if def.slow, err = time.ParseDuration(def.Slow); err != nil {
			return fmt.Errorf("slow: %w", err)
		}
	}
	for i := range def.DataSets {
		d := &def.DataSets[i]
		if len(d.Columns) == 0 && (d.Of == "patients" || d.Generate > 0) {
			for _, c := range strings.Fields(patientColumns) {
				name, kind, _ := strings.Cut(c, ":")
				pkg := "java.lang."
				if kind == "Date" {
					pkg = "java.util."
				}
				d.Columns = append(d.Columns, columnSeed{name, name, pkg + kind})
			}
		}
		for n := 1; n <= d.Generate; n++ {
			d.Rows = append(d.Rows, generated(n, d.Bad))
		}
	}
	s.reports.mu.Lock()
	defer s.reports.mu.Unlock()
	if s.reports.defs == nil {
		s.reports.defs, s.reports.evaluated = map[string]*reportSeed{}, map[string]int{}
	}
	s.reports.defs[def.UUID] = &def
	return nil
}

// generated is a row of a made-up patient.
func generated(n, bad int) any {
	row := map[string]any{"personId": n, "familyName": fmt.Sprintf("Family%d", n%97), "givenName": fmt.Sprintf("Given%d", n%89), "middleName": "",
		"gender": []string{"M", "F"}[n%2], "birthdate": fmt.Sprintf("19%02d-%02d-%02d", n%100, n%12+1, n%28+1), "uuid": fmt.Sprintf("00000000-0000-4000-8000-%012d", n)}
	if bad > 0 && n%bad == 0 {
		switch n / bad % 3 {
		case 0:
			return nil
		case 1:
			delete(row, "uuid")
		default:
			row["uuid"] = " "
		}
	}
	return row
}

// Evaluations tells how often a report was evaluated.
func (s *Server) Evaluations(uuid string) int {
	s.reports.mu.Lock()
	defer s.reports.mu.Unlock()
	return s.reports.evaluated[uuid]
}

const reporting = "reportingrest"

// reportsOf answers what is below reportingrest. It is asked without the store's
// lock, because an evaluation takes its time.
func (s *Server) reportsOf(req *request) (*result, *failure) {
	p, post := req.path, req.Method == http.MethodPost
	switch {
	case len(p) == 3 && p[1] == "reportdata" && req.Method != http.MethodDelete:
		return s.evaluate(req, p[2], "")
	case len(p) == 3 && p[1] == "dataSet" && req.Method != http.MethodDelete:
		return s.evaluate(req, "", p[2])
	case len(p) == 3 && p[1] == "cohort" && req.Method != http.MethodDelete:
		return s.evaluateCohort(req, p[2])
	case len(p) == 2 && p[1] == "reportRequest" && post:
		return s.requestReport(req)
	case len(p) == 2 && p[1] == "reportRequest":
		return s.listRequests(req)
	case len(p) == 3 && p[1] == "reportRequest" && !post:
		return s.oneRequest(req, p[2])
	case len(p) == 2 && p[1] == "downloadReport" && !post:
		return s.downloadReport(req)
	case len(p) == 2 && p[1] == "reportDesign" && !post:
		return s.listDesigns(req)
	}
	return nil, unknownResource(strings.Join(p, "/"))
}

func (s *Server) report(uuid string) *reportSeed {
	s.reports.mu.Lock()
	defer s.reports.mu.Unlock()
	return s.reports.defs[uuid]
}

// evaluate evaluates a report, or a data set by itself, while the request waits.
func (s *Server) evaluate(req *request, report, dataSet string) (*result, *failure) {
	def := s.report(report)
	if dataSet != "" {
		def = s.ofDataSet(dataSet)
	}
	if def == nil {
		return nil, notFound()
	}
	if req.rep.mode != "default" {
		return nil, conversion("Don't know how to get reportData as " + req.rep.mode)
	}
	params, f := s.parameters(def, func(name string) (any, bool) {
		if q := req.URL.Query(); q.Has(name) && !slices.Contains(special, name) {
			return q.Get(name), true
		}
		v, ok := req.body[name]
		return v, ok
	}, "Missing parameter: %s", "org.openmrs.module.reportingrest.web.resource.EvaluatedResource:153")
	if f != nil {
		return nil, f
	}
	if def.slow > 0 {
		select {
		case <-req.Context().Done(): // the server works on; nobody gets the answer
		case <-time.After(def.slow):
		}
	}
	s.count(def)
	if def.Fails {
		return nil, &failure{status: 500, text: "Failed to evaluate report definition", code: "org.openmrs.module.reportingrest.web.resource.EvaluatedReportDefinitionResource:118"}
	}
	if def.Page {
		return &result{status: 200, body: []byte("<!doctype html><html><head><title>Login</title></head><body></body></html>")}, nil
	}
	var sets []any
	for i := range def.DataSets {
		if d := &def.DataSets[i]; dataSet == "" || d.UUID == dataSet {
			sets = append(sets, s.dataSet(req, def, d, params))
		}
	}
	var body any = sets[0]
	if dataSet == "" {
		body = ordered{{"uuid", def.UUID}, {"dataSets", sets}, {"context", s.evaluation(params)},
			{"definition", s.definition(req, "reportDefinition", def.UUID, def.Name)}, {"links", selfLink(req, "reportingrest/reportdata/"+def.UUID)}, {"resourceVersion", "1.8"}}
	}
	return &result{status: 200, body: def.cut(encodeJSON(body))}, nil
}

func (d *reportSeed) cut(b []byte) []byte {
	if d.Cut > 0 && d.Cut < len(b) {
		return b[:d.Cut]
	}
	return b
}

func (s *Server) count(def *reportSeed) {
	s.reports.mu.Lock()
	defer s.reports.mu.Unlock()
	s.reports.evaluated[def.UUID]++
}

func (s *Server) ofDataSet(uuid string) *reportSeed {
	s.reports.mu.Lock()
	defer s.reports.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(s.reports.defs)) {
		for _, d := range s.reports.defs[id].DataSets {
			if d.UUID == uuid {
				return s.reports.defs[id]
			}
		}
	}
	return nil
}

// evaluateCohort gives the live patients as a cohort's members: references whose
// display is empty (EvaluatedCohortResource.getMembers).
func (s *Server) evaluateCohort(req *request, uuid string) (*result, *failure) {
	def := s.report(uuid)
	if def == nil {
		return nil, notFound()
	}
	s.count(def)
	members := []any{}
	for _, p := range s.livePatients() {
		members = append(members, ordered{{"uuid", p.uuid}, {"display", ""}, {"links", selfLink(req, "patient/"+p.uuid)}})
	}
	return &result{status: 200, body: def.cut(encodeJSON(ordered{{"uuid", def.UUID}, {"definition", s.definition(req, "cohortDefinition", def.UUID, def.Name)},
		{"members", members}, {"links", selfLink(req, "reportingrest/cohort/"+def.UUID)}, {"resourceVersion", "1.8"}}))}, nil
}

func (s *Server) livePatients() []*patient {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []*patient
	for _, p := range s.data.patients {
		if !p.voided {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *patient) int { return a.person.seq - b.person.seq })
	return out
}

// parameters takes those that the definition declares; others are ignored.
func (s *Server) parameters(def *reportSeed, given func(name string) (any, bool), missing, code string) (map[string]any, *failure) {
	out := map[string]any{}
	for _, p := range def.Parameters {
		v, ok := given(p.Name)
		if !ok || v == nil || v == "" {
			if p.Required {
				return nil, &failure{status: 500, text: fmt.Sprintf(missing, p.Name), code: code}
			}
			continue
		}
		out[p.Name] = v
		if p.Type == "date" {
			t, err := s.parseDate(plain(v))
			if err != nil {
				return nil, conversion(badDate)
			}
			out[p.Name] = t
		}
	}
	return out, nil
}

// evaluation is the context as EvaluationContextConverter shows it.
func (s *Server) evaluation(params map[string]any) any {
	values := map[string]any{}
	for name, v := range params {
		values[name] = s.shown(v)
	}
	return ordered{{"evaluationId", 1}, {"evaluationDate", s.now().In(s.zone).Format(outLayout)}, {"evaluationLevel", 1}, {"limit", nil},
		{"baseCohort", nil}, {"contextValues", map[string]any{}}, {"parameterValues", values}}
}

func (s *Server) shown(v any) any {
	if t, ok := v.(time.Time); ok {
		return t.In(s.zone).Format(outLayout)
	}
	return v
}

func (s *Server) definition(req *request, kind, uuid, name string) any {
	d := ordered{{"uuid", uuid}}
	if kind == "reportDefinition" {
		d = append(d, pair{"name", name})
	}
	return append(d, pair{"display", name}, pair{"links", selfLink(req, "reporting/"+kind+"/"+uuid)}, pair{"resourceVersion", "1.8"})
}

func selfLink(req *request, path string) any {
	return []any{ordered{{"rel", "self"}, {"uri", req.inner + marker + path}}}
}

func (s *Server) dataSet(req *request, def *reportSeed, d *dataSetSeed, params map[string]any) any {
	columns := []any{}
	for _, c := range d.Columns {
		columns = append(columns, ordered{{"name", c.Name}, {"label", c.Label}, {"datatype", c.Datatype}, {"display", c.Label}})
	}
	out := ordered{{"uuid", d.UUID}}
	if !def.NoMetadata {
		out = append(out, pair{"metadata", ordered{{"columns", columns}}})
	}
	rows := []any{}
	for _, row := range s.reportRows(def, d, params) {
		rows = append(rows, s.wireRow(def, d, row))
	}
	return append(out, pair{"rows", rows}, pair{"definition", s.definition(req, "dataSetDefinition", d.UUID, d.Name)},
		pair{"links", selfLink(req, "reportingrest/dataSet/"+d.UUID)}, pair{"resourceVersion", "1.8"})
}

// reportRows are the rows of a data set as they are now, with dates as they
// were seeded.
func (s *Server) reportRows(def *reportSeed, d *dataSetSeed, params map[string]any) []any {
	rows := d.Rows
	if d.Of == "patients" {
		rows = nil
		for _, p := range s.livePatients() {
			s.mu.RLock()
			name := preferred(p.person.names)
			row := map[string]any{"personId": p.person.seq, "familyName": name.text("familyName"), "givenName": name.text("givenName"),
				"middleName": name.text("middleName"), "gender": p.person.gender, "birthdate": nil, "uuid": p.uuid}
			if b := p.person.birthdate; !b.IsZero() {
				row["birthdate"] = b.In(s.zone).Format(time.DateOnly)
			}
			s.mu.RUnlock()
			rows = append(rows, row)
		}
	}
	return slices.DeleteFunc(slices.Clone(rows), func(row any) bool {
		m, ok := row.(map[string]any)
		for _, p := range def.Parameters {
			if want, given := params[p.Name]; ok && given && p.Column != "" && m[p.Column] != want {
				return true
			}
		}
		return false
	})
}

// wireRow writes the dates of a row as the server's version does.
func (s *Server) wireRow(def *reportSeed, d *dataSetSeed, row any) any {
	m, ok := row.(map[string]any)
	if !ok {
		return row
	}
	out := maps.Clone(m)
	for _, c := range d.Columns {
		t, err := s.dateOf(c, m[c.Name])
		switch {
		case err != nil:
		case def.Epoch:
			out[c.Name] = t.UnixMilli()
		case def.NoZone:
			out[c.Name] = t.In(s.zone).Format("2006-01-02T15:04:05.000")
		default:
			out[c.Name] = t.In(s.zone).Format(outLayout)
		}
	}
	return out
}

func (s *Server) dateOf(c columnSeed, v any) (time.Time, error) {
	text, ok := v.(string)
	if !ok || !strings.HasSuffix(c.Datatype, "Date") && !strings.HasSuffix(c.Datatype, "Timestamp") {
		return time.Time{}, errDate
	}
	return s.parseDate(text)
}

// ordered is an object whose properties keep their order.
type ordered []pair

type pair struct {
	name  string
	value any
}

// MarshalJSON writes the properties in their order.
func (o ordered) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, p := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(encodeJSON(p.name))
		b.WriteByte(':')
		b.Write(encodeJSON(p.value))
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func encodeJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("sim: " + err.Error())
	}
	return b
}

// resultsOf is a list as REST gives it.
func resultsOf(list []any, q url.Values) *result {
	if list == nil {
		list = []any{}
	}
	body := map[string]any{"results": list}
	if q.Get("totalCount") == "true" {
		body["totalCount"] = len(list)
	}
	return &result{status: 200, body: encodeJSON(body)}
}
