package sim

import (
	"fmt"
	"hash/crc32"
	"regexp"
	"strings"
)

// tokenHeader is the server's pattern of the Authorization header
// (web/security/apikey/ApiTokenResolver.java), case-insensitive.
var tokenHeader = regexp.MustCompile(`(?i)^ApiToken ([a-z0-9\-._~+/]+=*)$`)

// Personal access tokens (api/security/apikey/ApiTokenType.java): the checksum
// is of the random part alone.
const (
	tokenV1, tokenV1Code = "d2pat_", 32
	tokenV2, tokenV2Code = "d2p_", 44
)

// tokenSum is the checksum that belongs to a token's random part.
func tokenSum(prefix, code string) string {
	sum := crc32.ChecksumIEEE([]byte(code))
	if prefix == tokenV1 {
		return fmt.Sprintf("%010d", sum)
	}
	return base62(uint64(sum))
}

// base62 writes six digits, the most that 32 bits need.
func base62(n uint64) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	b := []byte("000000")
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = digits[n%62]
		n /= 62
	}
	return string(b)
}

// validToken tells whether prefix, length and checksum fit.
func validToken(token string) bool {
	for prefix, length := range map[string]int{tokenV1: tokenV1Code, tokenV2: tokenV2Code} {
		rest, found := strings.CutPrefix(token, prefix)
		if found && len(rest) > length && tokenSum(prefix, rest[:length]) == rest[length:] {
			return true
		}
	}
	return false
}

// newToken makes the n-th token of a server, in the format its version uses.
func (s *Server) newToken(n int) string {
	prefix, length := tokenV1, tokenV1Code
	if s.since(41) {
		prefix, length = tokenV2, tokenV2Code
	}
	code := strings.Repeat("KiungoSimulatedToken", 3)[:length-4] + fmt.Sprintf("%04d", n)
	return prefix + code + tokenSum(prefix, code)
}
