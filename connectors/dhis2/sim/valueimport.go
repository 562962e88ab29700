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
	if list := i.header(in); len(list) > 0 {
		return i.sum.abort(list...)
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

// header reads what holds for the whole set, and says all that is wrong with it.
func (i *importing) header(in *valueSet) []*conflict {
	m := i.s.model
	var out []*conflict
	refuse := func(code string, objects ...object) { out = append(out, i.s.conflict(code, objects...)) }
	if in.DataSet != "" {
		i.set, _ = m.sets.find(i.o.scheme("dataSetIdScheme"), in.DataSet)
	}
	switch {
	case i.set == nil && in.DataSet != "":
		refuse("E7600", object{"dataSet", in.DataSet})
	case i.set != nil && !mayWrite(i.set.r, i.r.user):
		refuse("E7601", object{"dataSet", in.DataSet})
	case i.set == nil && i.strictElements:
		refuse("E7602")
	}
	i.period = i.s.parsePeriod(strings.TrimSpace(in.Period.text))
	named := object{"dataSet", in.DataSet}
	if in.OrgUnit != "" {
		if i.unit, _ = m.units.find(i.o.scheme("orgUnitIdScheme"), in.OrgUnit); i.unit == nil {
			refuse("E7603", object{"organisationUnit", in.OrgUnit}, named)
		}
	}
	switch {
	case in.AOC != "":
		if i.aoc, _ = i.findAOC(in.AOC); i.aoc == nil {
			refuse("E7604", object{"attributeOptionCombo", in.AOC}, named)
		}
	case len(in.ACO) > 0 && i.set != nil:
		if i.aoc = i.set.combo.with(in.ACO); i.aoc == nil {
			refuse("E7604", object{"attributeOptionCombo", strings.Join(in.ACO, ", ")}, named)
		}
	}
	return out
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
	date := strings.ToLower(in.CompleteDate.text)
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
	for _, missing := range []struct {
		absent bool
		name   string
	}{{i.unit == nil, "OrganisationUnit"}, {i.period == nil, "Period"}} {
		if missing.absent {
			i.sum.Conflicts = append(i.sum.Conflicts, &conflict{Object: missing.name, Value: "Must be provided to complete data set"})
			i.sum.Complete = ""
			return ""
		}
	}
	// The server registers the default attribute option combo, whatever the set says.
	aoc := i.s.model.fallback
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
	i.write(n, v, x, i.s.data.at(place{x.unit.id, x.period.name}), cell{x.element.id, x.coc.id, x.aoc.id})
}

// write follows importDataValue and what it calls. A row that was deleted is
// there for the question whether a zero is new, and absent for all others: a
// zero on such a row is stored.
func (i *importing) write(n int, v *dataValue, x *resolved, cells map[cell]*value, key cell) {
	strategy, sum := i.o.ImportStrategy, i.sum
	row := cells[key]
	if i.o.SkipExistingCheck {
		row = nil
	}
	zero := x.hasText && x.element.insignificant(x.text)
	if zero && (row == nil || strategy == "CREATE") {
		return // counted nowhere
	}
	if row == nil || row.deleted {
		if strategy == "UPDATE" || strategy == "DELETE" {
			sum.ignore(n)
			return
		}
		i.create(v, x, cells, key)
		return
	}
	switch {
	case strategy == "CREATE":
		sum.ignore(n)
	case strategy == "DELETE", v.Deleted, zero:
		sum.Count.Deleted++
		if !i.o.DryRun {
			row.deleted, row.updated = true, i.s.now()
		}
	case row.text == x.text && row.hasText == x.hasText && row.comment == v.Comment.text && row.followup == v.Followup:
		sum.Count.Ignored++
	default:
		sum.Count.Updated++
		if !i.o.DryRun {
			row.text, row.hasText, row.comment, row.followup, row.storedBy, row.updated = x.text, x.hasText, v.Comment.text, v.Followup, i.storedBy(v), i.s.now()
		}
	}
}

func (i *importing) create(v *dataValue, x *resolved, cells map[cell]*value, key cell) {
	if !x.hasText {
		i.sum.Count.Ignored++
		return
	}
	i.sum.Count.Imported++
	if !i.o.DryRun {
		now := i.s.now()
		cells[key] = &value{text: x.text, hasText: true, comment: v.Comment.text, followup: v.Followup, storedBy: i.storedBy(v), created: now, updated: now, deleted: v.Deleted}
	}
}

func (i *importing) storedBy(v *dataValue) string {
	if v.StoredBy != "" {
		return v.StoredBy
	}
	return i.r.user.name
}
