// Package record holds the canonical form in which Kiungo compares the content
// of a record in two systems: a flat map from field path to value.
//
// A connector turns what a flow wants, and what a system answers, into Fields;
// from then on the core compares, merges and remembers without knowing the
// system. Paths use slashes ("name/given", "attributes/Telephone Number"); the
// items of a list are keyed by the list's own key, never by position
// ("obs/CIEL:5089#1/value").
package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Fields is the canonical content of one record, from path to value.
//
// A value is a string, a bool, a float64, a Clear or a Later. A path that is
// missing means "no opinion": it is neither compared nor written. Moments are
// RFC 3339 in UTC with whole seconds, days are YYYY-MM-DD.
type Fields map[string]any

// Clear wants the field emptied. Only a flow's clear() makes one.
type Clear struct{}

// Unreadable stands for a field that the system holds but does not let us read.
// It is neither compared nor written.
type Unreadable struct{}

// Later is a value that is known only once a call of the same plan was
// answered: an identifier drawn from a pool, an id the server chooses.
type Later struct {
	Call   string // name of the call, unique in its plan
	Output string // name of one of the call's outputs
}

// Ref is a reference, in what a flow wants, to another record of the same
// delivery. ID is that record's id in its system, or empty while unknown.
type Ref struct {
	Record string // name of the record in the flow
	Kind   string // "openmrs/Patient"
	ID     string
	Later  Later // set when the id is chosen by the server
	// New: the record is made by this same plan, so nothing can be below it yet.
	New bool
}

type mark struct {
	Clear      bool   `json:"$clear,omitempty"`
	Unreadable bool   `json:"$unreadable,omitempty"`
	Later      string `json:"$later,omitempty"`
	Output     string `json:"output,omitempty"`
}

// MarshalJSON writes Clear as {"$clear":true}.
func (Clear) MarshalJSON() ([]byte, error) { return json.Marshal(mark{Clear: true}) }

// MarshalJSON writes Unreadable as {"$unreadable":true}.
func (Unreadable) MarshalJSON() ([]byte, error) { return json.Marshal(mark{Unreadable: true}) }

// MarshalJSON writes Later as {"$later":call,"output":name}.
func (l Later) MarshalJSON() ([]byte, error) {
	return json.Marshal(mark{Later: l.Call, Output: l.Output})
}

// UnmarshalJSON reads back what MarshalJSON of the values wrote.
func (f *Fields) UnmarshalJSON(b []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return fmt.Errorf("read fields: %w", err)
	}
	if raw == nil {
		*f = nil
		return nil
	}
	out := make(Fields, len(raw))
	for path, v := range raw {
		value, err := decodeValue(v)
		if err != nil {
			return fmt.Errorf("read field %q: %w", path, err)
		}
		out[path] = value
	}
	*f = out
	return nil
}

func decodeValue(raw json.RawMessage) (any, error) {
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
		var m mark
		if err := json.Unmarshal(raw, &m); err != nil {
			return nil, err
		}
		switch {
		case m.Clear:
			return Clear{}, nil
		case m.Unreadable:
			return Unreadable{}, nil
		case m.Later != "":
			return Later{Call: m.Later, Output: m.Output}, nil
		}
		return nil, fmt.Errorf("unknown marked value")
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, err
	}
	return v, nil
}

// Paths lists the paths in order.
func (f Fields) Paths() []string { return slices.Sorted(maps.Keys(f)) }

// Under lists, without the prefix, the fields below a path: Under("name")
// gives {"given": …} for {"name/given": …}.
func (f Fields) Under(path string) Fields {
	out := Fields{}
	for p, v := range f {
		if rest, ok := strings.CutPrefix(p, path+"/"); ok {
			out[rest] = v
		}
	}
	return out
}

// Text gives a field as text, or "" where it is missing or not text.
func (f Fields) Text(path string) string {
	s, _ := f[path].(string)
	return s
}

// Clone copies the map.
func (f Fields) Clone() Fields { return maps.Clone(f) }

// Empty tells whether a value counts as nothing: missing, Clear, or "".
func Empty(v any) bool {
	switch v := v.(type) {
	case nil, Clear:
		return true
	case string:
		return v == ""
	}
	return false
}

// Same tells whether two values say the same. Nothing equals nothing, however
// it is written; a Later equals only itself.
func Same(a, b any) bool {
	if Empty(a) || Empty(b) {
		return Empty(a) && Empty(b)
	}
	return a == b
}

// Unknown tells whether the value cannot be known before a call is answered.
func Unknown(v any) bool { _, ok := v.(Later); return ok }
