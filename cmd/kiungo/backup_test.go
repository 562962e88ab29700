package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/control"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// ledgerIn makes a ledger with a few messages in a data folder.
func ledgerIn(t *testing.T, dir string) {
	t.Helper()
	l, err := store.OpenSQLite(t.Context(), dir, store.Options{MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i := range 3 {
		var a *ledger.Advance
		if i == 1 {
			a = &ledger.Advance{System: "openmrs", Stream: "encounter", New: []byte("7")}
		}
		if _, err := l.Accept(t.Context(), []ledger.Arrival{{System: "commcare", Incoming: connector.Incoming{Kind: "form", Doc: fmt.Sprint(i), Version: "1", Content: []byte("{}")},
			Routes: []ledger.Route{{Flow: "i05/visit", Lanes: []string{fmt.Sprint("person:", i)}, Systems: []string{"openmrs"}}}}}, a); err != nil {
			t.Fatal(err)
		}
	}
}

// says runs a command and checks its exit code and parts of what it says.
func says(t *testing.T, code int, parts []string, args ...string) string {
	t.Helper()
	out, got := run(t, args...)
	if got != code {
		t.Fatalf("kiungo %s: exit %d, %s", strings.Join(args, " "), got, out)
	}
	for _, p := range parts {
		if !strings.Contains(out, p) {
			t.Errorf("kiungo %s: %q is not in\n%s", strings.Join(args, " "), p, out)
		}
	}
	return out
}

// TestBackUpAndRestoreByCommand goes the way of docs/backup.md.
func TestBackUpAndRestoreByCommand(t *testing.T) {
	t.Setenv(seal.EnvKeyFile, "")
	t.Setenv("KIUNGO_DATABASE", "")
	dir, to, fresh := t.TempDir(), t.TempDir(), t.TempDir()
	ledgerIn(t, dir)
	says(t, 2, []string{"--to"}, "backup", "--data", dir)
	says(t, 0, []string{to, "read back and found good", "The keyring is not in it"}, "backup", "--to", to, "--data", dir)
	says(t, 2, []string{"--from"}, "restore", "--data", fresh)
	says(t, 1, []string{"the keyring", "is missing"}, "restore", "--from", to, "--data", fresh)
	says(t, 1, []string{"has a ledger already"}, "restore", "--from", to, "--data", dir)
	keys, err := os.ReadFile(filepath.Join(dir, "keys.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(fresh, "keys.json"), keys, 0o600); err != nil {
		t.Fatal(err)
	}
	says(t, 0, []string{"incarnation 2", "Open: 3 deliveries (3 received)", "asked", "Lost: messages that were pushed", "openmrs", "encounter"}, "restore", "--from", to, "--data", fresh)
	says(t, 0, []string{"i05/visit"}, "deliveries", "--data", fresh)
	says(t, 0, []string{"incarnation 3"}, "restore", "--here", "--data", fresh)
}

// TestTheRunningServerMakesTheBackup orders one at the socket, and refuses what
// needs the server stopped.
func TestTheRunningServerMakesTheBackup(t *testing.T) {
	t.Setenv(seal.EnvKeyFile, "")
	t.Setenv("KIUNGO_DATABASE", "")
	dir, err := os.MkdirTemp("", "k") // the name of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ledgerIn(t, dir)
	l, err := store.OpenSQLite(t.Context(), dir, store.Options{MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() { served <- control.Serve(t.Context(), dir, control.Local{Ledger: l}) }()
	for {
		if _, ok := control.Dial(dir); ok {
			break
		}
		select {
		case err := <-served:
			t.Fatal(err)
		default:
		}
	}
	to := t.TempDir()
	out := says(t, 0, nil, "backup", "--to", to, "--data", dir, "--with-keyring", "--json")
	var made control.Made
	if err := json.Unmarshal([]byte(out), &made); err != nil || made.Manifest.Messages != 3 || !made.Manifest.WithKeyring {
		t.Errorf("%v: %s", err, out)
	}
	says(t, 1, []string{"stop it first"}, "restore", "--here", "--data", dir)
	says(t, 1, []string{"stop it first"}, "move", "--to", "folder:"+t.TempDir(), "--data", dir)
}

// TestAMovedFolderSaysWhereItWent moves from folder to folder and takes it back.
func TestAMovedFolderSaysWhereItWent(t *testing.T) {
	t.Setenv(seal.EnvKeyFile, "")
	t.Setenv("KIUNGO_DATABASE", "")
	dir, to := t.TempDir(), t.TempDir()
	ledgerIn(t, dir)
	says(t, 2, []string{"--to"}, "move", "--data", dir)
	says(t, 1, []string{"move to what?"}, "move", "--to", "mysql://x", "--data", dir)
	says(t, 1, []string{"no ledger"}, "move", "--to", "folder:"+to, "--data", t.TempDir())
	says(t, 0, []string{"read back and found equal", "sealed", "incarnation 2"}, "move", "--to", "folder:"+to, "--data", dir)
	says(t, 1, []string{"was moved to the folder " + to, "--undo"}, "deliveries", "--data", dir)
	says(t, 0, []string{"i05/visit"}, "deliveries", "--data", to)
	says(t, 0, []string{"is the folder " + dir + " again"}, "move", "--undo", "--to", "folder:"+to, "--data", dir)
	says(t, 0, []string{"i05/visit"}, "deliveries", "--data", dir)
	says(t, 1, []string{"was moved to the folder " + dir}, "deliveries", "--data", to)
}
