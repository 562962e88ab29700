package people

import "slices"

// JaroWinkler is the Jaro-Winkler likeness of two words, from 0 (nothing in
// common) to 1 (equal): Jaro's share of letters that both have, near the same
// place, raised by up to four letters that are the same at the start (W. E.
// Winkler, "String Comparator Metrics and Enhanced Decision Rules in the
// Fellegi-Sunter Model of Record Linkage", 1990; scale 0.1, no threshold).
func JaroWinkler(a, b string) float64 {
	if a == b {
		return 1
	}
	x, y := []rune(a), []rune(b)
	jaro := jaro(x, y)
	start := 0
	for start < min(4, len(x), len(y)) && x[start] == y[start] {
		start++
	}
	return jaro + float64(start)*0.1*(1-jaro)
}

func jaro(x, y []rune) float64 {
	if len(x) > len(y) || len(x) == len(y) && slices.Compare(x, y) > 0 {
		x, y = y, x // which comes first makes a difference now and then, and must not
	}
	if len(x) == 0 {
		return 0
	}
	window := max(len(y)/2-1, 0)
	taken := make([]bool, len(y))
	var found []rune
	for i, r := range x {
		for j := max(0, i-window); j < min(len(y), i+window+1); j++ {
			if !taken[j] && y[j] == r {
				taken[j] = true
				found = append(found, r)
				break
			}
		}
	}
	if len(found) == 0 {
		return 0
	}
	moved, k := 0, 0
	for j, t := range taken {
		if t {
			if y[j] != found[k] {
				moved++
			}
			k++
		}
	}
	m := float64(len(found))
	return (m/float64(len(x)) + m/float64(len(y)) + (m-float64(moved/2))/m) / 3
}

// Damerau is the number of typing errors that make b of a: a letter left out,
// put in, changed, or two neighbours exchanged (optimal string alignment: no
// letter is touched twice).
func Damerau(a, b string) int {
	if a == b {
		return 0
	}
	var runes [2][32]rune // words are short: no memory is asked for
	x, y := appendRunes(runes[0][:0], a), appendRunes(runes[1][:0], b)
	var rows [3][33]int
	before, last, row := rows[0][:], rows[1][:], rows[2][:]
	if len(y) >= len(row) {
		before, last, row = make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	}
	before, last, row = before[:len(y)+1], last[:len(y)+1], row[:len(y)+1]
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row[0] = i
		for j := 1; j <= len(y); j++ {
			changed := 1
			if x[i-1] == y[j-1] {
				changed = 0
			}
			d := min(last[j]+1, row[j-1]+1, last[j-1]+changed)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				d = min(d, before[j-2]+1)
			}
			row[j] = d
		}
		before, last, row = last, row, before
	}
	return last[len(y)]
}

func appendRunes(to []rune, s string) []rune {
	for _, r := range s {
		to = append(to, r)
	}
	return to
}
