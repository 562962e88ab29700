// Package plan turns what a flow wants into the ordered calls that make the
// difference. It reads; it never changes anything.
package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/record"
)

// codec is the version of a journaled plan's encoding (law 38).
const codec = 1

// Plan is what one delivery will do, as it is journaled.
type Plan struct {
	Codec      int    `json:"codec"`
	Flow       string `json:"flow"`
	FlowHash   string `json:"flow_hash"`
	Generation int    `json:"generation"`
	// At is when the target was read. It is not journaled: a plan that is taken
	// up again is old.
	At      time.Time   `json:"-"`
	Event   time.Time   `json:"event"`
	Records []Record    `json:"records"`
	Calls   []call.Call `json:"calls,omitempty"`
	Remarks []string    `json:"remarks,omitempty"`
	// Sources is what the message's own records said when this was planned, of
	// the fields that were carried over: agreed on that side too, once done.
	Sources []Source `json:"sources,omitempty"`
	// Approve is what a person is to approve before anything is sent.
	Approve string `json:"approve,omitempty"`
}

// Source is a record of the message's system.
type Source struct {
	System string                   `json:"system"`
	Kind   string                   `json:"kind"`
	ID     string                   `json:"id"`
	Fields map[string]record.Agreed `json:"fields"`
	Agreed map[string]record.Agreed `json:"agreed,omitempty"` // so far
}

// Record is what is to become of one record of the flow.
type Record struct {
	Name   string `json:"name"`
	System string `json:"system"`
	Kind   string `json:"kind"`
	ID     string `json:"id,omitempty"`
	// Later names the output that gives the id where the server chooses it.
	Later   *record.Later `json:"later,omitempty"`
	Exists  bool          `json:"exists"`  // found
	Created bool          `json:"created"` // by this document, now or in an earlier version
	Removed bool          `json:"removed"` // withdrawn by this plan
	// GivenBack: this document has no part in it any more; it was not made by
	// it, and stays.
	GivenBack bool `json:"given_back,omitempty"`
	// Generation of its derived id.
	Generation int    `json:"generation,omitempty"`
	Person     bool   `json:"person,omitempty"`
	How        string `json:"how,omitempty"` // by what it was found
	// Matched are blocking keys under which nobody was found: claimed, so that
	// two deliveries do not make one person twice (law 16).
	Matched []string `json:"matched,omitempty"`
	// Replaces is the id of a linked record that was merged into this one.
	Replaces string `json:"replaces,omitempty"`
	// OnRefused is what a refusal means: "undo", "keep" or "ask".
	OnRefused string `json:"on_refused,omitempty"`
	// Needs are the records that this one refers to.
	Needs []string `json:"needs,omitempty"`
	// Write is what differs; Was the same fields as found; Mine everything
	// that this document stands for, written now or found equal.
	Write record.Fields `json:"write,omitempty"`
	Was   record.Fields `json:"was,omitempty"`
	Mine  record.Fields `json:"mine,omitempty"`
	// Settled are values of the message that a person has judged wrong: what
	// stands in the system is agreed against them.
	Settled record.Fields `json:"settled,omitempty"`
	// Took is what this and newer versions of the document put in place of fields
	// that they want no more.
	Took record.Fields `json:"took,omitempty"`
	// Once are the paths that are given only when the record is made.
	Once []string `json:"once,omitempty"`
	// Before is kept with what we made, to give back what was there when the
	// document is withdrawn.
	Before record.Fields `json:"before,omitempty"`
	// Agreed is the snapshot so far, for the fields that this plan leaves.
	Agreed map[string]record.Agreed `json:"agreed,omitempty"`
	// Fields is what was found, for ${record.found.x} and the preview.
	Found record.Fields `json:"-"`
}

// Encode writes the plan for the journal, and its hash, which does not depend
// on when it was made.
func (p *Plan) Encode() (body []byte, hash string, err error) {
	p.Codec = codec
	if body, err = json.Marshal(p); err != nil {
		return nil, "", fmt.Errorf("encode plan: %w", err)
	}
	sum := sha256.Sum256(body)
	return body, hex.EncodeToString(sum[:8]), nil
}

// ErrCodec: the plan was journaled by a newer Kiungo; leave the lane to a node
// that can read it.
var ErrCodec = fmt.Errorf("the plan was written by a newer version")

// Decode reads a journaled plan.
func Decode(body []byte) (*Plan, error) {
	var p Plan
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, fmt.Errorf("read journaled plan: %w", err)
	}
	if p.Codec > codec {
		return nil, ErrCodec
	}
	return &p, nil
}

// Record gives the record of that name, or nil.
func (p *Plan) Record(name string) *Record {
	for i := range p.Records {
		if p.Records[i].Name == name {
			return &p.Records[i]
		}
	}
	return nil
}

// Claims are the records that the plan will write: all or none are taken
// before the first call. A record that is to be made is claimed by its derived
// id, and by nothing where the server chooses the id.
func (p *Plan) Claims() []string {
	seen := map[string]bool{}
	var out []string
	for _, c := range p.Calls {
		key := ClaimKey(c.System, c.Kind, c.Target)
		if c.Target == "" || seen[key] {
			continue
		}
		seen[key] = true
		out = append(out, key)
	}
	for _, r := range p.Records {
		for _, block := range r.Matched {
			out = append(out, ClaimKey(r.System, r.Kind, "match "+block))
		}
	}
	return out
}

// ClaimKey names one record of one system.
func ClaimKey(system, kind, id string) string { return system + "|" + kind + "|" + id }

// Own is the link of a person's own record in the message's system: what the
// person goes by there.
func (p *Plan) Own(person string, m *connector.Message, kind string) (ledger.Link, bool) {
	system, id, ok := strings.Cut(person, "/")
	if !ok || system != m.System || kind == "" {
		return ledger.Link{}, false
	}
	return ledger.Link{Person: person, System: system, Kind: kind, ID: id, How: "the message is about it"}, true
}

// People tells whether a record that is a person is there or is to be made.
func (p *Plan) People() bool {
	return slices.ContainsFunc(p.Records, func(r Record) bool {
		return r.Person && !r.Removed && !r.GivenBack && (r.ID != "" || r.Later != nil)
	})
}

// Links are the links that the plan would make between the person and the
// records of kinds that are people.
func (p *Plan) Links(person string) []ledger.Link {
	if person == "" {
		return nil
	}
	var out []ledger.Link
	for _, r := range p.Records {
		if r.Person && r.ID != "" && !r.Removed && !r.GivenBack {
			how := r.How
			if !r.Exists {
				how = "made"
			}
			out = append(out, ledger.Link{Person: person, System: r.System, Kind: r.Kind, ID: r.ID, State: "pending", How: how})
		}
	}
	return out
}

// Systems lists the systems that the plan's calls go to.
func (p *Plan) Systems() []string {
	seen := map[string]bool{}
	var out []string
	for _, c := range p.Calls {
		if !seen[c.System] {
			seen[c.System] = true
			out = append(out, c.System)
		}
	}
	return out
}
