package people

import "strings"

// respelt writes a folded word in one way where the languages of the region
// have several: ph/f, c/k/q, y/i, ou/oo/w/u, th/t, kh/k, tch/ch, dj/j, doubled
// letters, a silent last e or h. Vowels stay. Two words that are respelt alike
// are one name spelt in two ways: Phillip, Filip; Ouma, Uma; Zacharia, Zakaria.
func respelt(w string) string {
	w = respelling.Replace(w)
	var b strings.Builder
	b.Grow(len(w))
	var last rune
	for i, r := range w {
		if r == 'c' {
			r = 'k'
			if i+1 < len(w) && (w[i+1] == 'e' || w[i+1] == 'i') {
				r = 's'
			}
		}
		if r == last || r == 'h' && i > 0 && i+1 == len(w) {
			continue
		}
		b.WriteRune(r)
		last = r
	}
	out := b.String()
	if n := len(out); n > 4 && out[n-1] == 'e' && !strings.ContainsRune("aeiou", rune(out[n-2])) {
		out = out[:n-1]
	}
	return out
}

// The longest come first: Replacer takes the first that fits. C is the sound
// of "church", S of "ship", N of "canyon".
var respelling = strings.NewReplacer(
	"tsch", "C", "tch", "C", "sch", "S", "chr", "kr", "ch", "C", "sh", "S", "eau", "o",
	"ph", "f", "ck", "k", "qu", "k", "q", "k", "kh", "k", "gh", "g", "th", "t", "dh", "d", "bh", "b", "rh", "r",
	"dj", "j", "dz", "z", "nh", "N", "gn", "N", "ny", "N", "lh", "li",
	"ou", "u", "oo", "u", "w", "u", "ee", "i", "ea", "i", "ie", "i", "ey", "i", "ay", "e", "ai", "e", "ei", "e", "y", "i", "x", "ks",
)

// soundOf is what is left of a respelt word as it is heard across a counter: its
// first letter and its consonants, with those made one that one language hears
// as two (l and r; z, s, sh and ch; j and g; v and f). Otieno and Atieno differ
// by their first letter, and that is a man and a woman: the first vowel stays.
func soundOf(respelt string) string {
	var b strings.Builder
	var last rune
	for i, r := range respelt {
		switch r {
		case 'l':
			r = 'r'
		case 'z', 'S', 'C':
			r = 's'
		case 'N':
			r = 'n'
		case 'g':
			r = 'j'
		case 'v':
			r = 'f'
		case 'a', 'e', 'i', 'o', 'u', 'h':
			if i > 0 {
				last = 0
				continue
			}
		}
		if r == last {
			continue
		}
		b.WriteRune(r)
		last = r
	}
	return b.String()
}
