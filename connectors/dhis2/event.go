package dhis2

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/period"
	"github.com/kiungo-health/kiungo/internal/record"
)

var eventSpec = connector.KindSpec{
	Name: "Event", Lasts: true,
	About: "One event of a program without registration: what one form says, without a person. It is made under an identifier that follows from its document, " +
		"so that a repeat is the same event. The identifier of a deleted event is used up in DHIS2 for ever: a document that comes back is a new event.",
	ByDefault: "by the identifier that an earlier message of the same document made",
	Finds: []connector.FieldSpec{
		{Name: "uid", Type: connector.Text, About: "UID of the event."},
	},
	Fields: []connector.FieldSpec{
		{Name: "program", Type: connector.Text, Required: true, About: "Program without registration, by UID or code."},
		{Name: "programStage", Type: connector.Text, About: "Its stage, by UID or code; may be left out where there is one only."},
		{Name: "orgUnit", Type: connector.Text, Required: true, About: "Organisation unit, by UID or code; the program must be assigned to it."},
		{Name: "at", Type: connector.Day, Required: true, About: "Date of the event. A moment is of the day that it was in the programme's zone."},
		{Name: "status", Type: connector.Text, About: "ACTIVE, COMPLETED, SCHEDULE, OVERDUE or SKIPPED; else COMPLETED."},
		{Name: "attributeOptionCombo", Type: connector.Text, About: "Attribute option combination, by UID or code; needed only where the program has a category combination of its own."},
		{Name: "coordinates", Type: connector.Any, About: "Where it was: longitude and latitude, or [longitude,latitude], or the answer to a GPS question (latitude, longitude, …)."},
		{Name: "dataValues", Type: connector.Object, List: true, Key: []string{"dataElement"}, About: "The values. Not given: the row is left out.",
			Fields: []connector.FieldSpec{
				{Name: "dataElement", Type: connector.Text, Required: true, About: "Data element of the program stage, by UID or code."},
				{Name: "value", Type: connector.Any, About: "Number, yes or no, text, day, moment, or a code of the option set, as the value type asks."},
			}},
	},
	Gives: []connector.FieldSpec{{Name: "uuid", Type: connector.Text, About: "Its id in Kiungo's records; the event's UID follows from it."}},
}

type eventKind struct{ *System }

func (k *eventKind) Spec() *connector.KindSpec { return &eventSpec }

// wireEvent is an event as it crosses the wire.
type wireEvent struct {
	Event        string          `json:"event"`
	Program      string          `json:"program,omitempty"`
	Stage        string          `json:"programStage,omitempty"`
	Unit         string          `json:"orgUnit,omitempty"`
	Occurred     string          `json:"occurredAt,omitempty"`
	Scheduled    string          `json:"scheduledAt,omitempty"`
	Completed    string          `json:"completedAt,omitempty"`
	Status       string          `json:"status,omitempty"`
	Attribute    string          `json:"attributeOptionCombo,omitempty"`
	Geometry     json.RawMessage `json:"geometry,omitempty"`
	AssignedUser json.RawMessage `json:"assignedUser,omitempty"`
	Deleted      bool            `json:"deleted,omitempty"`
	Updated      string          `json:"updatedAt,omitempty"`
	UpdatedBy    *struct {
		Username string `json:"username"`
	} `json:"updatedBy,omitempty"`
	Values []eventValue `json:"dataValues,omitempty"`
}

// eventValue is one value; null takes one away.
type eventValue struct {
	DataElement string `json:"dataElement"`
	Value       any    `json:"value"`
}

const eventFields = "event,program,programStage,orgUnit,occurredAt,scheduledAt,completedAt,status,attributeOptionCombo,geometry,assignedUser," +
	"deleted,updatedAt,updatedBy,dataValues[dataElement,value]"

// readEvent makes the request that reads an event, deleted or not: the address
// of one event (/tracker/events/UID) says 404 of a deleted one. 2.41 calls the
// parameter events, and 2.42 knows no other.
func readEvent(uid string, v Version) call.Request {
	param := "events"
	if v.before(41) {
		param = "event"
	}
	return read(trackerPath+"/events", param, uid, "includeDeleted", "true", "fields", eventFields)
}

// decodeEvent finds one event in a list: "instances" up to 2.40, "events" from
// 2.41 on. A server that does not know the parameter answers others too.
func decodeEvent(a call.Answer, uid string) (*wireEvent, error) {
	if a.Status == http.StatusNotFound {
		return nil, nil
	}
	var body struct {
		Instances []*wireEvent `json:"instances"`
		Events    []*wireEvent `json:"events"`
	}
	if err := json.Unmarshal(a.Body, &body); err != nil {
		return nil, fmt.Errorf("read the event that DHIS2 sent: %w", err)
	}
	for _, e := range append(body.Instances, body.Events...) {
		if e != nil && e.Event == uid {
			return e, nil
		}
	}
	return nil, nil
}

// valuePath is the path of one value of an event.
func valuePath(element string) string { return "dataValues/" + element }

// scalars are the fields of an event that an update must send all: what is left
// out is emptied, data values apart.
var scalars = []string{"program", "programStage", "orgUnit", "at", "status", "attributeOptionCombo", "coordinates"}

// fields makes an event canonical; wants are whose paths are given as empty where
// nothing is there.
func (w *wireEvent) fields(wants ...record.Fields) record.Fields {
	f := record.Fields{"uid": w.Event, "program": w.Program, "programStage": w.Stage, "orgUnit": w.Unit, "at": cut(w.Occurred),
		"status": cmp.Or(strings.Replace(w.Status, "VISITED", "ACTIVE", 1), "ACTIVE"), "attributeOptionCombo": w.Attribute, "coordinates": point(w.Geometry)}
	for _, want := range wants {
		for path := range want {
			if strings.HasPrefix(path, "dataValues/") {
				f[path] = ""
			}
		}
	}
	for _, v := range w.Values {
		if t, ok := text(v.Value); ok {
			f[valuePath(v.DataElement)] = t
		}
	}
	return f
}

// point writes a geometry canonically: "[36.8,-1.28]"; another than a point is
// given as it is.
func point(geometry json.RawMessage) string {
	var g struct {
		Type string    `json:"type"`
		At   []float64 `json:"coordinates"`
	}
	if len(geometry) == 0 || string(geometry) == "null" {
		return ""
	}
	if json.Unmarshal(geometry, &g) != nil || g.Type != "Point" || len(g.At) < 2 {
		return string(geometry)
	}
	return pointText(g.At[0], g.At[1])
}

func pointText(lng, lat float64) string {
	return "[" + strconv.FormatFloat(lng, 'f', -1, 64) + "," + strconv.FormatFloat(lat, 'f', -1, 64) + "]"
}

// geometry is point the other way round.
func geometry(canon string) json.RawMessage {
	lng, lat, ok := pointOf(canon)
	if !ok {
		return json.RawMessage(canon)
	}
	return json.RawMessage(`{"type":"Point","coordinates":` + pointText(lng, lat) + `}`)
}

// byUs tells whether our own user changed the event last. A server that does not
// say so leaves it open, and a person decides.
func (s *System) byUs(w *wireEvent) bool {
	us := s.userName()
	return us != "" && w.UpdatedBy != nil && w.UpdatedBy.Username == us
}

// Find looks an event up by its identifier. Events have no other: two forms may
// say the same of the same day.
func (k *eventKind) Find(ctx context.Context, do call.Doer, q connector.Query) (connector.Found, error) {
	v, err := k.versionOf(ctx, do)
	if err != nil {
		return connector.Found{}, err
	}
	if _, err := k.meta.me(ctx, do); err != nil { // tells our own deletions from people's
		return connector.Found{}, err
	}
	type try struct{ id, how string }
	tries := []try{{q.Made, "made before"}}
	for _, by := range q.By {
		if id, _ := text(by["uid"]); IsUID(id) {
			tries = append(tries, try{id, "uid"})
		}
	}
	tries = append(tries, try{q.ID, "made by an earlier try"})
	for i, t := range tries {
		if t.id == "" || i > 0 && UID(t.id) == UID(q.Made) {
			continue
		}
		a, err := do.Do(ctx, "read event", readEvent(UID(t.id), v))
		if err != nil {
			return connector.Found{}, err
		}
		w, err := decodeEvent(a, UID(t.id))
		if err != nil {
			return connector.Found{}, err
		}
		if w != nil {
			return k.asFound(w, t.id, t.how, q), nil
		}
	}
	return connector.Found{}, nil
}

// asFound keeps the id by which the core knows the event.
func (k *eventKind) asFound(w *wireEvent, id, how string, q connector.Query) connector.Found {
	f := connector.Found{ID: id, How: how}
	for _, layout := range []string{"2006-01-02T15:04:05.000", time.RFC3339, "2006-01-02T15:04:05"} {
		if at, err := time.ParseInLocation(layout, w.Updated, k.zone); err == nil {
			f.Changed = at.UTC()
			break
		}
	}
	if w.Deleted {
		f.Voided, f.ByUs = true, k.byUs(w)
		return f
	}
	f.Exists, f.Fields = true, w.fields(q.Base, q.Wanted)
	if raw, err := json.Marshal(w); err == nil {
		f.Rows = map[string]string{"event": string(raw)}
	}
	return f
}

// statuses are what an event's status may be; VISITED is ACTIVE from 2.42 on.
var statuses = []string{"ACTIVE", "COMPLETED", "SCHEDULE", "OVERDUE", "SKIPPED"}

// Canon checks a wanted event.
func (k *eventKind) Canon(ctx context.Context, do call.Doer, wanted map[string]any) (record.Fields, []connector.Problem, error) {
	c := newCanoner()
	for _, name := range keysOf(wanted) {
		if !slices.ContainsFunc(eventSpec.Fields, func(f connector.FieldSpec) bool { return f.Name == name }) {
			c.problem(name, "field", "is not a field of an event")
		}
	}
	p, stage, err := k.stage(ctx, do, c, wanted)
	if err != nil {
		return nil, nil, err
	}
	unit, err := k.orgUnit(ctx, do, c, wanted["orgUnit"])
	if err != nil {
		return nil, nil, err
	}
	if unit != nil && p != nil && !p.assigned(unit.ID) {
		c.problem("orgUnit", "assignment", "the program %s is not assigned to %s: assign it in DHIS2", p.title(), unit.title())
	}
	if v := wanted["at"]; !c.plain("at", v) {
		t, _ := text(v)
		d, err := k.day(t)
		if err != nil {
			c.problem("at", "day", "must be a day such as 2024-06-03")
		} else {
			c.fields["at"] = d.String()
			if unit != nil {
				unit.openOn(c, d, d)
			}
			if d > period.DayOf(k.serverNow().In(k.zone)) && !planned(wanted["status"]) {
				c.problem("at", "future", "is later than today by the server's clock: only an event with status SCHEDULE may be")
			}
		}
	}
	if v := wanted["status"]; !c.plain("status", v) {
		t, _ := text(v)
		if t = strings.ToUpper(t); !slices.Contains(statuses, t) {
			c.problem("status", "option", "must be one of %s", strings.Join(statuses, ", "))
		}
		c.fields["status"] = t
	}
	k.coordinates(c, wanted["coordinates"])
	if stage != nil {
		err = k.values(ctx, do, c, stage, wanted["dataValues"])
	} else if p == nil && wanted["dataValues"] != nil && len(c.problems) == 0 {
		c.problem("program", "required", "is missing: data values are checked by the program's stage")
	}
	return c.fields, c.problems, err
}

// planned tells whether an event of this status may be in the future.
func planned(status any) bool {
	t, _ := text(status)
	return slices.Contains([]string{"SCHEDULE", "OVERDUE", "SKIPPED"}, strings.ToUpper(t))
}

// stage resolves program, stage and attribute option combination.
func (k *eventKind) stage(ctx context.Context, do call.Doer, c *canoner, wanted map[string]any) (*Program, *Stage, error) {
	p, ok, err := lookup(c, "program", "program", wanted["program"], func(ref string) (*Program, error) { return k.meta.program(ctx, do, ref) })
	if err != nil || !ok {
		return nil, nil, err
	}
	c.fields["program"] = p.ID
	if p.Type != "" && p.Type != "WITHOUT_REGISTRATION" {
		c.problem("program", "program-type", "%s registers people: only programs without registration take such events", p.title())
		return p, nil, nil
	}
	if w := p.Access.Data.Write; w != nil && !*w {
		c.problem("program", "sharing", "the user may not write data of %s: give data-write sharing on it", p.title())
	}
	aoc, err := k.attribute(ctx, do, c, p.Combo.ID, wanted["attributeOptionCombo"])
	if err != nil {
		return nil, nil, err
	}
	if aoc != "" {
		c.fields["attributeOptionCombo"] = aoc
	}
	ref, _ := text(wanted["programStage"])
	if ref == "" && len(p.Stages) == 1 {
		ref = p.Stages[0].ID
	}
	stage, ok := p.stage(ref)
	if !ok {
		c.problem("programStage", "metadata", "%q is not a stage of the program %s", ref, p.title())
		return p, nil, nil
	}
	c.fields["programStage"] = stage.ID
	return p, stage, nil
}

// values checks the rows of data values. DHIS2 drops a data element that is not
// in the stage, or refuses the event for it.
func (k *eventKind) values(ctx context.Context, do call.Doer, c *canoner, stage *Stage, v any) error {
	for i, row := range c.rows("dataValues", v, "dataElement", "value") {
		name, _ := text(row["dataElement"])
		e, ok := stage.element(name)
		if !ok {
			c.problem(fmt.Sprintf("dataValues[%d]/dataElement", i+1), "data-element", "%q is not a data element of the program stage %s", name, stage.title())
			continue
		}
		if err := k.value(ctx, do, c, valuePath(e.ID), e, row["value"]); err != nil {
			return err
		}
	}
	return nil
}

// coordinates reads where it was.
func (k *eventKind) coordinates(c *canoner, v any) {
	if c.plain("coordinates", v) {
		return
	}
	var lng, lat float64
	ok := false
	switch v := v.(type) {
	case map[string]any:
		x, okX := number(v["longitude"])
		y, okY := number(v["latitude"])
		lng, lat, ok = x, y, okX && okY
	case string:
		if lng, lat, ok = pointOf(strings.TrimSpace(v)); !ok {
			// The answer to a GPS question: latitude, longitude, altitude, accuracy.
			if parts := strings.Fields(v); len(parts) >= 2 {
				x, okX := number(parts[1])
				y, okY := number(parts[0])
				lng, lat, ok = x, y, okX && okY
			}
		}
	}
	if !ok || lng < -180 || lng > 180 || lat < -90 || lat > 90 {
		c.problem("coordinates", "coordinate", "must be a longitude from -180 to 180 and a latitude from -90 to 90")
		return
	}
	c.fields["coordinates"] = pointText(lng, lat)
}

func number(v any) (float64, bool) {
	t, ok := text(v)
	if !ok {
		return 0, false
	}
	f, err := strconv.ParseFloat(t, 64)
	return f, err == nil
}
