package people

import (
	"fmt"
	"slices"
	"strings"
)

// Field describes one key that may stand under people.match in
// integration.yaml, for the generated reference.
type Field struct {
	Path    string // "clues.phone"
	About   string
	Shape   string   // "text", "number", "yes or no", "list of texts", "weights"
	Default string   // what the standard profile has
	Grades  []string // of a clue: the words that may stand under it with a weight
}

// grades of each clue, in the order in which they are documented.
var grades = map[string][]Grade{
	GivenName:  {Same, Respelt, Nickname, Alike, Sounds, Shortened, Initial, Partly, Different},
	MiddleName: {Same, Respelt, Nickname, Alike, Sounds, Shortened, Initial, Partly, Different},
	FamilyName: {Same, Respelt, Nickname, Alike, Sounds, Shortened, Initial, Partly, Different},
	NameOrder:  {Swapped, Reordered},
	BirthDate:  {Same, DaySwapped, Close, OnePartWrong, SameMonth, SameYear, SimilarAge, Different},
	Sex:        {Same, Different},
	Phone:      {Same, Alike, Different},
	Place:      {Same, Alike, Partly, Different},
	Mother:     {Same, Alike, Partly, Different},
}

var otherGrades = []Grade{Same, Alike, Different}

// clueAbouts say what is compared; clueSettings which settings a clue takes
// besides its weights.
var (
	clueAbouts = map[string]string{
		GivenName:  "the first of the given names",
		MiddleName: "all other given names",
		FamilyName: "the family name; particles such as de, bin or wa are left out",
		NameOrder:  "what it costs to read the parts of a name in another order; left out, names are compared only as they stand, unless written in one piece",
		BirthDate:  "the birth date; the first of January and of July, and what is said to be estimated, stand for a year",
		Sex:        "sex; another one prevents a definite match unless an identifier agrees",
		Phone:      "the last nine digits of any phone number",
		Place:      "the most local place that both name; partly the same is a wider one",
		Mother:     "the parts of the mother's name, in any order",
	}
	clueSettings = map[string][]string{
		GivenName: {settingEdits}, MiddleName: {settingEdits}, FamilyName: {settingEdits}, Place: {settingEdits},
		BirthDate: {settingDays, settingYears},
	}
)

const (
	settingEdits = "errors in a letter"
	settingDays  = "days"
	settingYears = "years"
)

var settingAbouts = map[string]string{
	settingEdits: "typing errors in a letter that are still alike: 0.2 is one in five letters; left out: none up to three letters, one up to six, then two",
	settingDays:  "how many days apart two birth dates are still close",
	settingYears: "how many years apart two birth dates are still a similar age, if one is estimated",
}

// profileKeys are the keys of a profile but for its clues and identifiers.
var profileKeys = []Field{
	{Path: "from", Shape: "text", About: "the profile that this one changes: standard; left out, it begins empty"},
	{Path: "definite", Shape: "number", About: "the total of weights from which the best candidate is taken without asking"},
	{Path: "near", Shape: "number", About: "the total from which a candidate is shown in a question"},
	{Path: "margin", Shape: "number or share", About: "by how much a definite match must beat the second near candidate: 3, or 67 % of the second's total"},
	{Path: "very common names", Shape: "list of texts", About: fmt.Sprintf("names on which to agree is worth %g of the weight: about one person in fifty or more bears them", veryCommonWorth)},
	{Path: "common names", Shape: "list of texts", About: fmt.Sprintf("names on which to agree is worth %g of the weight: about one person in two hundred or more bears them", commonWorth)},
}

// identifierKeys are the keys of the rule of one type of identifier.
var identifierKeys = []Field{
	{Path: "same", Shape: "number", About: "weight if one value is the same, but for case, blanks and dashes"},
	{Path: "alike", Shape: "number", About: "weight if a typing error lies between them; left out, they are different"},
	{Path: "different", Shape: "number", About: "weight if no value is the same"},
	{Path: "unique", Shape: "yes or no", About: "nobody has two: people with different ones are never a definite match"},
	{Path: "several", Shape: "yes or no", About: "a person may have several: a different one says nothing"},
	{Path: "ignore leading zeros", Shape: "yes or no", About: "0012 and 12 are the same"},
}

// anyType stands for all types of identifier that have no rule of their own.
const anyType = "others"

// Fields describes the keys that may stand under people.match, in the order of
// the reference, with the standard profile's values.
func Fields() []Field {
	s := Standard()
	out := slices.Clone(profileKeys)
	for i, v := range []string{"", number(s.Definite), number(s.Near), number(s.Margin), strings.Join(s.VeryCommon, ", "), strings.Join(s.Common, ", ")} {
		out[i].Default = v
	}
	x := s.ready()
	for _, name := range clueOrder {
		out = append(out, Field{Path: "clues." + name, Shape: "weights", About: clueAbouts[name], Default: weights(name, x.clues[name]), Grades: texts(grades[name])})
		for _, setting := range clueSettings[name] {
			f := Field{Path: "clues." + name + "." + setting, Shape: "number", About: settingAbouts[setting]}
			if setting == settingDays {
				f.Default = fmt.Sprint(x.clues[name].Days)
			}
			if setting == settingYears {
				f.Default = fmt.Sprint(x.clues[name].Years)
			}
			out = append(out, f)
		}
	}
	out = append(out, Field{Path: "clues." + otherClue + "NAME", Shape: "weights", About: "a further clue of the record, by its name", Grades: texts(otherGrades)})
	rule := x.identifier("")
	for i, f := range identifierKeys {
		f.Path = "identifiers.TYPE." + f.Path
		f.Default = []string{number(rule.Same), number(rule.Alike), number(rule.Different), yes(rule.Unique), yes(rule.Several), yes(rule.IgnoreZeros)}[i]
		if i == 0 {
			f.About += "; the type " + anyType + " is for all types that are not named"
		}
		out = append(out, f)
	}
	return out
}

func weights(name string, c *Clue) string {
	var out []string
	for _, g := range grades[name] {
		if w, named := c.Weights[g]; named {
			out = append(out, string(g)+": "+number(w))
		}
	}
	return "{" + strings.Join(out, ", ") + "}"
}

func texts(gs []Grade) []string {
	out := make([]string, len(gs))
	for i, g := range gs {
		out[i] = string(g)
	}
	return out
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
