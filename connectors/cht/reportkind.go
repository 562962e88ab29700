package cht

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

var reportSpec = connector.KindSpec{
	Name: "Report",
	About: "A report, as if a form had been filled in: what makes a task on a worker's phone, if the app has a rule for it. Made under an id of ours; " +
		"the server then works on it as on one from a phone.",
	ByDefault: "by the id derived from the message",
	Finds:     []connector.FieldSpec{{Name: "id", Type: connector.Text, About: "Id of the document."}},
	Fields: []connector.FieldSpec{
		{Name: "form", Type: connector.Text, Required: true, About: "Code of the form. With small letters an app form, whose answers are texts; in capitals a JSON form."},
		{Name: "patient", Type: connector.RefTo, Ref: "cht/Person", About: "Whom it is about. Without it no phone gets to see the report."},
		{Name: "place", Type: connector.Text, About: "Id of the place it is about, if it is about a place."},
		{Name: "contact", Type: connector.RefTo, Ref: "cht/Person", About: "Id of the contact in whose name it is."},
		{Name: "at", Type: connector.Moment, About: "When it was reported; the event's time without it."},
		{Name: "from", Type: connector.Text, About: "Phone that it came from."},
		{Name: "fields", Type: connector.Any, Open: true, About: "The answers by question; groups are nested. Names that are not in this list are answers too."},
	},
	Open:  connector.Any,
	Gives: []connector.FieldSpec{{Name: "id", Type: connector.Text, About: "Id of the document."}},
}

type reportShape struct{ s *System }

func (r reportShape) is(doc map[string]any) bool {
	return text(doc["type"]) == "data_record" && text(doc["form"]) != ""
}

// appForm tells a form of the app from a JSON form, whose codes are in capitals.
func appForm(form string) bool { return form != strings.ToUpper(form) || form == "" }

func (r reportShape) canon(ctx context.Context, do call.Doer, wanted map[string]any) (record.Fields, []connector.Problem, error) {
	c := &canon{s: r.s, out: record.Fields{}}
	texts := appForm(text(wanted["form"]))
	for name, v := range wanted {
		switch name {
		case "form", "from", "place":
			c.value(name, v, true)
		case "at":
			c.moment(name, v)
		case "patient", "contact":
			if err := c.reference(ctx, do, name, v); err != nil {
				return nil, nil, err
			}
		case "fields":
			answers, ok := v.(map[string]any)
			if !ok && v != nil {
				c.problem(name, "shape", "fields are questions and answers")
				continue
			}
			for question, answer := range answers {
				r.answer(c, question, answer, texts)
			}
		default:
			r.answer(c, name, v, texts)
		}
	}
	return c.out, c.problems, nil
}

// subjectNames are answers that say whom a report is about: patient and place
// write them.
var subjectNames = map[string]string{"patient_id": "patient", "patient_uuid": "patient", "place_id": "place"}

func (r reportShape) answer(c *canon, question string, v any, texts bool) {
	switch {
	case subjectNames[question] != "":
		c.problem("fields/"+question, "reserved", "%s is written by %s", question, subjectNames[question])
	case question == "" || strings.HasPrefix(question, "_") || strings.Contains(question, "/"):
		c.problem("fields", "name", "a question's name is empty, begins with _ or holds a slash")
	default:
		c.value("fields/"+question, v, texts)
	}
}

func (r reportShape) fields(doc map[string]any) record.Fields {
	f := record.Fields{}
	for _, name := range []string{"form", "from"} {
		if v := text(doc[name]); v != "" {
			f[name] = v
		}
	}
	if at, ok := doc["reported_date"].(float64); ok {
		f["at"] = time.UnixMilli(int64(at)).UTC().Truncate(time.Second).Format(time.RFC3339)
	}
	if c, ok := doc["contact"].(map[string]any); ok && text(c["_id"]) != "" {
		f["contact"] = text(c["_id"])
	}
	answers, _ := doc["fields"].(map[string]any)
	flat(f, "fields/", answers, []string{"patient_id", "patient_uuid", "place_id"})
	if id := text(answers["patient_uuid"]); id != "" {
		f["patient"] = id
	}
	if id := text(answers["place_id"]); id != "" {
		f["place"] = id
	}
	return f
}

func (r reportShape) set(doc map[string]any, path string, v any) {
	switch path {
	case "contact": // fresh writes it, with its places; it is fixed
	case "at":
		if t, err := time.Parse(time.RFC3339, fmt.Sprint(v)); err == nil {
			doc["reported_date"] = t.UnixMilli()
		}
	case "patient":
		// The short code and the uuid are both looked for in patient_id; a uuid is
		// never another's.
		setAt(doc, []string{"fields", "patient_uuid"}, v)
		setAt(doc, []string{"fields", "patient_id"}, v)
	case "place":
		setAt(doc, []string{"fields", "place_id"}, v)
	default:
		setAt(doc, strings.Split(path, "/"), v)
	}
}

func (r reportShape) fixed() map[string]string {
	return map[string]string{"form": "a report is of one form", "contact": "it is in the name of whoever made it"}
}

func (r reportShape) fresh(ctx context.Context, do call.Doer, c connector.Change) (map[string]any, error) {
	doc := map[string]any{"type": "data_record", "reported_date": c.At.UnixMilli(), "fields": map[string]any{}}
	if appForm(c.Wanted.Text("form")) {
		doc["content_type"] = "xml"
	} else {
		doc["errors"], doc["tasks"] = []any{}, []any{}
	}
	if id := c.Wanted.Text("contact"); id != "" {
		by, err := r.s.minified(ctx, do, id)
		if err != nil {
			return nil, fmt.Errorf("%s: contact %s: %w", r.s.name, id, err)
		}
		doc["contact"] = by
	}
	return doc, nil
}

func (r reportShape) search(_ context.Context, _ call.Doer, by map[string]any) ([]string, string, error) {
	if id, _ := refID(by["id"]); id != "" {
		return []string{id}, "id", nil
	}
	return nil, "", nil
}

func (r reportShape) used(context.Context, call.Doer, string, map[string]bool) (string, error) {
	return "", nil
}

func (r reportShape) about(string) (call.Request, error) { return call.Request{}, nil }
