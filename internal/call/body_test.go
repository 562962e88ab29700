package call

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

func TestABodyIsReadUpToAByteMoreThanItMayHave(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789"), keptBody/5) // twice what a buffer keeps
	for _, n := range []int{0, 1, 100, keptBody - 1, keptBody, keptBody + 1, len(long)} {
		for _, most := range []int{0, 50, 100, keptBody - 1, keptBody, keptBody + 1, 2 * len(long)} {
			want := long[:min(n, most+1)]
			got, err := ReadBody(iotest.HalfReader(bytes.NewReader(long[:n])), int64(most))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, at most %d: %d, %v", n, most, len(got), err)
			}
		}
	}
}

func TestABodyIsNotSharedWithTheNextOne(t *testing.T) {
	first, err := ReadBody(bytes.NewReader([]byte("first")), 100)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadBody(bytes.NewReader([]byte("other")), 100); err != nil || string(first) != "first" {
		t.Errorf("%q, %v", first, err)
	}
}

func TestABodyThatBreaksOffIsAnError(t *testing.T) {
	broken := errors.New("the connection ended")
	for _, n := range []int{10, keptBody + 10} {
		r := io.MultiReader(bytes.NewReader(make([]byte, n)), iotest.ErrReader(broken))
		if _, err := ReadBody(r, 1<<30); !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}
