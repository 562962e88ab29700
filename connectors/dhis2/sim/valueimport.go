package sim

import (
	"strings"
)

// importing is one import of data values under way
// (dxf2/datavalueset/DefaultDataValueSetService.java).
type importing struct {
	s   *Server
	r   *request
	o   *importOptions
	sum *summary

	set    *dataSet
	period *period
	name   string // of the outer period, as given
	unit   *orgUnit
	aoc    *coc

	strictPeriods, strictElements, strictCOCs, strictAOCs, strictUnits bool
	requireCOC, requireAOC, approval, locking, inputs                  bool

	units map[string]unitVerdict
}

type unitVerdict struct {
	unit   *orgUnit
	inside bool
}

func (s *Server) flag(asked bool, setting string) bool {
	on, _ := s.settings["keyDataImport"+setting].(bool)
	return asked || on
}

// importValues does an import. The lock must be held.
func (s *Server) importValues(r *request, in *valueSet, o *importOptions) *summary {
	for scheme, v := range map[string]string{"idScheme": in.IDScheme, "dataElementIdScheme": in.DEScheme, "orgUnitIdScheme": in.OUScheme,
		"categoryOptionComboIdScheme": in.COCScheme, "dataSetIdScheme": in.DSScheme} {
		if v != "" {
			o.IDSchemes[scheme] = v
		}
	}
	if in.DryRun != nil {
		o.DryRun = *in.DryRun
	}
	if strategy := strategies[strings.ToUpper(in.Strategy)]; in.Strategy != "" && strategy != "" {
		o.ImportStrategy = strategy
	}
	i := &importing{s: s, r: r, o: o, sum: s.newSummary(o), units: map[string]unitVerdict{},
		strictPeriods: s.flag(o.StrictPeriods, "StrictPeriods"), strictElements: s.flag(o.StrictDataElements, "StrictDataElements"),
		strictCOCs: s.flag(o.StrictCategoryOptionCombos, "StrictCategoryOptionCombos"), strictAOCs: s.flag(o.StrictAttributeOptionCombos, "StrictAttributeOptionCombos"),
		strictUnits: s.flag(o.StrictOrganisationUnits, "StrictOrganisationUnits"), requireCOC: s.flag(o.RequireCategoryOptionCombo, "RequireCategoryOptionCombo"),
		requireAOC: s.flag(o.RequireAttributeOptionCombo, "RequireAttributeOptionCombo"), approval: s.flag(o.StrictDataSetApproval, "StrictDataSetApproval"),
		locking: s.flag(o.StrictDataSetLocking, "StrictDataSetLocking"), inputs: s.flag(o.StrictDataSetInputPeriods, "StrictDataSetInputPeriods")}
	if c := i.header(in); c != nil {
		return i.sum.abort(c)
	}
	if why := i.complete(in); why != "" {
		return s.broken(why)
	}
	for n := range in.Values {
		i.one(n, &in.Values[n])
	}
	i.sum.Description = "Import process completed successfully"
	if len(i.sum.Conflicts) > 0 {
		i.sum.Status = "WARNING"
	}
	return i.sum
}

// header reads what holds for the whole set.
func (i *importing) header(in *valueSet) *conflict {
	m := i.s.model
	if in.DataSet != "" {
		d, found := m.sets.find(i.o.scheme("dataSetIdScheme"), in.DataSet)
		if !found {
			return i.s.conflict("E7600", object{"dataSet", in.DataSet})
		}
		if !mayWrite(d.r, i.r.user) {
			return i.s.conflict("E7601", object{"dataSet", in.DataSet})
		}
		i.set = d
	}
	if in.Period.set && in.Period.text != "" {
		i.name, i.period = in.Period.text, i.s.parsePeriod(in.Period.text)
	}
	named := object{"dataSet", in.DataSet}
	if in.OrgUnit != "" {
		u, found := m.units.find(i.o.scheme("orgUnitIdScheme"), in.OrgUnit)
		if !found {
			return i.s.conflict("E7603", object{"organisationUnit", in.OrgUnit}, named)
		}
		i.unit = u
	}
	switch {
	case in.AOC != "":
		k, found := i.findAOC(in.AOC)
		if !found {
			return i.s.conflict("E7604", object{"attributeOptionCombo", in.AOC}, named)
		}
		i.aoc = k
	case len(in.ACO) > 0 && i.set != nil:
		k := i.set.combo.with(in.ACO)
		if k == nil {
			return i.s.conflict("E7604", object{"attributeOptionCombo", strings.Join(in.ACO, ", ")}, named)
		}
		i.aoc = k
	}
	return nil
}

// findAOC uses the scheme of category option combos: up to 2.42 the attribute
// option combos' own is ignored.
func (i *importing) findAOC(key string) (*coc, bool) {
	scheme := i.o.scheme("categoryOptionComboIdScheme")
	if own := i.o.IDSchemes["attributeOptionComboIdScheme"]; own != "" && i.s.since(43) {
		scheme = own
	}
	return i.s.model.cocs.find(scheme, key)
}

// complete registers the set as complete: before any value, on a dry run too,
// and also if all values are refused then.
func (i *importing) complete(in *valueSet) string {
	i.sum.Complete = "false"
	date := in.CompleteDate.text
	if i.set == nil || date == "" || date == "false" {
		return ""
	}
	today := i.s.today()
	if date == "true" {
		date = today.Format("2006-01-02")
	}
	at, fits := isoCalendar{}.parseDate(date)
	if !fits {
		return "Invalid format: \"" + date + "\" is malformed"
	}
	if at.After(today) {
		at = today
	}
	if i.unit == nil || i.period == nil {
		for _, missing := range []struct {
			absent bool
			name   string
		}{{i.unit == nil, "OrganisationUnit"}, {i.period == nil, "Period"}} {
			if missing.absent {
				i.sum.Conflicts = append(i.sum.Conflicts, &conflict{Object: missing.name, Value: "Must be provided to complete data set"})
			}
		}
		i.sum.Complete = ""
		return ""
	}
	aoc := i.aoc
	if aoc == nil {
		aoc = i.s.model.fallback
	}
	i.sum.Complete = at.Format("2006-01-02")
	i.s.data.complete[completeKey{i.set.id, i.period.name, i.unit.id, aoc.id}] = &registration{date: i.sum.Complete, storedBy: i.r.user.name, completed: true, created: i.s.now()}
	return ""
}

// resolved is a value whose names were found.
type resolved struct {
	element  *dataElement
	period   *period
	unit     *orgUnit
	coc, aoc *coc
	text     string
	hasText  bool
}

func (i *importing) one(n int, v *dataValue) {
	x, c := i.resolve(v)
	if c == nil {
		c = i.check(v, x)
	}
	if c != nil {
		i.sum.reject(c, n)
		return
	}
	cells := i.s.data.at(place{x.unit.id, x.period.name})
	key := cell{x.element.id, x.coc.id, x.aoc.id}
	old := cells[key]
	if old != nil && old.deleted || i.o.SkipExistingCheck {
		old = nil
	}
	i.write(n, v, x, cells, key, old)
}

func (i *importing) write(n int, v *dataValue, x *resolved, cells map[cell]*value, key cell, old *value) {
	strategy := i.o.ImportStrategy
	sum := i.sum
	drop := func() {
		sum.Count.Deleted++
		if !i.o.DryRun {
			old.deleted, old.updated = true, i.s.now()
		}
	}
	switch {
	case strategy == "DELETE" || v.Deleted:
		if old == nil {
			sum.ignore(n)
			return
		}
		drop()
	case x.hasText && x.element.insignificant(x.text) && strategy != "CREATE":
		// Not stored: a new key is counted nowhere, a value that is there goes.
		if old != nil {
			drop()
		}
	case x.hasText && x.element.insignificant(x.text) && old == nil:
	case old != nil && strategy == "CREATE", old == nil && strategy == "UPDATE":
		sum.ignore(n)
	case old != nil:
		if old.text == x.text && old.hasText == x.hasText && old.comment == v.Comment.text && old.followup == v.Followup {
			sum.Count.Ignored++
			return
		}
		sum.Count.Updated++
		if !i.o.DryRun {
			old.text, old.hasText, old.comment, old.followup, old.storedBy, old.updated = x.text, x.hasText, v.Comment.text, v.Followup, i.storedBy(v), i.s.now()
		}
	case !x.hasText:
		sum.Count.Ignored++
	default:
		sum.Count.Imported++
		if !i.o.DryRun {
			now := i.s.now()
			cells[key] = &value{text: x.text, hasText: true, comment: v.Comment.text, followup: v.Followup, storedBy: i.storedBy(v), created: now, updated: now}
		}
	}
}

func (i *importing) storedBy(v *dataValue) string {
	if v.StoredBy != "" {
		return v.StoredBy
	}
	return i.r.user.name
}
