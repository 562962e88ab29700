package dhis2

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/kiungo-health/kiungo/internal/call"
)

// Overview is what a person sees first of a server: which it is, and what can be
// mapped to.
type Overview struct {
	Info     Info
	User     Me
	DataSets []Entry
	Programs []Entry // without registration
}

// Entry is one piece of metadata in a list.
type Entry struct {
	Named
	Untranslated string `json:"name,omitempty"`       // the name that is not in the user's language
	PeriodType   string `json:"periodType,omitempty"` // of a data set
	ValueType    string `json:"valueType,omitempty"`  // of a data element
	Path         string `json:"path,omitempty"`       // of an organisation unit
}

// Metadata lists what our user may see: data sets and event programs.
func (s *System) Metadata(ctx context.Context, do call.Doer) (*Overview, error) {
	info, err := s.meta.info(ctx, do)
	if err != nil {
		return nil, err
	}
	me, err := s.meta.me(ctx, do)
	if err != nil {
		return nil, err
	}
	o := &Overview{Info: *info, User: *me}
	o.DataSets, err = list[Entry](ctx, s.meta, do, "list data sets", "dataSets", "fields", "id,code,displayName,periodType", "order", "displayName:asc")
	if err != nil {
		return nil, err
	}
	o.Programs, err = list[Entry](ctx, s.meta, do, "list programs", "programs", "filter", "programType:eq:WITHOUT_REGISTRATION",
		"fields", "id,code,displayName", "order", "displayName:asc")
	return o, err
}

// Resources are what Search looks in, by the name of DHIS2's list.
var Resources = []string{"dataSets", "programs", "programStages", "dataElements", "categoryCombos", "categoryOptionCombos", "optionSets", "organisationUnits"}

// Search lists the metadata of one resource whose name or code holds every word,
// at most limit of them.
func (s *System) Search(ctx context.Context, do call.Doer, resource, words string, limit int) ([]Entry, error) {
	if !slices.Contains(Resources, resource) {
		return nil, s.refused("search metadata", "%q cannot be searched: there are %s", resource, strings.Join(Resources, ", "))
	}
	fields := "id,code,name,displayName"
	switch resource {
	case "dataSets":
		fields += ",periodType"
	case "dataElements":
		fields += ",valueType"
	case "organisationUnits":
		fields += ",path"
	}
	asked := strings.Fields(strings.ToLower(words))
	q := []string{"fields", fields, "order", "displayName:asc"}
	if len(asked) > 0 {
		// The server narrows by the longest word; the others are compared here.
		longest := slices.MaxFunc(asked, func(a, b string) int { return len(a) - len(b) })
		q = append(q, "filter", "name:ilike:"+longest, "filter", "code:ilike:"+longest, "rootJunction", "OR")
	}
	all, err := list[Entry](ctx, s.meta, do, "search "+resource, resource, q...)
	if err != nil {
		return nil, err
	}
	var out []Entry
	for _, e := range all {
		in := strings.ToLower(e.Name + " " + e.Untranslated + " " + e.Code)
		if !slices.ContainsFunc(asked, func(w string) bool { return !strings.Contains(in, w) }) && len(out) < limit {
			out = append(out, e)
		}
	}
	return out, nil
}

// Line is one line of a mapping: which data element, and which category option
// combination of it, a column of a report goes to.
type Line struct {
	Column   string // a name made from the metadata; a person puts the report's in its place
	Element  string // UID
	Combo    string // UID; empty in a program
	Stage    string // UID; only in a program
	Name     string // "Live births: Male, Doctor"
	Type     string // value type
	Zero     string // "counts", or "not stored"
	OptionOf string // UID of the option set, if any
}

// LineHeader names the columns of a mapping, in the order of Line.Record.
var LineHeader = []string{"column", "element", "combo", "stage", "name", "type", "zero", "option_set"}

// Record is the line as a row of a CSV file.
func (l Line) Record() []string {
	return []string{l.Column, l.Element, l.Combo, l.Stage, l.Name, l.Type, l.Zero, l.OptionOf}
}

// Lines gives the mapping lines of a data set or an event program, by UID or
// code: one for each data element and category option combination, in the order
// of the categories (all of the first option, then of the second).
func (s *System) Lines(ctx context.Context, do call.Doer, ref string) ([]Line, error) {
	ds, err := s.meta.dataSet(ctx, do, ref)
	if err == nil {
		return s.dataSetLines(ctx, do, ds)
	}
	if !unknown(err) {
		return nil, err
	}
	p, err := s.meta.program(ctx, do, ref)
	if unknown(err) {
		return nil, s.refused("list mapping lines", "no data set or program %q is known to DHIS2, or readable by the user", ref)
	}
	if err != nil {
		return nil, err
	}
	return programLines(p), nil
}

func (s *System) dataSetLines(ctx context.Context, do call.Doer, ds *DataSet) ([]Line, error) {
	var out []Line
	names := columnNames{}
	for i := range ds.Elements {
		e := &ds.Elements[i].Element
		combo, err := s.meta.combo(ctx, do, ds.comboOf(i))
		if err != nil {
			return nil, err
		}
		for _, o := range combo.ordered() {
			l := e.line()
			l.Combo = o.ID
			title := cmp.Or(e.Code, e.title())
			if !combo.isDefault() {
				l.Name += ": " + o.Name
				title += " " + o.Name
			}
			l.Column = names.of(title)
			out = append(out, l)
		}
	}
	return out, nil
}

func programLines(p *Program) []Line {
	var out []Line
	names := columnNames{}
	for _, st := range p.Stages {
		for i := range st.Elements {
			l := st.Elements[i].Element.line()
			l.Stage, l.Zero = st.ID, "counts"
			l.Column = names.of(cmp.Or(st.Elements[i].Element.Code, st.Elements[i].Element.title()))
			out = append(out, l)
		}
	}
	return out
}

func (e *DataElement) line() Line {
	l := Line{Element: e.ID, Name: e.title(), Type: e.ValueType, Zero: "counts"}
	if e.dropsZero() {
		l.Zero = "not stored"
	}
	if e.OptionSet != nil {
		l.OptionOf = e.OptionSet.ID
	}
	return l
}

// ordered lists the option combinations by their options in the order of the
// categories. Their names say the same, but only until somebody renames an option.
func (c *Combo) ordered() []OptionCombo {
	place := func(o OptionCombo) []int {
		out := make([]int, len(c.Categories))
		for i, cat := range c.Categories {
			out[i] = slices.IndexFunc(cat.Options, func(x Option) bool {
				return slices.ContainsFunc(o.Options, func(y Option) bool { return y.ID == x.ID })
			})
		}
		return out
	}
	out := slices.Clone(c.Options)
	slices.SortStableFunc(out, func(a, b OptionCombo) int { return slices.Compare(place(a), place(b)) })
	return out
}

// columnNames makes names of columns that differ: live_births_male_doctor.
type columnNames map[string]int

func (n columnNames) of(title string) string {
	name := strings.Join(strings.FieldsFunc(strings.ToLower(title), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }), "_")
	n[name]++
	if count := n[name]; count > 1 {
		return name + "_" + strconv.Itoa(count)
	}
	return name
}
