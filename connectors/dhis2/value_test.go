package dhis2

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/kiungo-health/kiungo/internal/period"
	"github.com/kiungo-health/kiungo/internal/record"
)

func TestUIDsAreToldByTheirForm(t *testing.T) {
	for _, row := range table(t, "testdata/uid/vectors.csv") {
		if want := row[1] == "true"; IsUID(row[0]) != want {
			t.Errorf("%q: %v", row[0], !want)
		}
	}
}

// The same document is the same event for ever: these never change.
func TestAnIDGivesTheSameUIDForEver(t *testing.T) {
	for id, want := range map[string]string{
		"6f3c2f0e-6a55-5b6c-9c4e-3a9d1d1f7c10": "X84FZNs5Kv5",
		"00000000-0000-0000-0000-000000000000": "DJGGOKDCiLG",
		"HllvX50cXC0":                          "HllvX50cXC0",
	} {
		if got := UID(id); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
}

func TestEveryIDGivesAUIDOfItsOwn(t *testing.T) {
	seen := map[string]string{}
	rapid.Check(t, func(t *rapid.T) {
		id := uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")).String()
		uid := UID(id)
		if !IsUID(uid) || UID(uid) != uid {
			t.Fatalf("%s gives %q", id, uid)
		}
		if other, ok := seen[uid]; ok && other != id {
			t.Fatalf("%s and %s both give %s", id, other, uid)
		}
		seen[uid] = id
	})
}

func TestVersionsAreRead(t *testing.T) {
	number := func(s string) int { n, _ := strconv.Atoi(s); return n }
	for _, row := range table(t, "testdata/system/version_strings.csv") {
		v, err := ParseVersion(row[0])
		want := Version{number(row[1]), number(row[2]), number(row[3]), number(row[4]), row[5] == "true"}
		if err != nil || v != want || v.supported() != nil {
			t.Errorf("%s: %+v %v", row[0], v, err)
		}
	}
	for _, bad := range []string{"", "x", "2.x", "2.40.1.2.3", "-1"} {
		if v, err := ParseVersion(bad); err == nil {
			t.Errorf("%q: %+v", bad, v)
		}
	}
	for _, old := range []string{"2.37.9", "36", "3.0"} {
		if v, err := ParseVersion(old); err != nil || v.supported() == nil {
			t.Errorf("%s is taken as supported (%v)", old, err)
		}
	}
}

// The vectors are those of DHIS2's own tests. Those of a blank phone number are
// of its phone check alone: a blank value passes before it is asked.
func TestValuesAreCheckedAsDHIS2Does(t *testing.T) {
	for _, file := range []string{"vectors.csv", "vectors_extra.csv"} {
		for _, row := range table(t, "testdata/value_types/"+file) {
			blank := row[1] == "" || row[1] == " "
			if want := row[2] == "true" || blank; validValue(row[0], row[1]) != want {
				t.Errorf("%s %q: %v", row[0], row[1], !want)
			}
		}
	}
	for _, row := range table(t, "rules/value_types.csv") {
		if _, ok := typeRules[row[0]]; !ok {
			t.Errorf("value type %s has no rule", row[0])
		}
	}
}

func TestAFlowsValuesAreWrittenAsTheValueTypeAsks(t *testing.T) {
	s := opened(t, nil)
	zone, err := time.LoadLocation("Africa/Nairobi")
	if err != nil {
		t.Fatal(err)
	}
	s.zone = zone
	for _, c := range []struct {
		typ   string
		v     any
		codes []string
		want  any // nil: refused
	}{
		{"INTEGER", 24.0, nil, "24"}, {"INTEGER", "24.0", nil, "24"}, {"INTEGER", "24.5", nil, nil}, {"INTEGER", true, nil, nil}, {"INTEGER", 1e12, nil, nil},
		{"INTEGER_ZERO_OR_POSITIVE", 0, nil, "0"}, {"INTEGER_ZERO_OR_POSITIVE", -1, nil, nil},
		{"NUMBER", 3.7, nil, "3.7"}, {"NUMBER", "3,7", nil, nil}, {"PERCENTAGE", 100.5, nil, nil},
		{"BOOLEAN", true, nil, "true"}, {"BOOLEAN", "0", nil, "false"}, {"BOOLEAN", "maybe", nil, nil},
		{"TRUE_ONLY", true, nil, "true"}, {"TRUE_ONLY", false, nil, record.Clear{}},
		{"DATE", "2024-06-03", nil, "2024-06-03"}, {"DATE", "2024-06-03T22:30:00Z", nil, "2024-06-04"}, {"DATE", "2024-13-01", nil, nil},
		{"DATETIME", "2024-06-03T09:20:00Z", nil, "2024-06-03T09:20:00Z"}, {"DATETIME", "2024-06-03", nil, nil},
		{"TEXT", "ANC1", []string{"ANC1", "ANC2"}, "ANC1"}, {"TEXT", "First visit", []string{"ANC1", "ANC2"}, nil},
		{"MULTI_TEXT", []any{"A", "B"}, []string{"A", "B", "C"}, "A,B"}, {"MULTI_TEXT", "A,D", []string{"A"}, nil}, {"MULTI_TEXT", []any{}, nil, record.Clear{}},
		{"TEXT", []any{"A"}, nil, nil}, {"COORDINATE", "[36.8,-1.28]", nil, "[36.8,-1.28]"}, {"NEW_TYPE", "x", nil, "x"},
	} {
		got, takes := s.valueOf(&DataElement{ValueType: c.typ}, c.v, c.codes, period.ISO8601)
		if c.want == nil != (takes != "") || c.want != nil && got != c.want {
			t.Errorf("%s %v: %v (%s), want %v", c.typ, c.v, got, takes, c.want)
		}
	}
}

// A date is written in the server's calendar, or not at all.
func TestDatesAreInTheServersCalendar(t *testing.T) {
	s := opened(t, nil)
	e := &DataElement{ValueType: "DATE"}
	if got, takes := s.valueOf(e, "2023-09-12", nil, period.Ethiopian); got != "2016-01-01" || takes != "" {
		t.Errorf("new year of 2016 in Ethiopia: %v %s", got, takes)
	}
	if got, takes := s.valueOf(e, "2023-09-09", nil, period.Ethiopian); takes == "" {
		t.Errorf("a day in Pagume, on which DHIS2 throws, is written as %v", got)
	}
	if got, takes := s.valueOf(e, "2013-01-01", nil, period.Nepali); got != "2069-09-17" || takes != "" {
		t.Errorf("the first of 2013 in Nepal: %v %s", got, takes)
	}
}

func TestZerosThatDHIS2DropsAreKnown(t *testing.T) {
	for v, want := range map[string]bool{"0": true, "0.0": true, "0.": true, "0.000": true, "00": false, "": false, "0.1": false, "10": false, ".0": false} {
		if isZero(v) != want {
			t.Errorf("%q: %v", v, !want)
		}
	}
	for _, c := range []struct {
		e    DataElement
		want bool
	}{
		{DataElement{ValueType: "INTEGER", Aggregation: "SUM"}, true},
		{DataElement{ValueType: "INTEGER", Aggregation: "SUM", ZeroCounts: true}, false},
		{DataElement{ValueType: "NUMBER", Aggregation: "AVERAGE"}, false},
		{DataElement{ValueType: "NUMBER", Aggregation: "AVERAGE_SUM_ORG_UNIT"}, false},
		{DataElement{ValueType: "TEXT"}, false},
	} {
		if c.e.dropsZero() != c.want {
			t.Errorf("%+v: %v", c.e, !c.want)
		}
	}
}

func FuzzValueOf(f *testing.F) {
	f.Add("INTEGER", "05")
	f.Add("COORDINATE", "[1,2")
	f.Add("USERNAME", "a__b")
	f.Add("DATE", "2024-02-30T")
	s := opened(f, nil)
	f.Fuzz(func(t *testing.T, typ, v string) {
		got, takes := s.valueOf(&DataElement{ValueType: typ}, v, nil, period.ISO8601)
		if text, ok := got.(string); ok && takes == "" && !validValue(typ, text) {
			t.Fatalf("%s %q is written as %q, which DHIS2 refuses", typ, v, text)
		}
	})
}
