package openmrs

import (
	"testing"
	"time"
)

func TestMomentsAreReadInAllDialects(t *testing.T) {
	zone := time.FixedZone("EAT", 3*3600)
	for text, want := range map[string]string{
		"2024-06-03T09:20:00.000+0300":  "2024-06-03T06:20:00Z", // OpenMRS
		"2024-06-03T09:20:00.000+03:00": "2024-06-03T06:20:00Z", // CommCare
		"2024-06-03T09:20:00.987654Z":   "2024-06-03T09:20:00Z", // cut, never rounded
		"2024-06-03T09:20:00Z":          "2024-06-03T09:20:00Z",
		"2024-06-03 09:20:00":           "2024-06-03T06:20:00Z",
		"2024-06-03T09:20":              "2024-06-03T06:20:00Z",
		"2024-06-03T23:59:59.999+0530":  "2024-06-03T18:29:59Z",
		"2024-06-03":                    "",
		"03/06/2024":                    "",
		"":                              "",
		"0001-01-01T00:00:00Z":          "",
	} {
		got := ""
		if at, err := parseMoment(text, zone); err == nil {
			got = canonMoment(at)
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := wireMoment("2024-06-03T06:20:00Z", zone); got != "2024-06-03T09:20:00.000+0300" {
		t.Errorf("on the wire: %s", got)
	}
}

// TestADayIsNeverShifted: opensrp-server 299, coreapps 433 and 471.
func TestADayIsNeverShifted(t *testing.T) {
	for text, want := range map[string]string{
		"1975-04-08T00:00:00.000+0530": "1975-04-08",
		"1988-05-17T00:00:00.000+0300": "1988-05-17",
		"1936-12-04T00:00:00.000+0000": "1936-12-04",
		"":                             "",
		"null":                         "",
	} {
		if got := dayFromWire(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
	for text, want := range map[string]string{"1994-04-08": "1994-04-08", " 1994-04-08 ": "1994-04-08", "1994-04-08T23:00:00+03:00": "1994-04-08", "1994-02-30": "", "8.4.1994": ""} {
		got, _ := parseDay(text)
		if got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func FuzzMoment(f *testing.F) {
	for _, s := range []string{"2024-06-03T09:20:00.000+0300", "2024-06-03", "9999-12-31T23:59:59-1200", "T", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if at, err := parseMoment(s, time.UTC); err == nil {
			c := canonMoment(at)
			again, err := parseMoment(c, time.UTC)
			if err != nil || canonMoment(again) != c {
				t.Errorf("%q: %q is not read back: %v", s, c, err)
			}
		}
		if d, err := parseDay(s); err == nil && len(d) != 10 {
			t.Errorf("%q: %q", s, d)
		}
		if d := dayFromWire(s); d != "" && d != s[:10] {
			t.Errorf("%q: day %q", s, d)
		}
		_ = clockFromWire(s)
	})
}
