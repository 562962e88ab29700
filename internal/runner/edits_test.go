package runner_test

import (
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// TestAnAnswerThatIsTakenBackIsGoneHoweverOftenItWasEdited: what an earlier
// version of the document wrote is not what was there before it.
func TestAnAnswerThatIsTakenBackIsGoneHoweverOftenItWasEdited(t *testing.T) {
	const with = "id=c1 nid=7 given=Elsa family=M born=1990-01-01 sex=f place=a "
	for name, x := range map[string]struct {
		there string // what the clinic has before
		said  []string
		want  any
	}{
		"made, edited, taken back":           {"", []string{"1", "2", ""}, nil},
		"made, edited twice, taken back":     {"", []string{"1", "2", "3", ""}, nil},
		"made, taken back, said again":       {"", []string{"1", "2", "", "2"}, "2"},
		"found empty, written, edited":       {"none", []string{"1", "2", ""}, nil},
		"found, written, edited, taken back": {"9", []string{"1", "2", ""}, "9"},
		"found equal, edited, taken back":    {"1", []string{"1", "2", ""}, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "", there+toReg+strings.Replace(person, "    set:", "    wins: {phone: field}\n    set:", 1))
			if x.there != "" {
				fields := []string{"nid=7", "given=Elsa", "family=M", "born=1990-01-01", "sex=f"}
				if x.there != "none" {
					fields = append(fields, "phone="+x.there)
				}
				b.sys["reg-a"].put("p1", fields...)
			}
			for _, phone := range x.said {
				if phone != "" {
					phone = "phone=" + phone
				}
				b.is(b.does("field", with+phone), ledger.Done, "")
			}
			people := b.sys["reg-a"].people()
			if len(people) != 1 {
				t.Fatalf("people: %q", people)
			}
			id, _, _ := strings.Cut(people[0], " ")
			if got := b.sys["reg-a"].get(id, "phone"); got != x.want {
				t.Errorf("the phone is %v, not %v", got, x.want)
			}
		})
	}
}
