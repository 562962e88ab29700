package seal

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestSealedValueOpensOnlyInItsPlace(t *testing.T) {
	r := Temporary()
	for _, b := range []*Box{r.Main(), r.Box(NewSalt())} {
		s := b.Seal(Row("message", 7, "body"), []byte("Wanjiku"))
		if bytes.Contains(s, []byte("Wanjiku")) {
			t.Fatal("the text is in the sealed value")
		}
		got, err := b.Open(Row("message", 7, "body"), s)
		if err != nil || string(got) != "Wanjiku" {
			t.Fatalf("open: %q, %v", got, err)
		}
		for name, place := range map[string][]byte{"row": Row("message", 8, "body"), "column": Row("message", 7, "head"), "table": Row("plan", 7, "body")} {
			if _, err := b.Open(place, s); !errors.Is(err, ErrSealed) {
				t.Errorf("another %s opens it: %v", name, err)
			}
		}
	}
}

func TestAnotherSaltIsAnotherKey(t *testing.T) {
	r := Temporary()
	s := r.Box(NewSalt()).Seal(nil, []byte("x"))
	for name, b := range map[string]*Box{"other salt": r.Box(NewSalt()), "no salt": r.Main(), "other ring": Temporary().Main()} {
		if _, err := b.Open(nil, s); !errors.Is(err, ErrSealed) {
			t.Errorf("%s opens it: %v", name, err)
		}
	}
}

func TestNilStaysNilAndEmptyStaysEmpty(t *testing.T) {
	b := Temporary().Main()
	if b.Seal(nil, nil) != nil {
		t.Error("nil was sealed")
	}
	got, err := b.Open(nil, b.Seal(nil, []byte{}))
	if err != nil || got == nil || len(got) != 0 {
		t.Errorf("empty came back as %#v, %v", got, err)
	}
}

func TestMacTellsPartsApart(t *testing.T) {
	r := Temporary()
	if bytes.Equal(r.Mac("lane", "ab", "c"), r.Mac("lane", "a", "bc")) {
		t.Error("parts run together")
	}
	if bytes.Equal(r.Mac("lane", "a"), r.Mac("link", "a")) {
		t.Error("two uses give one hash")
	}
	if !bytes.Equal(r.Mac("lane", "a"), r.Mac("lane", "a")) {
		t.Error("not repeatable")
	}
}

// TestAnAddedKeyIsUsedWhenSaidSo, and what older keys sealed stays readable; a
// keyring that has the key, and does not use it yet, reads what it seals.
func TestAnAddedKeyIsUsedWhenSaidSo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	old, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	salt := NewSalt()
	s, m := old.Box(salt).Seal(nil, []byte("x")), old.Mac("a", "b")
	if id, err := Add(path); err != nil || id != 2 {
		t.Fatal(id, err)
	}
	added, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := old.Box(salt).Open(nil, added.Box(salt).Seal(nil, []byte("x"))); err != nil || string(got) != "x" {
		t.Errorf("the new key is used already: %q, %v", got, err)
	}
	if id, err := Use(path); err != nil || id != 2 {
		t.Fatal(id, err)
	}
	keys, err := Keys(path)
	if err != nil || len(keys) != 2 || keys[0].Used || !keys[1].Used || keys[1].Made.IsZero() {
		t.Errorf("%+v, %v", keys, err)
	}
	now, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := added.Box(salt).Open(nil, now.Box(salt).Seal(nil, []byte("x"))); err != nil || string(got) != "x" {
		t.Errorf("a node that knows the key does not read it: %q, %v", got, err)
	}
	if got, err := now.Box(salt).Open(nil, s); err != nil || string(got) != "x" {
		t.Fatalf("old value: %q, %v", got, err)
	}
	if !bytes.Equal(m, now.Mac("a", "b")) {
		t.Error("rotation changed the look-up hashes")
	}
	if _, err := old.Box(salt).Open(nil, now.Box(salt).Seal(nil, []byte("x"))); !errors.Is(err, ErrSealed) {
		t.Errorf("the old keyring opens a value of the new key: %v", err)
	}
}

func TestKeyringIsGuarded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "keys.json")
	if _, err := Load(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := Create(path); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a keyring was overwritten: %v", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil {
		t.Error("a keyring that others can read was accepted")
	}
	if err := os.WriteFile(path, []byte(`{"keys":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	os.Chmod(path, 0o600)
	if _, err := Load(path); err == nil {
		t.Error("an empty keyring was accepted")
	}
}

func TestKeyFileComesFromTheEnvironment(t *testing.T) {
	t.Setenv(EnvKeyFile, "")
	if got := Path("/data"); got != "/data/keys.json" {
		t.Error(got)
	}
	t.Setenv(EnvKeyFile, "/run/keys")
	if got := Path("/data"); got != "/run/keys" {
		t.Error(got)
	}
}

func BenchmarkSeal(b *testing.B) {
	r := Temporary()
	plain := make([]byte, 300)
	b.Run("main", func(b *testing.B) {
		for b.Loop() {
			r.Main().Seal(Row("journal", 1, "data"), plain)
		}
	})
	b.Run("box", func(b *testing.B) {
		salt := NewSalt()
		for b.Loop() {
			r.Box(salt)
		}
	})
	b.Run("mac", func(b *testing.B) {
		for b.Loop() {
			r.Mac("lane", "person:commcare:0123456789")
		}
	})
}

// TestACredentialOfSystemdMayShowAGroupsRight: systemd lets the service's user
// read it by an ACL; the same file elsewhere is refused.
func TestACredentialOfSystemdMayShowAGroupsRight(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "keyring")
	if _, err := Create(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o440); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil {
		t.Error("a keyring that a group can read was taken")
	}
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	if _, err := Load(path); err != nil {
		t.Errorf("a credential was refused: %v", err)
	}
	if err := os.Chmod(path, 0o444); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil {
		t.Error("a credential that all can read was taken")
	}
}
