package openmrs

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

const obsRep = "custom:(" + oneObs + ",auditInfo,obsDatetime,person:(uuid),encounter:(uuid),location:(uuid))"

var obsSpec = connector.KindSpec{
	Name:      "Obs",
	Lasts:     true,
	About:     "One observation by itself, inside an encounter or without one. Observations that belong to a form are better written with their encounter.",
	ByDefault: "by the id that an earlier message of the same source document made, else the patient's observation of that concept at that time",
	Finds: []connector.FieldSpec{
		{Name: "uuid", Type: connector.Text, About: "Uuid of the observation. It is stale once the value was changed."},
	},
	Fields: []connector.FieldSpec{
		{Name: "patient", Type: connector.RefTo, Ref: "openmrs/Patient", Required: true, About: "Whose observation."},
		{Name: "encounter", Type: connector.RefTo, Ref: "openmrs/Encounter", About: "The encounter it belongs to."},
		{Name: "concept", Type: connector.Text, Required: true, About: "Concept, by uuid or SOURCE:code."},
		{Name: "at", Type: connector.Moment, Required: true, About: "When it was observed."},
		{Name: "value", Type: connector.Any, Required: true, About: "The value, as the concept asks."},
		{Name: "units", Type: connector.Text, About: "Unit of the value; if the concept has another it is a problem."},
		{Name: "comment", Type: connector.Text, About: "A remark, at most 255 characters."},
		{Name: "location", Type: connector.Text, About: "Location, by name or uuid."},
	},
	Gives: []connector.FieldSpec{{Name: "uuid", Type: connector.Text, About: "Uuid of the observation, until its value is changed."}},
}

type obsKind struct{ *System }

func (k *obsKind) Spec() *connector.KindSpec { return &obsSpec }

func (k *obsKind) obsFields(o wireObs) record.Fields {
	f := record.Fields{"uuid": o.UUID, "patient": o.Person.UUID, "encounter": o.Encounter.UUID, "location": o.Location.UUID,
		"comment": deref(o.Comment), "value": "", "concept": ""}
	f["at"], _ = fromWire(deref(o.At), k.zone)
	if o.Concept.UUID != "" {
		f["concept"], f["value"] = o.Concept.UUID, k.observed(o)
	}
	return f
}

// Find looks an observation up by its id; where that is stale, by patient,
// concept and time.
func (k *obsKind) Find(ctx context.Context, do call.Doer, q connector.Query) (connector.Found, error) {
	ids := []string{q.Made}
	for _, by := range q.By {
		if id, _ := text(by["uuid"]); looksLikeUUID(id) {
			ids = append(ids, id)
		}
	}
	var voided *connector.Found
	for _, id := range ids {
		if id == "" {
			continue
		}
		a, err := do.Do(ctx, "read observation", read("/obs/"+seg(id), "v", obsRep))
		if err != nil {
			return connector.Found{}, err
		}
		o, err := decodeObs(a)
		if err != nil {
			return connector.Found{}, err
		}
		if o == nil {
			continue
		}
		if !o.Voided {
			return k.asFound(*o, "uuid"), nil
		}
		voided = &connector.Found{ID: o.UUID, Voided: true, ByUs: k.byUs(o.Audit), How: "uuid"}
	}
	f, err := k.bySearch(ctx, do, q)
	if err == nil && !f.Exists && len(f.Several) == 0 && voided != nil {
		return *voided, nil
	}
	return f, err
}

func (k *obsKind) asFound(o wireObs, how string) connector.Found {
	return connector.Found{Exists: true, ID: o.UUID, Fields: k.obsFields(o), How: how, Changed: o.Audit.changed(k.zone)}
}

func (k *obsKind) bySearch(ctx context.Context, do call.Doer, q connector.Query) (connector.Found, error) {
	patient, concept, at := q.Wanted.Text("patient"), q.Wanted.Text("concept"), q.Wanted.Text("at")
	if patient == "" || concept == "" || at == "" || q.New["patient"] || q.New["encounter"] {
		return connector.Found{}, nil
	}
	all, err := list[wireObs](ctx, do, "search observations", obsSearch(patient, concept))
	if err != nil {
		return connector.Found{}, err
	}
	var fit []wireObs
	for _, o := range all {
		if k.isMeant(o, q.Wanted) {
			fit = append(fit, o)
		}
	}
	switch len(fit) {
	case 0:
		return connector.Found{}, nil
	case 1:
		return k.asFound(fit[0], "patient, concept and time"), nil
	}
	f := connector.Found{How: "patient, concept and time"}
	for _, o := range fit {
		f.Several = append(f.Several, o.UUID)
	}
	return f, nil
}

func obsSearch(patient, concept string) call.Request {
	return read("/obs", "patient", patient, "concept", concept, "v", obsRep)
}

// isMeant tells whether an observation is the one that the wanted fields name.
func (k *obsKind) isMeant(o wireObs, wanted record.Fields) bool {
	f := k.obsFields(o)
	for _, path := range []string{"patient", "concept", "at"} {
		if f[path] != wanted[path] {
			return false
		}
	}
	encounter := wanted.Text("encounter")
	return !o.Voided && (encounter == "" || f["encounter"] == encounter)
}

// Canon checks a wanted observation by the rules of its concept.
func (k *obsKind) Canon(ctx context.Context, do call.Doer, wanted map[string]any) (record.Fields, []connector.Problem, error) {
	c := newCanoner()
	for _, name := range keysOf(wanted) { // in an order, so that the requests are in one
		v, err := wanted[name], error(nil)
		switch name {
		case "patient", "person":
			c.ref("patient", "openmrs/Patient", v)
		case "encounter":
			c.ref(name, "openmrs/Encounter", v)
		case "at":
			k.at(c, name, v)
		case "comment":
			c.text(name, v, 255)
		case "location":
			err = c.lookup(name, "location", v, func(ref string) (string, error) { return k.meta.locationUUID(ctx, do, ref) })
		case "concept", "value", "units":
		default:
			c.problem(name, "field", "is not a field of an observation")
		}
		if err != nil {
			return nil, nil, err
		}
	}
	if name, _ := text(wanted["concept"]); name != "" {
		con, err := k.meta.concept(ctx, do, name)
		switch {
		case unknown(err):
			c.problem("concept", "metadata", "the concept %q is %v", name, err)
		case err != nil:
			return nil, nil, err
		default:
			c.fields["concept"] = con.UUID
			v, ok, err := k.obsValue(ctx, do, c, con, wanted["value"], wanted["units"], "value")
			if err != nil {
				return nil, nil, err
			}
			if ok && v != nil {
				c.fields["value"] = v
			}
		}
	} else if wanted["value"] != nil {
		c.problem("concept", "required", "has no concept")
	}
	for i := range c.problems {
		c.problems[i].Field = strings.Replace(c.problems[i].Field, "value/value", "value", 1)
	}
	return c.fields, sortProblems(c.problems), nil
}

func (k *obsKind) check(p *planner, want, pre record.Fields) *call.Check {
	return &call.Check{Read: read("/obs/"+seg(p.c.ID), "v", obsRep), As: "obs", Want: want, Pre: pre}
}

var obsProperties = map[string]string{
	"patient": "person", "encounter": "encounter", "concept": "concept", "at": "obsDatetime", "value": "value", "comment": "comment", "location": "location",
}

// Calls makes, changes or withdraws an observation.
func (k *obsKind) Calls(ctx context.Context, do call.Doer, c connector.Change) ([]call.Call, error) {
	p := k.planner("Obs", c)
	at := "/obs/" + seg(c.ID)
	switch {
	case c.Remove:
		p.add(call.Call{Name: p.name("void"), About: "void an observation", Request: void(at, c.Reason), Repeat: call.Safe, Reversal: call.Exact,
			Check: k.check(p, nil, record.Fields{"uuid": c.ID}), Undo: &call.Undo{Request: unvoid(at)}})
	case c.Found == nil:
		b := newBody()
		b.set("uuid", c.ID)
		for _, path := range keysOf(obsProperties) {
			theirs := obsProperties[path]
			v, ok := c.Write[path]
			if !ok || record.Empty(v) {
				if path == "patient" || path == "concept" || path == "at" || path == "value" {
					return nil, k.refused("create observation", "an observation cannot be made without %s", path)
				}
				continue
			}
			v, err := k.wire(ctx, do, c.Write.Text("concept"), path, v)
			if err != nil {
				return nil, err
			}
			b.set(theirs, v)
		}
		p.add(call.Call{Name: p.name("create"), About: "create an observation", Request: b.post("/obs", "v", obsRep), Outputs: map[string]string{"uuid": "/uuid"},
			Repeat: call.Safe, Reversal: call.Exact, ReadBack: true, Check: k.check(p, settled(c.Write), nil),
			Undo: &call.Undo{Request: void(at, c.Reason), Voids: true}})
	default:
		return k.update(ctx, do, p)
	}
	return p.calls, nil
}

func (k *obsKind) wire(ctx context.Context, do call.Doer, concept, path string, v any) (any, error) {
	switch path {
	case "at":
		if t, ok := v.(string); ok {
			return wireMoment(t, k.zone), nil
		}
	case "value":
		return k.obsWire(ctx, do, concept, v)
	}
	return v, nil
}

// update posts what differs. The observation gets a new uuid by it, so that what
// was written is looked for by patient, concept and time.
func (k *obsKind) update(ctx context.Context, do call.Doer, p *planner) ([]call.Call, error) {
	write := record.Fields{}
	for path := range obsProperties {
		if v, ok := p.c.Write[path]; ok {
			if path == "patient" || path == "concept" {
				return nil, k.refused("change observation", "the %s of an observation cannot be changed", path)
			}
			write[path] = v
		}
	}
	if len(write) == 0 {
		return nil, nil
	}
	concept := p.c.Found.Fields.Text("concept")
	pre := before(p.c.Found, write)
	name := p.name("update")
	b, back, restore := newBody(), newBody(), map[string]string{}
	for _, path := range write.Paths() {
		v := write[path]
		theirs := obsProperties[path]
		next, err := k.wire(ctx, do, concept, path, v)
		if err != nil {
			return nil, err
		}
		old := pre[path]
		if record.Empty(old) {
			old = record.Clear{}
		}
		if old, err = k.wire(ctx, do, concept, path, old); err != nil {
			return nil, err
		}
		b.set(theirs, next)
		back.set(theirs, old)
		restore["/"+theirs] = path
	}
	p.add(call.Call{Name: name, About: "change an observation", Request: b.post("/obs/"+seg(p.c.ID), "v", obsRep), Outputs: map[string]string{"uuid": "/uuid"},
		Repeat: call.Findable, Reversal: call.Exact, Settle: settle,
		Check: &call.Check{Read: obsSearch(p.c.Found.Fields.Text("patient"), concept), As: "obs changed", Key: p.c.ID, Want: settled(write), Pre: pre},
		Undo:  &call.Undo{Request: back.post("/obs/" + out(name, "uuid")), Restore: restore}})
	return p.calls, nil
}

func decodeObs(a call.Answer) (*wireObs, error) {
	if a.Status == http.StatusNotFound {
		return nil, nil
	}
	o := &wireObs{}
	if err := json.Unmarshal(a.Body, o); err != nil {
		return nil, fmt.Errorf("read the observation that OpenMRS sent: %w", err)
	}
	if o.UUID == "" {
		return nil, fmt.Errorf("read the observation that OpenMRS sent: it has no uuid")
	}
	return o, nil
}

// Observe reads one observation, or looks for the one that a change made.
func (k *obsKind) Observe(c call.Check, a call.Answer) (call.Observed, error) {
	switch c.As {
	case "obs":
		o, err := decodeObs(a)
		if err != nil || o == nil {
			return call.Observed{}, err
		}
		if o.Voided {
			return call.Observed{Voided: true, ByUs: k.byUs(o.Audit)}, nil
		}
		return call.Observed{Exists: true, Fields: k.obsFields(*o), Outputs: call.Outputs{"uuid": o.UUID}}, nil
	case "obs changed":
		var body struct {
			Results []wireObs `json:"results"`
		}
		if err := json.Unmarshal(a.Body, &body); err != nil {
			return call.Observed{}, fmt.Errorf("read what OpenMRS found: %w", err)
		}
		out := call.Observed{Exists: true, Fields: nothing(c.Want), Outputs: call.Outputs{}}
		for _, o := range body.Results {
			if o.Voided {
				continue
			}
			if o.UUID == c.Key {
				return call.Observed{Exists: true, Fields: c.Pre.Clone(), Outputs: call.Outputs{}}, nil
			}
			f := k.obsFields(o)
			same := true
			for path, v := range c.Want {
				same = same && record.Same(f[path], v)
			}
			if same {
				out.Fields, out.Outputs["uuid"] = c.Want.Clone(), o.UUID
			}
		}
		return out, nil
	}
	return call.Observed{}, fmt.Errorf("openmrs/Obs: unknown check %q", c.As)
}
