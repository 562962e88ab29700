package openmrs

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

// longestVisit is how long a visit that we open may last: ended within 24 hours
// of its start, as CommCare does it.
const longestVisit = 24*time.Hour - time.Second

const visitRep = "custom:(uuid,voided,auditInfo,patient:(uuid),visitType:(uuid),location:(uuid),startDatetime,stopDatetime)"

var visitSpec = connector.KindSpec{
	Name: "Visit", Lasts: true,
	About: "A stay of a patient at a facility, to which encounters belong. A visit that is open at the moment asked for is used and left alone; " +
		"one that is made is given its end at once, within 24 hours of its start, so that it ends also after a crash.",
	ByDefault: "by the id that an earlier message of the same source document made, else the patient's visit that is open at the event time",
	Finds: []connector.FieldSpec{
		{Name: "patient", Type: connector.RefTo, Ref: "openmrs/Patient", About: "Whose visit."},
		{Name: "openAt", Type: connector.Moment, About: "The visit must have begun by then and not have ended."},
		{Name: "type", Type: connector.Text, About: "Only visits of this type, by name or uuid."},
		{Name: "location", Type: connector.Text, About: "Only visits at this location, by name or uuid."},
		{Name: "uuid", Type: connector.Text, About: "Uuid of the visit."},
	},
	Fields: []connector.FieldSpec{
		{Name: "patient", Type: connector.RefTo, Ref: "openmrs/Patient", Required: true, About: "Whose visit."},
		{Name: "type", Type: connector.Text, Required: true, About: "Visit type, by name or uuid."},
		{Name: "location", Type: connector.Text, About: "Location, by name or uuid; else the system's option location."},
		{Name: "start", Type: connector.Moment, Required: true, About: "Start of the visit."},
		{Name: "stop", Type: connector.Moment, About: "End of the visit; at the latest, and by default, 24 hours less a second after its start."},
	},
	Gives: []connector.FieldSpec{{Name: "uuid", Type: connector.Text, About: "Uuid of the visit."}},
}

type visitKind struct{ *System }

func (k *visitKind) Spec() *connector.KindSpec { return &visitSpec }

type wireVisit struct {
	UUID     string  `json:"uuid"`
	Voided   bool    `json:"voided"`
	Audit    *audit  `json:"auditInfo"`
	Patient  ref     `json:"patient"`
	Type     ref     `json:"visitType"`
	Location ref     `json:"location"`
	Start    *string `json:"startDatetime"`
	Stop     *string `json:"stopDatetime"`
}

func (k *visitKind) visitFields(w *wireVisit) record.Fields {
	f := record.Fields{"uuid": w.UUID, "patient": w.Patient.UUID, "type": w.Type.UUID, "location": w.Location.UUID}
	for path, text := range map[string]*string{"start": w.Start, "stop": w.Stop} {
		f[path], _ = fromWire(deref(text), k.zone)
	}
	return f
}

// covers tells whether the visit is open at a moment.
func (k *visitKind) covers(w *wireVisit, at time.Time) bool {
	start, err := parseMoment(deref(w.Start), k.zone)
	if err != nil || at.Before(start) {
		return false
	}
	stop, err := parseMoment(deref(w.Stop), k.zone)
	return err != nil || !at.After(stop)
}

// Find looks for the patient's visit that is open at a moment.
func (k *visitKind) Find(ctx context.Context, do call.Doer, q connector.Query) (connector.Found, error) {
	criteria := q.By
	if len(criteria) == 0 {
		criteria = []map[string]any{{}}
	}
	for _, by := range criteria {
		f, err := k.byCriterion(ctx, do, by, q)
		if err != nil || f.Exists || f.Voided || len(f.Several) > 0 {
			return f, err
		}
	}
	if q.Made == "" {
		return connector.Found{}, nil
	}
	return k.byUUID(ctx, do, q.Made, "made before")
}

func (k *visitKind) byUUID(ctx context.Context, do call.Doer, id, how string) (connector.Found, error) {
	a, err := do.Do(ctx, "read visit", read("/visit/"+seg(id), "v", visitRep))
	if err != nil {
		return connector.Found{}, err
	}
	w, err := decodeVisit(a)
	if err != nil || w == nil {
		return connector.Found{}, err
	}
	return k.asFound(w, how), nil
}

func (k *visitKind) asFound(w *wireVisit, how string) connector.Found {
	if w.Voided {
		return connector.Found{ID: w.UUID, Voided: true, ByUs: k.byUs(w.Audit), How: how, Changed: w.Audit.changed(k.zone)}
	}
	return connector.Found{Exists: true, ID: w.UUID, Fields: k.visitFields(w), How: how, Changed: w.Audit.changed(k.zone)}
}

func (k *visitKind) byCriterion(ctx context.Context, do call.Doer, by map[string]any, q connector.Query) (connector.Found, error) {
	if v, ok := by["uuid"]; ok {
		if id, _ := text(v); looksLikeUUID(id) {
			return k.byUUID(ctx, do, id, "uuid")
		}
		return connector.Found{}, nil
	}
	patient, isNew := below(by["patient"], q.Wanted["patient"], q.New["patient"])
	if patient == "" || isNew {
		return connector.Found{}, nil
	}
	at := q.At
	if v, ok := by["openAt"]; ok {
		t, err := k.moment(v)
		if err != nil {
			return connector.Found{}, k.refused("find visit", "openAt is %v", err)
		}
		at = t
	}
	typ, err := k.metaRef(ctx, do, "visittype", by["type"])
	if err != nil {
		return connector.Found{}, err
	}
	place, err := k.metaRef(ctx, do, "location", by["location"])
	if err != nil {
		return connector.Found{}, err
	}
	// Dates are compared here: a server that does not know a parameter ignores
	// all of them, without an error.
	all, err := list[*wireVisit](ctx, do, "search visits", read("/visit", "patient", patient, "v", visitRep))
	if err != nil {
		return connector.Found{}, err
	}
	var fit []*wireVisit
	for _, w := range all {
		if w == nil || w.Voided || w.Patient.UUID != patient && w.Patient.UUID != "" {
			continue
		}
		if (w.UUID == q.Made || w.UUID == q.ID) && k.covers(w, at) {
			// Our own, whatever the criteria say of type and place.
			return k.asFound(w, "made before"), nil
		}
		if k.covers(w, at) && (typ == "" || w.Type.UUID == typ) && (place == "" || w.Location.UUID == place) {
			fit = append(fit, w)
		}
	}
	switch len(fit) {
	case 0:
		return connector.Found{}, nil
	case 1:
		return k.asFound(fit[0], "open visit"), nil
	}
	f := connector.Found{How: "open visit"}
	for _, w := range fit {
		f.Several = append(f.Several, w.UUID)
	}
	slices.Sort(f.Several)
	f.Several = slices.Compact(f.Several)
	if len(f.Several) == 1 {
		return k.asFound(fit[0], "open visit"), nil
	}
	return f, nil
}

// below gives the id of the record under which is searched, and whether this
// plan only makes it: then there is nothing below it yet.
func below(by, wanted any, isNew bool) (string, bool) {
	switch v := by.(type) {
	case record.Ref:
		return v.ID, v.New || v.ID == ""
	case string:
		return v, false
	}
	id, _ := wanted.(string)
	return id, isNew || record.Unknown(wanted)
}

// metaRef resolves a criterion that names metadata.
func (s *System) metaRef(ctx context.Context, do call.Doer, resource string, v any) (string, error) {
	name, _ := text(v)
	if name == "" {
		return "", nil
	}
	var id string
	var err error
	if resource == "location" {
		id, err = s.meta.locationUUID(ctx, do, name)
	} else {
		var n named
		n, err = s.meta.byName(ctx, do, resource, name)
		id = n.UUID
	}
	if unknown(err) {
		return "", s.refused("look up metadata", "the %s %q is %v", resource, name, err)
	}
	return id, err
}

// Canon checks a wanted visit.
func (k *visitKind) Canon(ctx context.Context, do call.Doer, wanted map[string]any) (record.Fields, []connector.Problem, error) {
	c := newCanoner()
	for _, name := range keysOf(wanted) { // in an order, so that the requests are in one
		v, err := wanted[name], error(nil)
		switch name {
		case "patient":
			c.ref(name, "openmrs/Patient", v)
		case "type":
			err = c.lookup(name, "visit type", v, func(ref string) (string, error) {
				n, err := k.meta.byName(ctx, do, "visittype", ref)
				return n.UUID, err
			})
		case "location":
			err = c.lookup(name, "location", v, func(ref string) (string, error) { return k.meta.locationUUID(ctx, do, ref) })
		case "start":
			k.at(c, name, v)
		case "stop":
			if !c.plain(name, v) {
				t, err := k.moment(v)
				if err != nil {
					c.problem(name, "moment", "is %v", err)
				} else {
					c.fields[name] = canonMoment(t)
				}
			}
		case "openAt": // a criterion; the planner may hand it on
		default:
			c.problem(name, "field", "is not a field of a visit")
		}
		if err != nil {
			return nil, nil, err
		}
	}
	k.end(c)
	return c.fields, c.problems, nil
}

// end gives a visit its end, and holds it within 24 hours.
func (k *visitKind) end(c *canoner) {
	start, err := time.Parse(time.RFC3339, c.fields.Text("start"))
	if err != nil {
		return
	}
	latest := start.Add(longestVisit)
	stop, err := time.Parse(time.RFC3339, c.fields.Text("stop"))
	switch {
	case err != nil || stop.After(latest):
		c.fields["stop"] = canonMoment(latest)
	case stop.Before(start):
		c.problem("stop", "order", "is before the start of the visit")
	}
}

func decodeVisit(a call.Answer) (*wireVisit, error) {
	if a.Status == http.StatusNotFound {
		return nil, nil
	}
	w := &wireVisit{}
	if err := json.Unmarshal(a.Body, w); err != nil {
		return nil, fmt.Errorf("read the visit that OpenMRS sent: %w", err)
	}
	if w.UUID == "" {
		return nil, fmt.Errorf("read the visit that OpenMRS sent: it has no uuid")
	}
	return w, nil
}

// Observe reads a visit, or how many encounters are in it.
func (k *visitKind) Observe(c call.Check, a call.Answer) (call.Observed, error) {
	switch c.As {
	case "visit":
		w, err := decodeVisit(a)
		if err != nil || w == nil {
			return call.Observed{}, err
		}
		if w.Voided {
			return call.Observed{Voided: true, ByUs: k.byUs(w.Audit)}, nil
		}
		return call.Observed{Exists: true, Fields: k.visitFields(w), Outputs: call.Outputs{"uuid": w.UUID}}, nil
	case "count":
		var w struct {
			Encounters []struct {
				Voided bool `json:"voided"`
			} `json:"encounters"`
		}
		if a.Status != http.StatusNotFound {
			if err := json.Unmarshal(a.Body, &w); err != nil {
				return call.Observed{}, fmt.Errorf("read what OpenMRS found: %w", err)
			}
		}
		n := 0.0
		for _, e := range w.Encounters {
			if !e.Voided {
				n++
			}
		}
		return call.Observed{Exists: true, Fields: record.Fields{"count": n}}, nil
	}
	return call.Observed{}, fmt.Errorf("openmrs/Visit: unknown check %q", c.As)
}
