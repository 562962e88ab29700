package openmrs

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/believed"
	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

// patientShown are the fields of the name patient.
var patientShown = []string{"id", "uuid", "name", "gender", "birthdate", "birthdateEstimated", "dead", "deathDate", "causeOfDeath", "identifier", "identifiers",
	"attributes", "address", "voided", "gone", "changed"}

// Surround reads, when a message is planned, what its entry only announced: the
// patient, the encounter, the observation as they are now. A thing that is not
// in OpenMRS any more is given with voided and gone set, and its uuid.
func (s *System) Surround(ctx context.Context, do call.Doer, m *connector.Message, content, _ any, names []string) (map[string]any, error) {
	doc, _ := content.(map[string]any)
	if doc == nil && m != nil && len(m.Content) > 0 {
		if err := json.Unmarshal(m.Content, &doc); err != nil {
			return nil, fmt.Errorf("read the content of message %d: %w", m.ID, err)
		}
	}
	entry, _ := doc["entry"].(map[string]any)
	subject, _ := doc["subject"].(map[string]any)
	thing, _ := text(entry["uuid"])
	who, _ := text(subject["uuid"])
	kind := ""
	if m != nil {
		kind = m.Kind
	}
	out := map[string]any{}
	for _, name := range names {
		var v map[string]any
		var err error
		switch {
		case name == "patient" && looksLikeUUID(who):
			v, err = s.showPatient(ctx, do, who)
		case name == "encounter":
			id := thing
			if kind == kindObservation {
				id, _ = text(entry["encounter"])
			}
			if looksLikeUUID(id) {
				v, err = s.showEncounter(ctx, do, id)
			}
		case name == "obs" && looksLikeUUID(thing):
			v, err = s.showObs(ctx, do, thing)
		}
		if err != nil {
			return nil, err
		}
		if v != nil {
			out[name] = v
		}
	}
	return out, nil
}

// noLonger stands for a thing that was removed.
func noLonger(id string) map[string]any {
	return map[string]any{"id": id, "uuid": id, "voided": true, "gone": true}
}

// showPatient reads a patient as flows see her. A field that the user may not
// read is left out: no opinion.
func (s *System) showPatient(ctx context.Context, do call.Doer, id string) (map[string]any, error) {
	a, err := do.Do(ctx, "read patient", read("/patient/"+seg(id), "v", patientRep))
	if err != nil {
		return nil, err
	}
	w, err := decodePatient(a)
	if err != nil {
		return nil, err
	}
	if w == nil {
		return noLonger(id), nil
	}
	if w.Voided {
		// Who was merged into another is shown as that one, whom her records are with.
		winner, err := (&patientKind{s}).mergedInto(ctx, do, w)
		if err != nil {
			return nil, err
		}
		if winner != "" && winner != id {
			return s.showPatient(ctx, do, winner)
		}
	}
	f, _ := s.patientFields(w)
	out := map[string]any{"id": w.UUID, "voided": w.Voided, "gone": false, "name": map[string]any{}, "address": map[string]any{},
		"identifiers": map[string]any{}, "attributes": map[string]any{}}
	for path, v := range f {
		// Names of identifier and attribute types may hold a slash.
		if group, name, ok := strings.Cut(path, "/"); ok {
			if below, isGroup := out[group].(map[string]any); isGroup && !record.Empty(v) {
				below[name] = v
			}
		} else if _, hidden := v.(record.Unreadable); !hidden {
			out[path] = v
		}
	}
	if w.Identifiers != nil {
		for _, id := range *w.Identifiers {
			if id.Preferred && !id.Voided && id.Type != nil {
				out["identifier"] = id.Identifier
				below, _ := out["identifiers"].(map[string]any)
				below[cmp.Or(id.Type.Name, id.Type.UUID)] = id.Identifier
			}
		}
	}
	if t := w.Audit.changed(s.zone); !t.IsZero() {
		out["changed"] = canonMoment(t)
	}
	return out, nil
}

const (
	shownObs = "uuid,voided,auditInfo,concept:(uuid,display,datatype:(uuid)),value:(uuid,display),comment,obsDatetime"
	// encounterShow is an encounter for flows to read; groups to the depth in
	// which encounters are written.
	encounterShow = "custom:(uuid,voided,auditInfo,encounterDatetime,patient:(uuid),encounterType:(uuid,display),location:(uuid,display),form:(uuid,display)," +
		"visit:(uuid,startDatetime,stopDatetime,visitType:(uuid,display)),encounterProviders:(uuid,voided,provider:(uuid,display,identifier),encounterRole:(uuid,display))," +
		"obs:(" + shownObs + ",groupMembers:(" + shownObs + ",groupMembers:(" + shownObs + "))))"
	obsShow = "custom:(" + shownObs + ",person:(uuid),encounter:(uuid),groupMembers:(" + shownObs + ",groupMembers:(" + shownObs + ")))"
)

var (
	encounterShown = []string{"id", "uuid", "patient", "at", "type", "location", "form", "visit", "provider", "providers", "obs", "answers", "voided", "gone", "changed", "ours"}
	obsShown       = []string{"id", "uuid", "patient", "encounter", "at", "concept", "name", "value", "answer", "comment", "members", "answers", "voided", "gone", "ours"}
)

// labelled is metadata with the name that it is shown by.
type labelled struct {
	UUID       string `json:"uuid"`
	Display    string `json:"display"`
	Identifier string `json:"identifier"`
}

func (l labelled) shown() any {
	if l.UUID == "" {
		return nil
	}
	out := map[string]any{"id": l.UUID, "uuid": l.UUID, "name": l.Display}
	if l.Identifier != "" {
		out["identifier"] = l.Identifier
	}
	return out
}

type shownEncounter struct {
	UUID     string   `json:"uuid"`
	Voided   bool     `json:"voided"`
	Audit    *audit   `json:"auditInfo"`
	At       string   `json:"encounterDatetime"`
	Patient  ref      `json:"patient"`
	Type     labelled `json:"encounterType"`
	Location labelled `json:"location"`
	Form     labelled `json:"form"`
	Visit    struct {
		UUID  string   `json:"uuid"`
		Start string   `json:"startDatetime"`
		Stop  string   `json:"stopDatetime"`
		Type  labelled `json:"visitType"`
	} `json:"visit"`
	Providers []struct {
		Voided   bool     `json:"voided"`
		Provider labelled `json:"provider"`
		Role     labelled `json:"encounterRole"`
	} `json:"encounterProviders"`
	Obs []seenObs `json:"obs"`
}

// seenObs is an observation with the names of its concepts.
type seenObs struct {
	UUID    string `json:"uuid"`
	Voided  bool   `json:"voided"`
	Audit   *audit `json:"auditInfo"`
	Concept struct {
		wireConcept
		Display string `json:"display"`
	} `json:"concept"`
	Value     any       `json:"value"`
	Comment   *string   `json:"comment"`
	At        string    `json:"obsDatetime"`
	Members   []seenObs `json:"groupMembers"`
	Person    ref       `json:"person"`
	Encounter ref       `json:"encounter"`
}

// showEncounter reads an encounter as flows see it. Bahmni's own address of an
// encounter is not used: diagnoses and the trees of its forms are observations
// in groups there, too.
func (s *System) showEncounter(ctx context.Context, do call.Doer, id string) (map[string]any, error) {
	var w shownEncounter
	gone, err := s.show(ctx, do, "read encounter", read("/encounter/"+seg(id), "v", encounterShow), &w)
	if err != nil {
		return nil, err
	}
	if gone {
		return noLonger(id), nil
	}
	at, _ := fromWire(w.At, s.zone)
	out := map[string]any{"id": w.UUID, "uuid": w.UUID, "voided": w.Voided, "gone": false, "patient": w.Patient.UUID, "at": at, "type": w.Type.shown(),
		"location": w.Location.shown(), "form": w.Form.shown(), "provider": nil, "ours": s.ours(w.Audit) && s.oursAll(w.Obs)}
	if t := w.Audit.changed(s.zone); !t.IsZero() {
		out["changed"] = canonMoment(t)
	}
	if w.Visit.UUID != "" {
		start, _ := fromWire(w.Visit.Start, s.zone)
		visit := map[string]any{"id": w.Visit.UUID, "uuid": w.Visit.UUID, "type": w.Visit.Type.shown(), "start": start}
		if stop, ok := fromWire(w.Visit.Stop, s.zone); ok {
			visit["stop"] = stop
		}
		out["visit"] = visit
	}
	providers := []any{}
	for _, p := range w.Providers {
		if who, ok := p.Provider.shown().(map[string]any); ok && !p.Voided {
			who["role"] = p.Role.shown()
			providers = append(providers, who)
		}
	}
	if out["providers"] = providers; len(providers) > 0 {
		out["provider"] = providers[0]
	}
	a := answers{s: s, ctx: ctx, do: do}
	if out["obs"], err = a.list(w.Obs); err != nil {
		return nil, err
	}
	out["answers"], err = a.tree(w.Obs)
	return out, err
}

// oursAll tells whether all observations that count are ours. OpenMRS gives a
// changed observation a new uuid and a new creator, and leaves the encounter's
// audit information as it was.
func (s *System) oursAll(all []seenObs) bool {
	for i := range all {
		if o := &all[i]; !o.Voided && (!s.ours(o.Audit) || !s.oursAll(o.Members)) {
			return false
		}
	}
	return true
}

func (s *System) showObs(ctx context.Context, do call.Doer, id string) (map[string]any, error) {
	var w seenObs
	gone, err := s.show(ctx, do, "read observation", read("/obs/"+seg(id), "v", obsShow), &w)
	if err != nil {
		return nil, err
	}
	if gone {
		return noLonger(id), nil
	}
	a := answers{s: s, ctx: ctx, do: do}
	voided := w.Voided
	w.Voided = false // it is shown all the same
	out, err := a.one(&w)
	if err != nil {
		return nil, err
	}
	out["voided"], out["gone"], out["patient"], out["encounter"] = voided, false, w.Person.UUID, w.Encounter.UUID
	out["ours"] = s.oursAll([]seenObs{w})
	out["answers"], err = a.tree([]seenObs{w})
	return out, err
}

// show reads and decodes one record; gone where it is not there.
func (s *System) show(ctx context.Context, do call.Doer, about string, r call.Request, into any) (gone bool, err error) {
	a, err := do.Do(ctx, about, r)
	switch {
	case err != nil:
		return false, err
	case a.Status == http.StatusNotFound:
		return true, nil
	}
	if err := json.Unmarshal(a.Body, into); err != nil {
		return false, fmt.Errorf("%s: read the answer of OpenMRS: %w", about, err)
	}
	return false, nil
}

// conceptCodes are the codes of a concept, "CIEL:5089".
func (s *System) conceptCodes(ctx context.Context, do call.Doer, id string) ([]string, error) {
	return believed.Read(ctx, s.meta.kept, believed.Key{What: "codes", Ref: id}, func() ([]string, error) {
		var c struct {
			Mappings []struct {
				Display string `json:"display"`
			} `json:"mappings"`
		}
		gone, err := s.show(ctx, do, "read codes of a concept", read("/concept/"+seg(id), "v", "custom:(uuid,mappings:(display))"), &c)
		if err != nil || gone {
			return nil, err
		}
		var out []string
		for _, m := range c.Mappings {
			// "ICD-10-WHO: O03.9", in some versions with the name behind it.
			source, code, ok := strings.Cut(m.Display, ":")
			code, _, _ = strings.Cut(strings.TrimSpace(code), " (")
			if ok && code != "" {
				out = append(out, strings.TrimSpace(source)+":"+code)
			}
		}
		return slices.Compact(slices.Sorted(slices.Values(out))), nil
	})
}
