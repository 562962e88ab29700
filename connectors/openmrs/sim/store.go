package sim

import (
	"fmt"
	"slices"
	"strings"
)

// store holds everything, with the indexes that make each look-up O(1).
type store struct {
	rows       map[string]map[string]*row // metadata by resource and uuid
	order      map[string][]*row
	names      map[string]map[string]*row // by name
	mappings   map[string][]*row          // "CIEL:5089"
	persons    map[string]*person
	patients   map[string]*patient
	visits     map[string]*visit
	encounters map[string]*encounter
	obs        map[string]*obs
	tokens     map[string]map[*patient]bool
	byPerson   map[*person][]*obs
	ids        map[string][]*row // identifier type uuid + lower value
	uuids      map[string]bool   // of rows of patients and encounters
}

type belongings struct {
	visits     []*visit
	encounters []*encounter
}

func newStore() store {
	return store{rows: map[string]map[string]*row{}, order: map[string][]*row{}, names: map[string]map[string]*row{}, mappings: map[string][]*row{},
		persons: map[string]*person{}, patients: map[string]*patient{}, visits: map[string]*visit{}, encounters: map[string]*encounter{}, obs: map[string]*obs{},
		tokens: map[string]map[*patient]bool{}, byPerson: map[*person][]*obs{}, ids: map[string][]*row{}, uuids: map[string]bool{}}
}

// meta finds metadata by uuid.
func (d *store) meta(resource, uuid string) *row { return d.rows[resource][uuid] }

// named finds metadata by uuid or name: locations, encounter, visit and
// identifier types accept a name (their getByUniqueId).
func (d *store) named(resource, ref string) *row {
	if r := d.rows[resource][ref]; r != nil {
		return r
	}
	return d.names[resource][ref]
}

// concept finds a concept by uuid or SOURCE:code; of an ambiguous code it gives nil.
func (d *store) concept(ref string) *row {
	if r := d.rows["concept"][ref]; r != nil {
		return r
	}
	if list := d.mappings[ref]; len(list) == 1 {
		return list[0]
	}
	return nil
}

// below is what belongs to a patient.
func (d *store) below(p *patient) *belongings { return &p.own }

func idKey(typ, value string) string { return typ + "\x00" + strings.ToLower(value) }

// index renews what a patient is found by.
func (d *store) index(p *patient) {
	for _, t := range p.tokens {
		delete(d.tokens[t], p)
	}
	p.tokens = p.tokens[:0]
	add := func(text string) {
		for _, t := range append(strings.Fields(strings.ToLower(text)), strings.ToLower(text)) {
			if t != "" && !slices.Contains(p.tokens, t) {
				p.tokens = append(p.tokens, t)
			}
		}
	}
	if p.voided {
		return
	}
	for _, r := range p.identifiers {
		if !r.voided {
			add(r.text("identifier"))
		}
	}
	for _, r := range p.person.names {
		if !r.voided {
			for _, k := range nameKeys {
				add(r.text(k))
			}
		}
	}
	for _, r := range p.person.attributes {
		if !r.voided {
			add(r.text("value"))
		}
	}
	for _, t := range p.tokens {
		if d.tokens[t] == nil {
			d.tokens[t] = map[*patient]bool{}
		}
		d.tokens[t][p] = true
	}
}

func (d *store) addMeta(r *row) {
	res := r.kind.resource
	if d.rows[res] == nil {
		d.rows[res], d.names[res] = map[string]*row{}, map[string]*row{}
	}
	if old := d.rows[res][r.uuid]; old != nil {
		d.order[res][slices.Index(d.order[res], old)] = r
		delete(d.names[res], old.text("name"))
	} else {
		d.order[res] = append(d.order[res], r)
	}
	d.rows[res][r.uuid] = r
	if n := r.text("name"); n != "" {
		d.names[res][n] = r
	}
}

// fresh makes a uuid that is the same in each run of the same requests.
func (s *Server) fresh() string {
	s.seq++
	return fmt.Sprintf("00000000-5157-4000-8000-%012d", s.seq)
}
