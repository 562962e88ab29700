package plan

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/people"
	"github.com/kiungo-health/kiungo/internal/question"
)

// New is the answer that none of the candidates is the person.
const New = "new"

// crosswalk reads what is known of the delivery's person, once.
func (p *planner) crosswalk(ctx context.Context) error {
	if p.apart != nil {
		return nil
	}
	var err error
	if p.links, err = p.Memory.Links(ctx, p.person); err != nil {
		return err
	}
	apart, err := p.Memory.Apart(ctx, p.person)
	if err != nil {
		return err
	}
	p.apart = make(map[string]bool, len(apart))
	for _, l := range apart {
		p.apart[ClaimKey(l.System, l.Kind, l.ID)] = true
	}
	return nil
}

// linked is the id under which a system knows the person; a person goes by an
// id of the system that told of her first.
func (p *planner) linked(t Target, kind string) string {
	for _, l := range p.links {
		if l.System == t.System.Name() && l.Kind == kind && l.State == "linked" {
			return l.ID
		}
	}
	if system, id, ok := strings.Cut(p.person, "/"); ok && system == t.System.Name() {
		return id
	}
	return ""
}

// chosen is the record that a person named when asked.
func (p *planner) chosen(record, prefix string) (string, bool) {
	for _, q := range question.Under(p.Work.Questions, prefix+record+"/") {
		switch q.Answer {
		case New, question.Retry, question.Skip:
		default:
			return q.Answer, true
		}
	}
	return "", false
}

// identify makes sure of a person that was found, and looks for one that was
// not: what was merged is followed, and where nothing is known by id the people
// who might be meant are weighed.
func (p *planner) identify(ctx context.Context, rec *flow.Record, kind connector.Kind, t Target, want *flow.Wanted,
	q connector.Query, found connector.Found) (connector.Found, error) {
	system := t.System.Name()
	if found.Exists {
		if p.apart[ClaimKey(system, rec.Kind, found.ID)] {
			return found, hold("apart", fmt.Sprintf("%s: %s is kept apart from this person", p.Flow.Name, rec.Name),
				"the message names a %s of %s that a person said is somebody else; correct it at its source, then retry", rec.Name, system)
		}
		return found, nil
	}
	if found.MergedInto != "" {
		again, err := p.byID(ctx, kind, t, q, found.MergedInto)
		if err != nil {
			return found, fmt.Errorf("find the %s of %s that another was merged into: %w", rec.Name, system, err)
		}
		if again.Exists {
			again.How = "merged in " + system
			p.replaces = found.ID
			p.remark("%s was merged into another record in %s; it is linked to that one now", rec.Name, system)
			return again, nil
		}
	}
	if id, ok := p.chosen(rec.Name, "match/"); ok && !p.keptApart(t, rec, id) {
		again, err := p.byID(ctx, kind, t, q, id)
		if err != nil {
			return found, fmt.Errorf("find the %s of %s that was chosen: %w", rec.Name, system, err)
		}
		if again.Exists {
			again.How = "chosen by a person"
			return again, nil
		}
	}
	matcher, ok := kind.(connector.Matcher)
	profile := p.Flow.Integration().People.Profile
	if !ok || profile == nil || len(found.Several) > 0 {
		return found, nil
	}
	wanted := matcher.Person(q.Wanted)
	if len(wanted.Names) == 0 && len(wanted.Identifiers) == 0 {
		return found, nil // nothing to know her by
	}
	candidates, err := matcher.Candidates(ctx, t.Do, wanted)
	if err != nil {
		return found, fmt.Errorf("look for %s in %s: %w", rec.Name, system, err)
	}
	m := &matching{planner: p, rec: rec, system: system, want: want, profile: *profile, wanted: wanted, matcher: matcher}
	return m.decide(ctx, found, slices.DeleteFunc(candidates, func(c connector.Found) bool {
		return p.apart[ClaimKey(system, rec.Kind, c.ID)]
	}))
}

func (p *planner) byID(ctx context.Context, kind connector.Kind, t Target, q connector.Query, id string) (connector.Found, error) {
	q.Made, q.Linked, q.By = "", id, nil
	return kind.Find(ctx, t.Do, q)
}

// matching is one decision on who is meant.
type matching struct {
	*planner
	rec     *flow.Record
	system  string
	want    *flow.Wanted
	profile people.Profile
	wanted  people.Person
	matcher connector.Matcher
}

func (m *matching) decide(ctx context.Context, found connector.Found, candidates []connector.Found) (connector.Found, error) {
	list := make([]people.Candidate, len(candidates))
	for i, c := range candidates {
		list[i] = people.Candidate{ID: c.ID, Person: m.matcher.Person(c.Fields)}
	}
	d := people.Decide(m.profile, m.wanted, list)
	if d.Outcome == people.None {
		m.blocks = firm(people.Blocks(m.profile, m.wanted))
		return found, nil
	}
	owners, err := m.owners(ctx, d.Choices())
	if err != nil {
		return found, err
	}
	if d.Outcome == people.Definite && owners[d.Best] == "" {
		best := candidates[slices.IndexFunc(candidates, func(c connector.Found) bool { return c.ID == d.Best })]
		best.How = "matched: " + strings.Join(words(d.Choices()[0]), "; ")
		return best, nil
	}
	key := "match/" + m.rec.Name + "/" + digest(ids(d.Choices())...)
	if answer, _, ok := question.Answered(m.Work.Questions, key); ok && answer == New {
		return found, nil
	}
	// A heavy match that cannot be told from another, or that belongs to another
	// person already, is never a mere likeness.
	rule, code := m.want.Find.Near, "near"
	heavy := slices.IndexFunc(d.Choices(), func(s people.Score) bool { return s.Total >= m.profile.Definite && len(s.NotDefinite) == 0 })
	if heavy >= 0 && (d.Outcome == people.Several || owners[d.Choices()[heavy].ID] != "") {
		rule, code = m.want.Find.Several, "several"
	}
	switch rule {
	case "create":
		m.blocks = firm(people.Blocks(m.profile, m.wanted))
		m.remark("%s looks like %d others of %s, none surely the same: a new one was made", m.rec.Name, len(d.Choices()), m.system)
		return found, nil
	case "skip":
		return found, &Stop{State: ledger.Skipped, Code: code, Cause: m.Flow.Name + ": " + m.rec.Name + " is not surely known",
			Reason: fmt.Sprintf("%s of %s may be the %s meant, none surely, and this flow leaves such alone", people1(len(d.Choices())), m.system, m.rec.Name)}
	}
	return found, m.ask(key, d, owners, candidates)
}

// owners says which candidates are linked to somebody else already: two people
// of one system never silently become one.
func (m *matching) owners(ctx context.Context, choices []people.Score) (map[string]string, error) {
	out := map[string]string{}
	for _, c := range choices {
		l, err := m.Memory.LinkOf(ctx, m.system, m.rec.Kind, c.ID)
		if err != nil {
			return nil, err
		}
		if l != nil && l.Person != m.person {
			out[c.ID] = l.Person
		}
	}
	return out, nil
}

func (m *matching) ask(key string, d people.Decision, owners map[string]string, candidates []connector.Found) error {
	o := question.Offer{Sides: []question.Side{{Name: "the message", Fields: personFields(m.wanted)}}}
	for _, c := range d.Choices() {
		at := slices.IndexFunc(candidates, func(f connector.Found) bool { return f.ID == c.ID })
		text := fmt.Sprintf("it is this one of %s (evidence %.2g)", m.system, c.Total)
		if other := owners[c.ID]; other != "" {
			text += "; another person is linked to it, and both would become one"
			if o.Merge == nil {
				o.Merge = map[string]question.Merge{}
			}
			o.Merge[c.ID] = question.Merge{Loser: m.person, Winner: other}
		}
		o.Choices = append(o.Choices, question.Choice{Value: c.ID, Text: text})
		o.Sides = append(o.Sides, question.Side{Name: c.ID, Why: words(c), Fields: personFields(m.matcher.Person(candidates[at].Fields))})
	}
	last := question.Choice{Value: New, Text: "it is none of them: make a new one"}
	if m.want.Find.None != flow.Create {
		last.Text = "it is none of them"
	}
	why := d.Why
	if len(why) == 0 {
		why = []string{"she is linked to another person already"}
	}
	o.Choices = append(o.Choices, last, question.Choice{Value: question.Skip, Text: "end this delivery without doing anything"})
	return hold("match", fmt.Sprintf("%s: who is meant in %s", m.Flow.Name, m.system),
		"%s of %s may be the %s meant, none surely (%s); say which, or that it is none of them",
		people1(len(d.Choices())), m.system, m.rec.Name, strings.Join(why, "; ")).asks(key, o)
}

func people1(n int) string {
	if n == 1 {
		return "one person"
	}
	return fmt.Sprintf("%d people", n)
}

// firm are the blocking keys that are claimed while a new person is made: her
// identifiers, phones, birth date, and the sound of her names together. Of two
// records that are definitely one person's, 99.87 % share one of them (package
// population); those of one name with the year would claim a dozen more for the
// rest.
func firm(blocks []string) []string {
	return slices.DeleteFunc(slices.Clone(blocks), func(b string) bool { return strings.HasPrefix(b, "n:") })
}

func ids(scores []people.Score) []string {
	out := make([]string, len(scores))
	for i, s := range scores {
		out[i] = s.ID
	}
	slices.Sort(out)
	return out
}

func words(s people.Score) []string {
	var out []string
	for _, t := range s.Terms {
		out = append(out, t.Words)
	}
	return append(out, s.NotDefinite...)
}

// personFields lists what is known of a person, for a clerk to compare.
func personFields(p people.Person) []question.Field {
	var out []question.Field
	add := func(name string, values ...string) {
		values = slices.DeleteFunc(values, func(v string) bool { return v == "" })
		out = append(out, question.Field{Name: name, Value: strings.Join(values, ", ")})
	}
	var names, numbers []string
	for _, n := range p.Names {
		names = append(names, strings.Join(strings.Fields(n.Given+" "+n.Middle+" "+n.Family), " "))
	}
	for _, id := range p.Identifiers {
		numbers = append(numbers, id.Type+" "+id.Value)
	}
	born := p.Born
	if p.Estimated {
		born += " (estimated)"
	}
	add("name", names...)
	add("identifiers", numbers...)
	add("born", born)
	add("sex", p.Sex)
	add("phone", p.Phones...)
	add("place", p.Places...)
	add("mother", p.Mother)
	return out
}
