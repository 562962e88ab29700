package dhis2

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/period"
)

// adxSpace is the namespace of ADX (IHE QRPH, Aggregate Data Exchange).
const adxSpace = "urn:ihe:qrph:adx:2015"

// adxDurations are the ISO durations of period types; with the same duration the
// first day decides which is meant (dxf2/adx/AdxPeriod.java, 2.42).
var adxDurations = map[period.Type]string{
	"Daily": "P1D", "Weekly": "P7D", "WeeklyWednesday": "P7D", "WeeklyThursday": "P7D", "WeeklySaturday": "P7D", "WeeklySunday": "P7D",
	"BiWeekly": "P14D", "Monthly": "P1M", "BiMonthly": "P2M", "Quarterly": "P3M", "QuarterlyNov": "P3M",
	"SixMonthly": "P6M", "SixMonthlyApril": "P6M", "SixMonthlyNov": "P6M",
	"Yearly": "P1Y", "FinancialApril": "P1Y", "FinancialJuly": "P1Y", "FinancialSep": "P1Y", "FinancialOct": "P1Y", "FinancialNov": "P1Y",
}

// adxReserved are the attributes that ADX or DHIS2 gives a meaning of its own, so
// that no category can be named so.
var adxReserved = []string{"dataSet", "orgUnit", "period", "completeDate", "attributeOptionCombo", "dataElement", "categoryOptionCombo", "value", "comment"}

var adxName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

// adx writes an ADX message. Everything is named by its code, category options as
// attributes by the codes of their categories; what has none is an error that
// names it.
type adx struct {
	*System
	ctx     context.Context
	do      call.Doer
	e       *xml.Encoder
	missing []string // what cannot be named
}

func (s *System) adxFile(ctx context.Context, do call.Doer, sets []uploaded) ([]byte, error) {
	cal, err := s.calendar(ctx, do)
	if err != nil {
		return nil, err
	}
	if cal != period.ISO8601 {
		return nil, s.refused("write the file", "ADX has ISO dates only, and this server another calendar: use json or csv")
	}
	var b bytes.Buffer
	b.WriteString(xml.Header)
	x := &adx{System: s, ctx: ctx, do: do, e: xml.NewEncoder(&b)}
	x.e.Indent("", "  ")
	root := xml.StartElement{Name: xml.Name{Local: "adx"}, Attr: attrsOf("xmlns", adxSpace, "exported", s.now().UTC().Format(time.RFC3339))}
	if err := x.e.EncodeToken(root); err != nil {
		return nil, fmt.Errorf("write the file: %w", err)
	}
	for _, set := range sets {
		if err := x.group(set); err != nil {
			return nil, err
		}
	}
	if len(x.missing) > 0 {
		return nil, s.refused("write the file", "ADX names everything by code: %s. Give the codes in DHIS2, or use json or csv", strings.Join(x.missing, "; "))
	}
	if err := x.e.EncodeToken(root.End()); err != nil {
		return nil, fmt.Errorf("write the file: %w", err)
	}
	if err := x.e.Close(); err != nil {
		return nil, fmt.Errorf("write the file: %w", err)
	}
	return append(b.Bytes(), '\n'), nil
}

func attrsOf(pairs ...string) []xml.Attr {
	var out []xml.Attr
	for i := 0; i+1 < len(pairs); i += 2 {
		out = append(out, xml.Attr{Name: xml.Name{Local: pairs[i]}, Value: pairs[i+1]})
	}
	return out
}

// lack notes something that cannot be named.
func (x *adx) lack(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(x.missing, text) {
		x.missing = append(x.missing, text)
	}
}

// code gives the code of something, or notes that it has none.
func (x *adx) code(what string, n Named) string {
	if n.Code == "" {
		x.lack("the %s %s (%s) has none", what, n.title(), n.ID)
	}
	return n.Code
}

func (x *adx) group(set uploaded) error {
	ds, err := x.meta.dataSet(x.ctx, x.do, set.dataSet)
	if err != nil {
		return fmt.Errorf("write the file: data set %s: %w", set.dataSet, err)
	}
	unit, err := x.meta.unit(x.ctx, x.do, set.unit)
	if err != nil {
		return fmt.Errorf("write the file: organisation unit %s: %w", set.unit, err)
	}
	p, err := period.Parse(set.period)
	if err != nil {
		return fmt.Errorf("write the file: %w", err)
	}
	group := xml.StartElement{Name: xml.Name{Local: "group"}, Attr: attrsOf("dataSet", x.code("data set", ds.Named),
		"orgUnit", x.code("organisation unit", unit.Named), "period", p.Start().String()+"/"+adxDurations[p.Type()])}
	more, err := x.options(ds.Combo.ID, set.attribute)
	if err != nil {
		return err
	}
	group.Attr = append(group.Attr, more...)
	// A remark may hold no two hyphens.
	remark := xml.Comment(" " + strings.ReplaceAll(set.by, "-", "\u2010") + " ")
	for _, t := range []xml.Token{xml.CharData("\n  "), remark, group} {
		if err := x.e.EncodeToken(t); err != nil {
			return fmt.Errorf("write the file: %w", err)
		}
	}
	for _, v := range set.values {
		if err := x.value(ds, v); err != nil {
			return err
		}
	}
	if err := x.e.EncodeToken(group.End()); err != nil {
		return fmt.Errorf("write the file: %w", err)
	}
	return nil
}

func (x *adx) value(ds *DataSet, v uploadedValue) error {
	el, combo, ok := ds.element(v.element)
	if !ok {
		return x.refused("write the file", "%s is no longer a data element of %s", v.element, ds.title())
	}
	switch {
	case v.deleted:
		return x.refused("write the file", "the value of %s is to be taken away, which ADX cannot say: use json or csv", el.title())
	case combo != el.Combo.ID:
		return x.refused("write the file", "%s has a category combination of its own in %s, which DHIS2 does not look at in ADX: use json or csv", el.title(), ds.title())
	}
	start := xml.StartElement{Name: xml.Name{Local: "dataValue"}, Attr: attrsOf("dataElement", x.code("data element", el.Named))}
	more, err := x.options(combo, v.combo)
	if err != nil {
		return err
	}
	start.Attr = append(start.Attr, more...)
	if slices.Contains(numericTypes, el.ValueType) {
		start.Attr = append(start.Attr, attrsOf("value", v.value)...)
		err = x.e.EncodeElement("", start)
	} else { // a value must be a number; what is none is an annotation
		start.Attr = append(start.Attr, attrsOf("value", "0")...)
		err = x.e.EncodeElement(struct {
			Annotation string `xml:"annotation"`
		}{v.value}, start)
	}
	if err != nil {
		return fmt.Errorf("write the file: %w", err)
	}
	return nil
}

// options names a combination by an attribute for each category. The default
// combination has none.
func (x *adx) options(comboID, id string) ([]xml.Attr, error) {
	c, err := x.meta.combo(x.ctx, x.do, comboID)
	if err != nil {
		return nil, fmt.Errorf("write the file: category combination %s: %w", comboID, err)
	}
	if c.isDefault() {
		return nil, nil
	}
	i := slices.IndexFunc(c.Options, func(o OptionCombo) bool { return o.ID == id })
	if i < 0 {
		return nil, x.refused("write the file", "%s is no longer an option combination of %s", id, c.Name)
	}
	var out []xml.Attr
	for _, cat := range c.Categories {
		switch {
		case cat.Code == "":
			x.lack("the category %s (%s) has none", cat.Name, cat.ID)
			continue
		case !adxName.MatchString(cat.Code) || slices.Contains(adxReserved, cat.Code):
			x.lack("the code %q of the category %s cannot be the name of an attribute", cat.Code, cat.Name)
			continue
		}
		for _, o := range c.Options[i].Options {
			if !slices.ContainsFunc(cat.Options, func(y Option) bool { return y.ID == o.ID }) {
				continue
			}
			if o.Code == "" {
				x.lack("the category option %s (%s) has none", o.Name, o.ID)
			}
			out = append(out, attrsOf(cat.Code, o.Code)...)
		}
	}
	return out, nil
}
