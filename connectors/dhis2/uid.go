package dhis2

import "crypto/sha256"

const (
	letters      = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	alphanumeric = letters + "0123456789"
)

// IsUID tells whether text has the form of a DHIS2 identifier: eleven letters
// and digits, the first a letter (CodeGenerator, all versions).
func IsUID(text string) bool {
	if len(text) != 11 {
		return false
	}
	for i := range len(text) {
		c := text[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// UID gives the identifier under which a record with a derived id (a UUID) is
// made in DHIS2: the same id always gives the same one, which is what makes a
// repeated event the same event. What is one already is given as it is.
//
// It never changes: events would be made a second time.
func UID(id string) string {
	if IsUID(id) {
		return id
	}
	sum := sha256.Sum256([]byte("kiungo dhis2 uid\x1f" + id))
	out := make([]byte, 11)
	out[0] = letters[wide(sum[0], sum[1])%len(letters)]
	for i := 1; i < len(out); i++ {
		out[i] = alphanumeric[wide(sum[2*i], sum[2*i+1])%len(alphanumeric)]
	}
	return string(out)
}

// wide reads two bytes as a number, so that no letter is noticeably more likely.
func wide(a, b byte) int { return int(a)<<8 | int(b) }
