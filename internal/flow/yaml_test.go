package flow

import (
	"strings"
	"testing"
)

func TestPlacesInScalarsAreThoseOfTheFile(t *testing.T) {
	for _, c := range []struct {
		yaml      string
		at        string // text whose offset is asked for
		line, col int
	}{
		{"a: hello ${x}", "x", 1, 12},
		{"a: 'hello ${x}'", "x", 1, 13},
		{"a: 'it''s ${x}'", "x", 1, 13},
		{`a: "say \"hi\" ${x}"`, "x", 1, 18},
		{"é: {ü: 'ñ ${x}'}", "x", 1, 13},
		{"a: |\n  one\n  two ${x}\n", "x", 3, 9},
		{"a:\n  b: ${x}", "x", 2, 8},
	} {
		r := &reader{}
		docs := r.parse([]byte(c.yaml), "x.yaml")
		if len(docs) != 1 || len(r.problems) > 0 {
			t.Errorf("%q: %s", c.yaml, r.problems)
			continue
		}
		n := docs[0].pairs[0].value
		if n.kind == mapNode {
			n = n.pairs[0].value
		}
		if l, col := n.place(strings.Index(n.text, "${"+c.at) + 2); l != c.line || col != c.col {
			t.Errorf("%q: %d:%d, want %d:%d", c.yaml, l, col, c.line, c.col)
		}
	}
}

func TestDistanceCountsSwappedLettersOnce(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"wieght", "weight", 1}, {"", "abc", 3}, {"abc", "abc", 0}, {"form", "from", 1}, {"kitten", "sitting", 3}, {"é", "e", 1}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%s %s: %d", c.a, c.b, got)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(head + rec)
	f.Add(set("obs: [{each: {q: 'table(\"visit-obs\")'}, concept: '${q.concept}', value: '${answer(form, q)}'}]"))
	f.Add("a: &x 1\nb: *x\n<<: {}\n? [a]\n: b\n")
	f.Add("{a: [b, {c: ${d}}]}")
	f.Add("flow: [\n- {}\n---\n...\n%YAML 1.1\n")
	f.Add("\"a\\n${y}\": |2-\n   x\n")
	integ := &Integration{ID: "i05-test", Tables: map[string]*Table{}, Wins: Wins{}, values: map[string]any{}, Dir: f.TempDir()}
	r := &reader{}
	integ.Tables["visit-obs"] = r.parseTable([]byte("question,concept\nweight,C1\n"), &source{path: "tables/visit-obs.csv"})
	f.Fuzz(func(t *testing.T, text string) {
		r := &reader{}
		for _, doc := range r.parse([]byte(text), "x.yaml") {
			r.flow(doc, integ, &Loader{Registry: fake()})
		}
		for _, p := range r.problems {
			if p.Line < 1 || p.Col < 1 || p.Text == "" {
				t.Errorf("a problem without a place: %s", p)
			}
			p.Excerpt()
		}
	})
}

func FuzzTable(f *testing.F) {
	f.Add([]byte("code,target\nm,M\n"))
	f.Add([]byte("a;b\n1;\"x\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		tab := (&reader{}).parseTable(b, &source{path: "tables/x.csv"})
		if tab != nil {
			tab.Lookup("m")
			tab.Lookup("m", "n")
			tab.target(2)
		}
	})
}
