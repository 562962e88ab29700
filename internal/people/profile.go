package people

import (
	"maps"
	"slices"
	"strings"
	"sync"
)

// Names of the clues. A clue on one of Person.Others is "other: " and its name.
const (
	GivenName  = "given name"
	MiddleName = "middle name"
	FamilyName = "family name"
	NameOrder  = "order of names"
	BirthDate  = "birth date"
	Sex        = "sex"
	Phone      = "phone"
	Place      = "place"
	Mother     = "mother"
	otherClue  = "other: "
)

// clueOrder is the order in which clues are weighed, added up and shown.
var clueOrder = []string{GivenName, MiddleName, FamilyName, NameOrder, BirthDate, Sex, Phone, Place, Mother}

// Profile says which clues are compared and what each is worth. The weights of
// what is known of both people are added up; a clue that one of them lacks
// counts nothing.
//
// A weight of n stands for evidence of about 2 to the power of n: a clue that is
// four times as likely between two records of one person as between two
// strangers is worth 2 (I. P. Fellegi and A. B. Sunter, "A Theory for Record
// Linkage", 1969). Weights are kept to quarters and are not fitted to any one
// register.
type Profile struct {
	Name string
	// Definite is the total from which the best candidate may be taken without
	// asking; Near the total from which a candidate is worth showing.
	Definite, Near float64
	// Margin by which a definite match must beat the second, and MarginShare the
	// same as a share of the second's total (0.67: two thirds more); whichever is
	// more. Only a second that is itself near counts.
	Margin, MarginShare float64
	Clues               []Clue
	// Identifiers holds a rule for each type of identifier; the one with an empty
	// type is for types that are not named.
	Identifiers []IdentifierRule
	// VeryCommon and Common names: to agree on one is worth 0.6, or 0.8, of
	// what it is worth on a name that few bear.
	VeryCommon, Common []string

	index *index
}

// Clue is what agreement on one thing is worth.
type Clue struct {
	Name string
	// Weights by grade. Of the named grades that fit the one that weighs most is
	// taken; if none fits it is Different.
	Weights map[Grade]float64
	// Edits is, for a name, the typing errors in a letter that are still Alike:
	// 0.2 is one error in five letters. 0 for the built-in rule: none up to three
	// letters, one up to six, then two.
	Edits float64
	// Days within which two birth dates are Close.
	Days int
	// Years within which two birth dates are a SimilarAge if one is estimated.
	Years int
}

// IdentifierRule is what an identifier of one type is worth.
type IdentifierRule struct {
	Type string
	// Same and Different are weights; Alike is that of one typing error.
	Same, Alike, Different float64
	// Unique: no person has two, so that two people with different ones are never
	// a definite match.
	Unique bool
	// Several: a person may have several, so that a different one says nothing.
	Several bool
	// IgnoreZeros: 0012 and 12 are the same.
	IgnoreZeros bool
}

// Standard is the profile that is shipped: for registers of given, middle and
// family names, a birth date that may be estimated, sex, phones that families
// share, places, and identifiers that may be missing or mistyped. How it does is
// measured in package population.
func Standard() Profile {
	return Profile{
		Name: "standard", Definite: 11.5, Near: 7, Margin: 3,
		Clues: []Clue{
			{Name: GivenName, Weights: map[Grade]float64{Same: 4.5, Respelt: 4, Nickname: 3, Alike: 3, Sounds: 2, Shortened: 2, Initial: 0.75, Partly: 2, Different: -4}},
			{Name: MiddleName, Weights: map[Grade]float64{Same: 2, Respelt: 1.5, Nickname: 1.5, Alike: 1.5, Sounds: 1, Initial: 0.5, Partly: 0.5, Different: -1}},
			{Name: FamilyName, Weights: map[Grade]float64{Same: 4.5, Respelt: 4, Alike: 3, Sounds: 2, Shortened: 2, Initial: 0.5, Partly: 2, Different: -3}},
			{Name: NameOrder, Weights: map[Grade]float64{Swapped: -0.5, Reordered: -1.5}},
			{Name: BirthDate, Days: 3, Years: 3, Weights: map[Grade]float64{Same: 6, DaySwapped: 4.5, Close: 4, OnePartWrong: 2.5, SameMonth: 4, SameYear: 2.5, SimilarAge: 1.5, Different: -4}},
			{Name: Sex, Weights: map[Grade]float64{Same: 0.5, Different: -3}},
			{Name: Phone, Weights: map[Grade]float64{Same: 3, Alike: 1.5, Different: -0.5}},
			{Name: Place, Weights: map[Grade]float64{Same: 2, Alike: 1, Partly: -0.5, Different: -1}},
			{Name: Mother, Weights: map[Grade]float64{Same: 3, Alike: 2, Partly: 1, Different: -2}},
		},
		Identifiers: []IdentifierRule{{Same: 10, Alike: 3, Different: -6, Unique: true}},
		VeryCommon:  slices.Clone(veryCommon),
		Common:      slices.Clone(common),
	}
}

// Frequent names of the region, each borne by about one in fifty and one in two
// hundred people or more where it is in use. The lists are judgements, not
// counts: a site with a register can put CommonNames in their place.
var (
	veryCommon = strings.Fields("otieno achieng odhiambo atieno onyango ouma wanjiku kamau mwangi njoroge wanjiru juma mohamed abdi ali hassan mary john joseph jean marie rakoto rasoa maria jose")
	common     = strings.Fields("akinyi ochieng omondi adhiambo awuor owino okoth oduor wambui nyambura njeri wangari maina kariuki kimani cheruiyot kiprono chebet jepkosgei wafula wekesa nekesa barasa mutua musyoka muthoni nzioka halima amina fatuma ahmed omar ibrahim abdullahi salim peter james daniel david paul samuel grace jane esther ruth elizabeth margaret rose faith mercy sarah anna joyce rabe randria rasoanaivo razafy andria hery jeanne joao manuel antonio francisco ana")
)

// commonly are the frequent names, folded.
var commonly = sync.OnceValue(func() map[string]bool {
	return setOf(strings.Join(append(slices.Clone(veryCommon), common...), " "))
})

// CommonNames counts the names of a register and gives those for VeryCommon
// (one in fifty people or more) and Common (one in two hundred or more).
func CommonNames(register []Person) (veryCommon, common []string) {
	count := map[string]int{}
	for _, p := range register {
		seen := map[string]bool{}
		for _, n := range p.Names {
			for _, w := range pieces(n.Given + " " + n.Middle + " " + n.Family) {
				if f := fold(w); f != "" && !seen[f] {
					seen[f] = true
					count[f]++
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(count)) {
		switch share := float64(count[name]) / float64(len(register)); {
		case share >= 1.0/50:
			veryCommon = append(veryCommon, name)
		case share >= 1.0/200:
			common = append(common, name)
		}
	}
	return veryCommon, common
}

// What agreement on a common name is worth, as a share of its weight.
const (
	commonWorth     = 0.8
	veryCommonWorth = 0.6
)

// index is a profile made ready for looking things up.
type index struct {
	clues                 map[string]*Clue
	others                []*Clue // in the order of their names
	types                 map[string]*IdentifierRule
	given, middle, family *nameClue
	frequency             map[string]float64 // folded name -> what agreement on it is worth, as a share
}

func (p *Profile) ready() *index {
	if p.index != nil {
		return p.index
	}
	x := &index{clues: map[string]*Clue{}, types: map[string]*IdentifierRule{}, frequency: map[string]float64{}}
	for i := range p.Clues {
		c := &p.Clues[i]
		x.clues[c.Name] = c
		if strings.HasPrefix(c.Name, otherClue) {
			x.others = append(x.others, c)
		}
	}
	slices.SortStableFunc(x.others, func(a, b *Clue) int { return strings.Compare(a.Name, b.Name) })
	for i := range p.Identifiers {
		x.types[fold(p.Identifiers[i].Type)] = &p.Identifiers[i]
	}
	for _, n := range p.Common {
		x.frequency[fold(n)] = commonWorth
	}
	for _, n := range p.VeryCommon {
		x.frequency[fold(n)] = veryCommonWorth
	}
	x.given, x.middle, x.family = newNameClue(x.clues[GivenName]), newNameClue(x.clues[MiddleName]), newNameClue(x.clues[FamilyName])
	return x
}

// Ready gives the profile with its tables made once, for use from many
// goroutines; a profile that is not made ready works, only slower.
func (p Profile) Ready() Profile {
	p.index = nil
	p.index = p.ready()
	return p
}

// weight of a grade, and the grade itself if the profile names it for this clue;
// else Different.
func (c *Clue) weight(fits ...Grade) (Grade, float64) {
	best, weight, found := Different, c.Weights[Different], false
	for _, g := range fits {
		if w, named := c.Weights[g]; named && g != Different && (!found || w > weight) {
			best, weight, found = g, w, true
		}
	}
	return best, weight
}

func (x *index) identifier(typ string) *IdentifierRule {
	if r := x.types[fold(typ)]; r != nil {
		return r
	}
	return x.types[""]
}
