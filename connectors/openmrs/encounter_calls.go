package openmrs

import (
	"cmp"
	"context"
	"fmt"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

var encounterProperties = map[string]string{
	"at": "encounterDatetime", "type": "encounterType", "location": "location", "form": "form", "visit": "visit", "patient": "patient",
}

// Calls makes, changes or withdraws an encounter.
func (k *encounterKind) Calls(ctx context.Context, do call.Doer, c connector.Change) ([]call.Call, error) {
	switch {
	case c.Remove:
		return k.remove(ctx, do, c)
	case c.Found == nil:
		return k.create(ctx, do, c)
	}
	return k.update(ctx, do, c)
}

func (k *encounterKind) check(id string, want, pre record.Fields) *call.Check {
	return &call.Check{Read: read("/encounter/"+seg(id), "v", encounterRep), As: "encounter", Want: want, Pre: pre}
}

func (k *encounterKind) wire(path string, v any) any {
	if t, ok := v.(string); ok && path == "at" {
		return wireMoment(t, k.zone)
	}
	return v
}

// create makes the encounter and its observations in one request, which OpenMRS
// executes in one transaction.
func (k *encounterKind) create(ctx context.Context, do call.Doer, c connector.Change) ([]call.Call, error) {
	p := k.planner("Encounter", c)
	b := newBody()
	b.set("uuid", c.ID)
	for _, path := range keysOf(encounterProperties) {
		theirs := encounterProperties[path]
		if v, ok := c.Write[path]; ok && !record.Empty(v) {
			b.set(theirs, k.wire(path, v))
		}
	}
	for _, path := range []string{"patient", "type", "at"} {
		if record.Empty(c.Write[path]) {
			return nil, k.refused("create encounter", "an encounter cannot be made without %s", path)
		}
	}
	if record.Empty(c.Write["location"]) {
		location, err := k.defaultLocation(ctx, do)
		if err != nil {
			return nil, err
		}
		b.set("location", location)
	}
	if v := c.Write["provider"]; !record.Empty(v) {
		b.set("encounterProviders", []any{map[string]any{"provider": v, "encounterRole": cmp.Or(c.Write.Text("role"), unknownRole)}})
	}
	nodes := treeOf(c.Write, "")
	var obs []any
	for i, n := range nodes {
		row, err := k.obsBody(ctx, do, b, fmt.Sprintf("/obs/%d", i), n)
		if err != nil {
			return nil, err
		}
		obs = append(obs, row)
	}
	if obs != nil {
		b.set("obs", obs)
	}
	path := "/encounter/" + seg(c.ID)
	own := record.Fields{"obs": float64(size(nodes)), "orders": 0.0}
	p.add(call.Call{
		Name: p.name("create"), About: "create the encounter with its observations",
		Request: b.post("/encounter", "v", encounterRep), Outputs: map[string]string{"uuid": "/uuid"},
		Repeat: call.Safe, Reversal: call.Exact, ReadBack: true,
		Check: k.check(c.ID, settled(c.Write), nil),
		Undo: &call.Undo{Request: void(path, c.Reason), Voids: true, Guards: []call.Check{
			// Voiding an encounter voids its observations, other people's too.
			{Read: read(path, "v", "custom:(uuid,voided,"+countRep+",orders:(uuid))"), As: "count", Want: own, Pre: own},
		}},
	})
	return p.calls, nil
}

const countRep = "obs:(uuid,voided,concept:(uuid),groupMembers:(uuid,voided,concept:(uuid),groupMembers:(uuid,voided,concept:(uuid))))"

// size counts observations, members and groups.
func size(nodes []*node) int {
	n := len(nodes)
	for _, x := range nodes {
		n += size(x.members)
	}
	return n
}

func (k *encounterKind) remove(ctx context.Context, do call.Doer, c connector.Change) ([]call.Call, error) {
	var w wireEncounter
	path := "/encounter/" + seg(c.ID)
	err := get(ctx, do, "look for what others added to the encounter", read(path, "v", "custom:(uuid,auditInfo,obs:(uuid,voided,auditInfo),orders:(uuid))"), &w)
	if err != nil && !unknown(err) {
		return nil, err
	}
	foreign := len(w.Orders) > 0
	for _, o := range w.Obs {
		foreign = foreign || !o.Voided && !k.madeByUs(o.Audit)
	}
	if foreign {
		return nil, &connector.InUse{Text: "others have added observations or orders to this encounter since: it stays in OpenMRS"}
	}
	p := k.planner("Encounter", c)
	p.add(call.Call{
		Name: p.name("void"), About: "void the encounter with its observations", Request: void(path, c.Reason),
		Repeat: call.Safe, Reversal: call.Exact,
		Check: k.check(c.ID, nil, record.Fields{"uuid": c.ID}),
		Undo:  &call.Undo{Request: unvoid(path)},
	})
	return p.calls, nil
}

// update writes the properties that differ, then the provider, then each
// observation that differs.
func (k *encounterKind) update(ctx context.Context, do call.Doer, c connector.Change) ([]call.Call, error) {
	if c.Found.Rows == nil {
		f, err := k.byUUID(ctx, do, c.ID, c.Found.How, connector.Query{Wanted: c.Wanted, Base: c.Found.Fields})
		if err != nil {
			return nil, err
		}
		found := *c.Found
		found.Rows = f.Rows
		c.Found = &found
	}
	p := k.planner("Encounter", c)
	write, theirs := record.Fields{}, map[string]string{}
	for path, t := range encounterProperties {
		if v, ok := c.Write[path]; ok {
			write[path], theirs[path] = v, t
		}
	}
	p.change(changeOf{path: "/encounter/" + seg(c.ID), rep: encounterRep, name: "update", about: "change the encounter",
		write: write, theirs: theirs, wire: k.wire, check: k.check})
	k.updateProvider(p)
	return p.calls, k.updateObs(ctx, do, p)
}

// updateProvider takes the old provider off and names the wanted one: a row of
// an encounter's providers cannot be changed through the encounter, only added.
func (k *encounterKind) updateProvider(p *planner) {
	write := record.Fields{}
	for _, path := range []string{"provider", "role"} {
		if v, ok := p.c.Write[path]; ok {
			write[path] = v
		}
	}
	if len(write) == 0 {
		return
	}
	under := "/encounter/" + seg(p.c.ID) + "/encounterprovider"
	have := p.c.Found.Fields
	merged := func(path string) any {
		if v, ok := write[path]; ok {
			return v
		}
		return have[path]
	}
	row := p.c.Found.Rows["provider"]
	if row != "" {
		name := p.name("provider-remove")
		gone := record.Fields{"provider": ""}
		back := newBody()
		back.set("provider", have["provider"])
		back.set("encounterRole", have["role"])
		check := k.check(p.c.ID, gone, record.Fields{"provider": have["provider"]})
		check.As, check.Key = "provider removed", row
		p.add(call.Call{Name: name, About: "take the provider off the encounter", Request: void(under+"/"+seg(row), p.c.Reason),
			Repeat: call.Safe, Reversal: call.Exact, ReadBack: true, Check: check, Undo: &call.Undo{Request: back.post(under)}})
	}
	if record.Empty(merged("provider")) {
		return
	}
	name := p.name("provider")
	b := newBody()
	b.set("provider", merged("provider"))
	b.set("encounterRole", cmp.Or(fieldText(merged("role")), unknownRole))
	want := settled(record.Fields{"provider": merged("provider"), "role": cmp.Or(fieldText(merged("role")), unknownRole)})
	check := k.check(p.c.ID, want, record.Fields{"provider": "", "role": ""})
	check.As, check.Key = "provider added", row
	p.add(call.Call{Name: name, About: "name the provider of the encounter", Request: b.post(under), Outputs: map[string]string{"uuid": "/uuid"},
		Repeat: call.Findable, Reversal: call.Exact, ReadBack: true, Settle: settle, Check: check,
		Undo: &call.Undo{Request: void(under+"/"+out(name, "uuid"), p.c.Reason)}})
}
