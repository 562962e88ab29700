package seal

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"
)

func TestWhatIsSealedIsCompressedWhereThatSavesAndReadAlways(t *testing.T) {
	ring := Temporary()
	place := Row("plan", 1, "body")
	long := bytes.Repeat([]byte(`{"name":"a","value":"b"},`), 400)
	sealed := ring.Main().Seal(place, long)
	if len(sealed) > len(long)/3 {
		t.Errorf("%d bytes became %d", len(long), len(sealed))
	}
	if ring.Main().Seal(place, long[:100])[0]&0x80 != 0 {
		t.Error("a short text was compressed")
	}
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "part")
		plain := append(bytes.Repeat(part, rapid.IntRange(0, 30).Draw(t, "times")), rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "rest")...)
		got, err := ring.Main().Open(place, ring.Main().Seal(place, plain))
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%d bytes: %v", len(plain), err)
		}
	})
}

// TestAMarkThatWasChangedOpensNothing: the mark of compressed values stands
// before what is authenticated.
func TestAMarkThatWasChangedOpensNothing(t *testing.T) {
	ring := Temporary()
	place := Row("plan", 1, "body")
	for _, plain := range [][]byte{[]byte("short"), bytes.Repeat([]byte("long "), 100)} {
		sealed := ring.Main().Seal(place, plain)
		binary.BigEndian.PutUint16(sealed, binary.BigEndian.Uint16(sealed)^packed)
		if got, err := ring.Main().Open(place, sealed); err == nil {
			t.Errorf("%d bytes were opened as %d", len(plain), len(got))
		}
	}
}
