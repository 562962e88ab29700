package plan

import (
	"fmt"
	"slices"
)

// Lines tells what the plan would change, a line for each record and field, for
// a person who approves it. They hold answers: they are shown, never logged.
func (p *Plan) Lines() []string {
	var out []string
	for _, r := range p.Records {
		what := ""
		switch {
		case r.Removed:
			what = "is removed"
		case !r.Exists && r.Created:
			what = "is made"
		case len(r.Write) > 0:
			what = "is changed"
		default:
			continue
		}
		out = append(out, fmt.Sprintf("%s (%s in %s) %s", r.Name, r.Kind, r.System, what))
		paths := r.Write.Paths()
		slices.Sort(paths)
		for _, path := range paths {
			line := fmt.Sprintf("    %s: %s", path, shown(r.Write[path]))
			if was, ok := r.Was[path]; ok && r.Exists {
				line = fmt.Sprintf("    %s: %s -> %s", path, shown(was), shown(r.Write[path]))
			}
			out = append(out, line)
		}
	}
	return append(out, p.Remarks...)
}
