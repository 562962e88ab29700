package control

import (
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/internal/ledger/store"
)

// TestABackupIsOrderedFromAfar has the running server make one, with its
// progress, and tells what goes wrong there.
func TestABackupIsOrderedFromAfar(t *testing.T) {
	s := newSite(t)
	s.begin(t, "a")
	to := t.TempDir()
	seen := 0
	made, err := s.remote.Backup(t.Context(), BackupRequest{To: to, Who: "amina"}, func(store.Progress) { seen++ })
	if err != nil {
		t.Fatal(err)
	}
	folder, m, err := store.FindBackup(to)
	if err != nil || folder != made.Folder || m.Messages != 1 || made.Manifest.Messages != 1 || seen == 0 {
		t.Errorf("%s, %+v, %d steps, %v", folder, made, seen, err)
	}
	audits, err := s.Audits(t.Context(), 0, 0, 1)
	if err != nil || audits[0].Act != "backup" || audits[0].Who != "amina" {
		t.Error(audits, err)
	}
	if _, err := s.remote.Backup(t.Context(), BackupRequest{To: "/dev/null/x"}, nil); err == nil || !strings.Contains(err.Error(), "backup to /dev/null/x") {
		t.Errorf("backed up into nothing: %v", err)
	}
}
