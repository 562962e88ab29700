package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
)

// TestOldDeliveriesGoToTheArchiveAndAreFoundThere walks through the commands:
// two deliveries of two years ago ended, one is held.
func TestOldDeliveriesGoToTheArchiveAndAreFoundThere(t *testing.T) {
	dir := t.TempDir()
	data, site := filepath.Join(dir, "data"), filepath.Join(dir, "site.yaml")
	if err := os.WriteFile(site, []byte("zone: Africa/Nairobi\nkeep: {content: 30 days, deliveries: 365 days}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	then := time.Now().AddDate(-2, 0, 0)
	ids := oldDeliveries(t, data, then)
	kiungo := func(args ...string) string {
		t.Helper()
		out, code := run(t, append(args, "--data", data, "--site", site, "--integrations", dir)...)
		if code != 0 {
			t.Fatalf("%v: %d\n%s", args, code, out)
		}
		return out
	}
	if out := kiungo("archive"); !strings.Contains(out, "nothing is in the archive") {
		t.Error(out)
	}
	if out := kiungo("archive", "--now"); !strings.Contains(out, "2 contents wiped, 2 messages archived") {
		t.Error(out)
	}
	if out := kiungo("archive"); !strings.Contains(out, "ledger-"+then.UTC().Format("2006-01")+".db") || !strings.Contains(out, "  2  ") {
		t.Error(out)
	}
	if out := kiungo("deliveries"); strings.Contains(out, "done") || !strings.Contains(out, "held") {
		t.Error(out)
	}
	if out := kiungo("deliveries", "--archived", "--state", "done"); !strings.Contains(out, fmt.Sprint(ids[0])) || strings.Contains(out, "refused") {
		t.Error(out)
	}
	if out := kiungo("deliveries", fmt.Sprint(ids[0])); !strings.Contains(out, "archived") || !strings.Contains(out, "wiped") || !strings.Contains(out, "state    done") {
		t.Error(out)
	}
	out, code := run(t, "retry", fmt.Sprint(ids[1]), "--data", data)
	if code == 0 || !strings.Contains(out, "in the archive") {
		t.Errorf("%d: %s", code, out)
	}
	var counts []countRow
	if err := json.Unmarshal([]byte(kiungo("deliveries", "--counts", "--json")), &counts); err != nil || len(counts) != 3 {
		t.Errorf("%+v, %v", counts, err)
	}
}

// oldDeliveries makes a ledger of long ago, that has been at work since.
func oldDeliveries(t *testing.T, data string, then time.Time) (ids []int64) {
	t.Helper()
	ctx := t.Context()
	l, err := store.OpenSQLite(ctx, data, store.Options{Clock: func() time.Time { return then }})
	if err != nil {
		t.Fatal(err)
	}
	for i, state := range []ledger.State{ledger.Done, ledger.Refused, ledger.Held} {
		got, err := l.Accept(ctx, []ledger.Arrival{{System: "commcare",
			Incoming: connector.Incoming{Kind: "form", Doc: fmt.Sprintf("f%d", i), Version: "1", Content: []byte("{}")},
			Routes:   []ledger.Route{{Flow: "i05/visit", Lanes: []string{fmt.Sprintf("person:%d", i)}, Systems: []string{"openmrs"}}}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		w, err := l.Start(ctx, got[0].Lanes[0], l.Now())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.End(ctx, w, ledger.End{State: state}, l.Now()); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, w.Delivery.ID)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = store.OpenSQLite(ctx, data, store.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := l.Audit(ctx, ledger.Audit{Who: "amina", Act: "looked"}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return ids
}
