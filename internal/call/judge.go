package call

import (
	"github.com/kiungo-health/kiungo/internal/record"
)

// Happened is the outcome of asking the target about one call (law 6).
type Happened string

const (
	Yes        Happened = "happened"
	NotYet     Happened = "not yet"
	CannotTell Happened = "cannot tell"
)

// Judge compares what was read with what the call wanted and what was there
// before.
//
// A created record is told by its id, not by its content, which a person may
// have changed since. A record that is there but voided counts as absent when
// we voided it (an undo, law 9), and cannot be told when a person did.
func (c *Check) Judge(o Observed, outputs Known) Happened {
	switch {
	case o.Voided && !o.ByUs:
		return CannotTell
	case c.Pre == nil && c.Want != nil: // a create
		if o.Exists {
			return Yes
		}
		return NotYet
	case c.Want == nil: // a removal
		if o.Exists {
			return NotYet
		}
		return Yes
	case !o.Exists: // an update of what is no longer there
		return CannotTell
	}
	if holds(o.Fields, Resolve(c.Want, outputs)) {
		return Yes
	}
	if holds(o.Fields, Resolve(c.Pre, outputs)) {
		return NotYet
	}
	return CannotTell
}

// Stands tells whether what the call was planned against is still there
// (law 12): the pre-image, field by field.
func (c *Check) Stands(o Observed, outputs Known) bool {
	if c.Pre == nil {
		return !o.Exists
	}
	return o.Exists && holds(o.Fields, Resolve(c.Pre, outputs))
}

func holds(found, want record.Fields) bool {
	for path, v := range want {
		if record.Unknown(v) {
			continue
		}
		if _, hidden := found[path].(record.Unreadable); hidden {
			continue
		}
		if !record.Same(found[path], v) {
			return false
		}
	}
	return true
}

// Resolve replaces each Later by the output it stands for, where it is known.
func Resolve(f record.Fields, outputs Known) record.Fields {
	var out record.Fields
	for path, v := range f {
		later, ok := v.(record.Later)
		if !ok || outputs == nil {
			continue
		}
		if known, ok := outputs(later); ok {
			if out == nil {
				out = f.Clone()
			}
			out[path] = known
		}
	}
	if out == nil {
		return f
	}
	return out
}

// Reverse is what is to be done to take a call back, once the target was read.
type Reverse struct {
	Send     bool     // send Request
	Request  Request  // with the fields that others changed since taken out
	LeftOver []string // what stays although we wrote it, in words
	Kept     []string // fields that others changed since: theirs stays, nothing is left over
}

// Reversed decides how to take a call back, given what its Check read (law 8):
// a field is restored only where it still holds what we wrote, and a created
// record is removed only while it is as we made it. Guards are read by the
// caller first.
func (c *Call) Reversed(o Observed, outputs Known) Reverse {
	u := c.Undo
	if u == nil || c.Check == nil {
		return Reverse{LeftOver: []string{c.About}}
	}
	want := Resolve(c.Check.Want, outputs)
	pre := Resolve(c.Check.Pre, outputs)
	switch {
	case want == nil: // we removed it
		if o.Exists {
			return Reverse{} // somebody put it back
		}
		return Reverse{Send: true, Request: u.Request}
	case !o.Exists: // gone already
		return Reverse{}
	case pre == nil: // we made it
		if !holds(o.Fields, want) {
			return Reverse{LeftOver: []string{c.About + ": changed by others since"}}
		}
		return Reverse{Send: true, Request: u.Request}
	}
	var ours, theirs, back []string
	for _, path := range want.Paths() {
		if record.Same(want[path], pre[path]) {
			// We wrote it as it was; what a person made of it since is theirs.
			if !record.Same(o.Fields[path], pre[path]) {
				theirs = append(theirs, path)
			}
			continue
		}
		if record.Same(o.Fields[path], want[path]) || record.Unknown(want[path]) {
			ours = append(ours, path)
		} else if record.Same(o.Fields[path], pre[path]) {
			back = append(back, path) // never written, or given back already
		} else {
			theirs = append(theirs, path)
		}
	}
	switch {
	case len(ours) == 0:
		return Reverse{Kept: theirs}
	case len(theirs) == 0 && (len(back) == 0 || len(u.Restore) == 0):
		return Reverse{Send: true, Request: u.Request}
	case len(u.Restore) == 0:
		return Reverse{LeftOver: []string{c.About + ": partly changed by others since"}, Kept: theirs}
	}
	r := Reverse{Send: true, Request: u.Request, Kept: theirs}
	drop := map[string]bool{}
	for _, path := range append(back, theirs...) {
		drop[path] = true
	}
	body, err := without(u.Request.Body, func(pointer string) bool { return drop[u.Restore[pointer]] }, u.Restore)
	if err != nil {
		return Reverse{LeftOver: []string{c.About + ": partly changed by others since"}, Kept: theirs}
	}
	r.Request.Body = body
	return r
}
