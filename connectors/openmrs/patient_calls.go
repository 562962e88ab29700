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

// Calls lists what makes, changes or withdraws a patient.
func (k *patientKind) Calls(ctx context.Context, do call.Doer, c connector.Change) ([]call.Call, error) {
	switch {
	case c.Remove:
		return k.remove(ctx, do, c)
	case c.Found == nil:
		return k.create(ctx, do, c)
	}
	return k.update(ctx, do, c)
}

// planner collects the calls of one record.
type planner struct {
	sys   *System
	kind  string
	c     connector.Change
	calls []call.Call
	names map[string]bool
}

func (s *System) planner(kind string, c connector.Change) *planner {
	return &planner{sys: s, kind: "openmrs/" + kind, c: c, names: map[string]bool{}}
}

// name makes a name that no other call of the record has, the same at each
// planning of the same change: the record, and what is done.
func (p *planner) name(what string) string {
	name := p.c.Record + "." + what
	for n := 2; p.names[name]; n++ {
		name = p.c.Record + "." + what + "-" + fieldText(n)
	}
	p.names[name] = true
	return name
}

// add completes a call with what all calls of the record share.
func (p *planner) add(c call.Call) {
	c.Record, c.System, c.Kind, c.Target = p.c.Record, p.sys.name, p.kind, p.c.ID
	p.calls = append(p.calls, c)
}

// slug makes a name of metadata fit for the name of a call.
func slug(s string) string {
	var b strings.Builder
	dash := false
	for _, r := range strings.ToLower(s) {
		if (r >= 'a' && r <= 'z') || (r >= '0' && r <= '9') {
			if dash && b.Len() > 0 {
				b.WriteByte('-')
			}
			b.WriteRune(r)
			dash = false
		} else {
			dash = true
		}
	}
	return b.String()
}

// settled are the fields that are known now: what a check can compare.
func settled(f record.Fields) record.Fields {
	out := record.Fields{}
	for p, v := range f {
		if !record.Unknown(v) {
			if record.Empty(v) {
				v = ""
			}
			out[p] = v
		}
	}
	return out
}

// before are the old values of the fields that are going to be written.
func before(found *connector.Found, write record.Fields) record.Fields {
	out := record.Fields{}
	for p := range write {
		v := found.Fields[p]
		if record.Empty(v) {
			v = ""
		}
		out[p] = v
	}
	return out
}

// part are the fields of a change below a prefix, with their full paths.
func part(f record.Fields, prefix string) record.Fields {
	out := record.Fields{}
	for p, v := range f {
		if p == prefix || strings.HasPrefix(p, prefix+"/") {
			out[p] = v
		}
	}
	return out
}

func (k *patientKind) check(id, row string, want, pre record.Fields) *call.Check {
	return k.checkAs("patient", id, row, want, pre)
}

// checkAs is a check of one part of a patient, which Observe also takes from the
// answer to the call that wrote the part.
func (k *patientKind) checkAs(part, id, row string, want, pre record.Fields) *call.Check {
	return &call.Check{Read: read("/patient/"+seg(id), "v", patientRep), As: part, Key: row, Want: want, Pre: pre}
}

func (k *patientKind) create(ctx context.Context, do call.Doer, c connector.Change) ([]call.Call, error) {
	p := k.planner("Patient", c)
	b := newBody()
	person := map[string]any{"uuid": c.ID}
	b.root["person"] = person
	name := map[string]any{"preferred": true}
	for _, n := range nameFields {
		if v, ok := c.Write["name/"+n.ours]; ok && !record.Empty(v) {
			b.in(name, "/person/names/0", n.theirs, v)
		}
	}
	if name["givenName"] == nil {
		return nil, k.refused("create patient", "a patient cannot be made without a given name")
	}
	person["names"] = []any{name}
	if record.Empty(c.Write["gender"]) {
		return nil, k.refused("create patient", "a patient cannot be made without a gender")
	}
	address := map[string]any{}
	for _, n := range addressFields {
		if v, ok := c.Write["address/"+n]; ok && !record.Empty(v) {
			b.in(address, "/person/addresses/0", n, v)
		}
	}
	if len(address) > 0 {
		address["preferred"] = true
		person["addresses"] = []any{address}
	}
	for _, n := range personProperties {
		if v, ok := c.Write[n]; ok && !record.Empty(v) {
			b.in(person, "/person", n, k.wireProperty(n, v))
		}
	}
	if err := k.createAttributes(ctx, do, c, b, person); err != nil {
		return nil, err
	}
	if err := k.createIdentifiers(ctx, do, p, b); err != nil {
		return nil, err
	}
	path := "/patient/" + seg(c.ID)
	p.add(call.Call{
		Name: p.name("create"), About: "create the patient and the person",
		Request: b.post("/patient", "v", patientRep), Outputs: map[string]string{"uuid": "/uuid"},
		Repeat: call.Safe, Reversal: call.Exact, ReadBack: true,
		Check: k.check(c.ID, "", settled(c.Write), nil),
		Undo: &call.Undo{Request: void(path, c.Reason), Voids: true, Guards: []call.Check{
			// core's PatientDataVoidHandler voids all encounters of a voided patient.
			{Read: read("/encounter", "patient", c.ID, "v", "custom:(uuid,voided)", "limit", "1"), As: "count", Want: none(), Pre: none()},
			{Read: read("/visit", "patient", c.ID, "v", "custom:(uuid,voided)", "limit", "1"), As: "count", Want: none(), Pre: none()},
		}},
	})
	return p.calls, nil
}

// none is what a guard wants: that nothing is there.
func none() record.Fields { return record.Fields{"count": 0.0} }

var personProperties = []string{"gender", "birthdate", "birthdateEstimated", "dead", "deathDate", "causeOfDeath"}

// wireProperty writes a property of a person as OpenMRS takes it. A day stays a
// day: it is never given a zone.
func (k *patientKind) wireProperty(name string, v any) any {
	if t, ok := v.(string); ok && name == "deathDate" && len(t) > len("2006-01-02") {
		return wireMoment(t, k.zone)
	}
	return v
}

func (k *patientKind) createAttributes(ctx context.Context, do call.Doer, c connector.Change, b *body, person map[string]any) error {
	var list []any
	for _, path := range part(c.Write, "attributes").Paths() {
		v := c.Write[path]
		if record.Empty(v) {
			continue
		}
		t, err := k.meta.attributeType(ctx, do, strings.TrimPrefix(path, "attributes/"))
		if err != nil {
			return err
		}
		row := map[string]any{"attributeType": t.UUID}
		b.in(row, "/person/attributes/"+fieldText(len(list)), "value", v)
		list = append(list, row)
	}
	if list != nil {
		person["attributes"] = list
	}
	return nil
}

// createIdentifiers adds the wanted identifiers and draws those of required
// types that are not given: OpenMRS does not fill them in. A number drawn in an
// earlier try is used again.
func (k *patientKind) createIdentifiers(ctx context.Context, do call.Doer, p *planner, b *body) error {
	types, err := k.meta.identifierTypes(ctx, do)
	if err != nil {
		return err
	}
	types = slices.Clone(types)
	slices.SortStableFunc(types, func(a, b identifierType) int {
		switch {
		case a.Required != b.Required && a.Required:
			return -1
		case a.Required != b.Required:
			return 1
		}
		return strings.Compare(cmp.Or(a.Name, a.Display), cmp.Or(b.Name, b.Display))
	})
	location, err := k.defaultLocation(ctx, do)
	if err != nil {
		return err
	}
	var list []any
	for _, t := range types {
		v := p.c.Write["identifiers/"+cmp.Or(t.Name, t.Display)]
		if record.Empty(v) {
			if !t.Required || t.Retired {
				continue
			}
			if v, err = k.draw(ctx, do, p, t); err != nil {
				return err
			}
		}
		row := map[string]any{"identifierType": t.UUID, "preferred": len(list) == 0}
		b.in(row, "/identifiers/"+fieldText(len(list)), "identifier", v)
		if t.wantsLocation() {
			row["location"] = location
		}
		list = append(list, row)
	}
	if list == nil {
		return k.refused("create patient", "a patient cannot be made without an identifier: give one, or let OpenMRS generate one of a required type")
	}
	b.root["identifiers"] = list
	return nil
}

// draw plans the call that takes an identifier from the server's generator.
// Sent twice it only uses up another number, which does no harm.
func (k *patientKind) draw(ctx context.Context, do call.Doer, p *planner, t identifierType) (any, error) {
	name := p.name("draw-" + slug(cmp.Or(t.Name, t.Display)))
	if v := p.c.Reserved[name+".identifier"]; v != "" {
		return v, nil
	}
	source, err := k.meta.identifierSource(ctx, do, t.UUID)
	if unknown(err) {
		return nil, k.refused("create patient", "the identifier type %q is required, is not given, and this server does not generate it", cmp.Or(t.Name, t.Display))
	}
	if err != nil {
		return nil, err
	}
	p.add(call.Call{
		Name: name, About: "draw an identifier of type " + cmp.Or(t.Name, t.Display),
		Request: call.Request{Method: "POST", Path: "/idgen/identifiersource/" + seg(source) + "/identifier", Body: []byte("{}")},
		Outputs: map[string]string{"identifier": "/identifier"},
		Repeat:  call.Safe, Reversal: call.Leftover,
	})
	return record.Later{Call: name, Output: "identifier"}, nil
}

func (s *System) defaultLocation(ctx context.Context, do call.Doer) (string, error) {
	id, err := s.meta.locationUUID(ctx, do, s.location)
	if unknown(err) {
		return "", s.refused("read location", "the option location of system %s is %v", s.name, err)
	}
	return id, err
}

func (k *patientKind) remove(ctx context.Context, do call.Doer, c connector.Change) ([]call.Call, error) {
	for _, below := range []string{"/encounter", "/visit"} {
		rows, err := list[struct {
			UUID string `json:"uuid"`
		}](ctx, do, "look for what else stands under the patient", read(below, "patient", c.ID, "v", "custom:(uuid)"))
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			// Ours of another form counts too: OpenMRS voids what stands under a patient.
			if !c.Going[r.UUID] {
				return nil, &connector.InUse{Text: "visits or encounters were recorded for this patient since: she stays in OpenMRS"}
			}
		}
	}
	p := k.planner("Patient", c)
	path := "/patient/" + seg(c.ID)
	p.add(call.Call{
		Name: p.name("void"), About: "void the patient",
		Request: void(path, c.Reason), Repeat: call.Safe, Reversal: call.Exact,
		Check: k.check(c.ID, "", nil, record.Fields{"uuid": c.ID}),
		Undo:  &call.Undo{Request: unvoid(path)},
	})
	return p.calls, nil
}
