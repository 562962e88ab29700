package cht

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"

	"github.com/kiungo-health/kiungo/internal/call"
)

const (
	allDocs     = "/medic/_all_docs"
	usersPath   = "/api/v2/users"
	orgUnitView = "/medic/_design/medic-admin/_view/contacts_by_dhis_orgunit"
)

// docRow is a row of _all_docs or of a view.
type docRow struct {
	ID    string          `json:"id"`
	Error string          `json:"error"`
	Doc   json.RawMessage `json:"doc"`
}

type docRows struct {
	Rows []docRow `json:"rows"`
}

// absent is the document of a row whose document was deleted.
func (r docRow) absent() bool {
	return r.Error != "" || len(r.Doc) == 0 || string(r.Doc) == "null"
}

// text writes a key as CouchDB reads it in a query.
func key(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		// A string always has a JSON form.
		panic(err)
	}
	return string(b)
}

// prefixed calls each with every document whose id begins with the prefix, in
// the order of ids; whole asks for the documents too.
func (s *System) prefixed(ctx context.Context, do call.Doer, about, prefix string, whole bool, each func(docRow) error) error {
	from, skip := prefix, "0"
	for {
		var page docRows
		r := get(allDocs, "startkey", key(from), "endkey", key(prefix+"\ufff0"), "skip", skip,
			"limit", strconv.Itoa(s.pageSize), "include_docs", strconv.FormatBool(whole))
		found, err := s.read(ctx, do, about, r, &page)
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("%s: %s: there is no database medic at this address; check url", s.name, about)
		}
		for _, row := range page.Rows {
			if err := each(row); err != nil {
				return err
			}
		}
		if len(page.Rows) < s.pageSize {
			return nil
		}
		from, skip = page.Rows[len(page.Rows)-1].ID, "1"
	}
}

// contact is the part of a person's or a place's document that is needed here.
type contact struct {
	ID          string               `json:"_id"`
	Name        string               `json:"name"`
	Type        string               `json:"type"`
	ContactType string               `json:"contact_type"`
	DHIS        oneOrMany[reference] `json:"dhis"`
	Parent      *lineage             `json:"parent"`
	Contact     idOrObject           `json:"contact"`
}

// kind is the contact's type in either of the shapes that live side by side.
func (c *contact) kind() string {
	if c.ContactType != "" {
		return c.ContactType
	}
	return c.Type
}

// line is the contact itself and what is above it, nearest first.
func (c *contact) line() []string {
	out := []string{c.ID}
	for p := c.Parent; p != nil && p.ID != ""; p = p.Parent {
		out = append(out, p.ID)
	}
	return out
}

type lineage struct {
	ID     string   `json:"_id"`
	Parent *lineage `json:"parent"`
}

func (l *lineage) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '{' {
		return nil // "" stands for nobody above in old documents
	}
	type plain lineage
	return json.Unmarshal(b, (*plain)(l))
}

// idOrObject is a reference to a contact: its id, or an object that holds it.
type idOrObject string

func (i *idOrObject) UnmarshalJSON(b []byte) error {
	*i = ""
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(i))
	}
	if len(b) > 0 && b[0] == '{' {
		var o struct {
			ID string `json:"_id"`
		}
		if err := json.Unmarshal(b, &o); err != nil {
			return err
		}
		*i = idOrObject(o.ID)
	}
	return nil
}

// contacts reads contacts by id into known; those that are gone stay out of it.
func (s *System) contacts(ctx context.Context, do call.Doer, ids []string, known map[string]*contact) error {
	var missing []string
	for _, id := range sortedSet(ids) {
		if _, ok := known[id]; !ok && id != "" {
			missing = append(missing, id)
		}
	}
	for len(missing) > 0 {
		n := min(len(missing), s.pageSize)
		r, err := ask(allDocs, map[string]any{"keys": missing[:n]}, "include_docs", "true")
		if err != nil {
			return err
		}
		missing = missing[n:]
		var page docRows
		if _, err := s.read(ctx, do, "read contacts", r, &page); err != nil {
			return err
		}
		if err := keep(page, known); err != nil {
			return fmt.Errorf("%s: read contacts: %w", s.name, err)
		}
	}
	return nil
}

// withOrgUnit reads the contacts that carry an org unit. A CHT without that view
// has none to tell: they are then found above the workers only.
func (s *System) withOrgUnit(ctx context.Context, do call.Doer, known map[string]*contact) error {
	var page docRows
	if _, err := s.read(ctx, do, "read the places that are organisation units", get(orgUnitView, "include_docs", "true"), &page); err != nil {
		return err
	}
	if err := keep(page, known); err != nil {
		return fmt.Errorf("%s: read the places that are organisation units: %w", s.name, err)
	}
	return nil
}

func keep(page docRows, known map[string]*contact) error {
	for _, row := range page.Rows {
		if row.absent() {
			continue
		}
		var c contact
		if err := json.Unmarshal(row.Doc, &c); err != nil {
			return fmt.Errorf("contact %s is not as expected: %w", row.ID, shape(err))
		}
		if c.ID != "" {
			known[c.ID] = &c
		}
	}
	return nil
}

// expected lists the contacts of the users whose role has targets. known is false
// where the CHT does not let us list users.
func (s *System) expected(ctx context.Context, do call.Doer) (ids map[string]string, known bool, err error) {
	a, err := do.Do(ctx, "list the users", get(usersPath))
	if err != nil {
		return nil, false, err
	}
	if a.Status < 200 || a.Status > 299 {
		return nil, false, nil
	}
	var users []struct {
		Username string     `json:"username"`
		Roles    []string   `json:"roles"`
		Contact  idOrObject `json:"contact"`
	}
	if err := json.Unmarshal(a.Body, &users); err != nil {
		return nil, false, fmt.Errorf("%s: list the users: the answer is not as expected: %w", s.name, shape(err))
	}
	ids = map[string]string{}
	for _, u := range users {
		if u.Contact != "" && overlap(u.Roles, s.roles) {
			ids[string(u.Contact)] = u.Username
		}
	}
	return ids, true, nil
}

func overlap(a, b []string) bool {
	for _, x := range a {
		for _, y := range b {
			if x == y {
				return true
			}
		}
	}
	return false
}

// seg escapes one segment of a path.
func seg(s string) string { return url.PathEscape(s) }
