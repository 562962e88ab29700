package flow

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// maxChain is how many ancestors a place may have.
const maxChain = 30

// placeChain gives the names under which a place and its ancestors go, nearest
// first. A place is an id, or an object with id, site_code and the like, and a
// parent (nested) or ancestors (nearest first).
func placeChain(v any) [][]string {
	var chain [][]string
	for len(chain) < maxChain {
		switch p := scalar(v).(type) {
		case string:
			if p = strings.TrimSpace(p); p != "" {
				chain = append(chain, []string{p})
			}
			return chain
		case map[string]any:
			var names []string
			for _, k := range []string{"id", "_id", "uuid", "location_id", "site_code", "code"} {
				if t, ok := asText(p[k]); ok && !absent(p[k]) && !slices.Contains(names, t) {
					names = append(names, t)
				}
			}
			if len(names) > 0 {
				chain = append(chain, names)
			}
			if list, ok := p["ancestors"].([]any); ok {
				for _, a := range list {
					if c := placeChain(a); len(c) > 0 && len(chain) < maxChain {
						chain = append(chain, c[0])
					}
				}
				return chain
			}
			v = p["parent"]
		default:
			return chain
		}
	}
	return chain
}

// serverFor chooses the system that serves a place: its own, else that of the
// nearest ancestor that has one. A nearest one that is switched off, or two, is
// a question: one facility never receives another's people.
func (s *state) serverFor(place any, connectorName string) (any, error) {
	chain := placeChain(place)
	if len(chain) == 0 {
		return nil, &NoServer{Connector: connectorName, Text: "no place is known to choose the " + connectorName + " server by; give the worker or the case a location"}
	}
	systems := s.site.Serving(connectorName)
	for _, names := range chain {
		var fits []string
		var off string
		for _, sys := range systems {
			if !slices.ContainsFunc(sys.Places, func(p string) bool { return slices.Contains(names, p) }) {
				continue
			}
			if !sys.Active {
				off = sys.Name
				continue
			}
			fits = append(fits, sys.Name)
		}
		switch {
		case len(fits) == 1:
			return fits[0], nil
		case len(fits) > 1:
			return nil, &NoServer{connectorName, names[0], fmt.Sprintf("place %s is served by %s; leave it with one of them in site.yaml", names[0], strings.Join(fits, " and "))}
		case off != "":
			return nil, &NoServer{connectorName, names[0], fmt.Sprintf("place %s is served by %s, which is switched off; switch it on, or skip", names[0], off)}
		}
	}
	return nil, &NoServer{connectorName, chain[0][0], fmt.Sprintf("no %s server serves place %s or a place above it; add it to places of one in site.yaml", connectorName, chain[0][0])}
}

// supervisor finds who new cases of a place belong to.
func (s *state) supervisor(where string, place any) (any, error) {
	if m, ok := place.(map[string]any); ok && !absent(m["supervisor"]) {
		return m["supervisor"], nil
	}
	t := s.integ.Tables["supervisors"]
	if t == nil {
		return nil, &BadValue{Field: "table supervisors", Text: "is not there; it names place and owner"}
	}
	chain := placeChain(place)
	if len(chain) == 0 {
		return nil, nil
	}
	for _, names := range chain {
		for _, n := range names {
			if i, ok := t.index[n]; ok {
				return t.Rows[i][t.target(1)], nil
			}
			if v, ok := s.integ.lesson(t.Name, []string{n}); ok {
				return given(v), nil
			}
		}
	}
	return nil, &Unmapped{Table: "supervisors", Codes: chain[0][:1], Column: t.target(1), Field: where, Known: t.known(t.target(1))}
}

// system chooses the one active system of a connector.
func (s *state) system(connectorName string) (string, error) {
	var names []string
	for _, sys := range s.site.Serving(connectorName) {
		if sys.Active {
			names = append(names, sys.Name)
		}
	}
	switch len(names) {
	case 1:
		return names[0], nil
	case 0:
		return "", &NoServer{Connector: connectorName, Text: "no active " + connectorName + " system is configured; add one to site.yaml"}
	}
	return "", &NoServer{Connector: connectorName, Text: fmt.Sprintf("several %s systems are active (%s); say which in to: {%s: …}", connectorName, strings.Join(names, ", "), connectorName)}
}

// kindOfRecord finds a record kind by its name in flows ("openmrs/Patient").
func kindOfRecord(reg connector.Registry, name string) (*connector.Connector, *connector.KindSpec) {
	prefix, short, _ := strings.Cut(name, "/")
	c := reg[prefix]
	if c == nil {
		return nil, nil
	}
	for i := range c.Kinds {
		if c.Kinds[i].Name == short || c.Kinds[i].Name == name {
			return c, &c.Kinds[i]
		}
	}
	return c, nil
}
