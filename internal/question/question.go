// Package question says what a person is asked and what the answers mean: what
// may be chosen, what stands side by side, what an answer teaches, and whose
// job it is. It stores nothing and decides nothing.
package question

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// Offer is what is put before a person besides the question's text. It may
// hold answers of patients: it is sealed in the ledger, never logged.
type Offer struct {
	// Choices are the answers that can be given.
	Choices []Choice `json:"choices,omitempty"`
	// Other says what may be written instead of a choice ("a value of the column
	// openmrs"); empty: only the choices.
	Other string `json:"other,omitempty"`
	// Teach: the answer becomes a row of a table, for all from now on.
	Teach *Teach `json:"teach,omitempty"`
	// Sides are what is to be compared: the first is what the message says.
	Sides []Side `json:"sides,omitempty"`
	// Merge says, by answer, whom it makes one person.
	Merge map[string]Merge `json:"merge,omitempty"`
	// Plan is what would be done, a line each, for an approval.
	Plan []string `json:"plan,omitempty"`
}

// Choice is one answer.
type Choice struct {
	Value string `json:"value"`
	Text  string `json:"text"`
}

// Teach is the row that an answer makes.
type Teach struct {
	Integration string   `json:"integration"`
	Table       string   `json:"table"`
	Codes       []string `json:"codes"`
	Column      string   `json:"column"`
}

// Merge is two people who become one.
type Merge struct {
	Loser  string `json:"loser"`
	Winner string `json:"winner"`
}

// Side is one of the things that are compared.
type Side struct {
	Name   string   `json:"name"`             // "the message", or the candidate's id
	Why    []string `json:"why,omitempty"`    // the score, term by term
	Fields []Field  `json:"fields,omitempty"` // in the same order on every side
}

// Field is a line of a Side.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Answers with a meaning everywhere.
const (
	Retry = "retry" // the cause was mended; try again
	Skip  = "skip"  // end it without doing anything
)

// Encode writes an offer for the ledger.
func (o Offer) Encode() (json.RawMessage, error) {
	b, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode what a person is asked: %w", err)
	}
	return b, nil
}

// OfferOf reads the offer of a question; a question without one can be retried
// or skipped.
func OfferOf(q ledger.Question) (Offer, error) {
	var o Offer
	if len(q.Options) > 0 {
		if err := json.Unmarshal(q.Options, &o); err != nil {
			return o, fmt.Errorf("read what question %d offers: %w", q.ID, err)
		}
	}
	if len(o.Choices) == 0 && o.Other == "" {
		o.Choices = Usual()
	}
	return o, nil
}

// Usual are the choices where nothing but the cause itself can be mended.
func Usual() []Choice {
	return []Choice{{Retry, "the cause is mended: try again"}, {Skip, "leave it: end this delivery without doing anything"}}
}

// Check turns what a person wrote into the answer to store: the value of a
// choice, its number in the list from 1, or what Other allows. Anything else is
// an error that lists what can be answered.
func (o Offer) Check(answer string) (string, error) {
	answer = strings.TrimSpace(answer)
	for i, c := range o.Choices {
		if strings.EqualFold(answer, c.Value) || answer == fmt.Sprint(i+1) && !slices.ContainsFunc(o.Choices, func(x Choice) bool { return x.Value == answer }) {
			return c.Value, nil
		}
	}
	if o.Other != "" && answer != "" {
		return answer, nil
	}
	var can []string
	for _, c := range o.Choices {
		can = append(can, c.Value)
	}
	if o.Other != "" {
		can = append(can, o.Other)
	}
	return "", fmt.Errorf("%q is no answer to this question; it can be: %s", answer, strings.Join(can, ", "))
}

// Answered gives the answer to the question with that key, if a person has
// given one; of several the last.
func Answered(asked []ledger.Question, key string) (answer, by string, ok bool) {
	for _, q := range slices.Backward(asked) {
		if q.State == "answered" && q.Key == key {
			return q.Answer, q.By, true
		}
	}
	return "", "", false
}

// Under lists the answers, newest first, to the questions whose key begins so:
// the same decision, asked again because what was seen had changed.
func Under(asked []ledger.Question, prefix string) []ledger.Question {
	var out []ledger.Question
	for _, q := range slices.Backward(asked) {
		if q.State == "answered" && strings.HasPrefix(q.Key, prefix) {
			out = append(out, q)
		}
	}
	return out
}

// Jobs are who decides: the clerk knows the people, the programme the codes and
// rules, the administrator the systems.
const (
	Clerk         = "clerk"
	Programme     = "programme officer"
	Administrator = "administrator"
)

// Job says whose job it is to deal with a held delivery or a question, by its
// code or kind.
func Job(code string) string {
	switch code {
	case "unmapped", "required", "approval", "flow", "no-flow", "locked", "table":
		return Programme
	case "not-authorised", "no-server", "server", "down", "internal", "poison", "answer", "gave-up", "no-system":
		return Administrator
	}
	return Clerk
}
