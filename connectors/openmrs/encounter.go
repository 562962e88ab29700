package openmrs

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

const (
	oneObs       = "uuid,voided,concept:(uuid,datatype:(uuid)),value:(uuid,display),comment"
	rowRep       = "custom:(" + oneObs + ",groupMembers:(" + oneObs + ",groupMembers:(" + oneObs + ")))"
	encounterRep = "custom:(uuid,voided,auditInfo,encounterDatetime,patient:(uuid),encounterType:(uuid),location:(uuid),form:(uuid),visit:(uuid)," +
		"encounterProviders:(uuid,voided,provider:(uuid),encounterRole:(uuid))," +
		"obs:(" + oneObs + ",groupMembers:(" + oneObs + ",groupMembers:(" + oneObs + "))))"
)

var obsRowSpec = []connector.FieldSpec{
	{Name: "concept", Type: connector.Text, Required: true, About: "Concept, by uuid or SOURCE:code (CIEL:5089)."},
	{Name: "value", Type: connector.Any, About: "Number, yes or no, text, day, moment, time, or an answer by uuid or SOURCE:code, as the concept asks; a list of choices makes an observation each. Not answered: the row is left out."},
	{Name: "units", Type: connector.Text, About: "Unit of the value. If the concept has another, it is a problem: nothing is converted silently."},
	{Name: "comment", Type: connector.Text, About: "A remark, at most 255 characters."},
}

var encounterSpec = connector.KindSpec{
	Name: "Encounter", Lasts: true,
	About: "What was recorded of a patient at one time, with its observations. It is made in one request, so that it is there as a whole or not at all; " +
		"later only the observations that differ are written.",
	ByDefault: "by the id that an earlier message of the same source document made, else an encounter of the patient with the same type and time that already says all that is wanted",
	Finds: []connector.FieldSpec{
		{Name: "uuid", Type: connector.Text, About: "Uuid of the encounter."},
		{Name: "patient", Type: connector.RefTo, Ref: "openmrs/Patient", About: "Whose encounter."},
		{Name: "type", Type: connector.Text, About: "Encounter type, by name or uuid."},
		{Name: "at", Type: connector.Moment, About: "Exact time of the encounter, to the second."},
	},
	Fields: []connector.FieldSpec{
		{Name: "patient", Type: connector.RefTo, Ref: "openmrs/Patient", Required: true, About: "Whose encounter."},
		{Name: "visit", Type: connector.RefTo, Ref: "openmrs/Visit", About: "The visit it belongs to."},
		{Name: "type", Type: connector.Text, Required: true, About: "Encounter type, by name or uuid."},
		{Name: "at", Type: connector.Moment, Required: true, About: "When it was, inside the visit. A phone's clock that is up to five minutes ahead of the server is set back to it."},
		{Name: "location", Type: connector.Text, About: "Location, by name or uuid; else the system's option location."},
		{Name: "form", Type: connector.Text, About: "Form, by uuid."},
		{Name: "provider", Type: connector.Text, About: "Who saw the patient: a provider's uuid, identifier or name."},
		{Name: "role", Type: connector.Text, About: "The provider's encounter role, by name or uuid; else Unknown."},
		{Name: "obs", Type: connector.Object, List: true, Key: []string{"concept"}, About: "Observations.",
			Fields: append(slices.Clone(obsRowSpec),
				connector.FieldSpec{Name: "members", Type: connector.Object, List: true, Key: []string{"concept"}, Fields: obsRowSpec,
					About: "Makes the row a group: the observations in it. A group has no value."})},
	},
	Gives: []connector.FieldSpec{{Name: "uuid", Type: connector.Text, About: "Uuid of the encounter."}},
}

type encounterKind struct{ *System }

func (k *encounterKind) Spec() *connector.KindSpec { return &encounterSpec }

type wireEncounter struct {
	UUID      string  `json:"uuid"`
	Voided    bool    `json:"voided"`
	Audit     *audit  `json:"auditInfo"`
	At        *string `json:"encounterDatetime"`
	Patient   ref     `json:"patient"`
	Type      ref     `json:"encounterType"`
	Location  ref     `json:"location"`
	Form      ref     `json:"form"`
	Visit     ref     `json:"visit"`
	Providers []struct {
		UUID     string `json:"uuid"`
		Voided   bool   `json:"voided"`
		Provider ref    `json:"provider"`
		Role     ref    `json:"encounterRole"`
	} `json:"encounterProviders"`
	Obs    []wireObs `json:"obs"`
	Orders []ref     `json:"orders"`
	// Only in the answer to a call that wrote one observation or one provider.
	Concept  wireConcept `json:"concept"`
	Value    any         `json:"value"`
	Comment  *string     `json:"comment"`
	Members  []wireObs   `json:"groupMembers"`
	Provider ref         `json:"provider"`
	Role     ref         `json:"encounterRole"`
}

func decodeEncounter(a call.Answer) (*wireEncounter, error) {
	if a.Status == http.StatusNotFound {
		return nil, nil
	}
	w := &wireEncounter{}
	if err := json.Unmarshal(a.Body, w); err != nil {
		return nil, fmt.Errorf("read the encounter that OpenMRS sent: %w", err)
	}
	if w.UUID == "" {
		return nil, fmt.Errorf("read the encounter that OpenMRS sent: it has no uuid")
	}
	return w, nil
}

// encounterFields makes an encounter canonical; observations get the labels of
// what is asked about.
func (k *encounterKind) encounterFields(w *wireEncounter, wants ...record.Fields) (record.Fields, map[string]string) {
	f := record.Fields{"uuid": w.UUID, "patient": w.Patient.UUID, "type": w.Type.UUID, "location": w.Location.UUID,
		"form": w.Form.UUID, "visit": w.Visit.UUID}
	f["at"], _ = fromWire(deref(w.At), k.zone)
	rows := map[string]string{}
	f["provider"], f["role"] = "", ""
	role, _ := asked("role", wants)
	for _, p := range w.Providers {
		if p.Voided || f["provider"] != "" && p.Role.UUID != role {
			continue
		}
		f["provider"], f["role"], rows["provider"] = p.Provider.UUID, p.Role.UUID, p.UUID
	}
	nodes := k.nodes(w.Obs)
	var prefs [][]*node
	for _, want := range wants {
		prefs = append(prefs, treeOf(want, ""))
	}
	label(nodes, prefs...)
	fieldsOf(nodes, "", f, rows)
	empty(f, wants, "obs/")
	return f, rows
}

// Find looks an encounter up by its id, else by patient, type and time.
func (k *encounterKind) Find(ctx context.Context, do call.Doer, q connector.Query) (connector.Found, error) {
	if q.Made != "" {
		f, err := k.byUUID(ctx, do, q.Made, "made before", q)
		if err != nil || f.Exists || f.Voided {
			return f, err
		}
	}
	criteria := q.By
	if len(criteria) == 0 {
		criteria = []map[string]any{{}}
	}
	for _, by := range criteria {
		var f connector.Found
		var err error
		if v, ok := by["uuid"]; ok {
			if id, _ := text(v); looksLikeUUID(id) {
				f, err = k.byUUID(ctx, do, id, "uuid", q)
			}
		} else {
			f, err = k.bySearch(ctx, do, by, q)
		}
		if err != nil || f.Exists || f.Voided || len(f.Several) > 0 {
			return f, err
		}
	}
	return connector.Found{}, nil
}

func (k *encounterKind) byUUID(ctx context.Context, do call.Doer, id, how string, q connector.Query) (connector.Found, error) {
	a, err := do.Do(ctx, "read encounter", read("/encounter/"+seg(id), "v", encounterRep))
	if err != nil {
		return connector.Found{}, err
	}
	w, err := decodeEncounter(a)
	if err != nil || w == nil {
		return connector.Found{}, err
	}
	return k.asFound(w, how, q), nil
}

func (k *encounterKind) asFound(w *wireEncounter, how string, q connector.Query) connector.Found {
	if w.Voided {
		return connector.Found{ID: w.UUID, Voided: true, ByUs: k.byUs(w.Audit), How: how, Changed: w.Audit.changed(k.zone)}
	}
	f, rows := k.encounterFields(w, q.Base, q.Wanted)
	return connector.Found{Exists: true, ID: w.UUID, Fields: f, Rows: rows, How: how, Changed: w.Audit.changed(k.zone)}
}

// bySearch looks for an encounter of the patient with the same type and time.
// One that a crashed try made is known by its id; another is the same only if it
// already says all that is wanted: two forms may end in the same second.
func (k *encounterKind) bySearch(ctx context.Context, do call.Doer, by map[string]any, q connector.Query) (connector.Found, error) {
	patient, isNew := below(by["patient"], q.Wanted["patient"], q.New["patient"])
	if patient == "" || isNew {
		return connector.Found{}, nil
	}
	at := q.Wanted.Text("at")
	if v, ok := by["at"]; ok {
		t, err := k.moment(v)
		if err != nil {
			return connector.Found{}, k.refused("find encounter", "at is %v", err)
		}
		at = canonMoment(t)
	}
	typ := q.Wanted.Text("type")
	if v, ok := by["type"]; ok {
		id, err := k.metaRef(ctx, do, "encountertype", v)
		if err != nil {
			return connector.Found{}, err
		}
		typ = id
	}
	if at == "" || typ == "" {
		return connector.Found{}, nil
	}
	when := wireMoment(at, k.zone)
	all, err := list[*wireEncounter](ctx, do, "search encounters",
		read("/encounter", "patient", patient, "encounterType", typ, "fromdate", when, "todate", when, "v", encounterRep))
	if err != nil {
		return connector.Found{}, err
	}
	var fit []connector.Found
	for _, w := range all {
		if w == nil || w.Voided || w.Patient.UUID != patient {
			continue
		}
		f := k.asFound(w, "patient, type and time", q)
		if w.UUID == q.ID {
			return f, nil
		}
		// A server whose search handler does not know a parameter ignores it.
		if f.Fields["at"] == at && f.Fields["type"] == typ && says(f.Fields, q.Wanted) {
			fit = append(fit, f)
		}
	}
	if len(fit) == 0 {
		return connector.Found{}, nil
	}
	// All that fit say the same; the first by id is as good as any.
	slices.SortFunc(fit, func(a, b connector.Found) int { return strings.Compare(a.ID, b.ID) })
	return fit[0], nil
}

// says tells whether all wanted observations are there.
func says(have, wanted record.Fields) bool {
	for path, v := range wanted {
		if strings.HasPrefix(path, "obs/") && !record.Same(have[path], v) {
			return false
		}
	}
	return true
}

// Canon checks a wanted encounter.
func (k *encounterKind) Canon(ctx context.Context, do call.Doer, wanted map[string]any) (record.Fields, []connector.Problem, error) {
	c := newCanoner()
	for _, name := range keysOf(wanted) { // in an order, so that the requests are in one
		v, err := wanted[name], error(nil)
		switch name {
		case "patient":
			c.ref(name, "openmrs/Patient", v)
		case "visit":
			c.ref(name, "openmrs/Visit", v)
		case "type":
			err = c.lookup(name, "encounter type", v, func(ref string) (string, error) {
				n, err := k.meta.byName(ctx, do, "encountertype", ref)
				return n.UUID, err
			})
		case "at":
			k.at(c, name, v)
		case "location":
			err = c.lookup(name, "location", v, func(ref string) (string, error) { return k.meta.locationUUID(ctx, do, ref) })
		case "form":
			err = c.lookup(name, "form", v, func(ref string) (string, error) { return k.meta.formUUID(ctx, do, ref) })
		case "provider":
			if ref, ok := v.(record.Ref); ok { // of a record that the flow finds or makes
				c.ref(name, "openmrs/Provider", ref)
				break
			}
			err = c.lookup(name, "provider", providerRef(v), func(ref string) (string, error) { return k.meta.providerUUID(ctx, do, ref) })
		case "role":
			err = c.lookup(name, "encounter role", v, func(ref string) (string, error) {
				n, err := k.meta.byName(ctx, do, "encounterrole", ref)
				return n.UUID, err
			})
		case "obs":
			err = k.obsOf(ctx, do, c, v, "", "obs")
		default:
			c.problem(name, "field", "is not a field of an encounter")
		}
		if err != nil {
			return nil, nil, err
		}
	}
	if !record.Empty(c.fields["provider"]) && c.fields["role"] == nil {
		c.fields["role"] = unknownRole
	}
	return c.fields, sortProblems(c.problems), nil
}

// providerRef takes a worker as flows know one: by her provider's uuid, her
// identifier, or her user name.
func providerRef(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	for _, name := range []string{"openmrs_provider", "uuid", "identifier", "username", "name"} {
		if t, ok := m[name].(string); ok && t != "" {
			return t
		}
	}
	return nil
}
