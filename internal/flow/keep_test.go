package flow

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
)

func TestHowLongASiteKeepsThings(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		yaml    string
		want    Retention
		problem string
	}{
		{yaml: "", want: Retention{90 * day, 365 * day}},
		{yaml: "keep: {content: 30 days}", want: Retention{30 * day, 365 * day}},
		{yaml: "keep: {deliveries: ever}", want: Retention{90 * day, 0}},
		{yaml: "keep: {content: ever, deliveries: 100 days}", want: Retention{0, 100 * day}},
		{yaml: "keep: {content: 200 days, deliveries: 100 days}", problem: "content cannot be kept longer"},
		{yaml: "keep: {content: 2 hours}", problem: "too short"},
		{yaml: "keep: {content: long}", problem: "no span of time"},
		{yaml: "keep: {contents: 3 days}", problem: "contents"},
	} {
		path := filepath.Join(t.TempDir(), "site.yaml")
		if err := os.WriteFile(path, []byte("zone: Africa/Nairobi\n"+c.yaml+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		s, problems := LoadSite(path, connector.Registry{})
		if c.problem != "" {
			if problems.Errors() == 0 || !strings.Contains(problems.String(), c.problem) {
				t.Errorf("%s: %v", c.yaml, problems)
			}
			continue
		}
		if problems.Errors() > 0 || s.Keep != c.want {
			t.Errorf("%q: %+v, %v", c.yaml, s.Keep, problems)
		}
	}
}
