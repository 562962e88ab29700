package dhis2

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

type eventBody struct {
	Events []wireEvent `json:"events"`
}

// importEvent makes the request that imports one event. async=false is spelled
// so: up to 2.41 anything else is imported in the background. The strategy is
// always sent: the documentation is wrong about its default.
func importEvent(w wireEvent) (call.Request, error) {
	r, err := post(trackerPath, eventBody{[]wireEvent{w}}, false)
	r.Query["atomicMode"] = []string{"ALL"}
	return r, err
}

func deleteEvent(uid string) (call.Request, error) {
	r, err := importEvent(wireEvent{Event: uid})
	r.Query["importStrategy"] = []string{"DELETE"}
	return r, err
}

// Calls makes, changes or deletes an event.
func (k *eventKind) Calls(ctx context.Context, do call.Doer, c connector.Change) ([]call.Call, error) {
	v, err := k.versionOf(ctx, do)
	if err != nil {
		return nil, err
	}
	switch {
	case c.Remove:
		return k.remove(v, c)
	case c.Found == nil:
		return k.create(v, c)
	}
	return k.update(v, c)
}

func (k *eventKind) check(uid string, v Version, want, pre record.Fields) *call.Check {
	return &call.Check{Read: readEvent(uid, v), As: "event", Key: uid, Want: want, Pre: pre}
}

// create makes the event under the identifier that follows from its id.
func (k *eventKind) create(v Version, c connector.Change) ([]call.Call, error) {
	for _, path := range []string{"program", "programStage", "orgUnit", "at"} {
		if record.Empty(c.Write[path]) {
			return nil, k.refused("create event", "an event cannot be made without %s", path)
		}
	}
	uid := UID(c.ID)
	want := settled(c.Write)
	if record.Empty(want["status"]) {
		want["status"] = "COMPLETED"
	}
	w := wireEvent{Event: uid}
	w.take(want)
	for _, path := range want.Paths() {
		if element, ok := strings.CutPrefix(path, "dataValues/"); ok {
			w.Values = append(w.Values, eventValue{element, want[path]})
		}
	}
	send, err := importEvent(w)
	if err != nil {
		return nil, err
	}
	undo, err := deleteEvent(uid)
	if err != nil {
		return nil, err
	}
	check := k.check(uid, v, want, nil)
	ours := record.Fields{"ours": true}
	return []call.Call{{
		Name: c.Record + ".create", Target: uid, About: "create the event " + uid, Request: send,
		Repeat: call.Safe, Reversal: call.Exact, Check: check, Await: await(check),
		Undo: &call.Undo{Request: undo, Voids: true, Guards: []call.Check{
			// A value that a person added would be deleted with the event.
			{Read: check.Read, As: "ours", Key: uid, Want: ours, Pre: ours},
		}},
	}}, nil
}

func await(check *call.Check) *call.Await {
	return &call.Await{Check: *check, Every: awaitEvery, Until: awaitUntil}
}

// settled is what can be compared after a create: what was left empty is not.
func settled(f record.Fields) record.Fields {
	out := record.Fields{}
	for path, v := range f {
		if !record.Empty(v) && !record.Unknown(v) {
			out[path] = v
		}
	}
	return out
}

// take puts canonical fields into an event, data values apart.
func (w *wireEvent) take(f record.Fields) {
	for path, into := range map[string]*string{"program": &w.Program, "programStage": &w.Stage, "orgUnit": &w.Unit,
		"status": &w.Status, "attributeOptionCombo": &w.Attribute} {
		if v, ok := f[path]; ok {
			*into, _ = v.(string)
		}
	}
	if v, ok := f["at"].(string); ok && v != cut(w.Occurred) {
		w.Occurred = v // one that is right keeps its time of the day
	}
	if v, ok := f["coordinates"]; ok {
		w.Geometry = nil
		if t, _ := v.(string); t != "" {
			w.Geometry = geometry(t)
		}
	}
	if planned(w.Status) && w.Scheduled == "" {
		w.Scheduled = cut(w.Occurred) // such a one needs it (E1050)
	}
	switch {
	case w.Status != "COMPLETED":
		w.Completed = "" // 2.42 refuses another (E1051)
	case w.Completed == "":
		w.Completed = cut(w.Occurred)
	}
}

// update sends the whole event: DHIS2 empties what is left out, data values
// apart, which stay unless they are named.
//
// Its undo does the same, so a field that is not ours would be put back too: it
// is sent only while all of them are as we left them.
func (k *eventKind) update(v Version, c connector.Change) ([]call.Call, error) {
	uid := UID(c.ID)
	was := wireEvent{}
	if err := json.Unmarshal([]byte(c.Found.Rows["event"]), &was); err != nil {
		return nil, fmt.Errorf("change event %s: what was read of it is missing: %w", uid, err)
	}
	was.Updated, was.UpdatedBy, was.Deleted, was.Values = "", nil, false, nil
	now := was
	now.take(scalarsOf(c.Write))
	want, pre := record.Fields{}, record.Fields{}
	for _, path := range scalars {
		pre[path] = c.Found.Fields[path]
		want[path] = pre[path]
		if v, ok := c.Write[path]; ok {
			want[path] = v
		}
	}
	if v, ok := c.Write["program"]; ok && !record.Same(v, pre["program"]) {
		return nil, k.refused("change event", "the program of an event cannot be changed: withdraw the document and send it as a new one")
	}
	for _, path := range c.Write.Paths() {
		element, ok := strings.CutPrefix(path, "dataValues/")
		if !ok {
			continue
		}
		want[path], pre[path] = c.Write[path], c.Found.Fields[path]
		now.Values = append(now.Values, eventValue{element, orNull(want[path])})
		was.Values = append(was.Values, eventValue{element, orNull(pre[path])})
	}
	send, err := importEvent(now)
	if err != nil {
		return nil, err
	}
	undo, err := importEvent(was)
	if err != nil {
		return nil, err
	}
	check := k.check(uid, v, want, pre)
	return []call.Call{{
		Name: c.Record + ".update", Target: uid, About: "change the event " + uid, Request: send,
		Repeat: call.Safe, Reversal: call.Exact, Check: check, Undo: &call.Undo{Request: undo}, Await: await(check),
	}}, nil
}

func scalarsOf(f record.Fields) record.Fields {
	out := record.Fields{}
	for _, path := range scalars {
		if v, ok := f[path]; ok {
			out[path] = v
		}
	}
	return out
}

// orNull is a value as it is sent: null takes it away.
func orNull(v any) any {
	if record.Empty(v) {
		return nil
	}
	return v
}

// remove deletes the event. DHIS2 brings no deleted event back.
func (k *eventKind) remove(v Version, c connector.Change) ([]call.Call, error) {
	uid := UID(c.ID)
	send, err := deleteEvent(uid)
	if err != nil {
		return nil, err
	}
	pre := record.Fields{}
	if c.Found != nil {
		pre = settled(c.Found.Fields)
	}
	check := k.check(uid, v, nil, pre)
	return []call.Call{{
		Name: c.Record + ".remove", Target: uid, About: "delete the event " + uid, Request: send,
		Repeat: call.Safe, Reversal: call.Final, Check: check, Await: await(check),
	}}, nil
}

// Observe reads an event.
func (k *eventKind) Observe(c call.Check, a call.Answer) (call.Observed, error) {
	w, err := decodeEvent(a, c.Key)
	if err != nil || w == nil {
		return call.Observed{}, err
	}
	if w.Deleted {
		if c.Want == nil { // as we wanted it, whoever did it
			return call.Observed{}, nil
		}
		return call.Observed{Voided: true, ByUs: k.byUs(w)}, nil
	}
	o := call.Observed{Exists: true, Outputs: call.Outputs{}}
	if c.As == "ours" {
		o.Fields = record.Fields{"ours": record.Unreadable{}}
		if w.UpdatedBy != nil && k.userName() != "" {
			o.Fields["ours"] = k.byUs(w)
		}
		return o, nil
	}
	o.Fields = w.fields(c.Want, c.Pre)
	return o, nil
}
