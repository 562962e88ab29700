package sim

import (
	"slices"
	"sort"
	"strings"
	"time"
)

// The model is the metadata as imports need it: made anew whenever metadata
// changes, then only read.
type model struct {
	elements index[*dataElement]
	units    index[*orgUnit]
	cocs     index[*coc]
	sets     index[*dataSet]
	programs index[*program]
	stages   index[*stage]
	combos   map[string]*combo
	options  index[*catOption]
	fallback *coc // the default category option combo
}

// index finds objects by an id scheme.
type index[T any] struct {
	id, code, name map[string]T
	attribute      map[string]T // "uid of the attribute:value"
}

func newIndex[T any]() index[T] {
	return index[T]{map[string]T{}, map[string]T{}, map[string]T{}, map[string]T{}}
}

func (x index[T]) add(r record, v T) {
	x.id[text(r, "id")] = v
	if c := text(r, "code"); c != "" {
		x.code[c] = v
	}
	x.name[text(r, "name")] = v
	for _, a := range list(r, "attributeValues") {
		av, _ := a.(record)
		x.attribute[idOf(av["attribute"])+":"+text(av, "value")] = v
	}
}

// find looks an object up by a scheme: uid (or nothing), code, name or
// attribute:UID, in any case.
func (x index[T]) find(scheme, key string) (T, bool) {
	lower := strings.ToLower(scheme)
	var v T
	found := false
	switch {
	case lower == "" || lower == "uid" || lower == "id":
		v, found = x.id[key]
	case lower == "code":
		v, found = x.code[key]
	case lower == "name":
		v, found = x.name[key]
	case strings.HasPrefix(lower, "attribute:"):
		v, found = x.attribute[scheme[len("attribute:"):]+":"+key]
	}
	return v, found
}

type dataElement struct {
	id, code, name  string
	valueType       string
	aggregation     string
	zeroSignificant bool
	optionSet       string
	options         map[string]bool
	combo           *combo
	sets            []*dataSet
	combos          []*combo // its own and those that data sets put in its place
	r               record
}

type catOption struct {
	id, code, name string
	start, end     time.Time
	units          []string
	r              record
}

type coc struct {
	id, code, name string
	combo          *combo
	options        []*catOption
}

type combo struct {
	id         string
	isDefault  bool
	categories []record
	cocs       []*coc
}

// with finds the combination of exactly these options.
func (c *combo) with(options []string) *coc {
	for _, k := range c.cocs {
		ids := make([]string, 0, len(k.options))
		for _, o := range k.options {
			ids = append(ids, o.id)
		}
		if len(ids) == len(options) && !slices.ContainsFunc(options, func(o string) bool { return !slices.Contains(ids, o) }) {
			return k
		}
	}
	return nil
}

type orgUnit struct {
	id, code, name, path string
	r                    record
}

// under tells whether the unit is one of these, or below one.
func (u *orgUnit) under(scope []string) bool {
	return slices.ContainsFunc(scope, func(id string) bool { return strings.Contains(u.path+"/", "/"+id+"/") })
}

type dataSet struct {
	id, code, name string
	kind           string // period type
	future         int
	expiry         float64
	combo          *combo // of attributes
	elements       map[string]*combo
	units          map[string]bool
	r              record
}

type program struct {
	id, code, name string
	stages         []string
	units          map[string]bool
	combo          *combo
	registration   bool
	r              record
}

type stage struct {
	id, code, name string
	program        string
	elements       map[string]record // programStageDataElement by data element
	r              record
}

// rebuild makes the model of what the metadata is now.
func (s *Server) rebuild() {
	s.complete()
	m := &model{elements: newIndex[*dataElement](), units: newIndex[*orgUnit](), cocs: newIndex[*coc](), sets: newIndex[*dataSet](),
		programs: newIndex[*program](), stages: newIndex[*stage](), options: newIndex[*catOption](), combos: map[string]*combo{}}
	s.buildCombos(m)
	s.meta.each("organisationUnits", func(id string, r record) {
		m.units.add(r, &orgUnit{id, text(r, "code"), text(r, "name"), text(r, "path"), r})
	})
	s.meta.each("dataElements", func(id string, r record) {
		e := &dataElement{id: id, code: text(r, "code"), name: text(r, "name"), valueType: text(r, "valueType"), aggregation: text(r, "aggregationType"),
			zeroSignificant: truth(r, "zeroIsSignificant"), combo: m.comboOr(idOf(r["categoryCombo"])), r: r}
		e.combos = []*combo{e.combo}
		if set := s.meta.get("optionSets", idOf(r["optionSet"])); set != nil {
			e.optionSet, e.options = text(set, "id"), map[string]bool{}
			for _, o := range list(set, "options") {
				e.options[text(s.resolve("options", o), "code")] = true
			}
		}
		m.elements.add(r, e)
	})
	s.meta.each("dataSets", func(id string, r record) {
		d := &dataSet{id: id, code: text(r, "code"), name: text(r, "name"), kind: text(r, "periodType"), future: int(number(r, "openFuturePeriods")),
			expiry: number(r, "expiryDays"), combo: m.comboOr(idOf(r["categoryCombo"])), elements: map[string]*combo{}, units: set(idsOf(r, "organisationUnits")), r: r}
		for _, v := range list(r, "dataSetElements") {
			link, _ := v.(record)
			e := m.elements.id[idOf(link["dataElement"])]
			if e == nil {
				continue
			}
			d.elements[e.id] = e.combo
			if other := m.combos[idOf(link["categoryCombo"])]; other != nil {
				d.elements[e.id] = other
				e.combos = append(e.combos, other)
			}
			e.sets = append(e.sets, d)
		}
		m.sets.add(r, d)
	})
	s.buildPrograms(m)
	s.model = m
}

func set(ids []string) map[string]bool {
	out := map[string]bool{}
	for _, id := range ids {
		out[id] = true
	}
	return out
}

func (m *model) comboOr(id string) *combo {
	if c := m.combos[id]; c != nil {
		return c
	}
	return m.combos[defaultCombo]
}

func (s *Server) buildCombos(m *model) {
	day := func(r record, key string) time.Time {
		v := text(r, key)
		if len(v) < 10 {
			return time.Time{}
		}
		t, _ := isoCalendar{}.parseDate(v[:10])
		return t
	}
	s.meta.each("categoryOptions", func(id string, r record) {
		m.options.add(r, &catOption{id, text(r, "code"), text(r, "name"), day(r, "startDate"), day(r, "endDate"), idsOf(r, "organisationUnits"), r})
	})
	s.meta.each("categoryCombos", func(id string, r record) {
		c := &combo{id: id, isDefault: truth(r, "isDefault")}
		for _, cat := range idsOf(r, "categories") {
			if full := s.meta.get("categories", cat); full != nil {
				c.categories = append(c.categories, full)
			}
		}
		m.combos[id] = c
	})
	s.meta.each("categoryOptionCombos", func(id string, r record) {
		k := &coc{id: id, code: text(r, "code"), name: text(r, "name"), combo: m.combos[idOf(r["categoryCombo"])]}
		for _, o := range idsOf(r, "categoryOptions") {
			if option := m.options.id[o]; option != nil {
				k.options = append(k.options, option)
			}
		}
		if k.combo != nil {
			k.combo.cocs = append(k.combo.cocs, k)
			if k.combo.isDefault && k.name == "default" {
				m.fallback = k
			}
		}
		m.cocs.add(r, k)
	})
}

func (s *Server) buildPrograms(m *model) {
	s.meta.each("programs", func(id string, r record) {
		m.programs.add(r, &program{id: id, code: text(r, "code"), name: text(r, "name"), stages: idsOf(r, "programStages"),
			units: set(idsOf(r, "organisationUnits")), combo: m.comboOr(idOf(r["categoryCombo"])), registration: text(r, "programType") == "WITH_REGISTRATION", r: r})
	})
	s.meta.each("programStages", func(id string, r record) {
		st := &stage{id: id, code: text(r, "code"), name: text(r, "name"), program: idOf(r["program"]), elements: map[string]record{}, r: r}
		for _, v := range list(r, "programStageDataElements") {
			link, _ := v.(record)
			st.elements[idOf(link["dataElement"])] = link
		}
		m.stages.add(r, st)
	})
}

// sorted orders keys, for answers that are compared.
func sorted[T any](m map[string]T) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
