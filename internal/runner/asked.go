package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/plan"
	"github.com/kiungo-health/kiungo/internal/question"
)

// approved stops a plan that a person is to approve first. An approval is for
// this very plan: another one asks again (law 12).
func (r *Runner) approved(p *plan.Plan, hash string, w *ledger.Work) error {
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
	case ok && answer == ByHand:
		return &plan.Stop{State: ledger.Skipped, Code: "by-hand", Cause: p.Flow + ": confirmed for upload by hand",
			Reason: "confirmed by " + who + " for upload by hand: kiungo export writes the file; nothing was sent"}
	}
	o := question.Offer{Plan: p.Lines(), Choices: []question.Choice{{Value: yes, Text: "approve it: it is sent as shown"}}}
	if r.exports(p) {
		o.Choices = append(o.Choices, question.Choice{Value: ByHand, Text: "confirm it for upload by hand: kiungo export writes the file, nothing is sent"})
	}
	o.Choices = append(o.Choices, question.Choice{Value: no, Text: "do not send it"})
	return &plan.Stop{State: ledger.Held, Code: "approval", Cause: p.Flow + ": waits for approval", Reason: p.Approve, Key: key, Offer: o}
}

// ByHand is the answer that approves a plan and has a person carry it out, with
// a file that kiungo export writes.
const ByHand = "by hand"

// exports tells whether a system of the plan has files that people upload.
func (r *Runner) exports(p *plan.Plan) bool {
	return slices.ContainsFunc(p.Systems(), func(name string) bool {
		port, ok := r.Systems[name]
		if !ok {
			return false
		}
		_, ok = port.System.(connector.Exporter)
		return ok
	})
}

// pendingLinks are the links that the plan is about to make, and what the
// person goes by in the message's own system: also where the other record has no
// id yet because its server chooses it, so that a delivery which finds her there
// meanwhile waits for this one (law 16).
func (x *execution) pendingLinks(p *plan.Plan) []ledger.Link {
	who := person(x.w)
	links := p.Links(who)
	if own, ok := p.Own(who, &x.w.Message, x.personKind(x.w.Message.System)); ok && p.People() {
		own.State = "pending"
		links = append(links, own)
	}
	for i := range links {
		links[i].By = linkedBy(x.w.Delivery.ID)
	}
	return links
}

// linkedBy names the delivery that makes a link.
func linkedBy(delivery int64) string { return fmt.Sprintf("delivery %d", delivery) }

// abandoned tells whether a link was to be made by a delivery that has ended and
// did not make it.
func (x *execution) abandoned(ctx context.Context, l *ledger.Link) (bool, error) {
	var id int64
	if _, err := fmt.Sscanf(l.By, "delivery %d", &id); err != nil {
		return false, nil
	}
	w, err := x.Ledger.Delivery(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return true, nil
	}
	return err == nil && w.Delivery.State.Ended(), err
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
			left, err := x.abandoned(ctx, other)
			if err == nil && left {
				err = x.Ledger.Unlink(ctx, *other, "kiungo", "it was to be linked by "+other.By+", which has ended")
			}
			if err != nil {
				return err
			}
			return &plan.Stop{State: ledger.Waiting, Code: "linking", Cause: x.w.Delivery.Flow + ": the record is being linked",
				Reason: "another delivery is linking the same record to a person; looking again when it is done"}
		}
		if merged, err := x.mergedAtSource(ctx, who, other.Person); err != nil || merged {
			if err == nil {
				err = &plan.Stop{State: ledger.Waiting, Code: "linking", Cause: s.Cause, Reason: "the two were merged in " + x.w.Message.System + "; they are one person here too now"}
			}
			return err
		}
		s.Key = "linked/" + l.System + "/" + other.Person
		s.Offer.Merge = map[string]question.Merge{same: {Loser: who, Winner: other.Person}}
		s.Offer.Choices = append([]question.Choice{{Value: same, Text: fmt.Sprintf("they are one person: join %s and %s", who, other.Person)}}, question.Usual()...)
		break
	}
	return s
}

// mergedAtSource makes two people one whom the message's own system has merged,
// if nothing but that record is known of the one who lost: then nobody's case or
// patient silently becomes another's.
func (x *execution) mergedAtSource(ctx context.Context, who, other string) (bool, error) {
	system := x.w.Message.System
	own, ok := x.plan.Own(who, &x.w.Message, x.personKind(system))
	if !ok {
		return false, nil
	}
	links, err := x.Ledger.Links(ctx, who)
	if err != nil || slices.ContainsFunc(links, func(l ledger.Link) bool { return l.System != system }) {
		return false, err
	}
	port := x.Systems[system]
	found, err := port.Kind(connector.ShortKind(own.Kind)).Find(ctx, port.Reader(x.w.LaneID), connector.Query{Made: own.ID})
	if err != nil || found.MergedInto == "" {
		return false, err
	}
	winner, err := x.Ledger.LinkOf(ctx, system, own.Kind, found.MergedInto)
	if err != nil || winner == nil || winner.Person != other {
		return false, err
	}
	return true, x.Ledger.MergePeople(ctx, who, other, "kiungo", "merged in "+system)
}

// same is the answer that two are one person.
const same = "same"
