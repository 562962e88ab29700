package dhis2

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/period"
	"github.com/kiungo-health/kiungo/internal/record"
)

var completionSpec = connector.KindSpec{
	Name: "Completion",
	About: "That a data set is registered as complete for a period and organisation unit. It is a call of its own after the values: " +
		"sent with them, DHIS2 registers completeness even where it refuses every value.",
	ByDefault: "by data set, period, organisation unit and attribute option combination",
	Fields: []connector.FieldSpec{
		{Name: "of", Type: connector.RefTo, Ref: "dhis2/DataValueSet", About: "The data value set that is complete; or its dataSet, period, orgUnit and attributeOptionCombo one by one."},
		{Name: "dataSet", Type: connector.Text, About: "Data set, by UID or code."},
		{Name: "period", Type: connector.Text, About: "Period, as of the data value set."},
		{Name: "orgUnit", Type: connector.Text, About: "Organisation unit, by UID or code."},
		{Name: "attributeOptionCombo", Type: connector.Text, About: "Attribute option combination, by UID or code."},
		{Name: "completed", Type: connector.Bool, About: "Whether it is complete; yes unless it says no."},
		{Name: "date", Type: connector.Day, About: "Day on which it was completed; the server's today where it is not given."},
	},
	Gives: []connector.FieldSpec{{Name: "uuid", Type: connector.Text, About: "data set.period.organisation unit.attribute option combination"}},
}

type completionKind struct{ *System }

func (k *completionKind) Spec() *connector.KindSpec { return &completionSpec }

// registration is one row of completeDataSetRegistrations.
type registration struct {
	DataSet   string `json:"dataSet"`
	Period    string `json:"period"`
	Unit      string `json:"organisationUnit"`
	Attribute string `json:"attributeOptionCombo,omitempty"`
	Date      string `json:"date,omitempty"`
	Completed *bool  `json:"completed,omitempty"`
}

type registrations struct {
	Rows []registration `json:"completeDataSetRegistrations"`
}

// registered finds the registration of a place; where there is none DHIS2
// answers {}.
func registered(a call.Answer, p place) (registration, bool, error) {
	var all registrations
	if err := json.Unmarshal(a.Body, &all); err != nil {
		return registration{}, false, fmt.Errorf("read the registrations that DHIS2 sent: %w", err)
	}
	for _, r := range all.Rows {
		if r.DataSet == p.dataSet && r.Period == p.period && r.Unit == p.unit && (r.Attribute == "" || r.Attribute == p.attribute) {
			return r, r.Completed == nil || *r.Completed, nil
		}
	}
	return registration{}, false, nil
}

func (p place) readCompletion() call.Request {
	return read(completionPath, "dataSet", p.dataSet, "period", p.period, "orgUnit", p.unit)
}

// Find reads whether a place is registered as complete. The registration is
// always there, as yes or as nothing.
func (k *completionKind) Find(ctx context.Context, do call.Doer, q connector.Query) (connector.Found, error) {
	p, err := k.sought(q)
	if err != nil {
		return connector.Found{}, err
	}
	a, err := do.Do(ctx, "read whether the data set is complete", p.readCompletion())
	if err != nil {
		return connector.Found{}, err
	}
	r, complete, err := registered(a, p)
	if err != nil {
		return connector.Found{}, err
	}
	f := connector.Found{Exists: true, ID: p.id(), Fields: p.fields(), How: "data set, period and organisation unit"}
	f.Fields["completed"], f.Fields["date"] = "", ""
	if complete {
		f.Fields["completed"], f.Fields["date"] = true, cut(r.Date)
	}
	return f, nil
}

// Canon checks a wanted registration.
func (k *completionKind) Canon(ctx context.Context, do call.Doer, wanted map[string]any) (record.Fields, []connector.Problem, error) {
	c := newCanoner()
	for _, name := range keysOf(wanted) {
		if !slices.ContainsFunc(completionSpec.Fields, func(f connector.FieldSpec) bool { return f.Name == name }) {
			c.problem(name, "field", "is not a field of a registration")
		}
	}
	if v, ok := wanted["of"]; ok && v != nil {
		p, ok := k.of(c, v)
		if !ok {
			return c.fields, c.problems, nil
		}
		// It was checked with its values.
		c.fields = p.fields()
	} else if _, err := k.placed(ctx, do, c, wanted, false); err != nil {
		return nil, nil, err
	}
	completed := true
	if v := wanted["completed"]; v != nil {
		t, _ := text(v)
		b, ok := truth(t)
		if !ok {
			c.problem("completed", "boolean", "must be yes or no")
		}
		completed = b
	}
	c.fields["completed"] = any(true)
	if !completed {
		c.fields["completed"] = record.Clear{}
	}
	if v := wanted["date"]; completed && !c.plain("date", v) {
		t, _ := text(v)
		d, err := k.day(t)
		if err != nil {
			c.problem("date", "day", "must be a day such as 2024-06-03")
		} else {
			c.fields["date"] = notAfter(d, period.DayOf(k.serverNow().In(k.zone))).String()
		}
	}
	return c.fields, c.problems, nil
}

// notAfter moves a day that is ahead back to today, as DHIS2 does.
func notAfter(d, today period.Day) period.Day { return min(d, today) }

// of reads the reference to the data value set.
func (k *completionKind) of(c *canoner, v any) (place, bool) {
	id, _ := v.(string)
	if ref, ok := v.(record.Ref); ok {
		if ref.Kind != "" && ref.Kind != "dhis2/DataValueSet" {
			c.problem("of", "reference", "must refer to a record of kind dhis2/DataValueSet, not %s", ref.Kind)
			return place{}, false
		}
		id = ref.ID
	}
	p, ok := placeOf(id)
	if !ok {
		c.problem("of", "reference", "must refer to a data value set of this flow")
	}
	return p, ok
}

// Calls registers, changes or takes back the registration.
func (k *completionKind) Calls(ctx context.Context, do call.Doer, c connector.Change) ([]call.Call, error) {
	p, ok := placeOf(c.ID)
	if !ok || c.Found == nil {
		return nil, k.refused("register completeness", "%q is not the id of a place for data", c.ID)
	}
	want, pre := record.Fields{}, record.Fields{}
	for _, path := range []string{"completed", "date"} {
		if v, ok := c.Write[path]; ok {
			want[path], pre[path] = v, c.Found.Fields[path]
		}
	}
	if len(want) == 0 && !c.Remove {
		return nil, nil
	}
	away, err := k.unregister(ctx, do, p)
	if err != nil {
		return nil, err
	}
	was, complete := c.Found.Fields.Text("date"), c.Found.Fields["completed"] == true
	back := away
	if complete {
		if back, err = k.register(p, was); err != nil {
			return nil, err
		}
	}
	send, about := away, "take back that the data set is complete: "+p.about()
	if c.Remove {
		want, pre = record.Fields{"completed": record.Clear{}}, record.Fields{"completed": c.Found.Fields["completed"]}
	} else if v, written := c.Write["completed"]; written && v == true || !written && complete {
		date := was
		if d, ok := c.Write["date"].(string); ok {
			date = d
		}
		about = "register that the data set is complete: " + p.about()
		if send, err = k.register(p, date); err != nil {
			return nil, err
		}
	}
	check := call.Check{Read: p.readCompletion(), As: "completion", Key: p.id(), Want: want, Pre: pre}
	return []call.Call{{
		Name: c.Record + ".complete", Target: p.id(), About: about, Request: send,
		Repeat: call.Safe, Reversal: call.Exact, Check: &check, Undo: &call.Undo{Request: back},
		Await: &call.Await{Check: check, Every: awaitEvery, Until: awaitUntil},
	}}, nil
}

func (k *completionKind) register(p place, date string) (call.Request, error) {
	yes := true
	return post(completionPath, registrations{Rows: []registration{{DataSet: p.dataSet, Period: p.period, Unit: p.unit,
		Attribute: p.attribute, Date: date, Completed: &yes}}}, false)
}

// unregister makes the request that removes the registration. It names the
// attribute options, where there are any, by category combination and options.
func (k *completionKind) unregister(ctx context.Context, do call.Doer, p place) (call.Request, error) {
	r := read(completionPath, "ds", p.dataSet, "pe", p.period, "ou", p.unit)
	r.Method = http.MethodDelete
	ds, err := k.meta.dataSet(ctx, do, p.dataSet)
	if err != nil {
		return r, err
	}
	combo, err := k.meta.combo(ctx, do, cmp.Or(ds.Combo.ID, defaultCombo))
	if err != nil {
		return r, err
	}
	if o, ok := combo.find(p.attribute); ok && !combo.isDefault() {
		ids := make([]string, len(o.Options))
		for i, option := range o.Options {
			ids[i] = option.ID
		}
		r.Query["cc"], r.Query["cp"] = []string{combo.ID}, []string{strings.Join(ids, ";")}
	}
	return r, nil
}

// Observe reads a registration.
func (k *completionKind) Observe(c call.Check, a call.Answer) (call.Observed, error) {
	p, ok := placeOf(c.Key)
	if !ok {
		return call.Observed{}, fmt.Errorf("dhis2/Completion: a check without its place")
	}
	r, complete, err := registered(a, p)
	if err != nil {
		return call.Observed{}, err
	}
	o := call.Observed{Exists: true, Fields: record.Fields{"completed": "", "date": ""}, Outputs: call.Outputs{}}
	if complete {
		o.Fields["completed"], o.Fields["date"] = true, cut(r.Date)
	}
	return o, nil
}
