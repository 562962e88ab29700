package record

import "time"

// Rule says who wins where both sides changed a field (R2): the name of a
// system or connector, or one of the words below. Empty means the value
// received last, which is ours.
type Rule string

const (
	Latest Rule = "latest" // by clinical time against the target's own change time
	Both   Rule = "both"   // theirs stays, ours is kept beside it
	Ask    Rule = "ask"    // a person decides
)

// Agreed is one field of the last agreed content of a record.
type Agreed struct {
	Value any       `json:"v"`
	At    time.Time `json:"at"`            // event time of what set it
	Seq   int64     `json:"seq,omitempty"` // receive number of what set it
	By    string    `json:"by,omitempty"`  // system whose value it was
	// Before are the values that stood in the other system until it was told of
	// newer ones, oldest first.
	Before []Before `json:"before,omitempty"`
	// Over are values that stood in this very record before, agreed or written
	// over, oldest first: what a record says again whose system was restored from
	// a backup.
	Over []any `json:"over,omitempty"`
}

// Before is a value that was written over by Kiungo.
type Before struct {
	Value any       `json:"v"`
	Told  time.Time `json:"told,omitzero"` // when, by the ledger's clock
}

// most is how many values are remembered: a message that is staler than so many
// changes of one field by the other side is taken for a change.
const most = 8

// Follows gives the agreement that comes after an older one, told at a time:
// what stood there is remembered (old's value, and what a itself brings).
func (a Agreed) Follows(old *Agreed, told time.Time) Agreed {
	over := a.Before
	if old != nil && !a.At.IsZero() && old.At.After(a.At) {
		a.At = old.At // what was read just now is not older than what was agreed
	}
	a.Before = nil
	if old != nil {
		a.Before = append(a.Before, old.Before...)
		if len(over) > 0 {
			a.Before = append(a.Before, Before{old.Value, told})
		}
	}
	for _, b := range over {
		if old == nil || !Same(b.Value, old.Value) {
			a.Before = append(a.Before, Before{b.Value, told})
		}
	}
	a.Before = a.Before[max(0, len(a.Before)-most):]
	return a
}

// Outcome is what a merge decided for one field.
type Outcome string

const (
	Equal    Outcome = "equal"
	Write    Outcome = "write"    // ours goes to the target
	Keep     Outcome = "keep"     // only theirs changed since we last agreed
	Lost     Outcome = "lost"     // both changed, theirs wins
	Won      Outcome = "won"      // both changed, ours wins
	Older    Outcome = "older"    // a newer message set it; left
	Beside   Outcome = "beside"   // both kept
	Question Outcome = "question" // a person decides
	Hidden   Outcome = "hidden"   // the system does not let us read it
)

// Side is what merge must know beside the values of one field.
type Side struct {
	Base    *Agreed // nil: never agreed, so every difference is a conflict
	Ours    string  // system whose value ours is, and its connector
	OursOf  string
	Their   string // system that holds theirs, and its connector
	TheirOf string
	Event   time.Time // when ours happened
	Seq     int64     // its receive number
	Changed time.Time // when the target says it last changed; zero if unsaid
	Rule    Rule
	// Live: ours was read just now, whenever the message came that told of it, so
	// it is never older than what was agreed.
	Live bool
}

// MergeField decides one field: theirs is what the target holds, ours what is
// wanted there. It obeys the merge laws m(b,b,o)=o, m(b,t,b)=t, m(b,x,x)=x: no
// opinion and unreadable write nothing.
func MergeField(theirs, ours any, s Side) Outcome {
	if ours == nil {
		return Equal
	}
	if _, hidden := theirs.(Unreadable); hidden {
		return Hidden
	}
	if _, hidden := ours.(Unreadable); hidden {
		return Hidden
	}
	if Same(theirs, ours) {
		// An old message that happens to say what somebody has set there since
		// does not tell that its own side says so now.
		if s.Base != nil && !s.Live && older(s.Base, s) && !Same(ours, s.Base.Value) {
			return Older
		}
		return Equal
	}
	if s.Base != nil {
		if !s.Live && older(s.Base, s) {
			return Older
		}
		told := !s.Live && unaware(s)
		switch {
		case told && stale(ours, s):
			return Keep
		case Same(theirs, s.Base.Value) && !told:
			return Write
		case Same(ours, s.Base.Value):
			return Keep
		}
	} else if Empty(theirs) {
		return Write // the other side has no opinion
	}
	return byRule(s)
}

// older: what set the agreed value happened after our event, or in the same
// second and was received later (law 13). OpenMRS keeps whole seconds, so that
// what comes back from it seems up to a second older than what it answers.
func older(b *Agreed, s Side) bool {
	if b.At.IsZero() || s.Event.IsZero() {
		return false
	}
	agreed, event := b.At.Truncate(time.Second), s.Event.Truncate(time.Second)
	if agreed.Equal(event) {
		return b.Seq > s.Seq
	}
	return agreed.After(event)
}

// unaware: our system was told of the agreed value only after ours was said, so
// that ours cannot be an answer to it.
func unaware(s Side) bool {
	n := len(s.Base.Before)
	return s.Base.By != s.Ours && n > 0 && s.Event.Before(s.Base.Before[n-1].Told)
}

// stale: ours is what stood in our system until it was told, and so no change.
func stale(ours any, s Side) bool {
	for _, b := range s.Base.Before {
		if s.Event.Before(b.Told) && Same(ours, b.Value) {
			return true
		}
	}
	return false
}

func byRule(s Side) Outcome {
	switch s.Rule {
	case "", Rule(s.Ours), Rule(s.OursOf):
		return Won
	case Rule(s.Their), Rule(s.TheirOf):
		return Lost
	case Both:
		return Beside
	case Latest:
		if s.Changed.IsZero() || s.Event.IsZero() || !s.Changed.After(s.Event) {
			return Won
		}
		return Lost
	}
	return Question
}

// Writes tells whether the outcome sends ours to the target.
func (o Outcome) Writes() bool { return o == Write || o == Won }
