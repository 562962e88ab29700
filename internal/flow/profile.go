package flow

import (
	"strconv"
	"strings"

	"github.com/kiungo-health/kiungo/internal/people"
)

// profile reads how people are matched: the name of a shipped profile, or a
// mapping of what differs from it.
func (r *reader) profile(i *Integration, n *node) {
	p, err := people.ParseProfile(map[string]any{"match": plainYAML(n)})
	if err != nil {
		for _, line := range strings.Split(err.Error(), "\n") {
			r.errorf(n, CodeValue, "%s", line)
		}
		return
	}
	ready := p.Ready()
	i.People.Match, i.People.Profile = ready.Name, &ready
}

// plainYAML gives a node as maps, lists, text, numbers and true or false.
func plainYAML(n *node) any {
	switch n.kind {
	case mapNode:
		out := make(map[string]any, len(n.pairs))
		for _, p := range n.pairs {
			out[p.key.text] = plainYAML(p.value)
		}
		return out
	case listNode:
		out := make([]any, len(n.items))
		for i, item := range n.items {
			out[i] = plainYAML(item)
		}
		return out
	case nullNode:
		return nil
	case numberNode:
		if f, err := strconv.ParseFloat(n.text, 64); err == nil {
			return f
		}
	case boolNode:
		return n.text == "true"
	}
	return n.text
}
