package people

import (
	"fmt"
	"slices"
)

// Blocks gives keys of a person such that any two records that Decide would find
// definite share at least one (Compare makes sure of it: what shares none is not
// definite). They serve to hold claims while a match is being decided, and to
// index people. The keys hold parts of names, dates and numbers: hash them with
// a secret key before they are stored or shown.
//
// They are, each with a letter in front: every identifier and phone; the birth
// date whatever the order of day and month; the sound of each part of the name,
// or the line of its nicknames, with the year of birth (each year of the
// profile's range where it is estimated) and with the day of the year; the sound
// of each two parts.
func Blocks(p Profile, person Person) []string {
	x := p.ready()
	return slices.Clone(x.blocks(x.ready(&person)))
}

func (x *index) blocks(r *ready) []string {
	if r.keys != nil {
		return r.keys
	}
	keys := []string{}
	for _, id := range r.ids {
		for _, v := range id.values {
			keys = append(keys, "i:"+id.typ+":"+v)
		}
	}
	for _, phone := range r.phones {
		keys = append(keys, "p:"+phone)
	}
	days := x.dayKeys(r)
	keys = append(keys, days.alone...)
	for n := range r.names {
		sounds := r.names[n].sounds()
		for i, one := range sounds {
			for _, s := range one {
				for _, d := range days.withName {
					keys = append(keys, "n:"+s+":"+d)
				}
				for _, other := range sounds[i+1:] {
					for _, t := range other {
						keys = append(keys, "nn:"+min(s, t)+":"+max(s, t))
					}
				}
			}
		}
	}
	slices.Sort(keys)
	r.keys = slices.Compact(keys)
	return r.keys
}

// sounds gives, for each part of a name, the keys under which it may be found.
func (n *name) sounds() [][]string {
	var out [][]string
	for i := range n.tokens {
		t := &n.tokens[i]
		if len(t.fold) < 2 || t.sound == "" {
			continue
		}
		one := []string{t.sound}
		for _, line := range t.nick {
			one = append(one, fmt.Sprintf("#%d", line))
		}
		out = append(out, one)
	}
	return out
}

// dateKeys of a birth date: those that stand alone, and those that need a name
// beside them.
type dateKeys struct{ alone, withName []string }

func (x *index) dayKeys(r *ready) dateKeys {
	c := x.clues[BirthDate]
	if c == nil || !r.dated {
		return dateKeys{}
	}
	var k dateKeys
	b := r.born
	span := 0
	if c.estimates() && b.estimated {
		span = c.Years
	}
	for y := b.year - span; y <= b.year+span; y++ {
		k.withName = append(k.withName, fmt.Sprintf("%04d", y))
	}
	if b.day > 0 && !b.estimated {
		low, high := min(b.day, b.month), max(b.day, b.month)
		k.alone = append(k.alone, fmt.Sprintf("b:%04d-%02d-%02d", b.year, low, high))
		k.withName = append(k.withName, fmt.Sprintf("%02d-%02d", low, high))
	}
	return k
}

// meet tells whether two sorted lists share an entry.
func meet(a, b []string) bool {
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0] == b[0]:
			return true
		case a[0] < b[0]:
			a = a[1:]
		default:
			b = b[1:]
		}
	}
	return false
}
