package openmrs

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/record"
)

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
		at := field + "[" + strconv.Itoa(i+1) + "]"
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
		return s.obsOf(ctx, do, c, members, obsKey(prefix, con.UUID, strconv.Itoa(count[con.UUID]))+"/", at+"/members")
	}
	if many, ok := row["value"].([]any); ok {
		// A list of choices: each is a row, named by its answer.
		for _, one := range many {
			v, ok, err := s.obsValue(ctx, do, c, con, one, row["units"], at)
			if err != nil {
				return err
			}
			if ok && v != nil {
				c.fields[obsKey(prefix, con.UUID, fieldText(v))+"/value"] = v
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
	key := obsKey(prefix, con.UUID, strconv.Itoa(count[con.UUID]))
	c.fields[key+"/value"] = v
	if !record.Empty(v) {
		c.text(key+"/comment", row["comment"], 255)
	}
	return nil
}

// obsKey is the path of one observation.
func obsKey(prefix, concept, label string) string { return prefix + "obs/" + concept + "#" + label }

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
		return bad("units", "is in %s, but the concept is in %s: convert it in the flow", u, cmp.Or(con.Units, "no unit"))
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
