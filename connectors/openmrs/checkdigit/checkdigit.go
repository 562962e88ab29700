// Package checkdigit holds the check-digit algorithms of OpenMRS identifier
// types: Luhn with a hyphen and Verhoeff of openmrs-core, Luhn mod N of the idgen
// module. The client and the simulator judge identifiers by the same rules.
package checkdigit

import (
	"strings"
)

// Mod30 is the alphabet of idgen's Luhn mod 30.
const Mod30 = "0123456789ACDEFGHJKLMNPRTUVWXY"

// Verdict of Valid.
type Verdict int

const (
	Unjudged Verdict = iota // the validator is not one of ours
	Good
	Bad
)

// Valid judges an identifier by the class name of its type's validator.
func Valid(validator, identifier string) Verdict {
	var ok bool
	switch validator[strings.LastIndexByte(validator, '.')+1:] {
	case "LuhnMod30IdentifierValidator":
		ok = validModN(identifier, Mod30)
	case "LuhnMod10IdentifierValidator":
		ok = validModN(identifier, Mod30[:10])
	case "LuhnMod25IdentifierValidator":
		ok = validModN(identifier, "ACDEFGHJKLMNPRTUVWXY12346")
	case "LuhnIdentifierValidator":
		ok = validHyphen(identifier, hyphenLuhn, "ABCDEFGHIJ")
	case "VerhoeffIdentifierValidator":
		ok = len(identifier) == 10 && validHyphen(identifier, verhoeff, "ABCDEFGHIJ") && identifier[9] >= 'A'
	default:
		return Unjudged
	}
	if ok {
		return Good
	}
	return Bad
}

func validModN(identifier, alphabet string) bool {
	id := strings.ToUpper(identifier)
	if len(id) < 2 {
		return false
	}
	check, ok := ModN(id[:len(id)-1], alphabet)
	return ok && id[len(id)-1] == check
}

// ModN gives the check character of a base in an alphabet; false where the base
// holds a character that is not in it.
func ModN(base, alphabet string) (byte, bool) {
	n, sum, factor := len(alphabet), 0, 2
	for i := len(base) - 1; i >= 0; i-- {
		code := strings.IndexByte(alphabet, base[i])
		if code < 0 {
			return 0, false
		}
		addend := factor * code
		factor = 3 - factor
		sum += addend/n + addend%n
	}
	return alphabet[(n-sum%n)%n], true
}

// validHyphen takes a base, a hyphen and a check digit, as a digit or as the
// letter that stands for it.
func validHyphen(identifier string, check func(string) (int, bool), letters string) bool {
	i := strings.IndexByte(identifier, '-')
	if i < 1 || i != len(identifier)-2 {
		return false
	}
	want, ok := check(identifier[:i])
	if !ok {
		return false
	}
	given := identifier[len(identifier)-1]
	return given == byte('0'+want) || given == letters[want]
}

// hyphenLuhn is core's LuhnIdentifierValidator: characters count by their code
// point minus 48, from the right, every second one doubled.
func hyphenLuhn(base string) (int, bool) {
	sum := 0
	upper := strings.ToUpper(strings.TrimSpace(base))
	for i := range len(upper) {
		c := upper[len(upper)-1-i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && c != '_' {
			return 0, false
		}
		digit := int(c) - 48
		if i%2 == 0 {
			sum += 2*digit - digit/5*9
		} else {
			sum += digit
		}
	}
	if sum < 0 {
		sum = -sum
	}
	sum += 10
	return (10 - sum%10) % 10, true
}

var (
	verhoeffD = [10]string{"0123456789", "1234067895", "2340178956", "3401289567", "4012395678", "5987604321", "6598710432", "7659821043", "8765932104", "9876543210"}
	verhoeffP = [8]string{"0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258"}
	verhoeffV = "0432156789"
)

func verhoeff(base string) (int, bool) {
	c := 0
	for i := range len(base) {
		d := base[i] // from the left, unlike the textbook: so core does it
		if d < '0' || d > '9' {
			return 0, false
		}
		p := verhoeffP[(i+1)%8][d-'0'] - '0'
		c = int(verhoeffD[c][p] - '0')
	}
	return int(verhoeffV[c] - '0'), true
}
