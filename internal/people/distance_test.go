package people

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// The first five are Winkler's own examples (1990, 1994); the rest are worked
// out by hand.
func TestJaroWinklerIsAsPublished(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want float64
	}{
		{"MARTHA", "MARHTA", 0.961}, {"DWAYNE", "DUANE", 0.840}, {"DIXON", "DICKSONX", 0.813},
		{"JONES", "JOHNSON", 0.832}, {"ABROMS", "ABRAMS", 0.922},
		{"", "", 1}, {"", "a", 0}, {"a", "b", 0}, {"juma", "juma", 1}, {"é", "é", 1},
	} {
		if got := JaroWinkler(c.a, c.b); math.Abs(got-c.want) > 0.0006 {
			t.Errorf("JaroWinkler(%q, %q) is %.4f, want %.3f", c.a, c.b, got, c.want)
		}
	}
}

func TestDamerauCountsTypingErrors(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"wanjiku", "wanjiku", 0}, {"wanjiku", "wajniku", 1}, {"wanjiku", "wanjku", 1},
		{"wanjiku", "wanjikuu", 1}, {"wanjiku", "wangiku", 1}, {"kitten", "sitting", 3}, {"ca", "abc", 3}, {"é", "e", 1},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "b", 50},
	} {
		if got := Damerau(c.a, c.b); got != c.want {
			t.Errorf("Damerau(%q, %q) is %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestDistancesDoNotDependOnTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringOfN(rapid.RuneFrom([]rune("abcé")), 0, 40, -1)
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		if JaroWinkler(a, b) != JaroWinkler(b, a) || Damerau(a, b) != Damerau(b, a) {
			t.Fatal("the order matters")
		}
		if j := JaroWinkler(a, b); j < 0 || j > 1 || (j == 1) != (a == b) {
			t.Fatalf("likeness is %v", j)
		}
	})
}
