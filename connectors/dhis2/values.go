package dhis2

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

var valuesSpec = connector.KindSpec{
	Name: "DataValueSet",
	About: "The aggregate data of one data set, period, organisation unit and attribute option combination: one place in DHIS2 that is always there, filled or empty. " +
		"Only the values that differ are sent; an undo gives back what stood there. DHIS2 is asked first whether it would take them, so that no report is taken in part.",
	ByDefault: "by data set, period, organisation unit and attribute option combination",
	Fields: []connector.FieldSpec{
		{Name: "dataSet", Type: connector.Text, Required: true, About: "Data set, by UID or code."},
		{Name: "period", Type: connector.Text, Required: true, About: "Period of the data set's period type, in the server's calendar: 202610, 2026W44, 2026Q4."},
		{Name: "orgUnit", Type: connector.Text, Required: true, About: "Organisation unit, by UID or code; it must be assigned to the data set."},
		{Name: "attributeOptionCombo", Type: connector.Text, About: "Attribute option combination, by UID or code; needed only where the data set has a category combination of its own."},
		{Name: "values", Type: connector.Object, List: true, Key: []string{"dataElement", "categoryOptionCombo"}, About: "The values. Not given: the row is left out.",
			Fields: []connector.FieldSpec{
				{Name: "dataElement", Type: connector.Text, Required: true, About: "Data element of the data set, by UID or code."},
				{Name: "categoryOptionCombo", Type: connector.Text, About: "Category option combination, by UID or code; may be left out only where the data element is not broken down."},
				{Name: "value", Type: connector.Any, About: "Number, yes or no, text, day, or a code of the option set, as the value type asks. A zero is stored only where the data element says that zeros count."},
			}},
	},
	Gives: []connector.FieldSpec{{Name: "uuid", Type: connector.Text, About: "data set.period.organisation unit.attribute option combination"}},
}

type valuesKind struct{ *System }

func (k *valuesKind) Spec() *connector.KindSpec { return &valuesSpec }

// valueSet is a data value set as it crosses the wire.
type valueSet struct {
	DataSet   string      `json:"dataSet,omitempty"`
	Period    string      `json:"period,omitempty"`
	OrgUnit   string      `json:"orgUnit,omitempty"`
	Attribute string      `json:"attributeOptionCombo,omitempty"`
	Values    []wireValue `json:"dataValues"`
}

// wireValue is one value. Values are sent as text: 2.43 reads nothing else.
type wireValue struct {
	DataElement string `json:"dataElement"`
	Combo       string `json:"categoryOptionCombo,omitempty"`
	Attribute   string `json:"attributeOptionCombo,omitempty"`
	Value       string `json:"value"`
	Comment     string `json:"comment,omitempty"`
	Followup    bool   `json:"followup,omitempty"`
	FollowUp    bool   `json:"followUp,omitempty"` // its name in 2.43
	Deleted     bool   `json:"deleted,omitempty"`
}

// place is what a data value set, or the registration that it is complete, is
// told by.
type place struct{ dataSet, period, unit, attribute string }

// id writes the place as the id of its records.
func (p place) id() string {
	return strings.Join([]string{p.dataSet, p.period, p.unit, p.attribute}, ".")
}

func placeOf(id string) (place, bool) {
	parts := strings.Split(id, ".")
	if len(parts) != 4 || slices.Contains(parts, "") {
		return place{}, false
	}
	return place{parts[0], parts[1], parts[2], parts[3]}, true
}

func placeIn(f record.Fields) (place, bool) {
	p := place{f.Text("dataSet"), f.Text("period"), f.Text("orgUnit"), f.Text("attributeOptionCombo")}
	return p, p.dataSet != "" && p.period != "" && p.unit != "" && p.attribute != ""
}

func (p place) fields() record.Fields {
	return record.Fields{"dataSet": p.dataSet, "period": p.period, "orgUnit": p.unit, "attributeOptionCombo": p.attribute}
}

// about names the place in words.
func (p place) about() string {
	return fmt.Sprintf("data set %s, period %s, organisation unit %s", p.dataSet, p.period, p.unit)
}

// sought gives the place that a query means. A document whose new version names
// another place cannot be followed: what it wrote at the first would be lost
// sight of.
func (s *System) sought(q connector.Query) (place, error) {
	p, ok := placeIn(q.Wanted)
	if q.Made == "" {
		if !ok {
			return place{}, s.refused("find data values", "dataSet, period and orgUnit must all be given")
		}
		return p, nil
	}
	made, whole := placeOf(q.Made)
	if !whole {
		return place{}, s.refused("find data values", "%q is not the id of a place for data", q.Made)
	}
	if ok && p != made {
		return place{}, s.refused("find data values", "the document was sent before for %s, and now names %s: skip this version, take the first back, and send it as a new document", made.about(), p.about())
	}
	return made, nil
}

// cell is the path of one value.
func cell(element, combo string) string { return "values/" + element + "/" + combo }

func cellOf(path string) (element, combo string, ok bool) {
	rest, ok := strings.CutPrefix(path, "values/")
	element, combo, two := strings.Cut(rest, "/")
	return element, combo, ok && two
}

func (p place) read() call.Request {
	return read(valuesPath, "dataSet", p.dataSet, "period", p.period, "orgUnit", p.unit)
}

// Find reads what stands at the place. It is always there: a place without
// values is an empty one.
func (k *valuesKind) Find(ctx context.Context, do call.Doer, q connector.Query) (connector.Found, error) {
	p, err := k.sought(q)
	if err != nil {
		return connector.Found{}, err
	}
	a, err := do.Do(ctx, "read data values", p.read())
	if err != nil {
		return connector.Found{}, err
	}
	at, err := decodeValues(a, p.attribute)
	if err != nil {
		return connector.Found{}, err
	}
	f := connector.Found{Exists: true, ID: p.id(), Fields: p.fields(), How: "data set, period and organisation unit", Rows: map[string]string{}}
	for _, wanted := range []record.Fields{q.Base, q.Wanted} {
		for path := range wanted {
			if _, _, ok := cellOf(path); ok {
				f.Fields[path] = "" // nothing stands there
			}
		}
	}
	for path, v := range at {
		f.Fields[path] = v.Value
		if row, err := json.Marshal(v); err == nil && (v.Comment != "" || v.Followup) {
			f.Rows[path] = string(row)
		}
	}
	return f, nil
}

// decodeValues reads the values of one attribute option combination.
func decodeValues(a call.Answer, attribute string) (map[string]wireValue, error) {
	var set struct {
		Attribute string `json:"attributeOptionCombo"`
		Values    []struct {
			wireValue
			Value any `json:"value"` // text; older servers in a few cases numbers
		} `json:"dataValues"`
	}
	if err := json.Unmarshal(a.Body, &set); err != nil {
		return nil, fmt.Errorf("read the data values that DHIS2 sent: %w", err)
	}
	out := map[string]wireValue{}
	for _, v := range set.Values {
		if at := cmp.Or(v.Attribute, set.Attribute); at != "" && at != attribute || v.Deleted {
			continue
		}
		row := v.wireValue
		row.Followup = row.Followup || row.FollowUp
		row.FollowUp = row.Followup
		row.Value, _ = text(v.Value)
		out[cell(v.DataElement, v.Combo)] = row
	}
	return out, nil
}

// Canon checks a wanted data value set, as strictly as DHIS2 can be made to: by
// default it stores a value in a wrong place without a word.
func (k *valuesKind) Canon(ctx context.Context, do call.Doer, wanted map[string]any) (record.Fields, []connector.Problem, error) {
	c := newCanoner()
	for _, name := range keysOf(wanted) {
		if !slices.Contains([]string{"dataSet", "period", "orgUnit", "attributeOptionCombo", "values"}, name) {
			c.problem(name, "field", "is not a field of a data value set")
		}
	}
	if _, err := k.versionOf(ctx, do); err != nil {
		return nil, nil, err
	}
	ds, err := k.placed(ctx, do, c, wanted, true)
	if err != nil {
		return nil, nil, err
	}
	if ds != nil {
		if err := k.cells(ctx, do, c, ds, wanted["values"]); err != nil {
			return nil, nil, err
		}
	}
	return c.fields, c.problems, nil
}

// cells checks the rows of values.
func (k *valuesKind) cells(ctx context.Context, do call.Doer, c *canoner, ds *DataSet, v any) error {
	var zeros []string
	for i, row := range c.rows("values", v, "dataElement", "categoryOptionCombo", "value") {
		at := fmt.Sprintf("values[%d]", i+1)
		name, _ := text(row["dataElement"])
		e, comboID, ok := ds.element(name)
		if !ok {
			c.problem(at+"/dataElement", "data-element", "%q is not a data element of the data set %s", name, ds.title())
			continue
		}
		path, err := k.cellFor(ctx, do, c, at, e, comboID, row["categoryOptionCombo"])
		if err != nil {
			return err
		}
		if path == "" {
			continue
		}
		if err := k.value(ctx, do, c, path, e, row["value"]); err != nil {
			return err
		}
		if t, ok := c.fields[path].(string); ok && isZero(t) && e.dropsZero() {
			// DHIS2 keeps no such zero: wanted is that nothing stands there.
			c.fields[path] = record.Clear{}
			zeros = append(zeros, e.title())
		}
	}
	if len(zeros) > 0 {
		slices.Sort(zeros)
		c.problems = append(c.problems, connector.Problem{Field: "values", Rule: "zero", Remark: true,
			Text: "DHIS2 stores no zero of " + strings.Join(slices.Compact(zeros), ", ") + ": there, no value stands for 0 (zeroIsSignificant is off)"})
	}
	return nil
}

// cellFor gives the path of a value, once its category option combination is
// known to belong to the data element. DHIS2 would take the default one for a
// missing one, where nobody sees it.
func (k *valuesKind) cellFor(ctx context.Context, do call.Doer, c *canoner, at string, e *DataElement, comboID string, v any) (string, error) {
	combo, err := k.meta.combo(ctx, do, comboID)
	if unknown(err) {
		c.problem(at+"/categoryOptionCombo", "metadata", "the category combination of %s is %v", e.title(), err)
		return "", nil
	}
	if err != nil {
		return "", err
	}
	ref, _ := text(v)
	if ref == "" {
		if len(combo.Options) == 1 && combo.isDefault() {
			return cell(e.ID, combo.Options[0].ID), nil
		}
		c.problem(at+"/categoryOptionCombo", "required", "is missing: %s is broken down by %s", e.title(), combo.Name)
		return "", nil
	}
	o, ok := combo.find(ref)
	if !ok {
		c.problem(at+"/categoryOptionCombo", "combination", "%q does not belong to %s, which is broken down by %s", ref, e.title(), combo.Name)
		return "", nil
	}
	return cell(e.ID, o.ID), nil
}
