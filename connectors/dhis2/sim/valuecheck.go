package sim

import (
	"slices"
	"strings"
	"time"
)

// resolve finds what a value names: E7610 to E7616, in the server's order.
func (i *importing) resolve(v *dataValue) (*resolved, *conflict) {
	m, s := i.s.model, i.s
	x := &resolved{coc: m.fallback, aoc: m.fallback, period: i.period, unit: i.unit}
	var found bool
	if x.element, found = m.elements.find(i.o.scheme("dataElementIdScheme"), v.DataElement); !found || !mayRead(x.element.r, i.r.user) {
		return nil, s.conflict("E7610", object{"dataElement", v.DataElement})
	}
	if i.period == nil {
		x.period = s.parsePeriod(strings.TrimSpace(v.Period.text))
	}
	if x.period == nil {
		// An outer period that could not be read is not known here any more.
		name := "null"
		if v.Period.set {
			name = v.Period.text
		}
		return nil, s.conflict("E7611", object{"period", name})
	}
	if x.unit == nil {
		if x.unit, found = m.units.find(i.o.scheme("orgUnitIdScheme"), v.OrgUnit); !found {
			return nil, s.conflict("E7612", object{"organisationUnit", v.OrgUnit})
		}
	}
	if v.COC != "" {
		if x.coc, found = m.cocs.find(i.o.scheme("categoryOptionComboIdScheme"), v.COC); !found {
			return nil, s.conflict("E7613", object{"categoryOptionCombo", v.COC})
		}
	}
	if o := i.closedOption(x.coc); o != nil {
		return nil, s.conflict("E7614", object{"categoryOptionCombo", v.COC}, object{"categoryOption", o.id})
	}
	switch {
	case i.aoc != nil:
		x.aoc = i.aoc
	case v.AOC != "":
		if x.aoc, found = i.findAOC(v.AOC); !found {
			return nil, s.conflict("E7615", object{"categoryOptionCombo", v.AOC})
		}
	}
	if o := i.closedOption(x.aoc); o != nil {
		return nil, s.conflict("E7616", object{"categoryOptionCombo", v.AOC}, object{"categoryOption", o.id})
	}
	x.text, x.hasText = normalBoolean(x.element.valueType, v.Value.text), v.Value.set && strings.TrimSpace(v.Value.text) != ""
	return x, nil
}

// closedOption is an option of a combination that the user may not write.
func (i *importing) closedOption(k *coc) *catOption {
	if k.combo == nil || k.combo.isDefault || i.r.user.may("ALL") {
		return nil
	}
	for _, o := range k.options {
		if !mayWrite(o.r, i.r.user) {
			return o
		}
	}
	return nil
}

// check refuses a value for its unit, its content or the rules of its data set:
// E7617 to E7644.
func (i *importing) check(v *dataValue, x *resolved) *conflict {
	if c := i.checkUnit(x); c != nil {
		return c
	}
	if c := i.checkContent(v, x); c != nil {
		return c
	}
	if c := i.checkStrict(v, x); c != nil {
		return c
	}
	if c := i.checkOptions(x); c != nil {
		return c
	}
	return i.checkOpen(x)
}

func (i *importing) checkUnit(x *resolved) *conflict {
	verdict, known := i.units[x.unit.id]
	if !known {
		verdict = unitVerdict{x.unit, x.unit.under(i.r.scope)}
		i.units[x.unit.id] = verdict
	}
	switch who := (object{"user", i.r.user.id}); {
	case verdict.inside:
		return nil
	case len(i.r.scope) == 0 && i.s.since(41):
		return i.s.conflict("E7622", who)
	default:
		return i.s.conflict("E7617", object{"organisationUnit", x.unit.id}, who)
	}
}

func (i *importing) checkContent(v *dataValue, x *resolved) *conflict {
	s, de := i.s, object{"dataElement", x.element.id}
	if !x.hasText && strings.TrimSpace(v.Comment.text) == "" && !v.Deleted {
		return s.conflict("E7618", de)
	}
	if x.hasText {
		if key := s.badValue(x.element.valueType, x.text); key != "" {
			return s.conflict("E7619", de, object{"value", key})
		}
	}
	if len(v.Comment.text) > longest {
		return s.conflict("E7620", object{"comment", "comment_length_greater_than_max_length"})
	}
	if x.hasText && x.element.options != nil {
		chosen := []string{x.text}
		if x.element.valueType == "MULTI_TEXT" {
			chosen = strings.Split(x.text, ",")
		}
		for _, o := range chosen {
			if !x.element.options[o] {
				return s.conflict("E7621", de)
			}
		}
	}
	return nil
}

func (i *importing) checkStrict(v *dataValue, x *resolved) *conflict {
	s, e := i.s, x.element
	de := object{"dataElement", e.id}
	switch {
	case i.requireCOC && v.COC == "":
		return s.conflict("E7630")
	case i.requireAOC && v.AOC == "" && i.aoc == nil:
		return s.conflict("E7631")
	case i.strictPeriods && !slices.ContainsFunc(e.sets, func(d *dataSet) bool { return d.kind == x.period.kind }):
		return s.conflict("E7632", object{"period", x.period.name}, de)
	case i.strictElements && i.set != nil && i.set.elements[e.id] == nil:
		return s.conflict("E7633", de, object{"dataSet", i.set.id})
	case i.strictCOCs && !slices.Contains(e.combos, x.coc.combo):
		return s.conflict("E7634", object{"categoryOptionCombo", x.coc.id}, de)
	case i.strictAOCs && !slices.ContainsFunc(e.sets, func(d *dataSet) bool { return d.combo == x.aoc.combo }):
		return s.conflict("E7635", object{"categoryOptionCombo", x.aoc.id}, de)
	case i.strictUnits && !slices.ContainsFunc(e.sets, func(d *dataSet) bool { return d.units[x.unit.id] }):
		return s.conflict("E7636", object{"organisationUnit", x.unit.id}, de)
	case len(v.StoredBy) > 255:
		return s.conflict("E7637", object{"storedBy", "stored_by_length_greater_than_max_length"})
	}
	return nil
}

// checkOptions holds a value against the dates and units of attribute options.
func (i *importing) checkOptions(x *resolved) *conflict {
	aoc := object{"categoryOptionCombo", x.aoc.id}
	for _, o := range x.aoc.options {
		if !o.start.IsZero() && x.period.end.Before(o.start) || !o.end.IsZero() && x.period.start.After(o.end) {
			return i.s.conflict("E7638", object{"period", x.period.name}, aoc)
		}
		if len(o.units) > 0 && !x.unit.under(o.units) {
			return i.s.conflict("E7639", object{"organisationUnit", x.unit.id}, aoc)
		}
	}
	return nil
}

// setOf is the data set whose rules count: the one named, else of the element's
// sets the one that is reported most often (DataElement.getApprovalDataSet).
func (i *importing) setOf(x *resolved) *dataSet {
	if i.set != nil {
		return i.set
	}
	var best *dataSet
	for _, d := range x.element.sets {
		if best == nil || i.s.days(d.kind) < i.s.days(best.kind) {
			best = d
		}
	}
	return best
}

func (i *importing) checkOpen(x *resolved) *conflict {
	s, d := i.s, i.setOf(x)
	pe := object{"period", x.period.name}
	free := i.o.Force && i.r.user.may("ALL")
	if d == nil || free {
		return nil
	}
	if i.locking && s.locked(d, x.period, x.unit, i.r.user) {
		return s.conflict("E7640", pe, object{"dataSet", d.id})
	}
	if c := i.checkFuture(x, d); c != nil {
		return c
	}
	if i.approval && s.data.approved[completeKey{d.id, x.period.name, x.unit.id, x.aoc.id}] {
		return s.conflict("E7642", object{"organisationUnit", x.unit.id}, pe, object{"categoryOptionCombo", x.aoc.id}, object{"dataSet", d.id})
	}
	if !i.inputs {
		return nil
	}
	if !s.inputOpen(d, x.period) {
		return s.conflict("E7643", pe, object{"dataSet", d.id})
	}
	sets := x.element.sets
	if len(sets) > 0 && !slices.ContainsFunc(sets, func(d *dataSet) bool { return s.inputOpen(d, x.period) }) {
		return s.conflict("E7644", pe)
	}
	return nil
}

// checkFuture compares with the furthest open period of the element's data
// sets; the server does so in the ISO calendar only.
func (i *importing) checkFuture(x *resolved, d *dataSet) *conflict {
	if _, iso := i.s.calendar.(isoCalendar); !iso || len(x.element.sets) == 0 {
		return nil
	}
	future := 0
	for _, each := range x.element.sets {
		future = max(future, each.future)
	}
	latest := i.s.latestOpen(x.element.sets[0].kind, future)
	if latest == nil || !x.period.start.After(latest.end) {
		return nil
	}
	c := i.s.conflict("E7641", object{"period", x.period.name}, object{"dataElement", x.element.id}, object{"dataSet", d.id})
	// The latest period is in the text only; before 2.39 the data set is not.
	args := []string{x.period.name, x.element.id, d.id, latest.name}
	if !i.s.since(39) {
		args[2] = latest.name
		delete(c.Objects, "dataSet")
	}
	c.Value = i.s.text(codes().data, "E7641", args...)
	return c
}

// locked tells whether the days after the period's end are over.
func (s *Server) locked(d *dataSet, p *period, u *orgUnit, who *user) bool {
	if d.expiry <= 0 || who.may("F_EDIT_EXPIRED") || s.data.exempted[completeKey{set: d.id, period: p.name, unit: u.id}] {
		return false
	}
	now := s.now()
	wall := time.Date(now.Year(), now.Month(), now.Day(), now.Hour(), now.Minute(), now.Second(), 0, time.UTC)
	return wall.After(p.end.AddDate(0, 0, 1).Add(time.Duration(d.expiry * 24 * float64(time.Hour))))
}

// inputOpen looks at a data set's input periods, if it has any.
func (s *Server) inputOpen(d *dataSet, p *period) bool {
	inputs := list(d.r, "dataInputPeriods")
	if len(inputs) == 0 {
		return true
	}
	for _, v := range inputs {
		in, _ := v.(record)
		if other := s.parsePeriod(idOf(in["period"])); other == nil || other.name != p.name {
			continue
		}
		day := s.today().Format("2006-01-02")
		opens, closes := text(in, "openingDate"), text(in, "closingDate")
		if (opens == "" || day >= opens[:min(10, len(opens))]) && (closes == "" || day <= closes[:min(10, len(closes))]) {
			return true
		}
	}
	return false
}
