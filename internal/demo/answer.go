package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/desk"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/plan"
	"github.com/kiungo-health/kiungo/internal/question"
)

// Answered is what clerks of the demo answered in one world, and how it went on.
type Answered struct {
	ID      string         `json:"id"`
	Answers map[string]int `json:"answers"` // by kind of question
	// Before and After are how many messages waited for a person.
	Before int `json:"before"`
	After  int `json:"after"`
	Open   int `json:"open"` // questions that stay
}

// Answer has clerks answer half of the questions of each kind, the oldest first,
// as somebody would who knows the people and the codes; the rest stays to be
// looked at. before is the report from before; the one from afterwards is given.
func (d *Demo) Answer(ctx context.Context, before []Row) ([]Answered, []Row, error) {
	var out []Answered
	for i, w := range d.Worlds {
		a := Answered{ID: w.ID, Answers: map[string]int{}, Before: before[i].Held}
		if err := w.answerSome(ctx, a.Answers); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", w.ID, err)
		}
		out = append(out, a)
	}
	if err := d.Settle(ctx, patience); err != nil {
		return nil, nil, err
	}
	after, err := d.Report(ctx)
	if err != nil {
		return nil, nil, err
	}
	for i := range out {
		out[i].After = after[i].Held
		for _, q := range after[i].Asked {
			out[i].Open += q.N
		}
	}
	return out, after, nil
}

func (w *World) answerSome(ctx context.Context, answered map[string]int) error {
	s := w.Service()
	open, err := openQuestions(ctx, s)
	if err != nil {
		return err
	}
	left := map[string]int{}
	for _, q := range open {
		left[q.Kind]++
	}
	for kind, n := range left {
		left[kind] = (n + 1) / 2
		if n == 1 {
			left[kind] = 0 // one of each kind stays to be looked at
		}
	}
	for _, q := range open {
		if left[q.Kind] == 0 {
			continue
		}
		now, err := s.Question(ctx, q.ID)
		if err != nil {
			return err
		}
		answer, err := w.answerTo(ctx, now)
		if err != nil {
			return err
		}
		if now.State != "open" || answer == "" {
			continue // another answer was for this one, too, or nobody here knows
		}
		n, err := s.Answer(ctx, desk.Answer{Question: q.ID, Answer: answer, Who: "a clerk of the demo"})
		if err != nil {
			return fmt.Errorf("answer question %d with %q: %w", q.ID, answer, err)
		}
		left[q.Kind] = max(0, left[q.Kind]-n)
		answered[q.Kind] += n
	}
	return nil
}

// answerTo is what somebody who knows would answer; "" is nobody's to answer.
func (w *World) answerTo(ctx context.Context, q desk.Asked) (string, error) {
	switch q.Kind {
	case "match", "several":
		work, err := w.Ledger.Delivery(ctx, q.Delivery)
		if err != nil {
			return "", err
		}
		return w.truth.who(&work.Delivery, q.Offer), nil
	case "refused":
		return question.Retry, nil // what was refused once, by a fault, is taken now
	case "unmapped":
		if q.Offer.Teach == nil {
			return "", nil
		}
		switch q.Offer.Teach.Table {
		case "org-units":
			return "CU-UYA-1", nil
		case "areas":
			return w.systems[1].places[0], nil
		}
		if q.Offer.Other != "" || slices.ContainsFunc(q.Offer.Choices, func(c question.Choice) bool { return c.Value == plan.NotSent }) {
			return plan.NotSent, nil // known now, and not sent
		}
	}
	for _, c := range q.Offer.Choices {
		if c.Value != question.Retry && c.Value != question.Skip {
			return c.Value, nil
		}
	}
	return "", nil
}

// who says which of the candidates the delivery's person is, or that none is.
func (t *truth) who(d *ledger.Delivery, o question.Offer) string {
	person := t.about(d)
	if person == "" {
		return ""
	}
	for _, c := range o.Choices {
		if t.of(c.Value) == person {
			return c.Value
		}
	}
	for _, c := range o.Choices {
		if c.Value == plan.New {
			return plan.New
		}
	}
	return ""
}

// about is the person whom a delivery is about.
func (t *truth) about(d *ledger.Delivery) string {
	if person := t.of(d.Each); person != "" {
		return person
	}
	return t.of(d.Doc)
}

// of gives the person of a record that is named in a text: patient/UUID, or the
// last part of a row's name.
func (t *truth) of(text string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '/' || r == ' ' || r == '|' }) {
		if p := t.cases[part]; p != "" {
			return p
		}
		if p := t.patients[part]; p != "" {
			return p
		}
	}
	return ""
}
