package commcare

import (
	"context"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

// longest is how many characters CommCare keeps of a name, type, owner or
// external id (cases-v2.rst).
const longest = 255

// xmlName is what CommCare accepts as the name of a property or an index
// (cases-v2.rst; fixtures/utils.py).
var xmlName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// Canon turns what a flow sets into canonical fields. Names that are no field
// of the kind are properties.
func (k *caseKind) Canon(_ context.Context, _ call.Doer, wanted map[string]any) (record.Fields, []connector.Problem, error) {
	c := &canon{out: record.Fields{}}
	for name, v := range wanted {
		switch name {
		case "case_type", "case_name", "owner_id", "external_id":
			c.own(name, v)
		case "closed":
			c.closed(v)
		case "properties":
			c.properties(v)
		case "indices":
			c.indices(v)
		case "case_id":
			c.problem(name, "read-only", "CommCare chooses it; name the case by find")
		default:
			c.property(name, name, v)
		}
	}
	return c.out, c.problems, nil
}

type canon struct {
	out      record.Fields
	problems []connector.Problem
}

func (c *canon) problem(field, rule, format string, args ...any) {
	c.problems = append(c.problems, connector.Problem{Field: field, Rule: rule, Text: fmt.Sprintf(format, args...)})
}

func (c *canon) own(name string, v any) {
	if _, ok := v.(record.Clear); ok && name != "external_id" && name != "owner_id" {
		c.problem(name, "required", "%s cannot be empty", name)
		return
	}
	value, ok := c.value(name, v)
	if !ok {
		return
	}
	if s, isText := value.(string); isText && utf8.RuneCountInString(s) > longest {
		c.problem(name, "length", "%s is longer than %d characters", name, longest)
		return
	}
	c.out[name] = value
}

func (c *canon) closed(v any) {
	switch v := v.(type) {
	case nil:
	case bool:
		c.out["closed"] = v
	case string:
		switch v {
		case "yes", "true":
			c.out["closed"] = true
		case "no", "false":
			c.out["closed"] = false
		case "":
		default:
			c.problem("closed", "yes-or-no", "closed is yes or no")
		}
	default:
		c.problem("closed", "yes-or-no", "closed is yes or no")
	}
}

func (c *canon) properties(v any) {
	switch v := v.(type) {
	case nil:
	case map[string]any:
		for name, value := range v {
			c.property("properties/"+name, name, value)
		}
	case []any:
		for i, row := range v {
			m := asMap(row)
			name := text(m["name"])
			if name == "" {
				c.problem(fmt.Sprintf("properties/%d", i+1), "name", "row %d of properties has no name", i+1)
				continue
			}
			c.property("properties/"+name, name, m["value"])
		}
	default:
		c.problem("properties", "shape", "properties are names and values, or rows of name and value")
	}
}

// elsewhere are names that CommCare knows as something else than a property.
var elsewhere = map[string]string{"name": "case_name", "type": "case_type", "case_name": "case_name", "case_type": "case_type",
	"owner_id": "owner_id", "external_id": "external_id", "status": "closed"}

func (c *canon) property(field, name string, v any) {
	switch {
	case elsewhere[name] != "":
		c.problem(field, "reserved", "%s is not a property; set %s instead", name, elsewhere[name])
		return
	case name == "date_opened", name == "date_closed", name == "last_modified", name == "user_id":
		c.problem(field, "read-only", "%s is set by CommCare", name)
		return
	case !validName(name):
		c.problem(field, "property-name", "a property's name has letters, digits, _ and - only, does not start with a digit, and not with xml")
		return
	}
	if value, ok := c.value(field, v); ok {
		c.out["properties/"+name] = value
	}
}

func (c *canon) indices(v any) {
	m, ok := v.(map[string]any)
	if !ok && v != nil {
		c.problem("indices", "shape", "indices are given by name, each with case_id and case_type")
	}
	for name, item := range m {
		at := "indices/" + name
		if !xmlName.MatchString(name) {
			c.problem(at, "index-name", "an index's name has letters, digits, _ and - only")
			continue
		}
		index := asMap(item)
		if index == nil {
			c.problem(at, "shape", "an index has case_id and case_type")
			continue
		}
		relationship := text(index["relationship"])
		if relationship == "" {
			relationship = "child"
		}
		if relationship != "child" && relationship != "extension" {
			c.problem(at+"/relationship", "choice", "relationship is child or extension")
			continue
		}
		id, ok := c.value(at+"/case_id", index["case_id"])
		if !ok {
			continue
		}
		if text(index["case_type"]) == "" {
			c.problem(at+"/case_type", "required", "an index needs the case_type of the case it refers to")
			continue
		}
		c.out[at+"/case_id"], c.out[at+"/case_type"], c.out[at+"/relationship"] = id, text(index["case_type"]), relationship
	}
}

// value writes a value as CommCare keeps it: text. A number has no exponent
// and no needless zeros, yes or no is written true or false. ok is false for no
// opinion and for a problem, which is noted.
func (c *canon) value(field string, v any) (any, bool) {
	switch v := v.(type) {
	case nil:
		return nil, false
	case record.Clear, record.Later:
		return v, true
	case record.Ref:
		if v.ID != "" {
			return v.ID, true
		}
		if v.Later != (record.Later{}) {
			return v.Later, true
		}
		return nil, false
	case string:
		return c.plain(field, v)
	case bool:
		return strconv.FormatBool(v), true
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			c.problem(field, "number", "the value is not a number")
			return nil, false
		}
		return number(v), true
	case int:
		return strconv.Itoa(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case time.Time:
		return v.UTC().Format(time.RFC3339), true
	case []any:
		return c.choices(field, v)
	}
	c.problem(field, "text", "the value is a group; a property holds text only")
	return nil, false
}

func (c *canon) plain(field, v string) (any, bool) {
	v = strings.TrimSpace(v)
	if v == "" {
		return nil, false
	}
	for _, r := range v {
		if (r < ' ' && r != '\n' && r != '\r' && r != '\t') || r == utf8.RuneError || r == '\ufffe' || r == '\uffff' {
			c.problem(field, "characters", "the value has a character that XML cannot hold")
			return nil, false
		}
	}
	return v, true
}

// choices writes several codes as CommCare does: with spaces between.
func (c *canon) choices(field string, items []any) (any, bool) {
	codes := make([]string, 0, len(items))
	for _, item := range items {
		s, ok := item.(string)
		if !ok || strings.ContainsAny(s, " \t\n") {
			c.problem(field, "text", "a list must hold codes without spaces")
			return nil, false
		}
		codes = append(codes, s)
	}
	return c.plain(field, strings.Join(codes, " "))
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
