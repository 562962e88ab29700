package people

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// fold gives the letters and digits of s in lower case without accents, so that
// "Ng'ang'a", "Ng’ang’a" and "Nganga", or "Hélène" and "Helene", are the same.
// Letters that have no decomposition are spelt out (ø, ß, æ, œ, đ, ł). Whatever
// is neither letter nor digit is left out.
//
// Only the first hundred letters count: no name is longer, and words are
// compared letter by letter.
func fold(s string) string {
	n := 0
	for i := range s {
		if n++; n > longest {
			s = s[:i]
			break
		}
	}
	return foldAll(s)
}

const longest = 100

func foldAll(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for _, r := range decomposed(s) {
		switch {
		case spelt[r] != "":
			b.WriteString(spelt[r])
		case unicode.IsLetter(r) && !unicode.Is(unicode.Lm, r), unicode.IsDigit(r):
			b.WriteRune(unicode.ToLower(r))
		}
	}
	return b.String()
}

// decomposed is s with each accent after its letter; plain ASCII is given back
// as it is.
func decomposed(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return norm.NFKD.String(strings.ToValidUTF8(s, ""))
		}
	}
	return s
}

var spelt = map[rune]string{
	'ø': "o", 'Ø': "o", 'ß': "ss", 'æ': "ae", 'Æ': "ae", 'œ': "oe", 'Œ': "oe",
	'đ': "d", 'Đ': "d", 'ł': "l", 'Ł': "l", 'ɓ': "b", 'Ɓ': "b", 'ɗ': "d", 'Ɗ': "d",
	'ƙ': "k", 'Ƙ': "k", 'ŋ': "ng", 'Ŋ': "ng", 'ɛ': "e", 'Ɛ': "e", 'ɔ': "o", 'Ɔ': "o", 'ı': "i",
}

// pieces splits a name where its parts are divided: blanks, hyphens, full stops,
// commas, slashes. Apostrophes do not divide.
func pieces(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool {
		switch r {
		case '-', '‐', '‑', '–', '—', '.', ',', '/', ';', '_', '(', ')':
			return true
		}
		return unicode.IsSpace(r)
	})
}

// digits gives the decimal digits of s, of whatever script, as ASCII.
func digits(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r >= '0' && r <= '9':
			b.WriteRune(r)
		case r >= 0x80 && unicode.IsDigit(r):
			b.WriteRune('0' + digit(r))
		}
	}
	return b.String()
}

// digit is the value of a decimal digit: every range of them in Unicode begins
// with a zero and goes on by tens.
func digit(r rune) rune {
	for _, t := range unicode.Nd.R16 {
		if rune(t.Lo) <= r && r <= rune(t.Hi) {
			return (r - rune(t.Lo)) % 10
		}
	}
	for _, t := range unicode.Nd.R32 {
		if rune(t.Lo) <= r && r <= rune(t.Hi) {
			return (r - rune(t.Lo)) % 10
		}
	}
	return 0
}

// particles stand between the parts of a name and say nothing of who it is.
var particles = setOf("de da do dos das du des del van von der den la le al el bin binti bint ben ibn abu wa ole arap mr mrs ms miss dr sir mzee mama baba bibi nee")

// placeholders are written where no name is known, or before one is given to a
// newborn; they are no evidence.
var placeholders = setOf("baby babyboy babygirl bebe newborn neonate mtoto kichanga zaza zazakely boy girl twin twina twinb twin1 twin2 unknown inconnu inconnue desconhecido desconhecida hajulikani noname nn na nil none null unnamed test xx xxx xxxx")

func setOf(words string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(words) {
		set[w] = true
	}
	return set
}
