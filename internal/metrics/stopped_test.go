package metrics

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// TestASystemThatWasRestoredIsShown: from the ledger, so that each node says the
// same, also one that was started since; with the age of what was put away, on
// the node that does that.
func TestASystemThatWasRestoredIsShown(t *testing.T) {
	dir, ring := t.TempDir(), seal.Temporary()
	synctest.Test(t, func(t *testing.T) {
		l, err := store.OpenSQLite(t.Context(), dir, store.Options{Ring: ring, MinFree: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		reg := connector.Registry{"openmrs": {Name: "openmrs", Open: func(connector.Config) (connector.System, error) { return polled{}, nil }}}
		systems := map[string]*flow.System{}
		for _, name := range []string{"openmrs-a", "openmrs-b"} {
			systems[name] = &flow.System{Name: name, Connector: "openmrs", Active: true}
		}
		e, err := engine.New(engine.Options{Ledger: l, Registry: reg, Site: &flow.Site{Zone: time.UTC, Systems: systems}})
		if err != nil {
			t.Fatal(err)
		}
		m := New("1.2.3")
		m.Attach(e, l, nil)
		shows := func(want ...string) {
			t.Helper()
			time.Sleep(lookAgain)
			got := text(t, m)
			for _, w := range want {
				if !strings.Contains(got, "\n"+w+"\n") {
					t.Errorf("there is no %s", w)
				}
			}
		}
		shows(`kiungo_system_stopped{system="openmrs-a"} 0`, `kiungo_system_stopped_seconds{system="openmrs-a"} 0`,
			`kiungo_archive_messages_total{outcome="archived"} 0`, `kiungo_archive_messages_total{outcome="wiped"} 0`, `kiungo_archive_freed_bytes_total 0`)
		if strings.Contains(text(t, m), putAge.name) {
			t.Error("a node that puts nothing away tells an age")
		}
		for _, name := range []string{"openmrs-a", "gone"} {
			if err := l.Stop(t.Context(), ledger.Stopped{System: name, Since: l.Now().Add(-time.Hour), Reason: "it was restored"}); err != nil {
				t.Fatal(err)
			}
		}
		shows(`kiungo_system_stopped{system="openmrs-a"} 1`, `kiungo_system_stopped_seconds{system="openmrs-a"} 3605`, `kiungo_system_stopped{system="openmrs-b"} 0`)
		if strings.Contains(text(t, m), `"gone"`) {
			t.Error("a system that the site does not have any more is shown")
		}
		if err := l.Resume(t.Context(), "openmrs-a", "clerk", ""); err != nil {
			t.Fatal(err)
		}
		shows(`kiungo_system_stopped{system="openmrs-a"} 0`)
	})
}

// TestWhatIsStoppedIsNotGuessed: if the ledger does not say it, nothing is shown.
func TestWhatIsStoppedIsNotGuessed(t *testing.T) {
	c := newLook(&kept{stats: some()}, &engine.Engine{})
	c.stopped = func(context.Context) ([]ledger.Stopped, error) { return nil, errors.New("away") }
	if s, _ := c.stats(); s != nil {
		t.Error("it is shown as if nothing was stopped")
	}
}
