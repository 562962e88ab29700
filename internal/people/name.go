package people

import (
	"slices"
	"strings"
)

// token is one part of a name in all the forms in which it is compared.
type token struct {
	text, fold, respelt, sound string
	nick                       []int
	worth                      float64 // of agreement on it: 1, less if it is common
}

func (x *index) token(text string) token {
	t := token{text: text, fold: fold(text), worth: 1}
	t.respelt = respelt(t.fold)
	t.sound = soundOf(t.respelt)
	t.nick = nicknames()[t.fold]
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
	f.edits = float64(edits) / float64(long)
	if oneWord(a.fold, b.fold, edits, short) || len(a.respelt) > 3 && len(b.respelt) > 3 && oneWord(a.respelt, b.respelt, Damerau(a.respelt, b.respelt), short) {
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

// nameClue is a clue on names with its weights in an array.
type nameClue struct {
	clue      *Clue
	weights   [len(nameGrades)]float64
	named     uint8
	different float64
}

func newNameClue(c *Clue) *nameClue {
	if c == nil {
		return nil
	}
	n := &nameClue{clue: c, different: c.Weights[Different]}
	for i, g := range nameGrades {
		if w, named := c.Weights[g]; named {
			n.weights[i] = w
			n.named |= 1 << i
		}
	}
	return n
}

func (c *nameClue) grade(f fit) (Grade, float64) {
	fits := f.grades
	if c.clue.Edits > 0 {
		fits &^= fitAlike
		if f.edits <= c.clue.Edits {
			fits |= fitAlike
		}
	}
	fits &= c.named
	if fits == 0 {
		return Different, c.different
	}
	best := -1
	for i := range nameGrades {
		if fits&(1<<i) != 0 && (best < 0 || c.weights[i] > c.weights[best]) {
			best = i
		}
	}
	w := c.weights[best]
	if w > 0 {
		w *= f.worth
	}
	return nameGrades[best], w
}

// naming is how two names agree, read in one way.
type naming struct {
	given, middle, family, order graded
	total                        float64
}

// graded is a grade with its weight; none if the grade is empty.
type graded struct {
	grade  Grade
	weight float64
	a, b   string // what was compared, as it was written
	common bool
}

// better orders readings: the heavier first, then by what weighs most in it, so
// that the order of the two people does not matter.
func (n naming) better(m naming) bool {
	for _, d := range [...]float64{n.total - m.total, n.given.weight - m.given.weight, n.family.weight - m.family.weight, n.order.weight - m.order.weight} {
		if d != 0 {
			return d > 0
		}
	}
	return false
}

// names gives the best reading of any name of one against any of the other.
func (x *index) names(a, b []name) naming {
	var best naming
	for i := range a {
		for j := range b {
			if n := x.pair(&a[i], &b[j]); i+j == 0 || n.better(best) {
				best = n
			}
		}
	}
	return best
}

func (x *index) pair(a, b *name) naming {
	m := matrix{a: a, b: b}
	if !m.fill() {
		return x.read(&m, a.straight, b.straight, "")
	}
	best := x.read(&m, a.straight, b.straight, "")
	if a.given1 != "" && a.given1 == b.given1 && best.given.grade != Same && x.given != nil { // Anne Marie, Annemarie
		best.given.grade, best.given.weight = x.given.grade(fit{grades: fitSame | fitAlike, worth: 1})
		best.sum()
	}
	if best.given.grade == Same && best.family.grade == Same || x.clues[NameOrder] == nil && !a.piece && !b.piece {
		return best
	}
	for _, other := range a.arrangements() {
		if n := x.read(&m, other.straight, b.straight, other.order); n.believable() && n.better(best) {
			best = n
		}
	}
	for _, other := range b.arrangements() {
		if n := x.read(&m, a.straight, other.straight, other.order); n.believable() && n.better(best) {
			best = n
		}
	}
	return best
}

// believable: names are read in another order only if all then agrees. Else
// twins whose names one register exchanged would agree on the family name, read
// as their given one.
func (n *naming) believable() bool {
	return n.given.grade != Different && n.family.grade != Different
}

func (n *naming) sum() {
	n.total = n.given.weight + n.middle.weight + n.family.weight + n.order.weight
}

// matrix holds how each token of one name fits each of the other.
type matrix struct {
	a, b *name
	fits [3 * most][3 * most]fit
}

// fill tells whether any two tokens have anything in common.
func (m *matrix) fill() bool {
	any := false
	for i := range m.a.tokens {
		for j := range m.b.tokens {
			f := fitting(&m.a.tokens[i], &m.b.tokens[j])
			m.fits[i][j] = f
			any = any || f.grades != 0 || f.edits < 1
		}
	}
	return any
}

func (x *index) read(m *matrix, a, b straight, order Grade) naming {
	var n naming
	n.given = m.grade(x.given, a.given, b.given)
	n.middle = m.grade(x.middle, a.middle, b.middle)
	n.family = m.grade(x.family, a.family, b.family)
	if c := x.clues[NameOrder]; c != nil && order != "" {
		if w, named := c.Weights[order]; named {
			n.order = graded{grade: order, weight: w}
		} else {
			n.order = graded{grade: Different, weight: c.Weights[Different]}
		}
	}
	n.sum()
	return n
}

// grade compares the parts that stand in one role.
func (m *matrix) grade(c *nameClue, a, b []int) graded {
	if c == nil || len(a) == 0 || len(b) == 0 {
		return graded{}
	}
	var best graded
	var mates [2][3 * most]bool
	for p, i := range a {
		for q, j := range b {
			f := m.fits[i][j]
			g, w := c.grade(f)
			if g != Different {
				mates[0][p], mates[1][q] = true, true
			}
			if best.grade == "" || w > best.weight || w == best.weight && best.grade == Different {
				best = graded{g, w, m.a.tokens[i].text, m.b.tokens[j].text, f.worth < 1 && w > 0}
			}
		}
	}
	mated := min(count(mates[0][:]...), count(mates[1][:]...))
	if mated > 0 && mated < min(len(a), len(b)) {
		if w, named := c.clue.Weights[Partly]; named && w < best.weight {
			best.grade, best.weight = Partly, w
		}
	}
	if len(a) > 1 || len(b) > 1 {
		best.a, best.b = m.a.text(a), m.b.text(b)
	}
	return best
}

func (n *name) text(role []int) string {
	parts := make([]string, len(role))
	for i, t := range role {
		parts[i] = n.tokens[t].text
	}
	return strings.Join(parts, " ")
}
