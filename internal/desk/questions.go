// Package desk is what people decide: questions that wait for an answer, held
// work by its cause, and who is whom. It does in the ledger what a decision
// means; commands, the console and scenarios all come through it.
package desk

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/plan"
	"github.com/kiungo-health/kiungo/internal/question"
)

// Desk decides on one ledger.
type Desk struct {
	Ledger ledger.Ledger
	// Ring wakes lanes; nil where nothing runs.
	Ring func(lanes ...int64)
	// Learned is told what an answer has taught; nil where nothing runs.
	Learned func(ledger.Lesson)
}

// Asked is a question with what it offers.
type Asked struct {
	ledger.Question
	Offer question.Offer
	Job   string
	// Alike is how many open questions one answer would serve, itself included.
	Alike int
}

// apiece are the kinds of questions that are about one person or one plan: each
// is answered by itself.
var apiece = []string{"match", "several", "conflict", "approval", "linked-elsewhere", "no-patient", "voided", "apart"}

// Questions lists the open questions, oldest first, after an id; 0 is all kinds.
func (d *Desk) Questions(ctx context.Context, after int64, limit int) ([]Asked, error) {
	open, err := d.Ledger.Questions(ctx, "open", after, limit)
	if err != nil {
		return nil, err
	}
	out := make([]Asked, len(open))
	for i, q := range open {
		if out[i], err = asked(q); err != nil {
			return nil, err
		}
		for _, o := range open {
			if o.ID != q.ID && o.Kind == q.Kind && o.Cause == q.Cause && !slices.Contains(apiece, q.Kind) {
				out[i].Alike++
			}
		}
	}
	return out, nil
}

// Question gives one question.
func (d *Desk) Question(ctx context.Context, id int64) (Asked, error) {
	q, err := d.Ledger.Question(ctx, id)
	if err != nil {
		return Asked{}, err
	}
	return asked(*q)
}

func asked(q ledger.Question) (Asked, error) {
	o, err := question.OfferOf(q)
	return Asked{Question: q, Offer: o, Job: question.Job(q.Kind), Alike: 1}, err
}

// Answer is a person's answer to a question.
type Answer struct {
	Question int64
	Answer   string // a choice, its number, or what the question allows besides
	Who      string
	Note     string
	All      bool // also to the open questions with the same cause
}

// ErrApiece: such questions are answered one by one.
var ErrApiece = errors.New("such questions are about one person each; answer them one by one")

// Answer does what an answer means, and gives how many questions it answered.
// What it teaches is kept before anything goes on.
func (d *Desk) Answer(ctx context.Context, a Answer) (int, error) {
	q, err := d.Question(ctx, a.Question)
	if err != nil {
		return 0, err
	}
	if q.State != "open" {
		return 0, fmt.Errorf("question %d is %s: %w", q.ID, q.State, ledger.ErrState)
	}
	value, err := q.Offer.Check(a.Answer)
	if err != nil {
		return 0, err
	}
	if a.All && slices.Contains(apiece, q.Kind) {
		return 0, ErrApiece
	}
	taught := false
	if t := q.Offer.Teach; t != nil && value != question.Skip {
		if err := d.teach(ctx, t, value, a.Who); err != nil {
			return 0, err
		}
		taught = true
	}
	if m, ok := q.Offer.Merge[value]; ok {
		if err := d.Ledger.MergePeople(ctx, m.Loser, m.Winner, a.Who, a.Note); err != nil && !errors.Is(err, ledger.ErrState) {
			return 0, err // else they were made one person meanwhile: the answer stands
		}
	}
	ids := []ledger.Question{q.Question}
	if a.All || taught {
		if ids, err = d.alike(ctx, q); err != nil {
			return 0, err
		}
	}
	return d.store(ctx, ids, value, a)
}

func (d *Desk) teach(ctx context.Context, t *question.Teach, value, who string) error {
	if value == plan.NotSent {
		value = ""
	}
	l := ledger.Lesson{Integration: t.Integration, Table: t.Table, Codes: t.Codes, Value: value, Who: who}
	if err := d.Ledger.Teach(ctx, l); err != nil {
		return err
	}
	if d.Learned != nil {
		d.Learned(l)
	}
	return nil
}

// alike lists the open questions of the same kind and cause, the one given first.
func (d *Desk) alike(ctx context.Context, q Asked) ([]ledger.Question, error) {
	out := []ledger.Question{q.Question}
	after := int64(0)
	for {
		open, err := d.Ledger.Questions(ctx, "open", after, 1000)
		if err != nil {
			return nil, err
		}
		for _, o := range open {
			if o.ID != q.ID && o.Kind == q.Kind && o.Cause == q.Cause {
				out = append(out, o)
			}
			after = o.ID
		}
		if len(open) < 1000 {
			return out, nil
		}
	}
}

func (d *Desk) store(ctx context.Context, list []ledger.Question, value string, a Answer) (int, error) {
	n := 0
	var failed []error
	for _, q := range list {
		var lane int64
		var err error
		if value == question.Skip {
			lane, err = d.Ledger.Skip(ctx, q.Delivery, a.Who, a.Note)
		} else {
			lane, err = d.Ledger.Answer(ctx, q.ID, value, a.Who)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("question %d: %w", q.ID, err))
			continue
		}
		n++
		d.ring(lane)
	}
	return n, errors.Join(failed...)
}

func (d *Desk) ring(lanes ...int64) {
	if d.Ring != nil {
		d.Ring(lanes...)
	}
}

// Held is work that waits for a person, by its cause.
type Held struct {
	ledger.Cause
	Job string
}

// Held groups what is held by what one answer, retry or skip would solve.
func (d *Desk) Held(ctx context.Context) ([]Held, error) {
	causes, err := d.Ledger.Causes(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Held, len(causes))
	for i, c := range causes {
		out[i] = Held{c, question.Job(c.Code)}
	}
	return out, nil
}
