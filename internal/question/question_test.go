package question

import (
	"testing"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

func TestAnAnswerIsAChoiceItsNumberOrWhatIsAllowedBesides(t *testing.T) {
	o := Offer{Choices: []Choice{{"new", "make one"}, {"7f3e", "Amina"}}}
	for in, want := range map[string]string{"new": "new", "NEW": "new", " 2 ": "7f3e", "7f3e": "7f3e", "3": "", "": "", "other": ""} {
		got, err := o.Check(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	o.Other = "a code of gender.csv"
	if got, err := o.Check("X"); got != "X" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := o.Check(""); err == nil {
		t.Error("nothing is an answer")
	}
}

func TestANumberThatIsAChoiceItselfIsThatChoice(t *testing.T) {
	o := Offer{Choices: []Choice{{"2", "two"}, {"1", "one"}}}
	if got, _ := o.Check("1"); got != "1" {
		t.Errorf("%q", got)
	}
}

func TestTheLastAnswerCounts(t *testing.T) {
	asked := []ledger.Question{{Key: "match/p/1", State: "answered", Answer: "a"}, {Key: "match/p/1", State: "answered", Answer: "b"},
		{Key: "match/p/1", State: "withdrawn", Answer: "c"}, {Key: "match/p/2", State: "open"}}
	if a, _, ok := Answered(asked, "match/p/1"); a != "b" || !ok {
		t.Errorf("%q %v", a, ok)
	}
	if _, _, ok := Answered(asked, "match/p/2"); ok {
		t.Error("an open question is no answer")
	}
	if n := len(Under(asked, "match/p/")); n != 2 {
		t.Errorf("%d answers", n)
	}
}

func TestAQuestionWithoutAnOfferCanBeRetriedOrSkipped(t *testing.T) {
	o, err := OfferOf(ledger.Question{})
	if err != nil || len(o.Choices) != 2 || o.Choices[0].Value != Retry {
		t.Errorf("%+v, %v", o, err)
	}
}
