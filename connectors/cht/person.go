package cht

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

var personSpec = connector.KindSpec{
	Name: "Person", Person: true,
	About:     "A person in the CHT's hierarchy of places: a patient, a household member, a worker. Made under an id of ours. Properties that the app has beyond these are written by their names.",
	ByDefault: "by the id that an earlier message of the same source document made or used, by the link that the crosswalk knows, or by the id that Kiungo derives",
	Finds: []connector.FieldSpec{
		{Name: "id", Type: connector.Text, About: "Id of the contact."},
		{Name: "patient_id", Type: connector.Text, About: "Short code; has been given twice on some servers, which is then a question."},
		{Name: "external_id", Type: connector.Text, About: "Id in another system. The CHT has no index for it: every search reads all persons."},
		{Name: "phone", Type: connector.Text, About: "Phone as it is stored: +254712345678. A phone is often shared, which is then a question."},
		{Name: "name", Type: connector.Text, About: "Only persons of this name, whatever its case; beside phone."},
		{Name: "link", Type: connector.Text, About: "An id by which the crosswalk knows the person."},
	},
	Fields: []connector.FieldSpec{
		{Name: "name", Type: connector.Text, Required: true, About: "Whole name."},
		{Name: "parent", Type: connector.Text, Required: true, About: "Id of the place that the person is in: only the phones of the places above get to see the person. Cannot be changed here."},
		{Name: "type", Type: connector.Text, About: "Contact type, if not person. Cannot be changed."},
		{Name: "sex", Type: connector.Text, About: "male or female, as the default app has it."},
		{Name: "date_of_birth", Type: connector.Day, About: "Day of birth."},
		{Name: "phone", Type: connector.Text, About: "With the country's code: +254712345678."},
		{Name: "role", Type: connector.Text, About: "What the person is to the app: patient, chw."},
		{Name: "external_id", Type: connector.Text, About: "Id in another system."},
	},
	Open: connector.Any,
	Gives: []connector.FieldSpec{
		{Name: "id", Type: connector.Text, About: "Id of the contact."},
		{Name: "patient_id", Type: connector.Text, About: "Short code; the server gives it some seconds after a person was made."},
	},
}

// personShape is the document of a person: type person, or, with a type of the
// site's own, contact and contact_type.
type personShape struct{ s *System }

// serverOwn are properties that the server or the app keeps for itself.
var serverOwn = []string{"type", "contact_type", "parent", "contact", "dhis", "meta", "linked_docs", "reported_date", ourMark, "place_id"}

func (p personShape) is(doc map[string]any) bool {
	return text(doc["type"]) == "person" || text(doc["type"]) == "contact" && slices.Contains(p.s.persons, text(doc["contact_type"]))
}

func (p personShape) fields(doc map[string]any) record.Fields {
	f := record.Fields{}
	flat(f, "", doc, serverOwn)
	if t := text(doc["contact_type"]); t != "" {
		f["type"] = t
	} else if t := text(doc["type"]); t != "" {
		f["type"] = t
	}
	if parent, ok := doc["parent"].(map[string]any); ok && text(parent["_id"]) != "" {
		f["parent"] = text(parent["_id"])
	}
	if day, _, ok := strings.Cut(f.Text("date_of_birth"), "T"); ok {
		f["date_of_birth"] = day // a registration by SMS stores a moment
	}
	return f
}

func (p personShape) set(doc map[string]any, path string, v any) {
	switch path {
	case "parent", "type": // fresh writes them; they are fixed
	default:
		setAt(doc, strings.Split(path, "/"), v)
	}
}

func (p personShape) fixed() map[string]string {
	return map[string]string{"parent": "everything below and every report holds the places above; move the person with cht-conf move-contacts",
		"type": "forms and hierarchy depend on it", "patient_id": "the server gives it"}
}

func (p personShape) fresh(ctx context.Context, do call.Doer, c connector.Change) (map[string]any, error) {
	doc := map[string]any{"type": "person", "reported_date": c.At.UnixMilli()}
	if t := c.Wanted.Text("type"); t != "" && t != "person" {
		doc["type"], doc["contact_type"] = "contact", t
	}
	id := c.Wanted.Text("parent")
	if id == "" {
		return nil, fmt.Errorf("a new CHT person needs the place that it is in; parent is not known")
	}
	parent, err := p.s.minified(ctx, do, id)
	if err != nil {
		return nil, fmt.Errorf("%s: parent %s: %w", p.s.name, id, err)
	}
	doc["parent"] = parent
	return doc, nil
}

var internationalPhone = regexp.MustCompile(`^\+\d{7,15}$`)

func (p personShape) canon(ctx context.Context, do call.Doer, wanted map[string]any) (record.Fields, []connector.Problem, error) {
	c := &canon{s: p.s, out: record.Fields{}}
	for name, v := range wanted {
		switch {
		case name == "parent":
			if err := c.reference(ctx, do, name, v); err != nil {
				return nil, nil, err
			}
		case name == "type":
			c.value(name, v, false)
			if t := c.out.Text(name); t != "" && !slices.Contains(p.s.persons, t) {
				c.problem(name, "type", "type is no contact type of persons; they are given by the option person_types")
			}
		case name == "patient_id", slices.Contains(serverOwn, name), strings.HasPrefix(name, "_"):
			c.problem(name, "read-only", "%s is kept by the CHT itself", name)
		case name == "date_of_birth":
			p.born(c, v)
		default:
			c.value(name, v, false)
		}
	}
	if phone := c.out.Text("phone"); phone != "" && !internationalPhone.MatchString(phone) {
		c.problem("phone", "phone", "a phone is stored with the country's code and without spaces, like +254712345678; else the CHT does not find it")
	}
	if _, ok := c.out["name"].(record.Clear); ok {
		c.problem("name", "required", "name cannot be emptied")
	}
	return c.out, c.problems, nil
}

func (p personShape) born(c *canon, v any) {
	c.value("date_of_birth", v, true)
	day := c.out.Text("date_of_birth")
	if day == "" {
		return
	}
	day, _, _ = strings.Cut(day, "T")
	t, err := time.ParseInLocation(time.DateOnly, day, p.s.zone)
	switch {
	case err != nil:
		c.problem("date_of_birth", "day", "date_of_birth is a day like 1992-06-05")
	case t.After(p.s.now()):
		c.problem("date_of_birth", "future", "date_of_birth is in the future")
	}
	c.out["date_of_birth"] = day
}

func (p personShape) search(ctx context.Context, do call.Doer, by map[string]any) (ids []string, how string, err error) {
	if id, _ := refID(by["id"]); id != "" {
		return []string{id}, "id", nil
	}
	if code := text(by["patient_id"]); code != "" {
		r, err := ask(referenceView, map[string]any{"keys": []any{[]string{"shortcode", code}}}, "include_docs", "true")
		if err != nil {
			return nil, "", err
		}
		ids, err = p.persons(ctx, do, r, func(doc map[string]any) bool { return text(doc["patient_id"]) == code })
		return ids, "patient_id", err
	}
	if external := text(by["external_id"]); external != "" {
		r, err := ask("/medic/_find", map[string]any{"selector": map[string]any{"external_id": external, "type": map[string]any{"$in": []string{"person", "contact"}}}, "limit": 20})
		if err != nil {
			return nil, "", err
		}
		ids, err = p.persons(ctx, do, r, func(doc map[string]any) bool { return text(doc["external_id"]) == external })
		return ids, "external_id", err
	}
	phone := text(by["phone"])
	if phone == "" {
		return nil, "", nil
	}
	r, err := ask("/medic/_design/medic-client/_view/contacts_by_phone", map[string]any{"keys": []any{phone}}, "include_docs", "true")
	if err != nil {
		return nil, "", err
	}
	name := text(by["name"])
	ids, err = p.persons(ctx, do, r, func(doc map[string]any) bool {
		return text(doc["phone"]) == phone && (name == "" || strings.EqualFold(strings.TrimSpace(text(doc["name"])), strings.TrimSpace(name)))
	})
	return ids, "phone", err
}

// persons reads the documents of a search and keeps those that are what was asked for.
func (p personShape) persons(ctx context.Context, do call.Doer, r call.Request, exact func(map[string]any) bool) ([]string, error) {
	var page struct {
		Rows []struct {
			Doc map[string]any `json:"doc"`
		} `json:"rows"`
		Docs []map[string]any `json:"docs"`
	}
	if _, err := p.s.read(ctx, do, "look for the person", r, &page); err != nil {
		return nil, err
	}
	for _, row := range page.Rows {
		page.Docs = append(page.Docs, row.Doc)
	}
	var ids []string
	for _, doc := range page.Docs {
		if doc != nil && p.is(doc) && exact(doc) {
			ids = append(ids, text(doc["_id"]))
		}
	}
	return sortedSet(ids), nil
}

func (p personShape) about(id string) (call.Request, error) {
	return ask(subjectView, map[string]any{"keys": []string{id}})
}

const subjectView = "/medic/_design/medic-client/_view/reports_by_subject"

func (p personShape) used(ctx context.Context, do call.Doer, id string, going map[string]bool) (string, error) {
	a, err := do.Do(ctx, "read the person", get(docPath(id)))
	if err != nil {
		return "", err
	}
	var doc map[string]any
	if a.Status == http.StatusNotFound || json.Unmarshal(a.Body, &doc) != nil {
		return "", nil
	}
	keys := []string{id}
	if code := text(doc["patient_id"]); code != "" {
		keys = append(keys, code)
	}
	r, err := ask(subjectView, map[string]any{"keys": keys})
	if err != nil {
		return "", err
	}
	var page docRows
	found, err := p.s.read(ctx, do, "look for reports about the person", r, &page)
	if err != nil {
		return "", err
	}
	if !found {
		return "this CHT does not tell whether there are reports about the person", nil
	}
	for _, row := range page.Rows {
		if !going[row.ID] {
			return "there are reports about the person", nil
		}
	}
	return "", nil
}
