package record

import "slices"

// Covers gives the agreement that takes the place of another one in the same
// record, where was stood: both are remembered, at most eight values.
func (a Agreed) Covers(old *Agreed, was any) Agreed {
	a.Over = nil
	add := func(v any) {
		_, hidden := v.(Unreadable)
		if Empty(v) || hidden || Unknown(v) || Same(v, a.Value) || slices.Contains(a.Over, v) {
			return
		}
		a.Over = append(a.Over, v)
	}
	if old != nil {
		for _, v := range old.Over {
			add(v)
		}
		add(old.Value)
	}
	add(was)
	a.Over = a.Over[max(0, len(a.Over)-most):]
	return a
}

// Stood tells whether a value is one that stood in the record before what is
// agreed now.
func (a Agreed) Stood(v any) bool {
	return slices.ContainsFunc(a.Over, func(o any) bool { return Same(o, v) })
}
