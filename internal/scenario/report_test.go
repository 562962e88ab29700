package scenario

import (
	"strings"
	"testing"
	"time"
)

func TestMomentsOfTheRunAreNotInTheOutcome(t *testing.T) {
	now := time.Now()
	for _, c := range []struct{ in, want string }{
		{now.UTC().Format(time.RFC3339Nano), "NOW"},
		{now.Format("2006-01-02T15:04:05.000-0700"), "NOW"},
		{now.UTC().Add(-30 * time.Minute).Format("2006-01-02T15:04:05"), "NOW"},
		{now.UTC().AddDate(0, 0, -1).Format(time.RFC3339), ""},
		{"2026-01-05T09:05:21.000+0300", ""},
	} {
		want := c.want
		if want == "" {
			want = c.in
		}
		if got := moments.ReplaceAllStringFunc("at="+c.in+"&x", recent); got != "at="+want+"&x" {
			t.Errorf("%s became %s", c.in, got)
		}
	}
}

func TestADifferenceNamesTheRowThatChanged(t *testing.T) {
	before := `{"patients": [{"uuid": "a", "names": ["x"]}, {"uuid": "b"}]}`
	after := `{"patients": [{"uuid": "a", "names": ["y"]}, {"uuid": "c"}]}`
	got, err := Difference([]byte(before), []byte(after))
	if err != nil {
		t.Fatal(err)
	}
	want := "~ /patients/a/names [\"x\"] => [\"y\"]\n- /patients/b {\"uuid\":\"b\"}\n+ /patients/c {\"uuid\":\"c\"}"
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}
