package runner

import (
	"context"
	"fmt"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/plan"
	"github.com/kiungo-health/kiungo/internal/question"
)

// lateFor is how long after a restore a message without a time of its own may
// be one that was carried on before, in the time that was lost: a sweep brings
// it again.
const lateFor = 30 * 24 * time.Hour

// travelled tells whether the ledger was put back in time (restored, moved,
// failed over) after this message may first have been carried on: what is
// written nowhere may have happened all the same (law 24).
func (x *execution) travelled() bool {
	restored := x.Ledger.Restored()
	if restored.IsZero() {
		return false
	}
	m := &x.w.Message
	if m.Received.Before(restored) {
		return true
	}
	return !m.Event.After(restored) && m.Received.Before(restored.Add(lateFor))
}

// Answers about a call that cannot be looked up.
const (
	happened    = "happened"
	notHappened = "not"
)

// blind asks a person whether a call happened that the target cannot be asked
// about, and takes the answer down (law 7).
func (x *execution) blind(ctx context.Context, i int) error {
	c := &x.plan.Calls[i]
	// A line is added each time it is sent: an answer is about one sending.
	key := fmt.Sprintf("blind/%s/%d/%d", c.Name, x.w.Delivery.PlanNo, x.book.Lines)
	switch answer, _, _ := question.Answered(x.w.Questions, key); answer {
	case happened:
		return x.write(ctx, ledger.StepVerified, i, lineData{})
	case notHappened:
		return x.write(ctx, ledger.StepAbsent, i, lineData{})
	}
	return x.whether(c, key, "the answer was lost")
}

// lost asks a person whether a call that cannot be looked up was sent in the
// time that a restored ledger does not know of, before it is sent for the first
// time as far as the ledger knows.
func (x *execution) lost(ctx context.Context, i int) (already bool, err error) {
	c := &x.plan.Calls[i]
	if c.Check != nil || c.Repeat != call.Blind || !x.travelled() {
		return false, nil
	}
	key := fmt.Sprintf("blind/%s/restored/%d", c.Name, x.Ledger.Incarnation())
	switch answer, _, _ := question.Answered(x.w.Questions, key); answer {
	case happened:
		return true, x.write(ctx, ledger.StepVerified, i, lineData{})
	case notHappened:
		return false, nil
	}
	return false, x.whether(c, key, "the ledger was restored from a backup, and it may have been sent in the time that is lost")
}

func (x *execution) whether(c *call.Call, key, why string) error {
	return &plan.Stop{State: ledger.Held, Code: "unknown", Cause: c.Kind + ": cannot be told whether it was sent", Key: key,
		Reason: fmt.Sprintf("%s: %s, and %s cannot be asked whether it happened; look there and say", c.About, why, c.System),
		Offer: question.Offer{Choices: []question.Choice{
			{Value: happened, Text: "it happened: go on after it"},
			{Value: notHappened, Text: "it did not happen: send it"},
			{Value: question.Skip, Text: "leave it: end this delivery without doing anything more"}}}}
}
