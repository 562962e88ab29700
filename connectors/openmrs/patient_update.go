package openmrs

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

// update plans one call for each part that differs, in the order of integration
// I4 step 7: identifiers, preferred name, preferred address, other properties,
// attributes.
func (k *patientKind) update(ctx context.Context, do call.Doer, c connector.Change) ([]call.Call, error) {
	if c.Found.Rows == nil {
		f, err := k.byUUID(ctx, do, c.ID, c.Found.How, connector.Query{Wanted: c.Wanted})
		if err != nil {
			return nil, err
		}
		found := *c.Found
		found.Rows = f.Rows
		c.Found = &found
	}
	p := k.planner("Patient", c)
	if err := k.updateIdentifiers(ctx, do, p); err != nil {
		return nil, err
	}
	k.updateName(p)
	k.updateAddress(p)
	k.updatePerson(p)
	if err := k.updateAttributes(ctx, do, p); err != nil {
		return nil, err
	}
	return p.calls, nil
}

func (k *patientKind) updateIdentifiers(ctx context.Context, do call.Doer, p *planner) error {
	for _, path := range part(p.c.Write, "identifiers").Paths() {
		t, err := k.meta.identifierType(ctx, do, strings.TrimPrefix(path, "identifiers/"))
		if err != nil {
			return err
		}
		v := p.c.Write[path]
		location := p.c.Found.Rows["location of "+path]
		if location == "" {
			if location, err = k.defaultLocation(ctx, do); err != nil {
				return err
			}
		}
		value, ok := v.(string)
		if had, _ := p.c.Found.Fields[path].(string); ok && value != "" && !t.shared() && !t.same(had, value) {
			if err := k.notTaken(ctx, do, p.c.ID, t, value, location); err != nil {
				return err
			}
		}
		old := map[string]any{"identifierType": t.UUID, "identifier": p.c.Found.Fields[path], "preferred": false}
		if t.wantsLocation() {
			old["location"] = location
		}
		k.row(p, rowChange{
			part: "identifier", path: path, name: "identifier-" + slug(cmp.Or(t.Name, t.Display)), value: v, property: "identifier",
			about: "identifier of type " + cmp.Or(t.Name, t.Display),
			under: "/patient/" + seg(p.c.ID) + "/identifier", fixed: map[string]any{"identifierType": t.UUID}, old: old,
		})
	}
	return nil
}

// notTaken asks whether another patient has the identifier. Up to module 2.44
// OpenMRS answers a duplicate with an error but stores it (O3-3586), so it is
// better never sent; and a plan that is refused has nothing to take back. A value
// that is unique per location may be another patient's elsewhere.
func (k *patientKind) notTaken(ctx context.Context, do call.Doer, id string, t identifierType, value, location string) error {
	all, err := k.search(ctx, do, value)
	if err != nil {
		return err
	}
	for _, w := range all {
		if w != nil && !w.Voided && w.UUID != id && has(w, t, value, location) {
			return &call.Error{System: k.name, About: "change an identifier", Verdict: call.Verdict{Class: call.Refusal, Field: "identifiers",
				Reason: "an identifier of this patient is already in use by another patient in OpenMRS"}}
		}
	}
	return nil
}

func has(w *wirePatient, t identifierType, value, location string) bool {
	return w.Identifiers != nil && slices.ContainsFunc(*w.Identifiers, func(id wireIdentifier) bool {
		return !id.Voided && id.Type != nil && id.Type.UUID == t.UUID && t.same(value, id.Identifier) &&
			(t.Uniqueness != "LOCATION" || id.Location.UUID == location)
	})
}

func (k *patientKind) updateAttributes(ctx context.Context, do call.Doer, p *planner) error {
	for _, path := range part(p.c.Write, "attributes").Paths() {
		t, err := k.meta.attributeType(ctx, do, strings.TrimPrefix(path, "attributes/"))
		if err != nil {
			return err
		}
		k.row(p, rowChange{
			part: "attribute", path: path, name: "attribute-" + slug(cmp.Or(t.Name, t.Display)), value: p.c.Write[path], property: "value",
			about: "attribute " + cmp.Or(t.Name, t.Display),
			under: "/person/" + seg(p.c.ID) + "/attribute", fixed: map[string]any{"attributeType": t.UUID},
			old: map[string]any{"attributeType": t.UUID, "value": p.c.Found.Fields[path]},
		})
	}
	return nil
}

// rowChange is a change of one row of a sub-resource with a single value.
type rowChange struct {
	part                               string // "identifier", "attribute"
	path, name, about, property, under string
	value                              any
	fixed                              map[string]any // properties that say which row it is
	old                                map[string]any // the whole row, to make it again
}

// row plans to add, change or delete a row, each with its exact opposite. A
// deleted row is undone by making it again: sub-resources cannot be un-voided.
func (k *patientKind) row(p *planner, r rowChange) {
	write := record.Fields{r.path: r.value}
	pre := before(p.c.Found, write)
	row := p.c.Found.Rows[r.path]
	name := p.name(r.name)
	b := newBody()
	for _, n := range keysOf(r.fixed) {
		b.set(n, r.fixed[n])
	}
	c := call.Call{Name: name, Reversal: call.Exact, ReadBack: true, Check: k.checkAs(r.part, p.c.ID, r.path, settled(write), pre)}
	switch {
	case record.Empty(r.value) && row == "":
		return
	case record.Empty(r.value):
		c.About, c.Repeat = "delete the "+r.about, call.Safe
		c.Request = void(r.under+"/"+seg(row), p.c.Reason)
		again := newBody()
		again.root = r.old
		c.Undo = &call.Undo{Request: again.post(r.under)}
	case row == "":
		c.About, c.Repeat = "add the "+r.about, call.Findable
		for _, n := range keysOf(r.old) {
			if n != r.property {
				b.set(n, r.old[n])
			}
		}
		b.set(r.property, r.value)
		c.Request = b.post(r.under)
		c.Outputs = map[string]string{"uuid": "/uuid"}
		c.Settle = settle
		c.Undo = &call.Undo{Request: void(r.under+"/"+out(name, "uuid"), p.c.Reason)}
	default:
		c.About, c.Repeat = "change the "+r.about, call.Safe
		b.set(r.property, r.value)
		c.Request = b.post(r.under + "/" + seg(row))
		back := newBody()
		for n, v := range r.fixed {
			back.set(n, v)
		}
		back.set(r.property, pre[r.path])
		c.Undo = &call.Undo{Request: back.post(r.under + "/" + seg(row))}
	}
	p.add(c)
}

func (k *patientKind) updateName(p *planner) {
	write := part(p.c.Write, "name")
	if len(write) == 0 {
		return
	}
	theirs := map[string]string{}
	for path := range write {
		theirs[path] = nameField(strings.TrimPrefix(path, "name/"))
	}
	k.object(p, objectChange{
		write: write, theirs: theirs, name: "name", about: "preferred name",
		under: "/person/" + seg(p.c.ID) + "/name", row: p.c.Found.Rows["name"], added: map[string]any{"preferred": true},
	})
}

func (k *patientKind) updateAddress(p *planner) {
	write := part(p.c.Write, "address")
	if len(write) == 0 {
		return
	}
	theirs := map[string]string{}
	for path := range write {
		theirs[path] = strings.TrimPrefix(path, "address/")
	}
	k.object(p, objectChange{
		write: write, theirs: theirs, name: "address", about: "preferred address",
		under: "/person/" + seg(p.c.ID) + "/address", row: p.c.Found.Rows["address"], added: map[string]any{"preferred": true},
	})
}

func (k *patientKind) updatePerson(p *planner) {
	write, theirs := record.Fields{}, map[string]string{}
	for _, n := range personProperties {
		if v, ok := p.c.Write[n]; ok {
			write[n], theirs[n] = v, n
		}
	}
	if len(write) == 0 {
		return
	}
	k.object(p, objectChange{
		write: write, theirs: theirs, name: "person", about: "properties of the person",
		under: "/person", row: p.c.ID, wire: k.wireProperty, query: []string{"v", personRep},
	})
}

// objectChange is a change of several properties of one row.
type objectChange struct {
	write       record.Fields
	theirs      map[string]string // field path -> property
	name, about string
	under, row  string
	added       map[string]any // properties of a new row
	wire        func(property string, v any) any
	query       []string // of the change
}

// object plans one call that sets the properties that differ, and an undo that
// sets them back; or one that adds the row where there is none.
func (k *patientKind) object(p *planner, o objectChange) {
	pre := before(p.c.Found, o.write)
	name := p.name(o.name)
	c := call.Call{Name: name, Reversal: call.Exact, ReadBack: true, Check: k.checkAs(o.name, p.c.ID, "", settled(o.write), pre)}
	b := newBody()
	for _, path := range keysOf(o.theirs) {
		theirs := o.theirs[path]
		b.set(theirs, wired(o.wire, theirs, o.write[path]))
	}
	if o.row == "" {
		for n, v := range o.added {
			b.set(n, v)
		}
		c.About, c.Repeat, c.Settle = "add the "+o.about, call.Findable, settle
		c.Request = b.post(o.under)
		c.Outputs = map[string]string{"uuid": "/uuid"}
		c.Check.Key = o.name
		c.Undo = &call.Undo{Request: void(o.under+"/"+out(name, "uuid"), p.c.Reason)}
		p.add(c)
		return
	}
	back, restore := newBody(), map[string]string{}
	for _, path := range keysOf(o.theirs) {
		theirs := o.theirs[path]
		old := pre[path]
		if record.Empty(old) {
			old = record.Clear{}
		}
		back.set(theirs, wired(o.wire, theirs, old))
		restore["/"+theirs] = path
	}
	c.About, c.Repeat = "change the "+o.about, call.Safe
	c.Request = b.post(o.under+"/"+seg(o.row), o.query...)
	c.Undo = &call.Undo{Request: back.post(o.under + "/" + seg(o.row)), Restore: restore}
	p.add(c)
}

func wired(wire func(string, any) any, name string, v any) any {
	if wire == nil {
		return v
	}
	return wire(name, v)
}
