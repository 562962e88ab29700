package openmrs

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

type patientKind struct{ *System }

func (k *patientKind) Spec() *connector.KindSpec { return &patientSpec }

// Find looks a patient up: by the id made before, then by the criteria in their
// order, last by the derived id. A voided patient (merged, or deleted) is
// remembered while the other criteria are tried: the survivor of a merge is
// found by an identifier. Into whom one was merged is told where it can be
// learnt (mergedInto).
func (k *patientKind) Find(ctx context.Context, do call.Doer, q connector.Query) (found connector.Found, err error) {
	var voided *connector.Found
	var absent []string
	tried := map[string]bool{"": true}
	byUUID := func(id, how string) (*connector.Found, error) {
		if tried[id] {
			return nil, nil
		}
		tried[id] = true
		f, err := k.byUUID(ctx, do, id, how, q)
		if err != nil {
			return nil, err
		}
		if f.Voided && voided == nil {
			voided = &f
		}
		if !f.Exists {
			if !f.Voided {
				absent = append(absent, id)
			}
			return nil, nil
		}
		return &f, nil
	}
	defer func() { found.Absent = absent }()
	if f, err := byUUID(q.Made, "made before"); f != nil || err != nil {
		return orNone(f), err
	}
	for _, by := range q.By {
		f, err := k.byCriterion(ctx, do, by, q, byUUID)
		if f != nil || err != nil {
			return orNone(f), err
		}
	}
	if f, err := byUUID(q.Linked, "link"); f != nil || err != nil {
		return orNone(f), err
	}
	if f, err := byUUID(q.ID, "derived id"); f != nil || err != nil {
		return orNone(f), err
	}
	if voided != nil {
		return *voided, nil
	}
	return connector.Found{}, nil
}

func orNone(f *connector.Found) connector.Found {
	if f == nil {
		return connector.Found{}
	}
	return *f
}

func (k *patientKind) byCriterion(ctx context.Context, do call.Doer, by map[string]any, q connector.Query,
	byUUID func(id, how string) (*connector.Found, error)) (*connector.Found, error) {
	if v, ok := by["uuid"]; ok {
		switch v := v.(type) {
		case record.Ref:
			return byUUID(v.ID, "uuid")
		default:
			id, _ := text(v)
			if !looksLikeUUID(id) {
				// A path or a number in this place would read something else.
				return nil, nil
			}
			return byUUID(id, "uuid")
		}
	}
	if _, ok := by["link"]; ok {
		return byUUID(q.Linked, "link")
	}
	if v, ok := by["identifier"].(map[string]any); ok && len(v) > 0 {
		return k.byIdentifier(ctx, do, v, q)
	}
	return nil, nil
}

func (k *patientKind) byUUID(ctx context.Context, do call.Doer, id, how string, q connector.Query) (connector.Found, error) {
	a, err := do.Do(ctx, "read patient", read("/patient/"+seg(id), "v", patientRep))
	if err != nil {
		return connector.Found{}, err
	}
	w, err := decodePatient(a)
	if err != nil || w == nil {
		return connector.Found{}, err
	}
	f := k.asFound(w, how, q)
	if f.Voided {
		if f.MergedInto, err = k.mergedInto(ctx, do, w); err != nil {
			return connector.Found{}, err
		}
	}
	return f, nil
}

func (k *patientKind) asFound(w *wirePatient, how string, q connector.Query) connector.Found {
	if w.Voided {
		return connector.Found{ID: w.UUID, Voided: true, ByUs: k.byUs(w.Audit), How: how, Changed: w.Audit.changed(k.zone)}
	}
	f, rows := k.patientFields(w, q.Wanted, q.Base)
	return connector.Found{Exists: true, ID: w.UUID, Fields: f, Rows: rows, How: how, Changed: w.Audit.changed(k.zone)}
}

// byIdentifier searches by one identifier and compares all of them exactly:
// OpenMRS's search looks at names and attributes too, and gives what begins
// alike (HibernatePatientDAO; the wrong patient of OpenSRP's connector).
func (k *patientKind) byIdentifier(ctx context.Context, do call.Doer, ids map[string]any, q connector.Query) (*connector.Found, error) {
	types := slices.Sorted(maps.Keys(ids))
	how := "identifier"
	want := map[string]string{} // type uuid -> value
	kinds := map[string]identifierType{}
	search := ""
	for _, name := range types {
		value, _ := text(ids[name])
		if value == "" {
			continue
		}
		t, err := k.meta.identifierType(ctx, do, name)
		if unknown(err) {
			return nil, k.refused("find patient", "the identifier type %q is %v", name, err)
		}
		if err != nil {
			return nil, err
		}
		want[t.UUID], kinds[t.UUID] = value, t
		how += " " + cmp.Or(t.Name, t.Display)
		if search == "" {
			search = value
		}
	}
	if search == "" {
		return nil, nil
	}
	all, err := k.search(ctx, do, search)
	if err != nil {
		return nil, err
	}
	var fit []*wirePatient
	for _, w := range all {
		if w != nil && !w.Voided && hasAll(w, want, kinds) {
			fit = append(fit, w)
		}
	}
	switch len(fit) {
	case 0:
		return nil, nil
	case 1:
		f := k.asFound(fit[0], how, q)
		return &f, nil
	}
	f := &connector.Found{How: how}
	for _, w := range fit {
		f.Several = append(f.Several, w.UUID)
	}
	slices.Sort(f.Several)
	f.Several = slices.Compact(f.Several)
	if len(f.Several) == 1 { // the same row on two pages of a changing table
		one := k.asFound(fit[0], how, q)
		return &one, nil
	}
	return f, nil
}

func (k *patientKind) search(ctx context.Context, do call.Doer, value string) ([]*wirePatient, error) {
	return list[*wirePatient](ctx, do, "search patient by identifier", read("/patient", "identifier", value, "v", patientRep))
}

func hasAll(w *wirePatient, want map[string]string, kinds map[string]identifierType) bool {
	if w.Identifiers == nil {
		return false
	}
	for typ, value := range want {
		has := slices.ContainsFunc(*w.Identifiers, func(id wireIdentifier) bool {
			return !id.Voided && id.Type != nil && id.Type.UUID == typ && kinds[typ].same(value, id.Identifier)
		})
		if !has {
			return false
		}
	}
	return true
}
