package people

import (
	"cmp"
	"slices"
	"strings"
)

// Outcome of a decision.
type Outcome string

// The outcomes.
const (
	Definite Outcome = "definite" // one candidate is the person
	Near     Outcome = "near"     // one candidate may be
	Several  Outcome = "several"  // several may be
	None     Outcome = "none"     // none is
)

// Candidate is somebody in the other system who may be the person wanted.
type Candidate struct {
	ID     string
	Person Person
}

// Decision is what came of comparing a person with candidates.
type Decision struct {
	Outcome Outcome
	// Best is the ID of the candidate that is definite or near; empty otherwise.
	Best string
	// Why, in words without values, an Outcome of near or several is not definite.
	Why []string
	// Ranked are all candidates, the heaviest first.
	Ranked []Score

	near float64
}

// Choices are the candidates that a question shows: those that are near, the
// heaviest first.
func (d Decision) Choices() []Score {
	var out []Score
	for _, s := range d.Ranked {
		if s.isNear(d.near) {
			out = append(out, s)
		}
	}
	return out
}

func (s *Score) isNear(near float64) bool { return s.Total >= near && len(s.NotNear) == 0 }

// Decide weighs each candidate, and tells whether one of them is the person
// wanted. It is definite only if the heaviest reaches Definite, beats every
// other near one by the margin, and no rule forbids it. A candidate that is
// given twice under one ID counts once.
func Decide(p Profile, wanted Person, candidates []Candidate) Decision {
	x := p.ready()
	w := x.ready(&wanted)
	d := Decision{Outcome: None, near: p.Near}
	for i := range candidates {
		if slices.ContainsFunc(d.Ranked, func(s Score) bool { return s.ID == candidates[i].ID }) {
			continue
		}
		s := p.compare(x, w, x.ready(&candidates[i].Person))
		s.ID = candidates[i].ID
		d.Ranked = append(d.Ranked, s)
	}
	slices.SortStableFunc(d.Ranked, func(a, b Score) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), strings.Compare(a.ID, b.ID))
	})
	choices := d.Choices()
	if len(choices) == 0 {
		return d
	}
	best := choices[0]
	d.Why = p.doubts(choices)
	switch {
	case len(d.Why) == 0:
		d.Outcome, d.Best = Definite, best.ID
	case len(choices) == 1:
		d.Outcome, d.Best = Near, best.ID
	default:
		d.Outcome = Several
	}
	return d
}

// doubts says why the first of the choices is not definite; none if it is.
func (p *Profile) doubts(choices []Score) []string {
	best := choices[0]
	why := slices.Clone(best.NotDefinite)
	if best.Total < p.Definite {
		why = append(why, "the evidence is "+number(best.Total)+", and "+number(p.Definite)+" is needed")
	}
	if len(choices) > 1 {
		second := choices[1].Total
		if lead, need := best.Total-second, max(p.Margin, p.MarginShare*second); lead < need || p.MarginShare > 0 && lead <= p.MarginShare*second {
			why = append(why, "another candidate is only "+number(lead)+" behind, and "+number(need)+" is needed")
		}
	}
	return why
}
