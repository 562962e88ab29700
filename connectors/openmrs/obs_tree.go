package openmrs

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
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
}

func (n *node) key() string { return n.concept + "#" + n.label }

// signature says what the observation says, whatever its label.
func (n *node) signature() string {
	var kids []string
	for _, m := range n.members {
		kids = append(kids, m.signature())
	}
	slices.Sort(kids)
	v := n.value
	if record.Empty(v) {
		v = ""
	}
	return fmt.Sprintf("%s=%v(%s)", n.concept, v, strings.Join(kids, ","))
}

// treeOf reads observations back from canonical fields; empty rows are left out.
func treeOf(f record.Fields, prefix string) []*node {
	byKey := map[string]*node{}
	var order []string
	for _, path := range f.Paths() {
		rest, ok := strings.CutPrefix(path, prefix+"obs/")
		if !ok {
			continue
		}
		key, field, _ := strings.Cut(rest, "/")
		concept, label, ok := strings.Cut(key, "#")
		if !ok || record.Empty(f[path]) {
			continue
		}
		n := byKey[key]
		if n == nil {
			n = &node{concept: concept, label: label}
			byKey[key], order = n, append(order, key)
		}
		switch field {
		case "value":
			n.value = f[path]
		case "comment":
			n.comment = f[path]
		}
	}
	var out []*node
	for _, key := range order {
		n := byKey[key]
		n.members = treeOf(f, prefix+"obs/"+key+"/")
		out = append(out, n)
	}
	return out
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
	taken := map[string]bool{}
	matched := map[*node][]*node{}
	slices.SortStableFunc(found, func(a, b *node) int { return strings.Compare(a.signature(), b.signature()) })
	for _, pref := range prefs {
		for _, p := range pref {
			if taken[p.key()] {
				if n := holder(found, p.key()); n != nil {
					matched[n] = append(matched[n], p)
				}
				continue
			}
			for _, n := range found {
				if n.label == "" && n.concept == p.concept && n.signature() == p.signature() {
					n.label = p.label
					taken[p.key()] = true
					matched[n] = append(matched[n], p)
					break
				}
			}
		}
	}
	for _, n := range found {
		if n.label == "" {
			n.label = freeLabel(n, taken, prefs)
			taken[n.key()] = true
			for _, pref := range prefs {
				if p := holder(pref, n.key()); p != nil {
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

func holder(nodes []*node, key string) *node {
	for _, n := range nodes {
		if n.label != "" && n.key() == key {
			return n
		}
	}
	return nil
}

// freeLabel is the answer itself where the preferences name this concept's rows
// by their answers, else the lowest free number.
func freeLabel(n *node, taken map[string]bool, prefs [][]*node) string {
	for _, pref := range prefs {
		for _, p := range pref {
			answer, ok := n.value.(string)
			if ok && p.concept == n.concept && p.label == p.value && !taken[n.concept+"#"+answer] {
				return answer
			}
		}
	}
	for i := 1; ; i++ {
		l := strconv.Itoa(i)
		if !taken[n.concept+"#"+l] {
			return l
		}
	}
}

// obsOf checks the wanted rows of a list of observations and makes them canonical.
func (s *System) obsOf(ctx context.Context, do call.Doer, c *canoner, v any, prefix, field string) error {
	list, ok := v.([]any)
	if !ok {
		if v != nil {
			c.problem(field, "list", "must be a list")
		}
		return nil
	}
	count := map[string]int{}
	for i, item := range list {
		at := fmt.Sprintf("%s[%d]", field, i+1)
		row, ok := item.(map[string]any)
		if !ok {
			c.problem(at, "object", "must be an object with concept and value")
			continue
		}
		if err := s.obsRow(ctx, do, c, row, prefix, at, count); err != nil {
			return err
		}
	}
	return nil
}

func (s *System) obsRow(ctx context.Context, do call.Doer, c *canoner, row map[string]any, prefix, at string, count map[string]int) error {
	for name := range row {
		if !slices.Contains([]string{"concept", "value", "comment", "units", "members"}, name) {
			c.problem(at+"/"+name, "field", "is not a field of an observation")
		}
	}
	name, _ := text(row["concept"])
	if name == "" {
		c.problem(at+"/concept", "required", "has no concept")
		return nil
	}
	con, err := s.meta.concept(ctx, do, name)
	if unknown(err) {
		c.problem(at+"/concept", "metadata", "the concept %q is %v", name, err)
		return nil
	}
	if err != nil {
		return err
	}
	if members, ok := row["members"]; ok {
		count[con.UUID]++
		return s.obsOf(ctx, do, c, members, fmt.Sprintf("%sobs/%s#%d/", prefix, con.UUID, count[con.UUID]), at+"/members")
	}
	if many, ok := row["value"].([]any); ok {
		// A list of choices: each is a row, named by its answer.
		for _, one := range many {
			v, ok, err := s.obsValue(ctx, do, c, con, one, row["units"], at)
			if err != nil {
				return err
			}
			if ok && v != nil {
				c.fields[fmt.Sprintf("%sobs/%s#%s/value", prefix, con.UUID, fieldText(v))] = v
			}
		}
		return nil
	}
	v, ok, err := s.obsValue(ctx, do, c, con, row["value"], row["units"], at)
	if err != nil || !ok {
		return err
	}
	count[con.UUID]++ // an answer not given keeps its place, so that the next keeps its name
	if v == nil {
		return nil
	}
	key := fmt.Sprintf("%sobs/%s#%d", prefix, con.UUID, count[con.UUID])
	c.fields[key+"/value"] = v
	if !record.Empty(v) {
		c.text(key+"/comment", row["comment"], 255)
	}
	return nil
}

// obsValue checks one value by the rules of its concept and makes it canonical.
// Nothing (nil) means that the question was not answered.
func (s *System) obsValue(ctx context.Context, do call.Doer, c *canoner, con *concept, v, units any, at string) (any, bool, error) {
	switch v := v.(type) {
	case nil:
		return nil, true, nil
	case record.Clear, record.Later:
		return v, true, nil
	case string:
		if strings.TrimSpace(v) == "" {
			return nil, true, nil
		}
	}
	bad := func(rule, format string, args ...any) (any, bool, error) {
		c.problem(at+"/value", rule, format+" (concept "+con.Display+")", args...)
		return nil, false, nil
	}
	if u, _ := text(units); u != "" && !strings.EqualFold(u, strings.TrimSpace(con.Units)) {
		return bad("units", "is in %s, but the concept is in %s: convert it in the flow", u, orElse(con.Units, "no unit"))
	}
	switch con.Datatype.UUID {
	case typeNumeric:
		f, ok := number(v)
		switch {
		case !ok:
			return bad("number", "must be a number")
		case con.LowAbsolute != nil && f < *con.LowAbsolute, con.HiAbsolute != nil && f > *con.HiAbsolute:
			return bad("numeric-bounds", "must be %s", bounds(con))
		case !con.decimal() && f != math.Trunc(f):
			return bad("whole-number", "must be a whole number")
		}
		return f, true, nil
	case typeBoolean:
		b, ok := truth(v)
		if name, isText := v.(string); isText && !ok {
			b, ok = s.booleans[name]
		}
		if !ok {
			return bad("boolean", "must be yes or no")
		}
		return b, true, nil
	case typeCoded:
		return s.answer(ctx, do, con, v, bad)
	case typeText:
		t, ok := text(v)
		if !ok || len([]rune(t)) > longestText {
			return bad("text", "must be text of at most %d characters", longestText)
		}
		return t, true, nil
	case typeDate:
		d, err := day(v)
		if err != nil {
			return bad("day", "is %v", err)
		}
		return d, true, nil
	case typeDatetime:
		t, err := s.moment(v)
		if err != nil {
			return bad("moment", "is %v", err)
		}
		return canonMoment(t), true, nil
	case typeTime:
		t, err := parseClock(fieldText(v))
		if err != nil {
			return bad("time", "is %v", err)
		}
		return t, true, nil
	case typeNone:
		return bad("datatype", "cannot have a value: its concept takes none, only members")
	}
	return bad("datatype", "cannot be written: concepts of type %s are not supported", con.Datatype.Display)
}

func bounds(con *concept) string {
	switch {
	case con.LowAbsolute == nil:
		return fmt.Sprintf("at most %v", *con.HiAbsolute)
	case con.HiAbsolute == nil:
		return fmt.Sprintf("at least %v", *con.LowAbsolute)
	}
	return fmt.Sprintf("from %v to %v", *con.LowAbsolute, *con.HiAbsolute)
}

// answer resolves a coded answer. OpenMRS takes any concept; one that is not
// among the answers of its question has no meaning there.
func (s *System) answer(ctx context.Context, do call.Doer, con *concept, v any,
	bad func(rule, format string, args ...any) (any, bool, error)) (any, bool, error) {
	name, ok := text(v)
	if !ok {
		return bad("coded", "must be a concept, by uuid or SOURCE:code")
	}
	for _, a := range con.Answers {
		if a.UUID == name {
			return name, true, nil
		}
	}
	given, err := s.meta.concept(ctx, do, name)
	if unknown(err) {
		return bad("coded", "is a code that is %v", err)
	}
	if err != nil {
		return nil, false, err
	}
	if len(con.Answers) == 0 {
		return given.UUID, true, nil
	}
	for _, a := range con.Answers {
		if a.UUID == given.UUID {
			return given.UUID, true, nil
		}
	}
	return bad("coded", "is not among the answers of its question")
}

// obsBody writes an observation as OpenMRS takes it, inline or by itself.
func (s *System) obsBody(ctx context.Context, do call.Doer, b *body, at string, n *node) (map[string]any, error) {
	row := map[string]any{"concept": n.concept}
	if len(n.members) > 0 {
		var members []any
		for i, m := range n.members {
			kid, err := s.obsBody(ctx, do, b, at+"/groupMembers/"+strconv.Itoa(i), m)
			if err != nil {
				return nil, err
			}
			members = append(members, kid)
		}
		row["groupMembers"] = members
		return row, nil
	}
	v, err := s.obsWire(ctx, do, n.concept, n.value)
	if err != nil {
		return nil, err
	}
	b.in(row, at, "value", v)
	if !record.Empty(n.comment) {
		b.in(row, at, "comment", n.comment)
	}
	return row, nil
}

// obsWire writes a canonical value by the datatype of its concept. A datetime
// goes without T and zone, in the zone of the server: Obs.setValueAsString takes
// the other form only from core 2.8.7 on.
func (s *System) obsWire(ctx context.Context, do call.Doer, conceptUUID string, v any) (any, error) {
	t, ok := v.(string)
	if !ok {
		return v, nil
	}
	con, err := s.meta.concept(ctx, do, conceptUUID)
	if err != nil {
		return nil, err
	}
	if con.Datatype.UUID == typeDatetime {
		at, err := parseMoment(t, s.zone)
		if err != nil {
			return nil, fmt.Errorf("write an observation: %w", err)
		}
		return at.In(s.zone).Format("2006-01-02 15:04:05"), nil
	}
	return t, nil
}

type wireObs struct {
	UUID    string `json:"uuid"`
	Voided  bool   `json:"voided"`
	Concept *struct {
		UUID     string `json:"uuid"`
		Datatype *ref   `json:"datatype"`
	} `json:"concept"`
	Value   any       `json:"value"`
	Comment *string   `json:"comment"`
	Members []wireObs `json:"groupMembers"`
	Audit   *audit    `json:"auditInfo"`
	// Only where an observation is read by itself.
	Person    *ref    `json:"person"`
	Encounter *ref    `json:"encounter"`
	Location  *ref    `json:"location"`
	At        *string `json:"obsDatetime"`
}

// nodes makes observations that OpenMRS sent canonical; labels are missing.
func (s *System) nodes(list []wireObs) []*node {
	var out []*node
	for _, o := range list {
		if o.Voided || o.Concept == nil {
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
	datatype := refID(o.Concept.Datatype)
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
