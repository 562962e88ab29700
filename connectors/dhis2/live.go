package dhis2

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/period"
)

// Use is what one record of a flow says literally about the server: what Live
// asks about. Identifiers are UIDs or codes, as the flow has them; empty ones are
// not asked about.
type Use struct {
	Where   string // "flows/births.yaml:12", for the report
	DataSet string
	// PeriodType is that of the flow's schedule, or of its period.
	PeriodType period.Type
	// Day is how many days after a period's end it is sent at the earliest; 0: not known.
	Day       int
	Program   string
	Stage     string
	Attribute string
	Units     []string
	Values    []UseValue
	// Whole: every data element and combination of the data set must be among
	// Values or NotOurs ("element", or "element/combo").
	Whole   bool
	NotOurs []string
	// Open: more values are written than Values holds, by names that the messages give.
	Open bool
}

// UseValue is one data element that a flow writes, with the category option
// combination, and the type of what it writes where that is known.
type UseValue struct {
	Element, Combo string
	Type           connector.Type
}

// Finding is something that is wrong on the server, or with what a flow says of
// it, in words for whoever can put it right. A Warning stops nothing.
type Finding struct {
	Where, Text string
	Warning     bool
}

type findings struct {
	list  []Finding
	where string
}

func (f *findings) bad(format string, args ...any) {
	f.list = append(f.list, Finding{Where: f.where, Text: fmt.Sprintf(format, args...)})
}

// warn says a thing once: a data element is met in each of its combinations.
func (f *findings) warn(format string, args ...any) {
	one := Finding{Where: f.where, Text: fmt.Sprintf(format, args...), Warning: true}
	if !slices.Contains(f.list, one) {
		f.list = append(f.list, one)
	}
}

// Live asks the server about everything that flows say literally: that it is
// there, of the right type, assigned, open, and that our user may write it. An
// error is a failed read.
func (s *System) Live(ctx context.Context, do call.Doer, uses []Use) ([]Finding, error) {
	f := &findings{where: s.name}
	me, err := s.liveServer(ctx, do, f, uses)
	if err != nil {
		return nil, err
	}
	for _, u := range uses {
		f.where = u.Where
		units, err := s.liveUnits(ctx, do, f, u.Units, me)
		if err != nil {
			return nil, err
		}
		if u.DataSet != "" {
			if err := s.liveDataSet(ctx, do, f, u, units); err != nil {
				return nil, err
			}
		}
		if u.Program != "" {
			if err := s.liveProgram(ctx, do, f, u, units); err != nil {
				return nil, err
			}
		}
	}
	return f.list, nil
}

// liveServer checks version, calendar and user.
func (s *System) liveServer(ctx context.Context, do call.Doer, f *findings, uses []Use) (*Me, error) {
	info, err := s.meta.info(ctx, do)
	if err != nil {
		return nil, err
	}
	said, err := ParseVersion(info.Version)
	if err == nil {
		err = said.supported()
	}
	switch {
	case err != nil:
		f.bad("%v", err)
	case s.version.Major != 0 && s.version.Minor != said.Minor:
		f.bad("the option version says %s, but the server is %s", s.version, said)
	case said.Minor > 43:
		f.warn("DHIS2 %s is newer than 2.43, the last that this connector knows", said)
	}
	if _, err := period.ParseCalendar(cmp.Or(info.Calendar, "iso8601")); err != nil {
		f.bad("%v", err)
	}
	me, err := s.meta.me(ctx, do)
	if err != nil {
		return nil, err
	}
	data := slices.ContainsFunc(uses, func(u Use) bool { return u.DataSet != "" })
	if data && len(me.Authorities) > 0 && !me.may("F_DATAVALUE_ADD") {
		f.bad("the user %s has no authority F_DATAVALUE_ADD: give it to one of the user's roles", me.Username)
	}
	if len(me.Units) == 0 {
		f.bad("the user %s has no data capture organisation unit: add one to the user", me.Username)
	}
	return me, nil
}

func (s *System) liveUnits(ctx context.Context, do call.Doer, f *findings, refs []string, me *Me) ([]*OrgUnit, error) {
	var out []*OrgUnit
	if err := s.meta.fetchUnits(ctx, do, refs); err != nil {
		return nil, err
	}
	for _, ref := range refs {
		u, err := s.meta.unit(ctx, do, ref)
		switch {
		case unknown(err):
			f.bad("the organisation unit %q is %v", ref, err)
			continue
		case err != nil:
			return nil, err
		case !u.below(me.units()):
			f.bad("%s (%s) is not below the data capture units of the user %s: add it, or one above it, to the user", u.title(), u.ID, me.Username)
		}
		if closed, err := period.ParseDay(cut(u.Closed)); err == nil && closed < period.DayOf(s.serverNow().In(s.zone)) {
			f.warn("%s (%s) was closed on %s", u.title(), u.ID, closed)
		}
		out = append(out, u)
	}
	return out, nil
}

func (s *System) liveDataSet(ctx context.Context, do call.Doer, f *findings, u Use, units []*OrgUnit) error {
	ds, err := s.meta.dataSet(ctx, do, u.DataSet)
	if unknown(err) {
		f.bad("the data set %q is %v", u.DataSet, err)
		return nil
	}
	if err != nil {
		return err
	}
	if w := ds.Access.Data.Write; w != nil && !*w {
		f.bad("the user may not write data of %s: give data-write sharing on it", ds.title())
	}
	if u.PeriodType != "" && u.PeriodType != ds.PeriodType {
		f.bad("%s is %s, but the flow sends %s", ds.title(), ds.PeriodType, u.PeriodType)
	}
	if d := u.Day - 1; d >= 0 && ds.ExpiryDays > 0 && float64(d) >= ds.ExpiryDays {
		f.bad("%s is locked %v days after a period's end, and the flow asks on day %d: ask earlier, or have its expiry days raised", ds.title(), ds.ExpiryDays, u.Day)
	}
	for _, unit := range units {
		if !ds.assigned(unit.ID) {
			f.bad("the data set %s is not assigned to %s (%s): assign it there", ds.title(), unit.title(), unit.ID)
		}
	}
	c := newCanoner()
	if _, err := s.attribute(ctx, do, c, ds.Combo.ID, u.Attribute); err != nil {
		return err
	}
	mapped := map[string]bool{}
	for _, v := range u.Values {
		path, err := s.liveCell(ctx, do, f, c, ds, v)
		if err != nil {
			return err
		}
		if path != "" && mapped[path] {
			f.bad("%s is written twice", path)
		}
		mapped[path] = true
	}
	for _, p := range c.problems {
		f.bad("%s %s", p.Field, p.Text)
	}
	if !u.Whole {
		return nil
	}
	return s.liveWhole(ctx, do, f, ds, mapped, u.NotOurs)
}

// liveCell checks one data element and combination of a data set.
func (s *System) liveCell(ctx context.Context, do call.Doer, f *findings, c *canoner, ds *DataSet, v UseValue) (string, error) {
	e, comboID, ok := ds.element(v.Element)
	if !ok {
		f.bad("%q is not a data element of the data set %s: add it there, or take it out of the mapping", v.Element, ds.title())
		return "", nil
	}
	if takes := e.takes(v.Type); takes != "" {
		f.bad("%s takes %s, but the flow writes a %s", e.title(), takes, v.Type)
	}
	if e.dropsZero() {
		f.warn("DHIS2 stores no zero of %s (%s): where a zero means something, as in stock, set zeroIsSignificant", e.title(), e.ID)
	}
	k := &valuesKind{s}
	return k.cellFor(ctx, do, c, e.title(), e, comboID, orNil(v.Combo))
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// liveWhole names what the mapping forgets of the data set.
func (s *System) liveWhole(ctx context.Context, do call.Doer, f *findings, ds *DataSet, mapped map[string]bool, notOurs []string) error {
	lines, err := s.dataSetLines(ctx, do, ds)
	if err != nil {
		return err
	}
	for _, l := range lines {
		e, _, _ := ds.element(l.Element)
		ours := !slices.ContainsFunc([]string{l.Element, e.Code, l.Element + "/" + l.Combo, e.Code + "/" + l.Combo}, func(name string) bool {
			return name != "" && slices.Contains(notOurs, name)
		})
		if ours && !mapped[cell(l.Element, l.Combo)] {
			f.bad("%s (%s, %s) is mapped from nothing: map it, or mark it as not ours", l.Name, l.Element, l.Combo)
		}
	}
	return nil
}

func (s *System) liveProgram(ctx context.Context, do call.Doer, f *findings, u Use, units []*OrgUnit) error {
	c := newCanoner()
	k := &eventKind{s}
	p, stage, err := k.stage(ctx, do, c, map[string]any{"program": u.Program, "programStage": orNil(u.Stage), "attributeOptionCombo": orNil(u.Attribute)})
	if err != nil {
		return err
	}
	for _, problem := range c.problems {
		f.bad("%s %s", problem.Field, problem.Text)
	}
	if p == nil {
		return nil
	}
	for _, unit := range units {
		if !p.assigned(unit.ID) {
			f.bad("the program %s is not assigned to %s (%s): assign it there", p.title(), unit.title(), unit.ID)
		}
	}
	if stage == nil {
		return nil
	}
	written := map[string]bool{}
	for _, v := range u.Values {
		e, ok := stage.element(v.Element)
		if !ok {
			f.bad("%q is not a data element of the program stage %s: add it there, or take it out of the mapping", v.Element, stage.title())
			continue
		}
		if takes := e.takes(v.Type); takes != "" {
			f.bad("%s takes %s, but the flow writes a %s", e.title(), takes, v.Type)
		}
		if written[e.ID] {
			f.bad("%s is written twice", e.title())
		}
		written[e.ID] = true
	}
	for i := range stage.Elements {
		if e := stage.Elements[i]; e.Compulsory && !u.Open && !written[e.Element.ID] {
			f.bad("%s (%s) is compulsory in the stage %s, and the flow does not write it", e.Element.title(), e.Element.ID, stage.title())
		}
	}
	return nil
}

// takes says what the data element takes where a type cannot be it.
func (e *DataElement) takes(t connector.Type) string {
	fits := true
	switch t {
	case connector.Number:
		fits = slices.Contains(numericTypes, e.ValueType) || e.ValueType == "TEXT" || e.ValueType == "LONG_TEXT"
	case connector.Bool:
		fits = slices.Contains([]string{"BOOLEAN", "TRUE_ONLY", "TEXT", "LONG_TEXT"}, e.ValueType)
	case connector.Day, connector.Moment:
		fits = slices.Contains([]string{"DATE", "AGE", "DATETIME", "TEXT", "LONG_TEXT"}, e.ValueType) && (t != connector.Day || e.ValueType != "DATETIME")
	case connector.RefTo, connector.Object:
		fits = false
	}
	if fits {
		return ""
	}
	return cmp.Or(typeRules[e.ValueType].takes, "another type")
}
