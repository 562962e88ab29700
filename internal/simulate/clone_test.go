package simulate

import (
	"testing"
	"time"
)

type shelf struct {
	books map[string]*book
	order []*book
	first map[*book]bool
	any   any
	at    time.Time
	shape *shape
}

type book struct {
	title string
	on    *shelf
	next  *book
	vals  map[string]any
}

type shape struct{ n int }

func TestACloneIsAsTheOriginalAndApartFromIt(t *testing.T) {
	s := &shelf{books: map[string]*book{}, first: map[*book]bool{}, at: time.Now(), shape: &shape{3}}
	a, b := &book{title: "a", on: s}, &book{title: "b", on: s, vals: map[string]any{"n": 1.5}}
	a.next, b.next = b, a
	b.vals["self"] = b
	s.books["a"], s.books["b"], s.order, s.first[b], s.any = a, b, []*book{a, b}, true, b
	c := Clone(s, &shape{})
	if c == s || c.order[0] == a || c.books["a"] != c.order[0] || !c.first[c.order[1]] || len(c.first) != 1 || c.any != any(c.order[1]) {
		t.Fatal("pointers to one thing are not so in the copy")
	}
	if c.order[0].next.next != c.order[0] || c.order[1].on != c || c.order[1].vals["self"] != any(c.order[1]) || !c.at.Equal(s.at) {
		t.Fatal("a circle is not closed in the copy")
	}
	if c.shape != s.shape {
		t.Fatal("what is to be kept was copied")
	}
	b.title, b.vals["n"] = "other", 2.0
	delete(s.books, "a")
	if c.order[1].title != "b" || c.order[1].vals["n"] != 1.5 || len(c.books) != 2 {
		t.Fatal("a change of the original shows in the copy")
	}
}
