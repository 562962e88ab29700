package call

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/kiungo-health/kiungo/internal/record"
)

// Known gives the output of an earlier call, if that call was answered.
type Known func(record.Later) (string, bool)

// Bound fills the outputs of earlier calls into a request. It fails when one
// of them is not known: the request cannot be sent yet.
func (r Request) Bound(known Known) (Request, error) {
	path, err := fillPath(r.Path, known)
	if err != nil {
		return r, err
	}
	r.Path = path
	for name, values := range r.Query {
		for i, v := range values {
			if !strings.Contains(v, "{") {
				continue
			}
			// Queries written by connectors hold placeholders as whole values only.
			if inner, ok := placeholder(v); ok {
				out, ok := known(inner)
				if !ok {
					return r, fmt.Errorf("output %s of call %s is not known yet", inner.Output, inner.Call)
				}
				r.Query = cloneQuery(r.Query)
				r.Query[name][i] = out
			}
		}
	}
	if len(r.Bind) == 0 {
		return r, nil
	}
	var doc any
	if err := json.Unmarshal(r.Body, &doc); err != nil {
		return r, fmt.Errorf("read the request's body: %w", err)
	}
	for _, b := range r.Bind {
		out, ok := known(record.Later{Call: b.Call, Output: b.Output})
		if !ok {
			return r, fmt.Errorf("output %s of call %s is not known yet", b.Output, b.Call)
		}
		if doc, err = setPointer(doc, b.At, out); err != nil {
			return r, err
		}
	}
	body, err := json.Marshal(doc)
	if err != nil {
		return r, fmt.Errorf("write the request's body: %w", err)
	}
	r.Body, r.Bind = body, nil
	return r, nil
}

func cloneQuery(q map[string][]string) map[string][]string {
	out := make(map[string][]string, len(q))
	for k, v := range q {
		out[k] = append([]string(nil), v...)
	}
	return out
}

// placeholder reads "{call.output}"; the output is after the last dot.
func placeholder(s string) (record.Later, bool) {
	inner, ok := strings.CutPrefix(s, "{")
	if !ok {
		return record.Later{}, false
	}
	if inner, ok = strings.CutSuffix(inner, "}"); !ok {
		return record.Later{}, false
	}
	dot := strings.LastIndexByte(inner, '.')
	if dot <= 0 {
		return record.Later{}, false
	}
	return record.Later{Call: inner[:dot], Output: inner[dot+1:]}, true
}

func fillPath(path string, known Known) (string, error) {
	if !strings.Contains(path, "{") {
		return path, nil
	}
	parts := strings.Split(path, "/")
	for i, p := range parts {
		later, ok := placeholder(p)
		if !ok {
			continue
		}
		out, ok := known(later)
		if !ok {
			return "", fmt.Errorf("output %s of call %s is not known yet", later.Output, later.Call)
		}
		parts[i] = url.PathEscape(out)
	}
	return strings.Join(parts, "/"), nil
}

// Collect reads the outputs of a call from its answer.
func (c *Call) Collect(a Answer) (Outputs, error) {
	if len(c.Outputs) == 0 {
		return nil, nil
	}
	out := make(Outputs, len(c.Outputs))
	for name, pointer := range c.Outputs {
		raw, err := rawAt(a.Body, pointer)
		if err != nil {
			return nil, fmt.Errorf("%s: the answer is not JSON: %w", c.Name, err)
		}
		if raw == nil {
			return nil, fmt.Errorf("%s: the answer has nothing at %s", c.Name, pointer)
		}
		text := string(raw)
		if raw[0] == '"' {
			if err := json.Unmarshal(raw, &text); err != nil {
				return nil, fmt.Errorf("%s: the answer at %s: %w", c.Name, pointer, err)
			}
		}
		out[name] = text
	}
	return out, nil
}
