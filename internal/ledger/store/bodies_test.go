package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// bodyFiles lists the files of large contents.
func bodyFiles(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "files"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, path)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return out
}

func largeArrival(doc string, size int) []ledger.Arrival {
	a := arrival1(doc)
	a[0].Content = noise("Wanjiku.", size)
	return a
}

// noise is content that no compression makes smaller, with a marker in it.
func noise(marker string, size int) []byte {
	out := make([]byte, size)
	seed := rand.New(rand.NewPCG(1, 2))
	for i := range out {
		out[i] = byte(seed.Uint32())
	}
	copy(out, marker)
	return out
}

func TestLargeContentIsASealedFileOfItsOwn(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	s := openAt(t, dir, Options{Clock: func() time.Time { return now }, MinFree: -1})
	small, err := s.Accept(t.Context(), largeArrival("f0", largeBody-8), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := bodyFiles(t, dir); len(got) != 0 {
		t.Fatalf("a small content is in %v", got)
	}
	in := largeArrival("f1", largeBody)
	got, err := s.Accept(t.Context(), in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.Accept(t.Context(), in, nil); err != nil || !again[0].Duplicate {
		t.Fatalf("%+v, %v", again, err)
	}
	files := bodyFiles(t, dir)
	if len(files) != 1 || filepath.Base(files[0]) != fmt.Sprint(got[0].Message) {
		t.Fatalf("files %v of message %d", files, got[0].Message)
	}
	b, err := os.ReadFile(files[0])
	if err != nil || len(b) < largeBody || bytes.Contains(b, []byte("Wanjiku")) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	check := func(id int64, want bool) {
		t.Helper()
		m, err := s.Message(t.Context(), id)
		if err != nil || m.Wiped == want || want && !bytes.Equal(m.Content, in[0].Content) {
			t.Errorf("message %d: %d bytes, wiped %t, %v", id, len(m.Content), m.Wiped, err)
		}
	}
	check(got[0].Message, true)
	// It is there when the delivery runs.
	for range 2 {
		w, err := s.Start(t.Context(), got[0].Lanes[0], s.Now())
		if err != nil || w == nil {
			t.Fatal(w, err)
		}
		if w.Message.ID == got[0].Message && !bytes.Equal(w.Message.Content, in[0].Content) {
			t.Errorf("%d bytes to run with", len(w.Message.Content))
		}
		next, err := s.End(t.Context(), w, ledger.End{State: ledger.Done}, s.Now())
		if err != nil {
			t.Fatal(err)
		}
		if next != nil {
			if err := s.Release(t.Context(), next); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The archive takes it into its own file.
	later, err := s.Accept(t.Context(), largeArrival("f2", largeBody), nil)
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * 24 * time.Hour)
	kept, err := s.Keep(t.Context(), now, ledger.Keep{Deliveries: 24 * time.Hour}, -1)
	if err != nil || kept.Archived != 2 {
		t.Fatalf("%+v, %v", kept, err)
	}
	if left := bodyFiles(t, dir); len(left) != 1 || filepath.Base(left[0]) != fmt.Sprint(later[0].Message) {
		t.Errorf("files %v", left)
	}
	check(got[0].Message, true)
	check(later[0].Message, true)
	_ = small
	// Wiping removes it.
	w, err := s.Start(t.Context(), later[0].Lanes[0], s.Now())
	if err != nil || w == nil {
		t.Fatal(w, err)
	}
	if _, err := s.End(t.Context(), w, ledger.End{State: ledger.Done}, s.Now()); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * 24 * time.Hour)
	if kept, err := s.Keep(t.Context(), now, ledger.Keep{Content: 24 * time.Hour}, -1); err != nil || kept.Wiped != 1 {
		t.Fatalf("%+v, %v", kept, err)
	}
	if left := bodyFiles(t, dir); len(left) != 0 {
		t.Errorf("files %v", left)
	}
	check(later[0].Message, false)
}

// TestALargeContentIsWholeOrNotThere kills the process before and after its
// file and its commit.
func TestALargeContentIsWholeOrNotThere(t *testing.T) {
	for point, stored := range map[string]bool{"filed": false, "before commit": false, "after commit": true} {
		t.Run(point, func(t *testing.T) {
			dir := t.TempDir()
			armed := false
			s := openAt(t, dir, Options{MinFree: -1, Fault: func(p string) error {
				if armed && p == point {
					return errors.New("killed")
				}
				return nil
			}})
			if _, err := s.Accept(t.Context(), largeArrival("f0", largeBody), nil); err != nil {
				t.Fatal(err)
			}
			armed = true
			in := largeArrival("f1", largeBody)
			if _, err := s.Accept(t.Context(), in, nil); err == nil {
				t.Fatal("it was not killed")
			}
			if n := len(bodyFiles(t, dir)); n != 2 {
				t.Fatalf("%d files at the kill", n)
			}
			s.Close()
			s = openAt(t, dir, Options{MinFree: -1})
			want := 1
			if stored {
				want = 2
			}
			if n := len(bodyFiles(t, dir)); n != want {
				t.Errorf("%d files after the restart, not %d", n, want)
			}
			got, err := s.Accept(t.Context(), in, nil)
			if err != nil || got[0].Duplicate != stored {
				t.Fatalf("%+v, %v", got, err)
			}
			m, err := s.Message(t.Context(), got[0].Message)
			if err != nil || !bytes.Equal(m.Content, in[0].Content) {
				t.Errorf("%d bytes, %v", len(m.Content), err)
			}
			if n := len(bodyFiles(t, dir)); n != 2 {
				t.Errorf("%d files in the end", n)
			}
		})
	}
}

// TestALargeContentDoesNotKeepTheWriter: others commit while its file is
// written (law 36).
func TestALargeContentDoesNotKeepTheWriter(t *testing.T) {
	written, others := make(chan struct{}), make(chan struct{})
	s := openAt(t, t.TempDir(), Options{MinFree: -1, Fault: func(p string) error {
		if p == "filed" {
			close(written)
			<-others
		}
		return nil
	}})
	large := make(chan error, 1)
	go func() {
		_, err := s.Accept(t.Context(), largeArrival("large", 20<<20), nil)
		large <- err
	}()
	<-written
	for i := range 20 {
		if _, err := s.Accept(t.Context(), arrival1(fmt.Sprintf("f%d", i)), nil); err != nil {
			t.Error(err)
		}
	}
	close(others)
	if err := <-large; err != nil {
		t.Error(err)
	}
}

func TestARefusedMessageLeavesNoFile(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir, Options{MinFree: -1})
	adv := &ledger.Advance{System: "commcare", Stream: "forms", Old: []byte("1"), New: []byte("2")}
	if _, err := s.Accept(t.Context(), largeArrival("f1", largeBody), adv); !errors.Is(err, ledger.ErrMoved) {
		t.Fatal(err)
	}
	if left := bodyFiles(t, dir); len(left) != 0 {
		t.Errorf("files %v", left)
	}
}
