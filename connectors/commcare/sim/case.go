package sim

import (
	"maps"
	"slices"
	"time"

	"github.com/kiungo-health/kiungo/connectors/commcare/xform"
)

// iso is how CommCare writes moments.
const iso = "2006-01-02T15:04:05.000000Z"

// caze is a case. (case is a word of the language.)
type caze struct {
	id, typ, name, external, owner, user   string
	opened, modified, serverModified, shut time.Time
	indexedOn                              time.Time
	closed                                 bool
	props                                  map[string]string
	indices                                map[string]xform.Index
	forms                                  []string // ids of the forms that touched it, in order
	base                                   *caze    // as seeded, before any form
	apiMade, apiClosed                     bool
}

func (c *caze) clone() *caze {
	out := *c
	out.props, out.indices, out.forms = maps.Clone(c.props), maps.Clone(c.indices), slices.Clone(c.forms)
	return &out
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func (s *Sim) seedCase(doc map[string]any) {
	at := s.stamp()
	c := &caze{id: xform.Text(doc["case_id"]), typ: xform.Text(doc["case_type"]), name: xform.Text(doc["case_name"]),
		external: xform.Text(doc["external_id"]), owner: xform.Text(doc["owner_id"]), opened: at, modified: at, serverModified: at, indexedOn: at,
		props: map[string]string{}, indices: map[string]xform.Index{}}
	c.closed, _ = doc["closed"].(bool)
	if t, ok := xform.Moment(xform.Text(doc["date_opened"])); ok {
		c.opened = t
	}
	props, _ := doc["properties"].(map[string]any)
	for k, v := range props {
		c.props[k] = xform.Text(v)
	}
	indices, _ := doc["indices"].(map[string]any)
	for k, v := range indices {
		m, _ := v.(map[string]any)
		c.indices[k] = xform.Index{CaseID: xform.Text(m["case_id"]), CaseType: xform.Text(m["case_type"]), Relationship: xform.Text(m["relationship"])}
	}
	c.base = c.clone()
	s.cases[c.id] = c
	s.show(c)
}

// show puts a case into the search index, unless that lags.
func (s *Sim) show(c *caze) {
	if had := s.externals[c.external]; c.external != "" && !slices.Contains(had, c.id) {
		s.externals[c.external] = append(had, c.id)
	}
	if !s.lagging {
		seen := *c
		seen.forms, seen.props, seen.indices = nil, maps.Clone(c.props), maps.Clone(c.indices)
		s.indexed[c.id] = &seen
	}
}

// apply folds one case block into the case.
func (c *caze) apply(b *xform.Block, f *form) {
	if c.opened.IsZero() {
		c.opened = f.received
	}
	for name, v := range b.Said() {
		switch name {
		case "case_type":
			c.typ = v
		case "case_name":
			c.name = v
		case "owner_id":
			c.owner = v
		case "external_id":
			c.external = v
		case "date_opened":
			if t, ok := xform.Moment(v); ok {
				c.opened = t
			}
		default:
			c.props[name] = v
		}
	}
	for name, i := range b.Index {
		if i.CaseID == "" {
			delete(c.indices, name)
		} else {
			c.indices[name] = i
		}
	}
	c.modified = f.received
	if t, ok := xform.Moment(b.DateModified); ok {
		c.modified = t
	}
	if b.UserID != "" {
		c.user = b.UserID
	}
	api := f.xmlns == xform.CaseAPI
	if b.Created {
		c.apiMade = api
	}
	if b.Closed {
		c.closed, c.shut, c.apiClosed = true, c.modified, api
	}
}

// rebuild makes a case anew from all its forms that still count, as CommCare
// does when a form is edited or archived. It gives nil when none is left.
func (s *Sim) rebuild(id string) *caze {
	old := s.cases[id]
	c := &caze{id: id, props: map[string]string{}, indices: map[string]xform.Index{}}
	if old != nil && old.base != nil {
		c = old.base.clone()
		c.base = old.base
	}
	counted := 0
	if old != nil {
		c.forms = old.forms
		for _, fid := range old.forms {
			f := s.forms[fid]
			if f == nil || f.archived {
				continue
			}
			for _, b := range f.blocks {
				if b.CaseID == id {
					c.apply(b, f)
					counted++
				}
			}
		}
	}
	if counted == 0 && c.base == nil {
		delete(s.cases, id)
		if !s.lagging {
			delete(s.indexed, id)
		}
		return nil
	}
	s.cases[id] = c
	s.changed(c)
	return c
}

// changed stamps a case and puts it into the index.
func (s *Sim) changed(c *caze) {
	c.serverModified = s.stamp()
	c.indexedOn = c.serverModified
	s.show(c)
}

// json is the case in the words of case API v2.
func (c *caze) json(domain string) map[string]any {
	indices := map[string]any{}
	for name, i := range c.indices {
		indices[name] = map[string]any{"case_id": i.CaseID, "case_type": i.CaseType, "relationship": i.Relationship}
	}
	var shut any
	if c.closed {
		shut = c.shut.Format(iso)
	}
	var external any = c.external
	if c.external == "" {
		external = nil
	}
	return map[string]any{"domain": domain, "case_id": c.id, "case_type": c.typ, "case_name": c.name, "external_id": external, "owner_id": c.owner,
		"date_opened": c.opened.Format(iso), "last_modified": c.modified.Format(iso), "server_last_modified": c.serverModified.Format(iso),
		"indexed_on": c.indexedOn.Format(iso), "closed": c.closed, "date_closed": shut, "properties": c.props, "indices": indices}
}

// forwarded is the case in the words of case_json forwarding.
func (c *caze) forwarded(domain string) map[string]any {
	props := map[string]any{"case_name": c.name, "case_type": c.typ, "date_opened": c.opened.Format(iso), "owner_id": c.owner, "external_id": c.external}
	for k, v := range c.props {
		props[k] = v
	}
	doc := c.json(domain)
	return map[string]any{"domain": domain, "case_id": c.id, "user_id": c.user, "closed": c.closed, "xform_ids": c.forms, "date_closed": doc["date_closed"],
		"date_modified": c.modified.Format(iso), "version": "2.0", "server_date_modified": c.serverModified.Format(iso),
		"server_date_opened": c.opened.Format(iso), "properties": props, "indices": doc["indices"], "attachments": map[string]any{}}
}

// block is the whole case as one case block, version 2.
func (c *caze) block() map[string]any {
	update := map[string]any{"date_opened": c.opened.Format(iso)}
	for k, v := range c.props {
		update[k] = v
	}
	if c.external != "" {
		update["external_id"] = c.external
	}
	b := map[string]any{"#type": "case", "@xmlns": xform.CaseV2, "@case_id": c.id, "@date_modified": c.modified.Format(iso), "@user_id": c.user,
		"create": map[string]any{"case_type": c.typ, "case_name": c.name, "owner_id": c.owner}, "update": update}
	if len(c.indices) > 0 {
		index := map[string]any{}
		for name, i := range c.indices {
			index[name] = map[string]any{"@case_type": i.CaseType, "@relationship": i.Relationship, "#text": i.CaseID}
		}
		b["index"] = index
	}
	if c.closed {
		b["close"] = ""
	}
	return b
}

func (c *caze) state() map[string]any {
	props := map[string]any{}
	for k, v := range c.props {
		if v != "" {
			props[k] = v
		}
	}
	doc := c.json("")
	return map[string]any{"case_id": c.id, "case_type": c.typ, "case_name": c.name, "external_id": c.external, "owner_id": c.owner,
		"closed": c.closed, "properties": props, "indices": doc["indices"]}
}
