package sim

import (
	"encoding/json"
	"fmt"
	"time"
)

// legacyEvent is an event as POST /api/events takes it.
type legacyEvent struct {
	Event     string  `json:"event"`
	Program   string  `json:"program"`
	Stage     string  `json:"programStage"`
	Unit      string  `json:"orgUnit"`
	Date      instant `json:"eventDate"`
	Status    string  `json:"status"`
	Completed instant `json:"completedDate"`
	StoredBy  string  `json:"storedBy"`
	Geometry  any     `json:"geometry"`
	Values    []struct {
		Element string `json:"dataElement"`
		Value   word   `json:"value"`
	} `json:"dataValues"`
}

type summaries struct {
	ResponseType string           `json:"responseType"`
	Status       string           `json:"status"`
	Imported     int              `json:"imported"`
	Updated      int              `json:"updated"`
	Deleted      int              `json:"deleted"`
	Ignored      int              `json:"ignored"`
	Options      *importOptions   `json:"importOptions"`
	Summaries    []*legacySummary `json:"importSummaries"`
	Total        int              `json:"total"`
}

type legacySummary struct {
	ResponseType string      `json:"responseType"`
	Status       string      `json:"status"`
	Description  string      `json:"description,omitempty"`
	Count        importCount `json:"importCount"`
	Conflicts    []conflict  `json:"conflicts"`
	Reference    string      `json:"reference,omitempty"`
	Href         string      `json:"href,omitempty"`
}

func legacyBody(body []byte) ([]*legacyEvent, error) {
	var many struct {
		Events []*legacyEvent `json:"events"`
	}
	if err := json.Unmarshal(body, &many); err != nil {
		return nil, err
	}
	if many.Events != nil {
		return many.Events, nil
	}
	one := &legacyEvent{}
	return []*legacyEvent{one}, json.Unmarshal(body, one)
}

// legacyOne imports one event; data elements outside the stage are dropped with
// no more than a text.
func (s *Server) legacyOne(r *request, e *legacyEvent, o *importOptions) *legacySummary {
	out := &legacySummary{ResponseType: "ImportSummary", Status: "SUCCESS", Conflicts: []conflict{}, Reference: e.Event}
	refuse := func(text string) *legacySummary {
		out.Status, out.Description, out.Count.Ignored = "ERROR", text, 1
		return out
	}
	m := s.model
	program, known := m.programs.find(o.scheme("programIdScheme"), e.Program)
	if !known {
		return refuse("Event.program does not point to a valid program: " + e.Program)
	}
	unit, known := m.units.find(o.scheme("orgUnitIdScheme"), e.Unit)
	if !known {
		return refuse("Event.orgUnit does not point to a valid organisation unit: " + e.Unit)
	}
	st := m.stages.id[e.Stage]
	if st == nil && len(program.stages) > 0 {
		st = m.stages.id[program.stages[0]]
	}
	if st == nil {
		return refuse("Event.programStage does not point to a valid programStage: " + e.Stage)
	}
	if !program.units[unit.id] {
		return refuse("Program is not assigned to this Organisation Unit: " + unit.id)
	}
	if e.Date.text == "" {
		return refuse("Event date is required. ")
	}
	old := s.data.events[e.Event]
	if old != nil && (old.deleted || o.ImportStrategy == "CREATE") {
		return refuse("Event " + e.Event + " already exists or was deleted earlier")
	}
	values := map[string]*eventValue{}
	now := s.now()
	for _, v := range e.Values {
		d, has := m.elements.find(o.scheme("dataElementIdScheme"), v.Element)
		if !has || st.elements[d.id] == nil {
			out.Status, out.Description = "WARNING", "Data element "+v.Element+" doesn't exist in the program stage"
			continue
		}
		if key := s.badValue(d.valueType, v.Value.text); key != "" {
			out.Status = "WARNING"
			out.Conflicts = append(out.Conflicts, conflict{Object: v.Element, Value: key})
			continue
		}
		if v.Value.set {
			values[d.id] = &eventValue{v.Value.text, false, r.user.name, now, now}
		}
	}
	s.legacyWrite(r, e, old, &event{program: program.id, stage: st.id, unit: unit.id, values: values, created: now, updated: now}, out)
	out.Href = "http://" + r.Host + "/api/events/" + out.Reference
	return out
}

func (s *Server) legacyWrite(r *request, e *legacyEvent, old, made *event, out *legacySummary) {
	made.uid = e.Event
	if made.uid == "" {
		s.data.eventsSeq++
		made.uid = derivedUID("event", s.opt.SystemID, fmt.Sprint(s.data.eventsSeq))
	}
	made.aoc, made.status, made.occurred, made.geometry, made.storedBy = s.model.fallback.id, e.Status, e.Date.in(s.zone), e.Geometry, e.StoredBy
	if made.status == "" {
		made.status = "ACTIVE"
	}
	if made.storedBy == "" {
		made.storedBy = r.user.name
	}
	if made.status == "COMPLETED" {
		made.completed, made.completedBy = e.Completed.in(s.zone), r.user.name
		if made.completed.Equal(time.Time{}) {
			made.completed = made.updated
		}
	}
	out.Reference = made.uid
	out.Count.Imported = 1
	if old != nil {
		made.created = old.created
		out.Count.Imported, out.Count.Updated = 0, 1
	}
	s.data.events[made.uid] = made
}
