package main

import (
	"path/filepath"
	"testing"
)

// TestAKeyringIsChangedInTwoSteps: a key is added, and used once every node has it.
func TestAKeyringIsChangedInTwoSteps(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keyring.json")
	says(t, 0, []string{"made " + file}, "keyring", file)
	says(t, 2, []string{"never replaced"}, "keyring", file)
	says(t, 0, []string{"added key 2", "not used yet", "kiungo keyring use " + file}, "keyring", "add", file)
	says(t, 0, []string{"1     ", "seals what is written\n2     "}, "keyring", "show", file)
	says(t, 0, []string{"key 2 seals", "start each"}, "keyring", "use", file)
	says(t, 0, []string{`"id": 2`, `"used": true`}, "keyring", "show", file, "--json")
	says(t, 1, []string{"no such file"}, "keyring", "add", file+"x")
}
