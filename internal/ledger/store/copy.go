package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A ledger is copied between databases table by table, in the order of the
// primary keys, in chunks that are committed together with how far they came:
// whatever kills it, it goes on from there. At the end what was written is read
// back and compared.

// copied is a table that is copied.
type copied struct {
	name string
	cols []column
	key  []int // positions of the primary key's columns
}

// notCopied are tables that are carried over by themselves (one row, or not of
// another copy) or that belong to one copy only.
var notCopied = []string{"schema_version", "clock", "setting", "leader", "gone_file"}

// tablesOf lists the tables of this version of the program with their primary
// keys: those of SQLite, which PostgreSQL all has.
func tablesOf() ([]copied, error) {
	c, err := openSQLiteConn(":memory:", false)
	if err != nil {
		return nil, err
	}
	defer c.close()
	if err := migrate(c, sqliteDialect); err != nil {
		return nil, err
	}
	var out []copied
	if err := c.each(`SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name`, func(r row) (bool, error) {
		if name := r.text(0); !slices.Contains(notCopied, name) && !strings.HasPrefix(name, "sqlite_") {
			out = append(out, copied{name: name})
		}
		return true, nil
	}); err != nil {
		return nil, err
	}
	for i := range out {
		t := &out[i]
		if t.cols, err = columnsOf(c, t.name, false); err != nil {
			return nil, err
		}
		if err := c.each(`SELECT cid FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk`, func(r row) (bool, error) {
			t.key = append(t.key, int(r.int(0)))
			return true, nil
		}, t.name); err != nil {
			return nil, err
		}
		if len(t.key) == 0 {
			return nil, fmt.Errorf("table %s has no primary key and cannot be copied in parts", t.name)
		}
	}
	return out, nil
}

// progress is the setting "moving" of a ledger that is being copied here.
type progress struct {
	From   string             `json:"from"` // in words, without a password
	Ledger string             `json:"ledger"`
	At     int64              `json:"at"` // where the source stood: it must not have gone on
	Tables map[string]*howFar `json:"tables"`
}

// howFar a table has been copied.
type howFar struct {
	Done bool      `json:"done"`
	Rows int64     `json:"rows"`
	Sum  checksum  `json:"sum"`
	Key  []keyPart `json:"key,omitempty"` // of the last row
}

// keyPart is a value of a primary key: a number, a text or bytes in hex.
type keyPart struct {
	N *int64  `json:"n,omitempty"`
	T *string `json:"t,omitempty"`
	B *string `json:"b,omitempty"`
}

func partOf(v any) keyPart {
	switch v := v.(type) {
	case int64:
		return keyPart{N: &v}
	case string:
		return keyPart{T: &v}
	case []byte:
		x := hex.EncodeToString(v)
		return keyPart{B: &x}
	}
	return keyPart{}
}

func (k keyPart) value() (any, error) {
	switch {
	case k.N != nil:
		return *k.N, nil
	case k.T != nil:
		return *k.T, nil
	case k.B != nil:
		return hex.DecodeString(*k.B)
	}
	return nil, errors.New("a part of the key is missing")
}

// literal writes a key's value into a statement that takes no arguments.
func (k keyPart) literal() string {
	switch {
	case k.N != nil:
		return fmt.Sprintf("%d", *k.N)
	case k.T != nil:
		return "'" + strings.ReplaceAll(*k.T, "'", "''") + "'"
	case k.B != nil:
		return `'\x` + *k.B + `'::bytea`
	}
	return "NULL"
}

// checksum of rows is the sum of their SHA-256, as four numbers: it does not
// depend on their order, and goes on after an interruption.
type checksum [4]uint64

func (s *checksum) add(row []any) {
	h := sha256.New()
	var n [9]byte
	for _, v := range row {
		switch v := v.(type) {
		case nil:
			h.Write([]byte{'-'})
		case int64:
			n[0] = 'i'
			binary.BigEndian.PutUint64(n[1:], uint64(v))
			h.Write(n[:])
		case string:
			n[0] = 't'
			binary.BigEndian.PutUint64(n[1:], uint64(len(v)))
			h.Write(n[:])
			h.Write([]byte(v))
		case []byte:
			n[0] = 'b'
			binary.BigEndian.PutUint64(n[1:], uint64(len(v)))
			h.Write(n[:])
			h.Write(v)
		}
	}
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	for i := range s {
		s[i] += binary.BigEndian.Uint64(sum[8*i:])
	}
}

// MarshalText gives a checksum in hex.
func (s checksum) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%016x%016x%016x%016x", s[0], s[1], s[2], s[3]), nil
}

// UnmarshalText reads it.
func (s *checksum) UnmarshalText(b []byte) error {
	raw, err := hex.DecodeString(string(b))
	if err != nil || len(raw) != 32 {
		return fmt.Errorf("%q is no checksum", b)
	}
	for i := range s {
		s[i] = binary.BigEndian.Uint64(raw[8*i:])
	}
	return nil
}

// source gives the rows of a table, after a key, in the order of the keys.
type source interface {
	rows(ctx context.Context, t *copied, after []keyPart, f func(row []any) (more bool, err error)) error
}

// sink takes rows. What was put since begin is durable when commit returns,
// with the progress.
type sink interface {
	source // to read back
	put(t *copied, rows [][]any, progress []byte) error
}

const (
	// A chunk is so many rows at most, and about so many bytes.
	chunkRows  = 5000
	chunkBytes = 8 << 20
)

// copier copies tables.
type copier struct {
	from   source
	to     sink
	tables []copied
	p      *progress
	tell   func(Progress)
	// fault, for tests, is asked after each chunk; an error stops the copy there.
	fault func() error
	rows  int // of a chunk, for tests; 0: chunkRows
}

// run copies what is not there yet.
func (c *copier) run(ctx context.Context) error {
	if c.rows == 0 {
		c.rows = chunkRows
	}
	for i := range c.tables {
		t := &c.tables[i]
		at := c.p.Tables[t.name]
		if at == nil {
			at = &howFar{}
			c.p.Tables[t.name] = at
		}
		if at.Done {
			continue
		}
		if err := c.table(ctx, t, at); err != nil {
			return fmt.Errorf("copy %s: %w", t.name, err)
		}
	}
	return nil
}

func (c *copier) table(ctx context.Context, t *copied, at *howFar) error {
	var chunk [][]any
	size := 0
	flush := func(done bool) error {
		next := *at
		for _, r := range chunk {
			next.Sum.add(r)
		}
		next.Rows += int64(len(chunk))
		next.Done = done
		if len(chunk) > 0 {
			last := chunk[len(chunk)-1]
			next.Key = nil
			for _, k := range t.key {
				next.Key = append(next.Key, partOf(last[k]))
			}
		}
		before := *at
		*at = next
		b, err := json.Marshal(c.p)
		if err == nil {
			err = c.to.put(t, chunk, b)
		}
		if err != nil {
			*at = before
			return err
		}
		chunk, size = chunk[:0], 0
		tell(c.tell, Progress{Doing: "copy " + t.name, Done: at.Rows})
		if c.fault != nil {
			return c.fault()
		}
		return nil
	}
	err := c.from.rows(ctx, t, at.Key, func(r []any) (bool, error) {
		chunk = append(chunk, r)
		size += sizeOf(r)
		if len(chunk) < c.rows && size < chunkBytes {
			return true, nil
		}
		return true, errors.Join(ctx.Err(), flush(false))
	})
	if err != nil {
		return err
	}
	return flush(true)
}

func sizeOf(row []any) (n int) {
	for _, v := range row {
		switch v := v.(type) {
		case string:
			n += len(v)
		case []byte:
			n += len(v)
		default:
			n += 8
		}
	}
	return n
}

// verify reads back what was written and compares it with what was read.
func (c *copier) verify(ctx context.Context) error {
	for i := range c.tables {
		t := &c.tables[i]
		var back howFar
		err := c.to.rows(ctx, t, nil, func(r []any) (bool, error) {
			back.Sum.add(r)
			back.Rows++
			if back.Rows%chunkRows == 0 {
				tell(c.tell, Progress{"verify " + t.name, back.Rows, c.p.Tables[t.name].Rows})
			}
			return true, ctx.Err()
		})
		if err != nil {
			return fmt.Errorf("read %s back: %w", t.name, err)
		}
		want := c.p.Tables[t.name]
		if back.Rows != want.Rows || back.Sum != want.Sum {
			return fmt.Errorf("table %s was not copied as it is: %d rows of %d, or other contents; it is not to be used", t.name, back.Rows, want.Rows)
		}
	}
	return nil
}

// selecting gives the statement that reads a table in the order of its keys.
func (t *copied) selecting(pg bool, after string) string {
	keys := make([]string, len(t.key))
	for i, k := range t.key {
		keys[i] = t.cols[k].name
		if pg && t.cols[k].kind == texts {
			keys[i] += ` COLLATE "C"` // as SQLite compares
		}
	}
	q := "SELECT " + columnList(t.cols) + " FROM " + t.name
	if after != "" {
		q += " WHERE (" + strings.Join(keys, ", ") + ") > (" + after + ")"
	}
	return q + " ORDER BY " + strings.Join(keys, ", ")
}
