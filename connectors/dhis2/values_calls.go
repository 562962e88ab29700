package dhis2

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

// How long a server that imports in the background is asked, and how often.
const (
	awaitEvery = 10 * time.Second
	awaitUntil = 30 * time.Minute
)

// post makes an importing request. dry asks DHIS2 whether it would take it: it
// changes nothing as long as no completeDate is in it (with one, DHIS2 registers
// completeness all the same).
func post(path string, body any, dry bool) (call.Request, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return call.Request{}, fmt.Errorf("write the request's body: %w", err)
	}
	r := call.Request{Method: http.MethodPost, Path: path, Body: b,
		Query: map[string][]string{"async": {"false"}, "importStrategy": {"CREATE_AND_UPDATE"}}}
	if dry {
		r.Query["dryRun"], r.Read = []string{"true"}, true
	}
	return r, nil
}

// Calls sends the values that differ, in as many requests as they need. DHIS2
// has no all-or-nothing for data values: each request is tried dry first, so that
// a refused row is known before any is saved.
func (k *valuesKind) Calls(ctx context.Context, do call.Doer, c connector.Change) ([]call.Call, error) {
	p, ok := placeOf(c.ID)
	if !ok || c.Found == nil {
		return nil, k.refused("write data values", "%q is not the id of a place for data", c.ID)
	}
	if c.Remove {
		return nil, &connector.InUse{Text: "a place for data cannot be removed, only its values"}
	}
	rows := k.changes(c)
	var calls []call.Call
	for from := 0; from < len(rows); from += k.chunk {
		part := rows[from:min(from+k.chunk, len(rows))]
		name := c.Record + ".values"
		if len(rows) > k.chunk {
			name += "-" + strconv.Itoa(from/k.chunk+1)
		}
		one, err := k.valuesCall(ctx, do, p, name, part)
		if err != nil {
			return nil, err
		}
		calls = append(calls, one)
	}
	return calls, nil
}

// change is what one value is to become, and what gives back what stood there.
type change struct {
	path      string
	to, from  any
	send, was wireValue
}

// changes lists the values to write, in order.
func (k *valuesKind) changes(c connector.Change) []change {
	var out []change
	for _, path := range c.Write.Paths() {
		element, combo, ok := cellOf(path)
		if !ok {
			continue
		}
		old := wireValue{DataElement: element, Combo: combo}
		if row := c.Found.Rows[path]; row != "" {
			// A comment or a mark that is not sent again is lost.
			if json.Unmarshal([]byte(row), &old) != nil {
				old = wireValue{DataElement: element, Combo: combo}
			}
		}
		old.Attribute = ""
		before := c.Found.Fields.Text(path)
		one := change{path: path, to: c.Write[path], from: before, send: old, was: old}
		one.was.Value = before
		switch to, isText := c.Write[path].(string); {
		case isText && to != "":
			one.send.Value = to
			if before == "" {
				one.was.Value, one.was.Deleted = to, true
			}
		case before == "":
			continue // nothing stands there
		default:
			one.to = record.Clear{}
			one.send.Value, one.send.Deleted = before, true
		}
		out = append(out, one)
	}
	return out
}

func (k *valuesKind) valuesCall(ctx context.Context, do call.Doer, p place, name string, part []change) (call.Call, error) {
	there := valueSet{DataSet: p.dataSet, Period: p.period, OrgUnit: p.unit, Attribute: p.attribute}
	back := there
	want, pre, restore := record.Fields{}, record.Fields{}, map[string]string{}
	for i, one := range part {
		there.Values = append(there.Values, one.send)
		back.Values = append(back.Values, one.was)
		want[one.path], pre[one.path] = one.to, one.from
		restore[call.Pointer("dataValues", strconv.Itoa(i))] = one.path
	}
	dry, err := post(valuesPath, there, true)
	if err != nil {
		return call.Call{}, err
	}
	if _, err := do.Do(ctx, "ask whether the values would be taken", dry); err != nil {
		return call.Call{}, err
	}
	send, err := post(valuesPath, there, false)
	if err != nil {
		return call.Call{}, err
	}
	undo, err := post(valuesPath, back, false)
	if err != nil {
		return call.Call{}, err
	}
	check := call.Check{Read: p.read(), As: "values", Key: p.attribute, Want: want, Pre: pre}
	c := call.Call{
		Name: name, Target: p.id(), About: fmt.Sprintf("write %d values of %s", len(part), p.about()),
		Request: send, Repeat: call.Safe, Reversal: call.Exact, Check: &check,
		Undo:  &call.Undo{Request: undo, Restore: restore},
		Await: &call.Await{Check: check, Every: awaitEvery, Until: awaitUntil},
	}
	if k.background > 0 && len(part) >= k.background {
		inBackground(&c)
	}
	return c, nil
}

// Observe reads the values that a check names.
func (k *valuesKind) Observe(c call.Check, a call.Answer) (call.Observed, error) {
	switch c.As {
	case "task":
		return k.ended(a)
	case "summary":
		return k.summaryOf(a, c.Want)
	}
	at, err := decodeValues(a, c.Key)
	if err != nil {
		return call.Observed{}, err
	}
	o := call.Observed{Exists: true, Fields: record.Fields{}, Outputs: call.Outputs{}}
	for _, named := range []record.Fields{c.Want, c.Pre} {
		for path := range named {
			o.Fields[path] = at[path].Value
		}
	}
	return o, nil
}
