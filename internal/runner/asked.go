package runner

import (
	"context"
	"fmt"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/plan"
	"github.com/kiungo-health/kiungo/internal/question"
)

// approved stops a plan that a person is to approve first. An approval is for
// this very plan: another one asks again (law 12).
func approved(p *plan.Plan, hash string, w *ledger.Work) error {
	if p.Approve == "" {
		return nil
	}
	key := "approve/" + hash
	answer, who, ok := question.Answered(w.Questions, key)
	switch {
	case ok && answer == yes:
		return nil
	case ok && answer == no:
		return &plan.Stop{State: ledger.Skipped, Code: "not-approved", Cause: p.Flow + ": not approved", Reason: "not approved by " + who}
	}
	return &plan.Stop{State: ledger.Held, Code: "approval", Cause: p.Flow + ": waits for approval", Reason: p.Approve, Key: key,
		Offer: question.Offer{Plan: p.Lines(), Choices: []question.Choice{
			{Value: yes, Text: "approve it: it is sent as shown"}, {Value: no, Text: "do not send it"}}}}
}

// pendingLinks are the links that the plan is about to make, and what the
// person goes by in the message's own system.
func (x *execution) pendingLinks(p *plan.Plan) []ledger.Link {
	who := person(x.w)
	links := p.Links(who)
	if own, ok := p.Own(who, &x.w.Message, x.personKind(x.w.Message.System)); ok && len(links) > 0 {
		own.State = "pending"
		links = append(links, own)
	}
	return links
}

// linkedElsewhere asks what it means that a record which was found belongs to
// another person already: two people never silently become one.
func (x *execution) linkedElsewhere(ctx context.Context, p *plan.Plan) error {
	s := &plan.Stop{State: ledger.Held, Code: "linked-elsewhere", Cause: x.w.Delivery.Flow + ": the record belongs to another person",
		Reason: "the record found is already linked to another person: two cases would become one patient. Say that they are one person, or correct it at its source and retry"}
	who := person(x.w)
	for _, l := range x.pendingLinks(p) {
		other, err := x.Ledger.LinkOf(ctx, l.System, l.Kind, l.ID)
		if err != nil {
			return err
		}
		if other == nil || other.Person == who {
			continue
		}
		if other.State == "pending" {
			// It is being linked just now; its delivery will say whose it is.
			return &plan.Stop{State: ledger.Waiting, Code: "linking", Cause: x.w.Delivery.Flow + ": the record is being linked",
				Reason: "another delivery is linking the same record to a person; looking again when it is done"}
		}
		s.Key = "linked/" + l.System + "/" + other.Person
		s.Offer.Merge = map[string]question.Merge{same: {Loser: who, Winner: other.Person}}
		s.Offer.Choices = append([]question.Choice{{Value: same, Text: fmt.Sprintf("they are one person: join %s and %s", who, other.Person)}}, question.Usual()...)
		break
	}
	return s
}

// same is the answer that two are one person.
const same = "same"
