package flow

import (
	"github.com/kiungo-health/kiungo/internal/people"
)

// profile reads how people are matched: the name of a shipped profile.
func (r *reader) profile(i *Integration, n *node) {
	i.People.Match = r.text(n)
	if i.People.Match != "standard" {
		r.errorf(n, CodeValue, "there is no matching profile %q; write standard, or a profile of your own", i.People.Match)
		return
	}
	p := people.Standard().Ready()
	i.People.Profile = &p
}
