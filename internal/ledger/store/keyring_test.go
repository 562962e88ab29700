package store

import (
	"testing"

	"github.com/kiungo-health/kiungo/internal/seal"
)

// TestALedgerIsReadAndWrittenAfterItsKeyringGotANewKey: what the older key sealed
// stays readable.
func TestALedgerIsReadAndWrittenAfterItsKeyringGotANewKey(t *testing.T) {
	dir, want := livedAndTold(t)
	path := seal.Path(dir)
	if _, err := seal.Add(path); err != nil {
		t.Fatal(err)
	}
	s := opened(t, "", dir)
	same(t, "with a key that is not used yet", want, told(t, s))
	s.Close()
	if _, err := seal.Use(path); err != nil {
		t.Fatal(err)
	}
	s = opened(t, "", dir)
	same(t, "with a new key", want, told(t, s))
	if _, err := s.Accept(t.Context(), numbered1(77), nil); err != nil {
		t.Fatal(err)
	}
	want = told(t, s)
	s.Close()
	s = opened(t, "", dir)
	same(t, "with what two keys sealed", want, told(t, s))
	s.Close()
}
