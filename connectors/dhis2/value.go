package dhis2

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/kiungo-health/kiungo/internal/period"
	"github.com/kiungo-health/kiungo/internal/record"
)

// longestValue is the longest text that DHIS2 stores (ValidationUtils).
const longestValue = 50000

var (
	integer  = regexp.MustCompile(`^(0|-?[1-9]\d*)$`)
	decimal  = regexp.MustCompile(`^-?(0|[1-9]\d*)(\.\d+)?(E-?(0|[1-9]\d*))?$`)
	wholeAnd = regexp.MustCompile(`^(-?\d+)\.0+$`)
	dateTime = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}T([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?Z?$`)
	clock    = regexp.MustCompile(`^([0-9]|0[0-9]|1[0-9]|2[0-3]):[0-5][0-9]$`)
	phone    = regexp.MustCompile(`^[0-9+()#.\s/ext-]{6,50}$`)
	userName = regexp.MustCompile(`^[a-zA-Z0-9]([-_.@]?[a-zA-Z0-9])*$`)
)

// typeRule is how one value type is checked, and what it takes, in words.
type typeRule struct {
	takes string
	ok    func(v string) bool
}

// typeRules are the value types of DHIS2 2.38 to 2.42 (ValidationUtils.
// valueIsValid). One that is not here is a newer one, and passes.
var typeRules = map[string]typeRule{
	"TEXT":                     {"text of at most 50000 characters", short},
	"LONG_TEXT":                {"text of at most 50000 characters", short},
	"MULTI_TEXT":               {"codes of its option set, with commas between", short},
	"LETTER":                   {"one letter", oneLetter},
	"NUMBER":                   {"a number, with a decimal point", decimal.MatchString},
	"UNIT_INTERVAL":            {"a number from 0 to 1", between(0, 1)},
	"PERCENTAGE":               {"a number from 0 to 100", between(0, 100)},
	"INTEGER":                  {"a whole number", whole(math.MinInt32)},
	"INTEGER_POSITIVE":         {"a whole number above 0", whole(1)},
	"INTEGER_NEGATIVE":         {"a whole number below 0", func(v string) bool { return whole(math.MinInt32)(v) && strings.HasPrefix(v, "-") }},
	"INTEGER_ZERO_OR_POSITIVE": {"a whole number, 0 or above", whole(0)},
	"PHONE_NUMBER":             {"a phone number of 6 to 50 characters", phone.MatchString},
	"EMAIL":                    {"an e-mail address", email},
	"BOOLEAN":                  {"true or false", func(v string) bool { return strings.EqualFold(v, "true") || strings.EqualFold(v, "false") }},
	"TRUE_ONLY":                {"true, or nothing", func(v string) bool { return strings.EqualFold(v, "true") }},
	"DATE":                     {"a day such as 2024-06-03", date},
	"AGE":                      {"a day such as 2024-06-03", date},
	"DATETIME":                 {"a moment such as 2024-06-03T09:20:00", dateTime.MatchString},
	"TIME":                     {"a time such as 14:30", clock.MatchString},
	"COORDINATE":               {"[longitude,latitude]", coordinate},
	"URL":                      {"a web address", address},
	"USERNAME":                 {"a user name of 4 to 255 characters", func(v string) bool { return len(v) >= 4 && len(v) <= 255 && userName.MatchString(v) }},
	"ORGANISATION_UNIT":        {"the UID of an organisation unit", IsUID},
	"FILE_RESOURCE":            {"the UID of a file", IsUID},
	"IMAGE":                    {"the UID of a file", IsUID},
	"TRACKER_ASSOCIATE":        {"anything", short},
	"REFERENCE":                {"anything", short},
	"GEOJSON":                  {"a GeoJSON geometry", short},
}

// validValue tells whether DHIS2 takes a value for a value type. Blank passes:
// nothing is stored. Dates are those of the ISO calendar.
func validValue(valueType, v string) bool {
	r, ok := typeRules[valueType]
	return strings.TrimSpace(v) == "" || !ok && short(v) || ok && r.ok(v)
}

func short(v string) bool { return len([]rune(v)) <= longestValue }

func oneLetter(v string) bool {
	r := []rune(v)
	return len(r) == 1 && unicode.IsLetter(r[0])
}

func whole(least int64) func(string) bool {
	return func(v string) bool {
		n, err := strconv.ParseInt(v, 10, 32)
		return err == nil && integer.MatchString(v) && n >= least
	}
}

func between(low, high float64) func(string) bool {
	return func(v string) bool {
		f, err := strconv.ParseFloat(v, 64)
		return err == nil && decimal.MatchString(v) && f >= low && f <= high
	}
}

func email(v string) bool {
	a, err := mail.ParseAddress(v)
	return err == nil && a.Address == v && strings.Contains(v[strings.LastIndexByte(v, '@'):], ".")
}

func address(v string) bool {
	u, err := url.Parse(v)
	return err == nil && u.Host != "" && slices.Contains([]string{"http", "https", "ftp"}, u.Scheme)
}

// date checks the form; whether there is such a day is the calendar's.
func date(v string) bool {
	_, err := time.Parse(time.DateOnly, v)
	return err == nil
}

func coordinate(v string) bool {
	_, _, ok := pointOf(v)
	return ok
}

var degrees = regexp.MustCompile(`^[+-]?\d{1,3}(\.\d+)?$`)

// pointOf reads "[longitude,latitude]".
func pointOf(v string) (lng, lat float64, ok bool) {
	inner, open := strings.CutPrefix(v, "[")
	inner, shut := strings.CutSuffix(inner, "]")
	a, b, two := strings.Cut(inner, ",")
	b = strings.TrimPrefix(b, " ")
	if !open || !shut || !two || !degrees.MatchString(a) || !degrees.MatchString(b) {
		return 0, 0, false
	}
	lng, errLng := strconv.ParseFloat(a, 64)
	lat, errLat := strconv.ParseFloat(b, 64)
	return lng, lat, errLng == nil && errLat == nil && math.Abs(lng) <= 180 && math.Abs(lat) <= 90
}

// text reads a wanted value as text; whole numbers are written without a point.
func text(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return strings.TrimSpace(v), true
	case json.Number:
		return v.String(), true
	case int:
		return strconv.Itoa(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), !math.IsNaN(v) && !math.IsInf(v, 0)
	case bool:
		return strconv.FormatBool(v), true
	case time.Time:
		return v.Format(time.RFC3339), true
	}
	return "", false
}

// valueOf writes a wanted value as DHIS2 stores it: text, or record.Clear where
// nothing is to stand there. It tells in words what the value type takes where
// the value is not of it. codes are the option set's, nil where there is none.
func (s *System) valueOf(e *DataElement, v any, codes []string, cal period.Calendar) (any, string) {
	if many, ok := v.([]any); ok {
		return choices(e, many, codes)
	}
	t, ok := text(v)
	takes := cmp.Or(typeRules[e.ValueType].takes, "a value")
	if !ok {
		return nil, takes
	}
	switch e.ValueType {
	case "INTEGER", "INTEGER_POSITIVE", "INTEGER_NEGATIVE", "INTEGER_ZERO_OR_POSITIVE":
		// 24.0 is a whole number; DHIS2 reads only 24.
		if m := wholeAnd.FindStringSubmatch(t); m != nil {
			t = m[1]
		}
	case "BOOLEAN", "TRUE_ONLY":
		b, ok := truth(t)
		if !ok {
			return nil, takes
		}
		if !b && e.ValueType == "TRUE_ONLY" {
			return record.Clear{}, "" // such a value is true or not there
		}
		t = strconv.FormatBool(b)
	case "DATE", "AGE":
		d, err := s.day(t)
		if err != nil {
			return nil, takes
		}
		if t, err = dateIn(cal, d); err != nil {
			return nil, "a day that the server's calendar has (" + err.Error() + ")"
		}
		return t, ""
	}
	if !validValue(e.ValueType, t) {
		return nil, takes
	}
	if codes != nil && e.ValueType == "MULTI_TEXT" {
		var parts []any
		for _, p := range strings.Split(t, ",") {
			parts = append(parts, p)
		}
		return choices(e, parts, codes)
	}
	if codes != nil && !slices.Contains(codes, t) {
		return nil, "a code of its option set"
	}
	return t, ""
}

// choices writes a list of choices.
func choices(e *DataElement, many []any, codes []string) (any, string) {
	if e.ValueType != "MULTI_TEXT" {
		return nil, cmp.Or(typeRules[e.ValueType].takes, "a value") + ", not a list"
	}
	var out []string
	for _, one := range many {
		t, ok := text(one)
		if !ok || strings.Contains(t, ",") || codes != nil && !slices.Contains(codes, t) {
			return nil, "codes of its option set"
		}
		out = append(out, t)
	}
	if len(out) == 0 {
		return record.Clear{}, ""
	}
	return strings.Join(out, ","), ""
}

func truth(t string) (meaning, ok bool) {
	switch strings.ToLower(t) {
	case "true", "1", "t", "yes":
		return true, true
	case "false", "0", "f", "no":
		return false, true
	}
	return false, false
}

// day reads a day, YYYY-MM-DD, or the day of a moment in the programme's zone:
// a form filled at 1 in the morning in Nairobi is of that day, not of the day
// before in UTC.
func (s *System) day(t string) (period.Day, error) {
	if at, err := time.Parse(time.RFC3339, t); err == nil {
		return period.DayOf(at.In(s.zone)), nil
	}
	if len(t) > 10 && (t[10] == 'T' || t[10] == ' ') {
		t = t[:10]
	}
	return period.ParseDay(t)
}

// dateIn writes a day as a date of the server's calendar. DHIS2 throws on a date
// in Pagume, the thirteenth Ethiopian month.
func dateIn(cal period.Calendar, d period.Day) (string, error) {
	y, m, day, err := cal.Civil(d)
	if err != nil {
		return "", err
	}
	if m > 12 {
		return "", fmt.Errorf("DHIS2 has no month %d", m)
	}
	return fmt.Sprintf("%04d-%02d-%02d", y, m, day), nil
}

// isZero tells whether a value is a zero as DHIS2 reads one.
func isZero(v string) bool {
	whole, fraction, _ := strings.Cut(v, ".")
	return whole == "0" && strings.Trim(fraction, "0") == ""
}
