package people

import (
	"strings"
)

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
