package openmrs

import (
	"cmp"
	"context"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/kiungo-health/kiungo/connectors/openmrs/checkdigit"
	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

// Canon checks a wanted patient by the rules of core's validators, so that a
// clinic gets one clear message instead of a 500.
func (k *patientKind) Canon(ctx context.Context, do call.Doer, wanted map[string]any) (record.Fields, []connector.Problem, error) {
	c := newCanoner()
	for _, name := range keysOf(wanted) { // in an order, so that the requests are in one
		v, err := wanted[name], error(nil)
		switch name {
		case "name":
			c.texts("name", v, func(n string) bool { return nameField(n) != "" }, 50)
		case "address":
			c.texts("address", v, isAddressField, 255)
		case "gender":
			c.text("gender", v, 50)
		case "birthdate":
			k.birthdate(c, v)
		case "birthdateEstimated", "dead":
			if !c.plain(name, v) {
				b, ok := truth(v)
				if !ok {
					c.problem(name, "boolean", "must be yes or no")
				} else {
					c.fields[name] = b
				}
			}
		case "deathDate":
			k.deathDay(c, v)
		case "causeOfDeath":
			err = c.lookup(name, "concept", v, func(ref string) (string, error) { return k.conceptUUID(ctx, do, ref) })
		case "identifiers":
			err = k.identifiers(ctx, do, c, v)
		case "attributes":
			err = k.attributes(ctx, do, c, v)
		default:
			c.problem(name, "field", "is not a field of a patient")
		}
		if err != nil {
			return nil, nil, err
		}
	}
	if _, clear := c.fields["name/given"].(record.Clear); clear {
		delete(c.fields, "name/given")
		c.problem("name/given", "required", "cannot be emptied: OpenMRS keeps no name without a given name")
	}
	if _, clear := c.fields["gender"].(record.Clear); clear {
		delete(c.fields, "gender")
		c.problem("gender", "required", "cannot be emptied: OpenMRS keeps no person without a gender")
	}
	return c.fields, c.problems, nil
}

func (s *System) conceptUUID(ctx context.Context, do call.Doer, ref string) (string, error) {
	con, err := s.meta.concept(ctx, do, ref)
	if err != nil {
		return "", err
	}
	return con.UUID, nil
}

func (c *canoner) text(path string, v any, longest int) {
	if c.plain(path, v) {
		return
	}
	t, ok := text(v)
	switch {
	case !ok:
		c.problem(path, "text", "must be text")
	case len([]rune(t)) > longest:
		c.problem(path, "length", "has %d characters; OpenMRS keeps at most %d", len([]rune(t)), longest)
	default:
		c.fields[path] = t
	}
}

// texts takes an object of texts with known names.
func (c *canoner) texts(path string, v any, known func(string) bool, longest int) {
	m, ok := v.(map[string]any)
	if !ok {
		if v != nil {
			c.problem(path, "object", "must be an object")
		}
		return
	}
	for _, n := range keysOf(m) {
		v := m[n]
		if !known(n) {
			c.problem(path+"/"+n, "field", "is not a field of %s", path)
			continue
		}
		c.text(path+"/"+n, v, longest)
	}
}

func nameField(ours string) string {
	for _, f := range nameFields {
		if f.ours == ours {
			return f.theirs
		}
	}
	return ""
}

func isAddressField(n string) bool {
	for _, f := range addressFields {
		if f == n {
			return true
		}
	}
	return false
}

func (k *patientKind) birthdate(c *canoner, v any) {
	if c.plain("birthdate", v) {
		return
	}
	d, err := day(v)
	if err != nil {
		c.problem("birthdate", "day", "is %v", err)
		return
	}
	// The server's own today is what its validator compares with.
	now := k.serverNow().In(k.zone)
	if d > now.Format(time.DateOnly) {
		c.problem("birthdate", "future", "is in the future")
		return
	}
	if d < now.AddDate(-140, 0, 0).Format(time.DateOnly) {
		c.problem("birthdate", "age", "is more than 140 years ago")
		return
	}
	c.fields["birthdate"] = d
}

func (k *patientKind) deathDay(c *canoner, v any) {
	if t, ok := v.(string); ok && len(strings.TrimSpace(t)) == len(time.DateOnly) {
		d, err := parseDay(t)
		switch {
		case err != nil:
			c.problem("deathDate", "day", "is %v", err)
		case d > k.serverNow().In(k.zone).Format(time.DateOnly):
			c.problem("deathDate", "future", "is in the future")
		default:
			c.fields["deathDate"] = d
		}
		return
	}
	k.at(c, "deathDate", v)
}

func (k *patientKind) identifiers(ctx context.Context, do call.Doer, c *canoner, v any) error {
	m, ok := v.(map[string]any)
	if !ok {
		if v != nil {
			c.problem("identifiers", "object", "must be an object from identifier type to value")
		}
		return nil
	}
	for _, name := range keysOf(m) {
		v := m[name]
		t, err := k.meta.identifierType(ctx, do, name)
		if unknown(err) {
			c.problem("identifiers/"+name, "metadata", "the identifier type %q is %v", name, err)
			continue
		}
		if err != nil {
			return err
		}
		path := "identifiers/" + cmp.Or(t.Name, t.Display)
		if c.plain(path, v) {
			continue
		}
		value, ok := text(v)
		switch {
		case !ok:
			c.problem(path, "text", "must be text")
		case len(value) > 50:
			c.problem(path, "length", "has more than the 50 characters that OpenMRS keeps")
		case !fitsFormat(t.Format, value):
			c.problem(path, "format", "does not have the format of its type: %s", t.Format)
		case checkdigit.Valid(t.Validator, value) == checkdigit.Bad:
			c.problem(path, "check-digit", "has a wrong check digit")
		default:
			c.fields[path] = value
		}
	}
	return nil
}

// fitsFormat judges a value by the type's Java expression, which must match the
// whole value. Expressions that Go does not know are left to the server.
func fitsFormat(format, value string) bool {
	if format == "" {
		return true
	}
	re, ok := formats.Load(format)
	if !ok {
		compiled, _ := regexp.Compile(`^(?:` + format + `)$`) // nil: unknown to Go
		re, _ = formats.LoadOrStore(format, compiled)
	}
	known, _ := re.(*regexp.Regexp)
	return known == nil || known.MatchString(value)
}

// formats keeps the compiled formats of identifier types, of which a server has
// a handful.
var formats sync.Map

func (k *patientKind) attributes(ctx context.Context, do call.Doer, c *canoner, v any) error {
	m, ok := v.(map[string]any)
	if !ok {
		if v != nil {
			c.problem("attributes", "object", "must be an object from person attribute type to value")
		}
		return nil
	}
	for _, name := range keysOf(m) {
		v := m[name]
		t, err := k.meta.attributeType(ctx, do, name)
		if unknown(err) {
			c.problem("attributes/"+name, "metadata", "the person attribute type %q is %v", name, err)
			continue
		}
		if err != nil {
			return err
		}
		if err := k.attribute(ctx, do, c, "attributes/"+cmp.Or(t.Name, t.Display), t.Format, v); err != nil {
			return err
		}
	}
	return nil
}

func (k *patientKind) attribute(ctx context.Context, do call.Doer, c *canoner, path, format string, v any) error {
	switch format {
	case "org.openmrs.Concept":
		return c.lookup(path, "concept", v, func(ref string) (string, error) { return k.conceptUUID(ctx, do, ref) })
	case "org.openmrs.Location":
		return c.lookup(path, "location", v, func(ref string) (string, error) { return k.meta.locationUUID(ctx, do, ref) })
	case "org.openmrs.Provider":
		return c.lookup(path, "provider", v, func(ref string) (string, error) { return k.meta.providerUUID(ctx, do, ref) })
	}
	if c.plain(path, v) {
		return nil
	}
	switch format {
	case "java.lang.Boolean":
		if b, ok := truth(v); ok {
			c.fields[path] = fieldText(b)
		} else {
			c.problem(path, "boolean", "must be yes or no")
		}
	case "java.lang.Integer", "java.lang.Long":
		if f, ok := number(v); ok && f == float64(int64(f)) {
			c.fields[path] = fieldText(f)
		} else {
			c.problem(path, "integer", "must be a whole number")
		}
	case "org.openmrs.util.AttributableDate":
		if d, err := day(v); err == nil {
			c.fields[path] = d
		} else {
			c.problem(path, "day", "is %v", err)
		}
	default:
		c.text(path, v, 50) // person_attribute.value is varchar(50)
	}
	return nil
}
