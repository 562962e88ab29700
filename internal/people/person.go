// Package people decides who is whom: what is known of two people is compared,
// clue by clue, weighed, and told as definite, near or another. It reads and
// writes nothing; every judgement can be explained term by term.
package people

// Person is what a record says about who somebody is. Nothing in it is
// required; what is empty is no evidence, for or against.
type Person struct {
	Names       []Name
	Identifiers []Identifier
	// Born is YYYY-MM-DD, YYYY-MM or YYYY.
	Born string
	// Estimated: the birth date was reckoned from an age, or is a first of
	// January or July that stands for a year.
	Estimated bool
	Sex       string   // "M", "F", "O" or ""
	Phones    []string // as they were written; compared by their digits
	// Places are names or codes of where the person lives, the most local first.
	Places []string
	Mother string // the mother's name
	// Others holds further clues by name (a school, a clan, an attribute), which
	// only a profile that names them weighs.
	Others map[string]string
}

// Name is one name of a person. A name written in one piece is Given.
type Name struct{ Given, Middle, Family string }

// Identifier is an identifier of a person, of a type that both systems know by
// the same name: "National ID".
type Identifier struct{ Type, Value string }
