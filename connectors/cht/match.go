package cht

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/people"
	"github.com/kiungo-health/kiungo/internal/record"
)

// personKind is the kind of persons: documents, and people who can be looked for.
type personKind struct{ *docKind }

var _ connector.Matcher = (*personKind)(nil)

// mostCandidates is how many people who might be meant are given.
const mostCandidates = 200

// Person gives what the canonical fields say about who it is. The CHT keeps a
// name in one piece. Properties that the app has beyond the usual ones are clues
// by their names; external_id is compared with an identifier of that name.
func (k *personKind) Person(f record.Fields) people.Person {
	p := people.Person{Born: f.Text("date_of_birth")}
	if name := f.Text("name"); name != "" {
		p.Names = []people.Name{{Given: name}}
	}
	switch strings.ToLower(f.Text("sex")) {
	case "male", "m":
		p.Sex = "M"
	case "female", "f":
		p.Sex = "F"
	}
	for _, path := range slices.Sorted(maps.Keys(f)) {
		value := f.Text(path)
		switch {
		case value == "":
		case strings.HasPrefix(path, "phone"): // phone, phone_alternate
			p.Phones = append(p.Phones, value)
		case path == "external_id" || path == "patient_id":
			p.Identifiers = append(p.Identifiers, people.Identifier{Type: path, Value: value})
		case path == "mother_name":
			p.Mother = value
		case !plainNames[path]:
			if p.Others == nil {
				p.Others = map[string]string{}
			}
			p.Others[path] = value
		}
	}
	return p
}

var plainNames = map[string]bool{"name": true, "sex": true, "date_of_birth": true, "parent": true, "type": true, "role": true}

// Candidates asks the database for people who share a phone, the day of birth or
// a part of the name. There is no index for these but for the phone: it reads
// all contacts, once for each person who is found by no id. Full text search
// (5.x) leaves out parts of names below three letters and is not on every server.
func (k *personKind) Candidates(ctx context.Context, do call.Doer, wanted people.Person) ([]connector.Found, error) {
	clues := []any{}
	for _, phone := range wanted.Phones {
		if digits := lastDigits(phone); digits != "" {
			clues = append(clues, map[string]any{"phone": map[string]any{"$regex": digits + "$"}})
		}
	}
	if wanted.Born != "" {
		clues = append(clues, map[string]any{"date_of_birth": map[string]any{"$regex": "^" + regexp.QuoteMeta(wanted.Born)}})
	}
	for _, id := range wanted.Identifiers {
		if id.Value != "" {
			clues = append(clues, map[string]any{"external_id": id.Value})
		}
	}
	for _, part := range nameParts(wanted.Names) {
		clues = append(clues, map[string]any{"name": map[string]any{"$regex": "(?i)" + regexp.QuoteMeta(part)}})
	}
	if len(clues) == 0 {
		return nil, nil
	}
	r, err := ask("/medic/_find", map[string]any{"selector": map[string]any{"type": map[string]any{"$in": []string{"person", "contact"}}, "$or": clues}, "limit": mostCandidates})
	if err != nil {
		return nil, err
	}
	a, err := do.Do(ctx, "look for people who might be meant", r)
	if err != nil {
		return nil, err
	}
	var page struct {
		Docs []map[string]any `json:"docs"`
	}
	if err := json.Unmarshal(a.Body, &page); err != nil {
		return nil, fmt.Errorf("%s: look for people who might be meant: %w", k.s.name, shape(err))
	}
	var out []connector.Found
	for _, doc := range page.Docs {
		// Places are contacts too, and often named after a person.
		if id := text(doc["_id"]); id != "" && k.shape.is(doc) {
			out = append(out, connector.Found{Exists: true, ID: id, Fields: k.shape.fields(doc), How: "likeness"})
		}
	}
	return out, nil
}

// lastDigits are the last nine digits of a phone: the same with and without the
// country's code.
func lastDigits(phone string) string {
	digits := strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, phone)
	if len(digits) < 7 {
		return ""
	}
	return digits[max(0, len(digits)-9):]
}

// nameParts are the first three letters of each part of a name: enough for a name
// that ends in another spelling.
func nameParts(list []people.Name) []string {
	var out []string
	for _, n := range list {
		for _, part := range strings.Fields(n.Given + " " + n.Middle + " " + n.Family) {
			letters := []rune(strings.ToLower(part))
			if len(letters) >= 3 {
				out = append(out, string(letters[:3]))
			}
		}
	}
	return sortedSet(out)
}
