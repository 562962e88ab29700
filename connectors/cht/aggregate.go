package cht

import (
	"cmp"
	"maps"
	"slices"
)

// tally is one value of one org unit, and who added what to it.
type tally struct {
	value   float64
	targets []string
	shares  []share
}

type share struct {
	worker *worker
	value  float64
}

// add adds a share, and remembers which target it came from.
func (t *tally) add(w *worker, target string, value float64) {
	t.value += value
	if n := len(t.shares); n > 0 && t.shares[n-1].worker == w {
		t.shares[n-1].value += value
		return
	}
	t.shares = append(t.shares, share{w, value})
}

// units lists the org units that a contact carries for a data set; "" for any.
func (c *contact) units(dataSet string) []string {
	var out []string
	for _, r := range c.DHIS {
		if r.OrgUnit != "" && r.serves(dataSet) && !slices.Contains(out, r.OrgUnit) {
			out = append(out, r.OrgUnit)
		}
	}
	return out
}

// above lists the org units of everything in a line of contacts, nearest first.
func (f *figures) above(line []string, dataSet string) []string {
	var out []string
	for _, id := range line {
		if c := f.contacts[id]; c != nil {
			for _, unit := range c.units(dataSet) {
				if !slices.Contains(out, unit) {
					out = append(out, unit)
				}
			}
		}
	}
	return out
}

// members lists the workers below each org unit, and those below none. An org
// unit without workers has an empty list.
func (f *figures) members(dataSet string) (byUnit map[string][]*worker, nowhere []*worker) {
	byUnit = map[string][]*worker{}
	for _, id := range slices.Sorted(maps.Keys(f.contacts)) {
		for _, unit := range f.contacts[id].units(dataSet) {
			if byUnit[unit] == nil {
				byUnit[unit] = []*worker{}
			}
		}
	}
	for _, w := range f.workers {
		units := f.above(w.line, dataSet)
		for _, unit := range units {
			byUnit[unit] = append(byUnit[unit], w)
		}
		if len(units) == 0 && w.documents > 0 {
			nowhere = append(nowhere, w)
		}
	}
	return byUnit, nowhere
}

// tallies adds up, for the workers given, what the targets of a data set count.
// Targets that share a data element stay apart where their category or attribute
// option combinations differ; what no worker counted is zero, as the CHT's own
// export has it (api/src/services/export/dhis.js, 5.2.0).
func tallies(combos map[string][]combo, workers []*worker) map[combo]*tally {
	out := map[combo]*tally{}
	targets := slices.Sorted(maps.Keys(combos))
	for _, target := range targets {
		for _, c := range combos[target] {
			if out[c] == nil {
				out[c] = &tally{}
			}
			out[c].targets = append(out[c].targets, target)
		}
	}
	for _, w := range workers { // by id: the order of adding is always the same
		for _, target := range targets {
			n, ok := w.counts[target]
			if !ok {
				continue
			}
			for _, c := range combos[target] {
				out[c].add(w, target, n.Total)
			}
		}
	}
	return out
}

// sums adds up every target, for programmes whose CHT knows no data elements.
func sums(items []indicator, workers []*worker) map[string]count {
	out := map[string]count{}
	for _, item := range items {
		out[item.ID] = count{}
	}
	for _, w := range workers {
		for _, target := range slices.Sorted(maps.Keys(w.counts)) {
			c := out[target]
			c.Total += w.counts[target].Total
			c.Pass += w.counts[target].Pass
			out[target] = c
		}
	}
	return out
}

// placeOf finds the contact that carries an org unit; with several, the first by id.
func (f *figures) placeOf(unit, dataSet string) *contact {
	var best *contact
	for _, c := range f.contacts {
		if (best == nil || c.ID < best.ID) && slices.Contains(c.units(dataSet), unit) {
			best = c
		}
	}
	return best
}

// nested lists, for each org unit, those below it in the CHT: a worker's figures
// are in the totals of both, and DHIS2 adds totals up by itself.
func (f *figures) nested(dataSet string) map[string][]string {
	out := map[string][]string{}
	for _, c := range f.contacts {
		own := c.units(dataSet)
		if len(own) == 0 {
			continue
		}
		for _, unit := range f.above(c.line()[1:], dataSet) {
			if !slices.Contains(own, unit) {
				out[unit] = append(out[unit], own...)
			}
		}
	}
	for unit, below := range out {
		out[unit] = sortedSet(below)
	}
	return out
}

func sortedSet[T cmp.Ordered](list []T) []T {
	out := slices.Clone(list)
	slices.Sort(out)
	return slices.Compact(out)
}
