package openmrs

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/record"
)

// Observe reads an encounter as a whole, or one change in it.
//
// A change of one observation is judged by uuids: OpenMRS gives each new state
// of an observation a new one, so a row that was there when the change was
// planned is untouched as long as its uuid is there.
func (k *encounterKind) Observe(c call.Check, a call.Answer) (call.Observed, error) {
	if a.Status == http.StatusNoContent { // the answer to a removal
		return call.Observed{Exists: true, Fields: nothing(c.Want), Outputs: call.Outputs{}}, nil
	}
	w, err := decodeEncounter(a)
	if err != nil {
		return call.Observed{}, err
	}
	if w != nil && w.isRow() {
		return k.observeRow(w, c), nil
	}
	if c.As == "count" {
		if w == nil {
			w = &wireEncounter{}
		}
		return call.Observed{Exists: true, Fields: record.Fields{"obs": float64(size(k.nodes(w.Obs))), "orders": float64(len(w.Orders))}}, nil
	}
	if w == nil {
		return call.Observed{}, nil
	}
	if w.Voided {
		return call.Observed{Voided: true, ByUs: k.byUs(w.Audit)}, nil
	}
	o := call.Observed{Exists: true, Outputs: call.Outputs{}}
	path, list, _ := strings.Cut(c.Key, " ")
	var uuids []string
	if list != "" {
		uuids = strings.Split(list, ",")
	}
	switch c.As {
	case "encounter":
		o.Fields, _ = k.encounterFields(w, c.Want, c.Pre)
		o.Outputs["uuid"] = w.UUID
	case "obs added":
		o.Fields = k.oneOf(w, path, uuids, c, &o, nothing(c.Pre))
	case "obs changed":
		if present(k.nodes(w.Obs), uuids[:min(1, len(uuids))]) {
			o.Fields = c.Pre.Clone()
		} else {
			o.Fields = k.oneOf(w, path, uuids, c, &o, nothing(c.Want))
		}
	case "obs removed":
		o.Fields = nothing(c.Want)
		if present(k.nodes(w.Obs), uuids) {
			o.Fields = c.Pre.Clone()
		}
	case "provider added", "provider removed":
		k.provider(w, c, &o)
	default:
		return call.Observed{}, fmt.Errorf("openmrs/Encounter: unknown check %q", c.As)
	}
	return o, nil
}

// isRow tells an observation or a provider's row, as the call that wrote it was
// answered, from an encounter, whose representations always have its time and
// its observations or its audit information.
func (w *wireEncounter) isRow() bool {
	return w.At == nil && w.Audit == nil && w.Obs == nil && (w.Concept.UUID != "" || w.Provider.UUID != "")
}

// observeRow reads what one call wrote from its own answer. What says something
// else than was wanted does not exist: the encounter is to be read.
func (k *encounterKind) observeRow(w *wireEncounter, c call.Check) call.Observed {
	path, _, _ := strings.Cut(c.Key, " ")
	o := call.Observed{Exists: !w.Voided, Fields: c.Want.Clone(), Outputs: call.Outputs{"uuid": w.UUID}}
	switch c.As {
	case "obs added", "obs changed":
		leaf := path[strings.LastIndexByte(path, '/')+1:]
		wanted := treeOf(c.Want, strings.TrimSuffix(path, "obs/"+leaf))
		got := k.nodes([]wireObs{{UUID: w.UUID, Concept: w.Concept, Value: w.Value, Comment: w.Comment, Members: w.Members}})
		o.Exists = o.Exists && len(wanted) == 1 && len(got) == 1 && wanted[0].concept == got[0].concept && fits(wanted[0], got[0])
	case "provider added":
		o.Exists = o.Exists && w.Provider.UUID == c.Want.Text("provider") && w.Role.UUID == c.Want.Text("role")
	default:
		o.Exists = false
	}
	return o
}

func nothing(f record.Fields) record.Fields {
	out := record.Fields{}
	for path := range f {
		out[path] = ""
	}
	return out
}

// present tells whether an observation with one of the uuids is there.
func present(nodes []*node, uuids []string) bool {
	for _, n := range nodes {
		if slices.Contains(uuids, n.uuid) || present(n.members, uuids) {
			return true
		}
	}
	return false
}

// oneOf looks for an observation that says what the check wants and was not
// there before; it gives what is wanted, with the observation's uuid, or other.
func (k *encounterKind) oneOf(w *wireEncounter, path string, known []string, c call.Check, o *call.Observed, other record.Fields) record.Fields {
	leaf := path[strings.LastIndexByte(path, '/')+1:]
	wanted := treeOf(c.Want, strings.TrimSuffix(path, "obs/"+leaf))
	if len(wanted) != 1 {
		return other
	}
	want := wanted[0]
	for _, n := range inPlace(k.nodes(w.Obs), path) {
		if !slices.Contains(known, n.uuid) && fits(want, n) {
			o.Outputs["uuid"] = n.uuid
			return c.Want.Clone()
		}
	}
	return other
}

// inPlace lists the observations of a path's concept in groups of its concepts:
// which of several equal groups is meant is told by uuids, not here.
func inPlace(nodes []*node, path string) []*node {
	rest := strings.TrimPrefix(path, "obs/")
	key, below, more := strings.Cut(rest, "/")
	concept, _, _ := strings.Cut(key, "#")
	var out []*node
	for _, n := range nodes {
		switch {
		case n.concept != concept:
		case more:
			out = append(out, inPlace(n.members, below)...)
		default:
			out = append(out, n)
		}
	}
	return out
}

// fits tells whether an observation says what is wanted of it.
func fits(want, n *node) bool {
	if want.value != nil && !record.Same(want.value, n.value) {
		return false
	}
	if want.comment != nil && !record.Same(want.comment, n.comment) {
		return false
	}
	return len(want.members) == 0 || want.signature() == n.signature()
}

func (k *encounterKind) provider(w *wireEncounter, c call.Check, o *call.Observed) {
	if c.As == "provider removed" {
		o.Fields = nothing(c.Want)
		for _, p := range w.Providers {
			if !p.Voided && p.UUID == c.Key {
				o.Fields = c.Pre.Clone()
			}
		}
		return
	}
	o.Fields = nothing(c.Want)
	for _, p := range w.Providers {
		if !p.Voided && p.UUID != c.Key && p.Provider.UUID == c.Want.Text("provider") && p.Role.UUID == c.Want.Text("role") {
			o.Fields, o.Outputs["uuid"] = c.Want.Clone(), p.UUID
		}
	}
}
