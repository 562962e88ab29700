package population

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/kiungo-health/kiungo/internal/people"
)

// The standard profile was tuned on seed 1, and mended after looks at the seeds 2
// to 33 (rules that were missing, Near and Definite). The
// seeds held out were first measured after that, and nothing has been changed
// since: whoever changes it takes new ones.
const tuned = 1

var heldOut = []uint64{41, 42, 43}

// step: every third record is looked for here; BenchmarkPopulation takes all.
const step = 3

// demand checks what the standard profile must reach.
func demand(t *testing.T, r Report) {
	t.Helper()
	t.Log(r)
	for _, m := range r.Mistakes {
		t.Log("wrong: " + m)
	}
	if r.Precision() < 0.999 {
		t.Errorf("precision of definite links is %.4f, want 0.999", r.Precision())
	}
	if r.RecallAnswered() < 0.95 {
		t.Errorf("recall with questions answered is %.3f, want 0.95", r.RecallAnswered())
	}
}

func TestPopulationIsMatchedOnTheSeedOfTuning(t *testing.T) {
	demand(t, Measure(people.Standard(), New(tuned, 10_000), step))
}

func TestPopulationIsMatchedOnSeedsHeldOut(t *testing.T) {
	var sum Report
	for _, seed := range heldOut {
		r := Measure(people.Standard(), New(seed, 10_000), step)
		demand(t, r)
		sum.add(r)
	}
	if sum.Asked() > 0.12 {
		t.Errorf("%.1f %% of the records become a question, want 12 %% at most", 100*sum.Asked())
	}
}

func TestTwoRecordsThatAreDefiniteShareABlockingKey(t *testing.T) {
	profile := people.Standard().Ready()
	p := New(heldOut[0], 10_000)
	clinic := map[int]people.Person{}
	for _, r := range p.Clinic {
		clinic[r.Of] = r.Person
	}
	pairs, heavy, apart := 0, 0, 0
	for _, r := range p.Worker {
		other, both := clinic[r.Of]
		if !both {
			continue
		}
		pairs++
		s := people.Compare(profile, r.Person, other)
		if s.Total < profile.Definite {
			continue
		}
		heavy++
		keys := people.Blocks(profile, other)
		if slices.ContainsFunc(people.Blocks(profile, r.Person), func(k string) bool { return slices.Contains(keys, k) }) {
			continue
		}
		apart++
		if len(s.NotDefinite) == 0 {
			t.Errorf("%s is definite and shares no key", r.ID)
		}
	}
	t.Logf("of %d pairs of records of one person %d weigh enough to be definite; %d of these share no blocking key and so are a question (%.4f %%)",
		pairs, heavy, apart, 100*ratio(apart, heavy))
	if heavy < pairs/2 || ratio(apart, heavy) > 0.002 {
		t.Error("blocking keys cost too many definite matches")
	}
}

func TestPopulationIsTheSameForTheSameSeed(t *testing.T) {
	if a, b := New(7, 500), New(7, 500); !reflect.DeepEqual(a, b) {
		t.Error("two populations of one seed differ")
	}
	if a, b := New(7, 500), New(8, 500); reflect.DeepEqual(a, b) {
		t.Error("populations of two seeds are the same")
	}
}

// TestPopulationHoldsWhatMakesMatchingHard counts the difficulties, so that a
// change of the generator cannot make the measure easy unseen.
func TestPopulationHoldsWhatMakesMatchingHard(t *testing.T) {
	p := New(tuned, 10_000)
	clinic := map[int]*people.Person{}
	phones, births, names := map[string]int{}, map[string]int{}, map[string]int{}
	for i := range p.Clinic {
		q := &p.Clinic[i].Person
		clinic[p.Clinic[i].Of] = q
		for _, phone := range exactKeys(&people.Person{Phones: q.Phones}) {
			phones[phone]++
		}
		births[q.Born+q.Names[0].Family]++
		names[fold(q.Names[0].Given)+" "+fold(q.Names[0].Family)]++
	}
	var both, given, family, noBirth, estimated, otherBirth, phone, noID, otherID, otherPlace float64
	for _, r := range p.Worker {
		q := clinic[r.Of]
		if q == nil {
			continue
		}
		both++
		is := func(n *float64, c bool) {
			if c {
				*n++
			}
		}
		w := &r.Person
		is(&given, fold(w.Names[0].Given) != fold(q.Names[0].Given))
		is(&family, fold(w.Names[0].Family) != fold(q.Names[0].Family))
		is(&noBirth, w.Born == "" || q.Born == "")
		is(&estimated, w.Estimated || q.Estimated)
		is(&otherBirth, w.Born != q.Born)
		is(&phone, len(w.Phones) == 0 || len(q.Phones) == 0 || !slices.Equal(exactKeys(&people.Person{Phones: w.Phones}), exactKeys(&people.Person{Phones: q.Phones})))
		same := slices.ContainsFunc(w.Identifiers, func(id people.Identifier) bool { return slices.Contains(q.Identifiers, id) })
		is(&noID, !same)
		is(&otherID, !same && len(w.Identifiers) > 0)
		is(&otherPlace, len(w.Places) > 0 && len(q.Places) > 0 && fold(w.Places[0]) != fold(q.Places[0]))
	}
	for _, c := range []struct {
		what       string
		share, low float64
	}{
		{"given name written otherwise", given / both, 0.15},
		{"family name written otherwise", family / both, 0.15},
		{"birth date missing in one", noBirth / both, 0.03},
		{"birth date said to be estimated", estimated / both, 0.10},
		{"birth date not the same", otherBirth / both, 0.15},
		{"no phone in common", phone / both, 0.5},
		{"no identifier in common", noID / both, 0.4},
		{"identifiers, and none in common", otherID / both, 0.03},
		{"another place", otherPlace / both, 0.10},
		{"workers' records of people whom the clinic does not have", 1 - both/float64(len(p.Worker)), 0.10},
		{"clinic's phones of several people", several(phones), 0.3},
		{"names of several people", several(names), 0.4},
		{"family name and birth date of several people", several(births), 0.02},
	} {
		t.Logf("%s: %.1f %%", c.what, 100*c.share)
		if c.share < c.low {
			t.Errorf("%s: %.1f %%, want %.0f %% at least", c.what, 100*c.share, 100*c.low)
		}
	}
}

// several is the share of what is counted that was counted more than once.
func several(counts map[string]int) float64 {
	all, more := 0, 0
	for _, n := range counts {
		all += n
		if n > 1 {
			more += n
		}
	}
	return ratio(more, all)
}

func fold(s string) string {
	parts := nameParts(&people.Person{Names: []people.Name{{Given: s}}})
	if len(parts) == 0 {
		return ""
	}
	return parts[0]
}

// BenchmarkDecide is one decision with the candidates that a search gives.
func BenchmarkDecide(b *testing.B) {
	profile := people.Standard().Ready()
	p := New(tuned, 10_000)
	s := newServer(p.Clinic)
	candidates := make([][]people.Candidate, 200)
	for i := range candidates {
		candidates[i] = s.candidates(&p.Worker[i].Person)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		n := i % len(candidates)
		people.Decide(profile, p.Worker[n].Person, candidates[n])
	}
}

// BenchmarkPopulation looks for all of each worker's register.
func BenchmarkPopulation(b *testing.B) {
	for _, seed := range append([]uint64{tuned}, heldOut...) {
		p := New(seed, 10_000)
		b.Run(fmt.Sprintf("seed=%d", seed), func(b *testing.B) {
			var r Report
			for b.Loop() {
				r = Measure(people.Standard(), p, 1)
			}
			b.ReportMetric(r.Precision(), "precision")
			b.ReportMetric(r.RecallAnswered(), "recall-answered")
			b.ReportMetric(100*r.Asked(), "%asked")
			b.Log(r, r.Mistakes)
		})
	}
}
