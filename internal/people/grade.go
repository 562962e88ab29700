package people

// Grade is how far a clue agrees between two people, in the words that a
// profile, a score and a clerk use.
type Grade string

// The grades. Which clue can have which is in Fields.
const (
	// Same: equal once case, accents, blanks and marks are left out.
	Same Grade = "same"
	// Respelt: one name spelt in two ways, Phillip and Filip.
	Respelt Grade = "spelt another way"
	// Nickname: both stand in one line of nicknames.csv.
	Nickname Grade = "nickname"
	// Alike: a typing error apart.
	Alike Grade = "alike"
	// Sounds: heard alike, Mureithi and Muriithi.
	Sounds Grade = "sounds alike"
	// Shortened: one is how the other begins, Rakoto and Rakotomalala.
	Shortened Grade = "shortened"
	// Initial: one is only the first letter of the other.
	Initial Grade = "initial"
	// Partly: of several parts some are the same and some are not.
	Partly Grade = "partly the same"
	// Swapped: given and family name stand in each other's place.
	Swapped Grade = "swapped"
	// Reordered: the parts of the name stand in another order.
	Reordered Grade = "another order"
	// DaySwapped: 4 March and 3 April of one year.
	DaySwapped Grade = "day and month swapped"
	// Close: within the profile's number of days.
	Close Grade = "close"
	// OnePartWrong: two of year, month and day are the same.
	OnePartWrong Grade = "one part wrong"
	// SameMonth: the same month where one has no day.
	SameMonth Grade = "same month"
	// SameYear: the same year where one has only that, or is estimated.
	SameYear Grade = "same year"
	// SimilarAge: one is estimated and they are within the profile's years.
	SimilarAge Grade = "similar age"
	// Different: none of those that the profile names.
	Different Grade = "different"
)
