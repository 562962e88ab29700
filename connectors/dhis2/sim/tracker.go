package sim

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"
)

// event is a stored event of a program without registration. A deleted one
// stays: its uid can never be used again.
type event struct {
	uid, program, stage, unit string
	aoc                       string
	status                    string
	occurred, scheduled       time.Time
	completed                 time.Time
	completedBy, storedBy     string
	geometry                  any
	assigned                  string
	values                    map[string]*eventValue
	notes                     []eventNote
	created, updated          time.Time
	deleted                   bool
}

type eventValue struct {
	text      string
	elsewhere bool
	storedBy  string
	created   time.Time
	updated   time.Time
}

type eventNote struct{ uid, text string }

// trackerEvent is an event as it is sent.
type trackerEvent struct {
	Event      string          `json:"event"`
	Status     string          `json:"status"`
	Program    ident           `json:"program"`
	Stage      ident           `json:"programStage"`
	Enrollment string          `json:"enrollment"`
	Unit       ident           `json:"orgUnit"`
	Occurred   instant         `json:"occurredAt"`
	Scheduled  instant         `json:"scheduledAt"`
	Completed  instant         `json:"completedAt"`
	StoredBy   string          `json:"storedBy"`
	AOC        ident           `json:"attributeOptionCombo"`
	ACO        json.RawMessage `json:"attributeCategoryOptions"`
	Geometry   any             `json:"geometry"`
	Assigned   *struct {
		UID      string `json:"uid"`
		Username string `json:"username"`
	} `json:"assignedUser"`
	Values []struct {
		Element   ident `json:"dataElement"`
		Value     word  `json:"value"`
		Elsewhere bool  `json:"providedElsewhere"`
	} `json:"dataValues"`
	Notes []struct {
		Note  string `json:"note"`
		Value string `json:"value"`
	} `json:"notes"`
}

// ident is an identifier: text, or an object that names its scheme.
type ident string

func (i *ident) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		var o struct {
			Identifier string `json:"identifier"`
		}
		if err := json.Unmarshal(b, &o); err != nil {
			return err
		}
		*i = ident(o.Identifier)
		return nil
	}
	var s *string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	if s != nil {
		*i = ident(*s)
	}
	return nil
}

// instant is a moment as clients write it; the server's zone is added later.
type instant struct {
	text string
	zone bool
	t    time.Time
}

var instantLayouts = []string{"2006-01-02T15:04:05.999999999", "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"}

func (i *instant) UnmarshalJSON(b []byte) error {
	var s *string
	if err := json.Unmarshal(b, &s); err != nil || s == nil || *s == "" {
		return err
	}
	i.text = *s
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999-0700"} {
		if t, err := time.Parse(layout, *s); err == nil {
			i.t, i.zone = t, true
			return nil
		}
	}
	for _, layout := range instantLayouts {
		if t, err := time.Parse(layout, *s); err == nil {
			i.t = t
			return nil
		}
	}
	return said(fmt.Sprintf("Cannot deserialize value of type `java.time.Instant` from String %q", *s))
}

func (i instant) in(zone *time.Location) time.Time {
	if i.text == "" || i.zone {
		return i.t
	}
	y, m, d := i.t.Date()
	return time.Date(y, m, d, i.t.Hour(), i.t.Minute(), i.t.Second(), i.t.Nanosecond(), zone)
}

// trackerParams are the parameters of a tracker import.
type trackerParams struct {
	strategy, atomic, mode, validation, report string
	async                                      bool
	schemes                                    map[string]string
}

func (p *trackerParams) scheme(which string) string {
	if v := p.schemes[which]; v != "" {
		return v
	}
	return p.schemes["idScheme"]
}

// trackerEnums are the parameters that take one of a few words.
var trackerEnums = []struct {
	name, fallback string
	words          []string
}{
	{"importStrategy", "CREATE_AND_UPDATE", []string{"CREATE", "UPDATE", "CREATE_AND_UPDATE", "DELETE"}},
	{"atomicMode", "ALL", []string{"ALL", "OBJECT"}},
	{"importMode", "COMMIT", []string{"COMMIT", "VALIDATE"}},
	{"validationMode", "FULL", []string{"FULL", "FAIL_FAST", "SKIP"}},
	{"reportMode", "ERRORS", []string{"FULL", "ERRORS", "WARNINGS"}},
	{"flushMode", "AUTO", []string{"OBJECT", "AUTO"}},
}

func (s *Server) trackerParams(r *request) (*trackerParams, *answer) {
	got := map[string]string{}
	for _, e := range trackerEnums {
		v := strings.ToUpper(r.get(e.name))
		if v == "" {
			v = e.fallback
		}
		if !slices.Contains(e.words, v) {
			a := message(http.StatusBadRequest, fmt.Sprintf("Value '%s' is not valid for parameter %s. Valid values are: [%s]", r.get(e.name), e.name, strings.Join(e.words, ", ")))
			return nil, &a
		}
		got[e.name] = v
	}
	p := &trackerParams{strategy: got["importStrategy"], atomic: got["atomicMode"], mode: got["importMode"], validation: got["validationMode"],
		report: got["reportMode"], async: true, schemes: map[string]string{}}
	if a := r.get("async"); a == "false" || s.since(42) && strings.EqualFold(a, "false") {
		p.async = false
	}
	for _, k := range []string{"idScheme", "dataElementIdScheme", "orgUnitIdScheme", "programIdScheme", "programStageIdScheme", "categoryOptionComboIdScheme", "categoryOptionIdScheme"} {
		p.schemes[k] = r.get(k)
	}
	return p, nil
}

// postTracker is POST /api/tracker, for events of programs without registration.
func (s *Server) postTracker(r *request) answer {
	p, refused := s.trackerParams(r)
	if refused != nil {
		return *refused
	}
	in, refused := s.readTracker(r)
	if refused != nil {
		return *refused
	}
	status, body := s.importTracker(r, p, in)
	if !p.async {
		return answer{status: status, body: body}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := body["stats"].(stats)
	j := s.newJob(r, "TRACKER_IMPORT_JOB", "Tracker import started",
		fmt.Sprintf("Import complete with status %s, %d created, %d updated, %d deleted, %d ignored", body["status"], st.Created, st.Updated, st.Deleted, st.Ignored), "", body)
	return envelope(http.StatusOK, "OK", "Tracker job added", record{"responseType": "TrackerJob", "id": j.id, "location": "http://" + r.Host + "/api/tracker/jobs/" + j.id})
}

func (s *Server) readTracker(r *request) ([]*trackerEvent, *answer) {
	bad := func(text string) *answer {
		a := message(http.StatusBadRequest, text)
		return &a
	}
	body, err := unpacked(r)
	if err != nil {
		return nil, bad(err.Error())
	}
	var in struct {
		Events      []*trackerEvent   `json:"events"`
		Entities    []json.RawMessage `json:"trackedEntities"`
		Enrollments []json.RawMessage `json:"enrollments"`
	}
	if strings.Contains(r.Header.Get("Content-Type"), "csv") {
		in.Events, err = eventsOfCSV(body)
	} else {
		err = json.Unmarshal(body, &in)
	}
	if err != nil {
		return nil, bad("JSON parse error: " + parserWords(err).Error())
	}
	if len(in.Entities)+len(in.Enrollments) > 0 {
		return nil, bad("the simulator knows no tracked entities and no enrollments: only events of programs without registration")
	}
	for _, e := range in.Events {
		if e.Event != "" && !uidPattern.MatchString(e.Event) && s.since(42) {
			return nil, bad("JSON parse error: Cannot construct instance of `org.hisp.dhis.common.UID`, problem: " +
				"UID must be an alphanumeric string of 11 characters starting with a letter, but was: " + e.Event)
		}
	}
	return in.Events, nil
}

// eventsOfCSV reads one row for each data value.
func eventsOfCSV(body []byte) ([]*trackerEvent, error) {
	rows, err := csv.NewReader(bytes.NewReader(body)).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, errors.New("the file is empty")
	}
	byUID := map[string]*trackerEvent{}
	var out []*trackerEvent
	for _, row := range rows[1:] {
		m := record{}
		for i, name := range rows[0] {
			if i < len(row) && row[i] != "" {
				m[name] = row[i]
			}
		}
		element, value := m["dataElement"], m["value"]
		for k := range m {
			if !slices.Contains([]string{"event", "status", "program", "programStage", "orgUnit", "occurredAt", "scheduledAt", "completedAt", "attributeOptionCombo"}, k) {
				delete(m, k)
			}
		}
		if element != nil {
			m["dataValues"] = []any{record{"dataElement": element, "value": value}}
		}
		b, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		e := &trackerEvent{}
		if err := json.Unmarshal(b, e); err != nil {
			return nil, err
		}
		if known := byUID[e.Event]; known != nil && e.Event != "" {
			known.Values = append(known.Values, e.Values...)
			continue
		}
		byUID[e.Event] = e
		out = append(out, e)
	}
	return out, nil
}

// importTracker validates and writes.
func (s *Server) importTracker(r *request, p *trackerParams, in []*trackerEvent) (int, record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rep := s.newReport()
	var good []*trackerWork
	refused := 0
	for n, e := range in {
		if e.Event == "" {
			s.data.eventsSeq++
			e.Event = derivedUID("event", s.opt.SystemID, fmt.Sprint(s.data.eventsSeq))
		}
		w := &trackerWork{s: s, r: r, p: p, e: e, old: s.data.events[e.Event], rep: rep, index: n}
		before := len(rep.Errors)
		if p.validation == "SKIP" {
			w.preheat()
		} else {
			w.validate()
		}
		if len(rep.Errors) > before {
			refused++
			continue
		}
		good = append(good, w)
	}
	// The server keeps its errors in a hash set.
	rand.Shuffle(len(rep.Errors), func(i, j int) { rep.Errors[i], rep.Errors[j] = rep.Errors[j], rep.Errors[i] })
	if p.report == "ERRORS" {
		rep.Warnings = []trackerError{}
	}
	if refused > 0 && p.atomic == "ALL" {
		rep.Stats.Ignored, rep.Stats.Total = len(in), len(in)
		return http.StatusConflict, rep.finished("ERROR", nil)
	}
	rep.Stats.Ignored = refused
	types := map[string]*typeReport{}
	if p.mode == "COMMIT" {
		types = newTypes()
		for _, w := range good {
			w.commit(&rep.Stats, types["EVENT"])
		}
	}
	rep.Stats.Total = rep.Stats.Created + rep.Stats.Updated + rep.Stats.Deleted + rep.Stats.Ignored
	return http.StatusOK, rep.finished("OK", types)
}

// trackerJob is GET /api/tracker/jobs/ID and …/report.
func (s *Server) trackerJob(r *request) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	var j *job
	if len(r.path) >= 3 {
		j = s.jobs[r.path[2]]
	}
	if j != nil && (j.user != r.user.name || j.kind != "TRACKER_IMPORT_JOB") {
		j = nil
	}
	switch {
	case len(r.path) == 3:
		return ok(s.poll(j))
	case len(r.path) == 4 && r.path[3] == "report":
		if j == nil || j.polls <= s.opt.Polls {
			return notFound("Summary for job " + r.path[2] + " does not exist")
		}
		return ok(j.summary)
	}
	return notFound("HTTP 404 Not Found")
}
