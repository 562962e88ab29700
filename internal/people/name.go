package people

import (
	"slices"
	"strings"
)

// token is one part of a name in all the forms in which it is compared.
type token struct {
	text, fold, respelt, sound string
	nick                       []int
	known                      bool    // as a name in use: another that is in use too is no typing error
	worth                      float64 // of agreement on it: 1, less if it is common
}

func (x *index) token(text string) token {
	t := token{text: text, fold: fold(text), worth: 1}
	t.respelt = respelt(t.fold)
	t.sound = soundOf(t.respelt)
	t.nick = nicknames()[t.fold]
	t.known = len(t.nick) > 0 || commonly()[t.fold]
	if w, listed := x.frequency[t.fold]; listed {
		t.worth = w
	}
	return t
}

// name is a Name made ready: its tokens, and which of them is what.
type name struct {
	tokens []token
	straight
	given1 string // the folded Given, in one piece
	piece  bool   // written in one piece, so that the order of its parts says nothing
}

// straight is an assignment of tokens to roles, by number.
type straight struct{ given, middle, family []int }

func (x *index) name(n Name) name {
	given, middle, family := x.tokens(n.Given), x.tokens(n.Middle), x.tokens(n.Family)
	if first := pieces(n.Given); len(first) > 0 && placeholders[fold(first[0])] {
		given = nil
	}
	if len(given) > 1 && len(given[0].fold) == 1 && len(middle) == 0 && len(family) == 0 {
		given = append(given[1:len(given):len(given)], given[0]) // "W. Mary Kamau": an initial is no first name
	}
	out := name{piece: len(middle)+len(family) == 0 && len(given) > 1}
	for _, t := range given {
		out.given1 += t.fold
	}
	if out.piece {
		last := len(given) - 1
		given, middle, family = given[:1:1], given[1:last:last], given[last:]
	} else if len(given) > 1 {
		middle = append(given[1:len(given):len(given)], middle...)
		given = given[:1:1]
	}
	for _, part := range []struct {
		tokens []token
		role   *[]int
	}{{given, &out.given}, {middle, &out.middle}, {family, &out.family}} {
		for _, t := range part.tokens {
			*part.role = append(*part.role, len(out.tokens))
			out.tokens = append(out.tokens, t)
		}
	}
	return out
}

// most is how many parts of one name are compared.
const most = 8

// tokens are the parts of a name that say something, or all of them if none
// does.
func (x *index) tokens(s string) []token {
	var all, telling []token
	for _, p := range pieces(s) {
		t := x.token(p)
		if t.fold == "" || len(all) == most {
			continue
		}
		all = append(all, t)
		if !particles[t.fold] {
			telling = append(telling, t)
		}
	}
	if len(telling) == 0 {
		return all
	}
	return telling
}

// arrangement is another way to read a name, and what that costs.
type arrangement struct {
	straight
	order Grade
}

// arrangements are the other ways to read a name: given and family exchanged, or
// any two of its parts as given and family name.
func (n *name) arrangements() []arrangement {
	var out []arrangement
	if len(n.tokens) > 6 {
		return out
	}
	if len(n.tokens) == 1 {
		if len(n.given) == 1 {
			return append(out, arrangement{straight{family: n.given}, Reordered})
		}
		return append(out, arrangement{straight{given: append(n.family, n.middle...)}, Reordered})
	}
	for i := range n.tokens {
		for j := range n.tokens {
			if i == j || one(n.given, i) && slices.Contains(n.family, j) {
				continue
			}
			a := arrangement{straight{given: []int{i}, family: []int{j}}, Reordered}
			if one(n.family, i) && one(n.given, j) {
				a.order = Swapped
			}
			for k := range n.tokens {
				if k != i && k != j {
					a.middle = append(a.middle, k)
				}
			}
			if n.piece {
				a.order = ""
			}
			out = append(out, a)
		}
	}
	return out
}

func one(role []int, i int) bool { return len(role) == 1 && role[0] == i }

// nameGrades are the grades of two parts of names, each a bit of a fit.
var nameGrades = [...]Grade{Same, Respelt, Nickname, Alike, Sounds, Shortened, Initial}

const (
	fitSame = 1 << iota
	fitRespelt
	fitNickname
	fitAlike
	fitSounds
	fitShortened
	fitInitial
)

// fit is which grades two tokens have, and how many typing errors a letter lie
// between them.
type fit struct {
	grades uint8
	edits  float64
	worth  float64
}

func fitting(a, b *token) fit {
	f := fit{edits: 1, worth: min(a.worth, b.worth)}
	if a.fold == b.fold {
		f.grades, f.edits = fitSame|fitAlike, 0
		return f
	}
	la, lb := len([]rune(a.fold)), len([]rune(b.fold))
	short, long := min(la, lb), max(la, lb)
	if short == 1 {
		if strings.HasPrefix(a.fold, b.fold) || strings.HasPrefix(b.fold, a.fold) {
			f.grades = fitInitial
		}
		return f
	}
	if a.respelt == b.respelt && len(a.respelt) > 1 {
		f.grades |= fitRespelt
	}
	if share(a.nick, b.nick) {
		f.grades |= fitNickname
	}
	if short >= 4 && 2*short >= long && (strings.HasPrefix(a.fold, b.fold) || strings.HasPrefix(b.fold, a.fold)) {
		f.grades |= fitShortened
	}
	edits := long
	if long-short <= 3 {
		edits = Damerau(a.fold, b.fold)
	}
	if two := a.known && b.known && f.grades&fitNickname == 0; two {
		edits = long // Wanjiku and Wanjiru, Jean and Joan: two names, a letter apart
	}
	f.edits = float64(edits) / float64(long)
	if edits < long && (oneWord(a.fold, b.fold, edits, short) || len(a.respelt) > 3 && len(b.respelt) > 3 && oneWord(a.respelt, b.respelt, Damerau(a.respelt, b.respelt), short)) {
		f.grades |= fitAlike
	}
	if a.sound == b.sound && len(a.sound) > 1 && JaroWinkler(a.respelt, b.respelt) >= 0.75 {
		f.grades |= fitSounds
	}
	return f
}

// oneWord tells whether so many typing errors may lie between two spellings of
// one word: none up to three letters, one up to six, then two if they are alike
// as a whole. A first vowel is not mistyped: it is what tells Otieno from Atieno.
func oneWord(a, b string, edits, short int) bool {
	if edits == 0 {
		return true
	}
	if short < 4 || edits > 2 || edits == 2 && short < 7 {
		return false
	}
	if a[0] != b[0] && strings.IndexByte("aeiou", a[0]) >= 0 && strings.IndexByte("aeiou", b[0]) >= 0 {
		return false
	}
	return edits == 1 || JaroWinkler(a, b) >= 0.9
}

func share(a, b []int) bool {
	for _, x := range a {
		for _, y := range b {
			if x == y {
				return true
			}
		}
	}
	return false
}
