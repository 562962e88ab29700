package sim

import (
	"net/mail"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// The patterns of ValidationUtils.java and MathUtils.java.
var (
	numeric    = regexp.MustCompile(`^(-?0|-?[1-9]\d*)(\.\d+)?(E-?\d+)?$`)
	phone      = regexp.MustCompile(`^[0-9+\(\)#\.\s/ext-]{6,50}$`)
	clock      = regexp.MustCompile(`^([0-9]|0[0-9]|1[0-9]|2[0-3]):[0-5][0-9]$`)
	moment     = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?$`)
	coordinate = regexp.MustCompile(`^\[([+-]?\d{1,3}(?:\.\d+)?),([+-]?\d{1,2}(?:\.\d+)?)\]$`)
	username   = regexp.MustCompile(`^[a-zA-Z0-9](?:[-_.@]?[a-zA-Z0-9])*$`)
	uidPattern = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9]{10}$`)
	zero       = regexp.MustCompile(`^0(\.0*)?$`)
	domain     = regexp.MustCompile(`\.[A-Za-z]{2,}$`)
)

const longest = 50000

// badValue gives the i18n key of what is wrong with a value of a type, "" when
// it passes. A blank value passes (ValidationUtils.valueIsValid).
func (s *Server) badValue(valueType, v string) string {
	if strings.TrimSpace(v) == "" {
		return ""
	}
	if len(v) > longest {
		return "value_length_greater_than_max_length"
	}
	if s.fits(valueType, v) {
		return ""
	}
	return codes().keyOf[valueType]
}

func (s *Server) fits(valueType, v string) bool {
	switch valueType {
	case "INTEGER":
		_, fits := integer(v)
		return fits
	case "INTEGER_POSITIVE":
		n, fits := integer(v)
		return fits && n > 0
	case "INTEGER_NEGATIVE":
		n, fits := integer(v)
		return fits && n < 0
	case "INTEGER_ZERO_OR_POSITIVE":
		n, fits := integer(v)
		return fits && n >= 0
	case "NUMBER":
		return numeric.MatchString(v)
	case "UNIT_INTERVAL":
		return between(v, 0, 1)
	case "PERCENTAGE":
		return between(v, 0, 100)
	case "BOOLEAN":
		l := strings.ToLower(v)
		return l == "true" || l == "false"
	case "TRUE_ONLY":
		return strings.ToLower(v) == "true"
	case "DATE", "AGE":
		_, fits := s.calendar.parseDate(v)
		return fits
	case "DATETIME":
		return moment.MatchString(v)
	case "TIME":
		return clock.MatchString(v)
	case "LETTER":
		r := []rune(v)
		return len(r) == 1 && (r[0] >= 'a' && r[0] <= 'z' || r[0] >= 'A' && r[0] <= 'Z' || r[0] > 127)
	case "PHONE_NUMBER":
		return phone.MatchString(v)
	case "EMAIL":
		a, err := mail.ParseAddress(v)
		return err == nil && a.Address == v && domain.MatchString(v)
	case "URL":
		u, err := url.Parse(v)
		return err == nil && (u.Scheme == "http" || u.Scheme == "https" || u.Scheme == "ftp") && u.Host != ""
	case "USERNAME":
		return len(v) >= 4 && len(v) <= 255 && username.MatchString(v)
	case "COORDINATE":
		m := coordinate.FindStringSubmatch(v)
		return m != nil && between(m[1], -180, 180) && between(m[2], -90, 90)
	case "ORGANISATION_UNIT", "FILE_RESOURCE", "IMAGE":
		return uidPattern.MatchString(v)
	}
	return true
}

// integer reads what ^(0|-?[1-9]\d*)$ allows, in 32 bits.
func integer(v string) (int64, bool) {
	digits := strings.TrimPrefix(v, "-")
	if digits == "" || digits[0] < '0' || digits[0] > '9' || digits[0] == '0' && v != "0" {
		return 0, false
	}
	n, err := strconv.ParseInt(v, 10, 32)
	return n, err == nil
}

func between(v string, low, high float64) bool {
	n, err := strconv.ParseFloat(strings.TrimPrefix(v, "+"), 64)
	return err == nil && n >= low && n <= high
}

// normalBoolean is how the aggregate import stores a truth value, before the
// value is checked.
func normalBoolean(valueType, v string) string {
	if valueType != "BOOLEAN" && valueType != "TRUE_ONLY" {
		return v
	}
	switch strings.ToLower(v) {
	case "1", "t", "true":
		return "true"
	case "0", "f", "false":
		return "false"
	}
	return v
}

func isNumericType(t string) bool {
	switch t {
	case "INTEGER", "INTEGER_POSITIVE", "INTEGER_NEGATIVE", "INTEGER_ZERO_OR_POSITIVE", "NUMBER", "UNIT_INTERVAL", "PERCENTAGE":
		return true
	}
	return false
}

// insignificant tells whether a value is a zero that the server does not keep.
func (d *dataElement) insignificant(v string) bool {
	return !d.zeroSignificant && isNumericType(d.valueType) && d.aggregation != "AVERAGE" && d.aggregation != "AVERAGE_SUM_ORG_UNIT" && zero.MatchString(v)
}
