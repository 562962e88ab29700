package store

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestTheLogIsWrittenTogetherAndReadByOthers: commits of all sizes, some larger
// than what is gathered, some taken back, are read by another connection, in
// this process and after the log was copied.
func TestTheLogIsWrittenTogetherAndReadByOthers(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log.db")
	w, err := openWriter(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	must := func(q string, args ...any) {
		t.Helper()
		if _, err := w.exec(q, args...); err != nil {
			t.Fatal(err)
		}
	}
	must("CREATE TABLE x (id INTEGER PRIMARY KEY, body BLOB)")
	if len(logs.files) == 0 {
		t.Fatal("nothing is gathered")
	}
	r, err := openReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	count := func(c *sqliteConn) (n, size int64) {
		t.Helper()
		if err := c.each("SELECT COUNT(*), COALESCE(SUM(length(body)), 0) FROM x", func(r row) (bool, error) {
			n, size = r.int(0), r.int(1)
			return true, nil
		}); err != nil {
			t.Fatal(err)
		}
		return n, size
	}
	var rows, bytesIn int64
	for i, kb := range []int{1, 5, 60, 95, 96, 97, 128, 500, 511, 512, 513, 1024, 3000, 1} {
		body := bytes.Repeat([]byte{byte(i)}, kb<<10)
		must("BEGIN IMMEDIATE")
		must("INSERT INTO x (body) VALUES (?)", body)
		must("ROLLBACK")
		must("BEGIN IMMEDIATE")
		must("INSERT INTO x (body) VALUES (?)", body)
		if n, _ := count(r); n != rows {
			t.Fatalf("a reader sees %d rows before the commit of row %d", n, rows+1)
		}
		must("COMMIT")
		rows, bytesIn = rows+1, bytesIn+int64(len(body))
		if n, size := count(r); n != rows || size != bytesIn {
			t.Fatalf("after %d kB: %d rows of %d bytes, not %d of %d", kb, n, size, rows, bytesIn)
		}
		if i == 6 {
			must("PRAGMA wal_checkpoint(TRUNCATE)")
		}
	}
	// What a kill would leave is whole: the files as they are, in another place.
	other := filepath.Join(t.TempDir(), "log.db")
	for _, part := range []string{"", "-wal"} {
		b, err := os.ReadFile(path + part)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(other+part, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := openWriter(other)
	if err != nil {
		t.Fatal(err)
	}
	if n, size := count(c); n != rows || size != bytesIn {
		t.Errorf("in a copy: %d rows of %d bytes, not %d of %d", n, size, rows, bytesIn)
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
	if n := fmt.Sprint(len(logs.files)); n != "1" {
		t.Errorf("%s logs are gathered, not one", n)
	}
}
