package dhis2

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/period"
	"github.com/kiungo-health/kiungo/internal/record"
)

// canoner collects the fields and problems of one Canon.
type canoner struct {
	fields   record.Fields
	problems []connector.Problem
}

func newCanoner() *canoner { return &canoner{fields: record.Fields{}} }

func (c *canoner) problem(field, rule, format string, args ...any) {
	c.problems = append(c.problems, connector.Problem{Field: field, Rule: rule, Text: fmt.Sprintf(format, args...)})
}

// plain takes the values that every field may have: clear, later, absent. It
// tells whether the value was one of them.
func (c *canoner) plain(path string, v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case record.Clear, record.Later:
		c.fields[path] = v
		return true
	case string:
		return strings.TrimSpace(v) == "" // asked, not answered: no opinion
	}
	return false
}

// lookup takes the word of a flow for a piece of metadata, and gives what look
// finds; what DHIS2 does not know is a problem. ok is false where there is nothing.
func lookup[T any](c *canoner, path, what string, v any, look func(ref string) (T, error)) (found T, ok bool, err error) {
	if v == nil {
		return found, false, nil
	}
	ref, isText := text(v)
	if !isText {
		c.problem(path, "metadata", "must be the UID or code of a %s", what)
		return found, false, nil
	}
	if ref == "" {
		return found, false, nil
	}
	found, err = look(ref)
	if unknown(err) {
		c.problem(path, "metadata", "the %s %q is %v", what, ref, err)
		return found, false, nil
	}
	return found, err == nil, err
}

// orgUnit resolves an organisation unit, and checks that it is open and that our
// user may enter data there.
func (s *System) orgUnit(ctx context.Context, do call.Doer, c *canoner, v any) (*OrgUnit, error) {
	u, ok, err := lookup(c, "orgUnit", "organisation unit", v, func(ref string) (*OrgUnit, error) { return s.meta.unit(ctx, do, ref) })
	if err != nil || !ok {
		return nil, err
	}
	c.fields["orgUnit"] = u.ID
	me, err := s.meta.me(ctx, do)
	if err != nil {
		return nil, err
	}
	if !u.below(me.units()) {
		c.problem("orgUnit", "capture", "%s is not below the data capture units of the user %s: add it, or one above it, to the user", u.title(), me.Username)
	}
	return u, nil
}

// openOn checks that a unit is open on the days from first to last.
func (u *OrgUnit) openOn(c *canoner, first, last period.Day) {
	if opened, err := period.ParseDay(cut(u.Opened)); err == nil && last < opened {
		c.problem("orgUnit", "closed", "%s opened later, on %s", u.title(), opened)
	}
	if closed, err := period.ParseDay(cut(u.Closed)); err == nil && first > closed {
		c.problem("orgUnit", "closed", "%s was closed before, on %s", u.title(), closed)
	}
}

// cut takes the day of a moment that DHIS2 sent.
func cut(moment string) string {
	if len(moment) > 10 {
		return moment[:10]
	}
	return moment
}

// attribute resolves an attribute option combination of a category combination;
// nothing given means the default one, where the combination is the default.
func (s *System) attribute(ctx context.Context, do call.Doer, c *canoner, comboID string, v any) (string, error) {
	if comboID == "" {
		comboID = defaultCombo
	}
	combo, err := s.meta.combo(ctx, do, comboID)
	if unknown(err) {
		c.problem("attributeOptionCombo", "metadata", "the category combination %s is %v", comboID, err)
		return "", nil
	}
	if err != nil {
		return "", err
	}
	ref, _ := text(v)
	if ref == "" {
		if combo.isDefault() && len(combo.Options) == 1 {
			return combo.Options[0].ID, nil
		}
		c.problem("attributeOptionCombo", "required", "is missing: the data are broken down by %s", combo.Name)
		return "", nil
	}
	o, ok := combo.find(ref)
	if !ok {
		c.problem("attributeOptionCombo", "combination", "%q does not belong to the category combination %s", ref, combo.Name)
		return "", nil
	}
	return o.ID, nil
}

// defaultCombo is the default category combination in databases of the last
// decade; it is used only where a set names none.
const defaultCombo = "bjDvmb4bfuf"

// rows reads a wanted list of objects, and checks the names in them.
func (c *canoner) rows(field string, v any, names ...string) []map[string]any {
	list, ok := v.([]any)
	if !ok {
		if v != nil {
			c.problem(field, "list", "must be a list")
		}
		return nil
	}
	var out []map[string]any
	for i, item := range list {
		row, ok := item.(map[string]any)
		if !ok {
			c.problem(fmt.Sprintf("%s[%d]", field, i+1), "object", "must be an object with %s", strings.Join(names, ", "))
			continue
		}
		for _, name := range keysOf(row) {
			if !slices.Contains(names, name) {
				c.problem(fmt.Sprintf("%s[%d]/%s", field, i+1, name), "field", "is not a field here: there are %s", strings.Join(names, ", "))
			}
		}
		out = append(out, row)
	}
	return out
}

// put keeps one value under its path; two rows for the same place must agree.
func (c *canoner) put(path string, v any) {
	if before, ok := c.fields[path]; ok && !record.Same(before, v) {
		c.problem(path, "twice", "is given two different values")
		return
	}
	c.fields[path] = v
}

// value checks one value of a data element and keeps it.
func (s *System) value(ctx context.Context, do call.Doer, c *canoner, path string, e *DataElement, v any) error {
	if _, list := v.([]any); !list && c.plain(path, v) {
		return nil
	}
	var codes []string
	if e.OptionSet != nil && e.OptionSet.ID != "" {
		var err error
		if codes, err = s.meta.options(ctx, do, e.OptionSet.ID); unknown(err) {
			c.problem(path, "option-set", "the option set of %s is %v", e.title(), err)
			return nil
		}
		if err != nil {
			return err
		}
	}
	cal, err := s.calendar(ctx, do)
	if err != nil {
		return err
	}
	wire, takes := s.valueOf(e, v, codes, cal)
	if takes != "" {
		rule := "value-type"
		if codes != nil && strings.Contains(takes, "option set") {
			rule = "option"
		}
		c.problem(path, rule, "must be %s (%s, %s)", takes, e.title(), e.ValueType)
		return nil
	}
	c.put(path, wire)
	return nil
}

func keysOf[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
