package openmrs

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

// Datatypes of concepts: the same uuids on every OpenMRS (core-data).
const (
	typeNumeric  = "8d4a4488-c2cc-11de-8d13-0010c6dffd0f"
	typeCoded    = "8d4a48b6-c2cc-11de-8d13-0010c6dffd0f"
	typeText     = "8d4a4ab4-c2cc-11de-8d13-0010c6dffd0f"
	typeNone     = "8d4a4c94-c2cc-11de-8d13-0010c6dffd0f"
	typeDate     = "8d4a505e-c2cc-11de-8d13-0010c6dffd0f"
	typeTime     = "8d4a591e-c2cc-11de-8d13-0010c6dffd0f"
	typeDatetime = "8d4a5af4-c2cc-11de-8d13-0010c6dffd0f"
	typeBoolean  = "8d4a5cca-c2cc-11de-8d13-0010c6dffd0f"
)

// longestText is what a text observation holds (Obs.valueText).
const longestText = 65535

// node is one observation, or one group of them.
//
// Its label tells it from others of the same concept in the same place: a
// number in the order of the flow, or, in a list of choices, the answer itself.
// Labels are names by meaning: the uuid of an observation changes with each
// change of its value (ObsServiceImpl.saveObs).
type node struct {
	concept, label string
	value          any
	comment        any
	uuid           string
	members        []*node
	sign           string // signature, once asked for
}

// place tells a row from others in the same group.
type place struct{ concept, label string }

func (n *node) place() place { return place{n.concept, n.label} }

func (n *node) key() string { return n.concept + "#" + n.label }

// signature says what the observation says, whatever its label.
//
// It is kept: what a node says must not change after it was asked.
func (n *node) signature() string {
	if n.sign != "" {
		return n.sign
	}
	var kids []string
	for _, m := range n.members {
		kids = append(kids, m.signature())
	}
	slices.Sort(kids)
	v, plain := n.value.(string)
	if !plain && !record.Empty(n.value) {
		v = fmt.Sprint(n.value)
	}
	n.sign = n.concept + "=" + v + "(" + strings.Join(kids, ",") + ")"
	return n.sign
}

// treeOf reads observations back from canonical fields; empty rows are left out.
func treeOf(f record.Fields, prefix string) []*node {
	var paths []string
	start := prefix + "obs/"
	for path, v := range f {
		if strings.HasPrefix(path, start) && !record.Empty(v) {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return branches(f, paths, len(start))
}

// branches reads the nodes of sorted paths, whose names begin at an index. Paths
// with the same beginning are neighbours.
func branches(f record.Fields, paths []string, at int) []*node {
	var out []*node
	for len(paths) > 0 {
		key, _, _ := strings.Cut(paths[0][at:], "/")
		own := 1
		for own < len(paths) && strings.HasPrefix(paths[own][at:], key) && strings.HasPrefix(paths[own][at+len(key):], "/") {
			own++
		}
		if concept, label, ok := strings.Cut(key, "#"); ok {
			n := &node{concept: concept, label: label}
			var below []string
			for i, path := range paths[:own] {
				switch rest := strings.TrimPrefix(path[at+len(key):], "/"); {
				case rest == "value":
					n.value = f[path]
				case rest == "comment":
					n.comment = f[path]
				case below == nil && strings.HasPrefix(rest, "obs/"):
					below = paths[i:own]
				}
			}
			n.members = branches(f, members(below, at+len(key)+1), at+len(key)+len("/obs/"))
			out = append(out, n)
		}
		paths = paths[own:]
	}
	return out
}

// members are the paths that go on with obs/ after an index: neighbours, too.
func members(paths []string, at int) []string {
	for i, path := range paths {
		if !strings.HasPrefix(path[at:], "obs/") {
			return paths[:i]
		}
	}
	return paths
}

// fieldsOf writes observations as canonical fields, and their uuids as rows.
func fieldsOf(nodes []*node, prefix string, f record.Fields, rows map[string]string) {
	for _, n := range nodes {
		at := prefix + "obs/" + n.key()
		if n.value != nil {
			f[at+"/value"] = n.value
		}
		if n.comment != nil {
			f[at+"/comment"] = n.comment
		}
		if rows != nil {
			rows[at] = n.uuid
		}
		fieldsOf(n.members, at+"/", f, rows)
	}
}

// label gives found observations the labels that they have in the preferences:
// first where they say the same, then by order. So a row keeps its name when
// another one is added or taken away.
func label(found []*node, prefs ...[]*node) {
	taken := map[place]bool{}
	matched := map[*node][]*node{}
	slices.SortStableFunc(found, func(a, b *node) int { return strings.Compare(a.signature(), b.signature()) })
	for _, pref := range prefs {
		for _, p := range pref {
			if taken[p.place()] {
				if n := holder(found, p.place()); n != nil {
					matched[n] = append(matched[n], p)
				}
				continue
			}
			for _, n := range found {
				if n.label == "" && n.concept == p.concept && n.signature() == p.signature() {
					n.label = p.label
					taken[p.place()] = true
					matched[n] = append(matched[n], p)
					break
				}
			}
		}
	}
	for _, n := range found {
		if n.label == "" {
			n.label = freeLabel(n, taken, prefs)
			taken[n.place()] = true
			for _, pref := range prefs {
				if p := holder(pref, n.place()); p != nil {
					matched[n] = append(matched[n], p)
				}
			}
		}
	}
	for _, n := range found {
		if len(n.members) > 0 {
			var below [][]*node
			for _, p := range matched[n] {
				below = append(below, p.members)
			}
			label(n.members, below...)
		}
	}
}

func holder(nodes []*node, at place) *node {
	for _, n := range nodes {
		if n.label != "" && n.place() == at {
			return n
		}
	}
	return nil
}

// freeLabel is the answer itself where the preferences name this concept's rows
// by their answers, else the lowest free number.
func freeLabel(n *node, taken map[place]bool, prefs [][]*node) string {
	for _, pref := range prefs {
		for _, p := range pref {
			answer, ok := n.value.(string)
			if ok && p.concept == n.concept && p.label == p.value && !taken[place{n.concept, answer}] {
				return answer
			}
		}
	}
	for i := 1; ; i++ {
		l := strconv.Itoa(i)
		if !taken[place{n.concept, l}] {
			return l
		}
	}
}

type wireConcept struct {
	UUID     string `json:"uuid"`
	Datatype ref    `json:"datatype"`
}

type wireObs struct {
	UUID    string      `json:"uuid"`
	Voided  bool        `json:"voided"`
	Concept wireConcept `json:"concept"`
	Value   any         `json:"value"`
	Comment *string     `json:"comment"`
	Members []wireObs   `json:"groupMembers"`
	Audit   *audit      `json:"auditInfo"`
	// Only where an observation is read by itself.
	Person    ref     `json:"person"`
	Encounter ref     `json:"encounter"`
	Location  ref     `json:"location"`
	At        *string `json:"obsDatetime"`
}

// nodes makes observations that OpenMRS sent canonical; labels are missing.
func (s *System) nodes(list []wireObs) []*node {
	var out []*node
	for _, o := range list {
		if o.Voided || o.Concept.UUID == "" {
			continue
		}
		n := &node{concept: o.Concept.UUID, uuid: o.UUID, members: s.nodes(o.Members)}
		if len(n.members) == 0 {
			n.value = s.observed(o)
		}
		if c := deref(o.Comment); c != "" {
			n.comment = c
		}
		out = append(out, n)
	}
	return out
}

// observed makes a value canonical by the datatype of its concept: a date is a
// day from module 2.49 on (RESTWS-967) and a moment at midnight before.
func (s *System) observed(o wireObs) any {
	datatype := o.Concept.Datatype.UUID
	switch v := o.Value.(type) {
	case float64:
		if datatype == typeText {
			return fieldText(v)
		}
		return v
	case bool:
		return v
	case map[string]any:
		id, _ := v["uuid"].(string)
		if datatype == typeBoolean {
			display, _ := v["display"].(string)
			return s.meaning(id, display)
		}
		return id
	case string:
		switch datatype {
		case typeDate:
			if d := dayFromWire(v); d != "" {
				return d
			}
		case typeDatetime:
			if m, ok := fromWire(v, s.zone); ok {
				return m
			}
		case typeTime:
			return clockFromWire(v)
		}
		return v
	}
	return nil
}

func clockFromWire(v string) string {
	if _, rest, ok := strings.Cut(v, "T"); ok && len(rest) >= 8 {
		v = rest[:8]
	}
	if t, err := parseClock(v); err == nil {
		return t
	}
	return v
}

// yes and no in the languages of the servers that were seen; the concepts'
// uuids, where configured, come first.
var spoken = map[string]bool{
	"true": true, "yes": true, "oui": true, "vrai": true, "sí": true, "si": true, "sim": true, "verdadeiro": true, "verdadero": true, "ndiyo": true,
	"false": false, "no": false, "non": false, "faux": false, "não": false, "nao": false, "falso": false, "hapana": false,
}

func (s *System) meaning(id, display string) any {
	if b, ok := s.booleans[id]; ok {
		return b
	}
	if b, ok := spoken[strings.ToLower(display)]; ok {
		return b
	}
	return record.Unreadable{}
}

// problemFields are kept sorted for messages that do not change from run to run.
func sortProblems(p []connector.Problem) []connector.Problem {
	slices.SortStableFunc(p, func(a, b connector.Problem) int { return strings.Compare(a.Field, b.Field) })
	return p
}

func keysOf[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
