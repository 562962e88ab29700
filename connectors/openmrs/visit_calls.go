package openmrs

import (
	"context"
	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

// Calls makes, changes or withdraws a visit.
func (k *visitKind) Calls(ctx context.Context, do call.Doer, c connector.Change) ([]call.Call, error) {
	p := k.planner("Visit", c)
	path := "/visit/" + seg(c.ID)
	switch {
	case c.Remove:
		if err := k.unused(ctx, do, c); err != nil {
			return nil, err
		}
		p.add(call.Call{
			Name: p.name("void"), About: "void the visit", Request: void(path, c.Reason),
			Repeat: call.Safe, Reversal: call.Exact,
			Check: k.check(c.ID, nil, record.Fields{"uuid": c.ID}),
			Undo:  &call.Undo{Request: unvoid(path)},
		})
	case c.Found == nil:
		b := newBody()
		b.set("uuid", c.ID)
		if err := k.fill(ctx, do, b, c); err != nil {
			return nil, err
		}
		p.add(call.Call{
			Name: p.name("create"), About: "start a visit", Request: b.post("/visit", "v", visitRep),
			Outputs: map[string]string{"uuid": "/uuid"}, Repeat: call.Safe, Reversal: call.Exact, ReadBack: true,
			Check: k.check(c.ID, settled(c.Write), nil),
			Undo: &call.Undo{Request: void(path, c.Reason), Voids: true, Guards: []call.Check{
				{Read: read(path, "v", "custom:(uuid,encounters:(uuid,voided))"), As: "count", Want: none(), Pre: none()},
			}},
		})
	default:
		k.update(p)
	}
	return p.calls, nil
}

var visitProperties = map[string]string{"type": "visitType", "location": "location", "start": "startDatetime", "stop": "stopDatetime", "patient": "patient"}

func (k *visitKind) fill(ctx context.Context, do call.Doer, b *body, c connector.Change) error {
	for _, path := range keysOf(visitProperties) {
		theirs := visitProperties[path]
		if v, ok := c.Write[path]; ok && !record.Empty(v) {
			b.set(theirs, k.wire(path, v))
		}
	}
	for _, path := range []string{"patient", "type", "start"} {
		if record.Empty(c.Write[path]) {
			return k.refused("start a visit", "a visit cannot be made without %s", path)
		}
	}
	if record.Empty(c.Write["location"]) {
		location, err := k.defaultLocation(ctx, do)
		if err != nil {
			return err
		}
		b.set("location", location)
	}
	return nil
}

func (k *visitKind) wire(path string, v any) any {
	if t, ok := v.(string); ok && (path == "start" || path == "stop") {
		return wireMoment(t, k.zone)
	}
	return v
}

func (k *visitKind) check(id string, want, pre record.Fields) *call.Check {
	return &call.Check{Read: read("/visit/"+seg(id), "v", visitRep), As: "visit", Want: want, Pre: pre}
}

// update changes what differs. The patient of a visit cannot be changed.
func (k *visitKind) update(p *planner) {
	write, theirs := record.Fields{}, map[string]string{}
	for path, t := range visitProperties {
		if v, ok := p.c.Write[path]; ok && path != "patient" {
			write[path], theirs[path] = v, t
		}
	}
	p.change(changeOf{path: "/visit/" + seg(p.c.ID), rep: visitRep, name: "update", about: "change the visit",
		write: write, theirs: theirs, wire: k.wire, check: k.check})
}

// changeOf is an update of properties of one whole resource.
type changeOf struct {
	path, rep, name, about string
	write                  record.Fields
	theirs                 map[string]string
	wire                   func(path string, v any) any
	check                  func(id string, want, pre record.Fields) *call.Check
}

// change plans one call that sets properties, and the undo that sets them back.
func (p *planner) change(u changeOf) {
	if len(u.write) == 0 {
		return
	}
	pre := before(p.c.Found, u.write)
	b, back, restore := newBody(), newBody(), map[string]string{}
	for _, path := range keysOf(u.theirs) {
		theirs := u.theirs[path]
		b.set(theirs, u.wire(path, u.write[path]))
		old := pre[path]
		if record.Empty(old) {
			old = record.Clear{}
		}
		back.set(theirs, u.wire(path, old))
		restore["/"+theirs] = path
	}
	p.add(call.Call{
		Name: p.name(u.name), About: u.about, Request: b.post(u.path, "v", u.rep), ReadBack: true,
		Repeat: call.Safe, Reversal: call.Exact, Check: u.check(p.c.ID, settled(u.write), pre),
		Undo: &call.Undo{Request: back.post(u.path), Restore: restore},
	})
}

// unused refuses to take away a visit under which others work.
func (k *visitKind) unused(ctx context.Context, do call.Doer, c connector.Change) error {
	var w struct {
		Encounters []struct {
			UUID   string `json:"uuid"`
			Voided bool   `json:"voided"`
		} `json:"encounters"`
	}
	err := get(ctx, do, "look for what others added to the visit", read("/visit/"+seg(c.ID), "v", "custom:(uuid,encounters:(uuid,voided))"), &w)
	if err != nil && !unknown(err) {
		return err
	}
	for _, e := range w.Encounters {
		if !e.Voided && !c.Going[e.UUID] {
			return &connector.InUse{Text: "encounters were recorded in this visit since: it stays in OpenMRS"}
		}
	}
	return nil
}
