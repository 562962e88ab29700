package population

import (
	"fmt"
	"runtime"
	"sync"

	"github.com/kiungo-health/kiungo/internal/people"
)

// Report is how a profile did on a population: each record of the worker's
// register was looked for in the clinic's.
type Report struct {
	Wanted int // records looked for
	Known  int // of these, people whom the clinic has
	// Linked definitely, and of these the wrong ones.
	Linked, Wrong int
	// Questions put to a clerk; Answerable are those where the clinic's record of
	// the person was among the choices. Idle are those about people whom the
	// clinic does not have.
	Questions, Answerable, Idle int
	// Lost are people whom the clinic has and for whom none was found; Unseen are
	// those of them, and of the questions, whom the server's search did not give.
	Lost, Unseen int
	// Choices in all questions together, and candidates in all searches.
	Choices, Candidates int
	// Mistakes describes the wrong links: the total and the terms in words.
	Mistakes []string
}

// Precision is the share of definite links that are right.
func (r Report) Precision() float64 { return ratio(r.Linked-r.Wrong, r.Linked) }

// Recall is the share of people known to the clinic who were linked without a
// question.
func (r Report) Recall() float64 { return ratio(r.Linked-r.Wrong, r.Known) }

// RecallAnswered is that with every question answered rightly that can be.
func (r Report) RecallAnswered() float64 { return ratio(r.Linked-r.Wrong+r.Answerable, r.Known) }

// Asked is the share of records that became a question.
func (r Report) Asked() float64 { return ratio(r.Questions, r.Wanted) }

func ratio(a, b int) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

func (r Report) String() string {
	return fmt.Sprintf("%d wanted, %d known: precision %.4f (%d wrong of %d), recall %.3f, with answers %.3f; questions %.1f %% (%d idle, %.1f choices each); %d lost, %d unseen; %.0f candidates a search",
		r.Wanted, r.Known, r.Precision(), r.Wrong, r.Linked, r.Recall(), r.RecallAnswered(), 100*r.Asked(), r.Idle, ratio(r.Choices, r.Questions), r.Lost, r.Unseen, ratio(r.Candidates, r.Wanted))
}

// Measure looks for every step-th record of the worker's register in the clinic's.
func Measure(profile people.Profile, p *Population, step int) Report {
	profile = profile.Ready()
	s := newServer(p.Clinic)
	of := map[string]int{}
	known := map[int]*Record{}
	for i := range p.Clinic {
		of[p.Clinic[i].ID] = p.Clinic[i].Of
		known[p.Clinic[i].Of] = &p.Clinic[i]
	}
	reports := make([]Report, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for w := range reports {
		wg.Go(func() {
			for i := w * step; i < len(p.Worker); i += step * len(reports) {
				reports[w].one(profile, s, &p.Worker[i], known[p.Worker[i].Of])
			}
		})
	}
	wg.Wait()
	var sum Report
	for _, r := range reports {
		sum.add(r)
	}
	return sum
}

func (r *Report) one(profile people.Profile, s *server, wanted, truth *Record) {
	candidates := s.candidates(&wanted.Person)
	d := people.Decide(profile, wanted.Person, candidates)
	r.Wanted++
	r.Candidates += len(candidates)
	seen, among := false, false
	if truth != nil {
		r.Known++
		for _, c := range d.Ranked {
			seen = seen || c.ID == truth.ID
		}
		for _, c := range d.Choices() {
			among = among || c.ID == truth.ID
		}
	}
	switch d.Outcome {
	case people.Definite:
		r.Linked++
		if truth == nil || d.Best != truth.ID {
			r.Wrong++
			r.Mistakes = append(r.Mistakes, describe(wanted, d))
		}
	case people.Near, people.Several:
		r.Questions++
		r.Choices += len(d.Choices())
		if among {
			r.Answerable++
		}
		if truth == nil {
			r.Idle++
		}
	case people.None:
		if truth != nil {
			r.Lost++
		}
	}
	if truth != nil && !seen {
		r.Unseen++
	}
}

func describe(wanted *Record, d people.Decision) string {
	best := d.Ranked[0]
	text := fmt.Sprintf("%s linked to %s with %g:", wanted.ID, best.ID, best.Total)
	for _, t := range best.Terms {
		text += fmt.Sprintf(" %s (%s);", t.Words, t.Values)
	}
	return text
}

func (r *Report) add(o Report) {
	r.Wanted += o.Wanted
	r.Known += o.Known
	r.Linked += o.Linked
	r.Wrong += o.Wrong
	r.Questions += o.Questions
	r.Answerable += o.Answerable
	r.Idle += o.Idle
	r.Lost += o.Lost
	r.Unseen += o.Unseen
	r.Choices += o.Choices
	r.Candidates += o.Candidates
	r.Mistakes = append(r.Mistakes, o.Mistakes...)
}
