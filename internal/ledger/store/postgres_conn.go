package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// pgConn speaks to PostgreSQL by its own protocol. What a transaction writes
// is gathered and sent with the next statement that reads, or with COMMIT: a
// journal line costs no round trip of its own.
type pgConn struct {
	c       *pgconn.PgConn
	ctx     context.Context // of the statement being run
	stmts   map[string]*pgconn.StatementDescription
	batch   *pgconn.Batch
	waiting int // statements in batch
	binary  []int16
	vals    [][]byte
	scratch []byte
}

const (
	// flushAt is how many statements are gathered at most.
	flushAt = 256
	// connectWithin bounds the making of a connection.
	connectWithin = 10 * time.Second
)

// openPg connects with the settings of a URL and some of its own.
func openPg(ctx context.Context, conf *pgconn.Config, settings map[string]string) (*pgConn, error) {
	conf = conf.Copy()
	maps.Copy(conf.RuntimeParams, settings)
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	c, err := pgconn.ConnectConfig(ctx, conf)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	return &pgConn{c: c, ctx: context.Background(), stmts: map[string]*pgconn.StatementDescription{}, batch: &pgconn.Batch{}}, nil
}

// numbered gives a statement's text with $1 for the first ?, and so on.
func numbered(q string) string {
	if !strings.Contains(q, "?") {
		return q
	}
	var b strings.Builder
	quoted, n := false, 0
	for _, c := range q {
		switch {
		case c == '\'':
			quoted = !quoted
		case c == '?' && !quoted:
			n++
			b.WriteString("$" + strconv.Itoa(n))
			continue
		}
		b.WriteRune(c)
	}
	return b.String()
}

func (c *pgConn) prepare(q string) (*pgconn.StatementDescription, error) {
	if sd, ok := c.stmts[q]; ok {
		return sd, nil
	}
	sd, err := c.c.Prepare(c.ctx, "k"+strconv.Itoa(len(c.stmts)), numbered(q), nil)
	if err != nil {
		return nil, fmt.Errorf("prepare %q: %w", q, err)
	}
	c.stmts[q] = sd
	return sd, nil
}

// push adds a statement to the batch.
func (c *pgConn) push(q string, args []any) error {
	sd, err := c.prepare(q)
	if err != nil {
		return err
	}
	if len(args) != len(sd.ParamOIDs) {
		return fmt.Errorf("statement %q wants %d arguments, has %d", q, len(sd.ParamOIDs), len(args))
	}
	for len(c.binary) < max(len(args), len(sd.Fields)) {
		c.binary = append(c.binary, 1)
	}
	c.vals, c.scratch = c.vals[:0], c.scratch[:0]
	// Room first: what vals point to must not move.
	size := 0
	for _, a := range args {
		size += encodedSize(a)
	}
	c.scratch = slices.Grow(c.scratch, size)
	for i, a := range args {
		v, err := c.encode(a, sd.ParamOIDs[i])
		if err != nil {
			return fmt.Errorf("statement %q, argument %d: %w", q, i+1, err)
		}
		c.vals = append(c.vals, v)
	}
	c.batch.ExecStatement(sd, c.vals, c.binary[:len(args)], c.binary[:len(sd.Fields)])
	c.waiting++
	return nil
}

func encodedSize(a any) int {
	switch a := a.(type) {
	case []int64:
		return 20 + 12*len(a)
	case [][]byte:
		n := 20
		for _, b := range a {
			n += 4 + len(b)
		}
		return n
	}
	return 8
}

// encode gives an argument in PostgreSQL's binary form. Texts lose what
// PostgreSQL refuses: a zero byte, and bytes that are no UTF-8.
func (c *pgConn) encode(a any, oid uint32) ([]byte, error) {
	from := len(c.scratch)
	put := func() []byte { return c.scratch[from:len(c.scratch):len(c.scratch)] }
	switch a := a.(type) {
	case nil:
		return nil, nil
	case int64:
		switch oid {
		case pgtype.Int8OID:
			c.scratch = binary.BigEndian.AppendUint64(c.scratch, uint64(a))
			return put(), nil
		case pgtype.Int4OID:
			c.scratch = binary.BigEndian.AppendUint32(c.scratch, uint32(int32(a)))
			return put(), nil
		}
	case string:
		if oid == pgtype.TextOID {
			return []byte(strings.ReplaceAll(strings.ToValidUTF8(a, "\uFFFD"), "\x00", "\uFFFD")), nil
		}
	case []byte:
		if oid == pgtype.ByteaOID {
			return a, nil
		}
	case []int64:
		if oid == pgtype.Int8ArrayOID {
			c.scratch = arrayHead(c.scratch, pgtype.Int8OID, len(a))
			for _, n := range a {
				c.scratch = binary.BigEndian.AppendUint32(c.scratch, 8)
				c.scratch = binary.BigEndian.AppendUint64(c.scratch, uint64(n))
			}
			return put(), nil
		}
	case [][]byte:
		if oid == pgtype.ByteaArrayOID {
			c.scratch = arrayHead(c.scratch, pgtype.ByteaOID, len(a))
			for _, b := range a {
				c.scratch = binary.BigEndian.AppendUint32(c.scratch, uint32(len(b)))
				c.scratch = append(c.scratch, b...)
			}
			return put(), nil
		}
	}
	return nil, fmt.Errorf("%T does not go into a column of type %d", a, oid)
}

// arrayHead begins an array of one dimension without NULLs.
func arrayHead(b []byte, elem uint32, n int) []byte {
	dimensions := uint32(1)
	if n == 0 {
		dimensions = 0
	}
	b = binary.BigEndian.AppendUint32(b, dimensions)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint32(b, elem)
	if n > 0 {
		b = binary.BigEndian.AppendUint32(b, uint32(n))
		b = binary.BigEndian.AppendUint32(b, 1)
	}
	return b
}

// send sends the batch and gives the rows of its last n statements, each as a
// list, and how many rows the last statement changed. The first error stands
// for all that came after it.
func (c *pgConn) send(n int) (rows [][]pgRow, changed int64, err error) {
	first := c.waiting - n
	r := c.c.ExecBatch(c.ctx, c.batch)
	c.batch, c.waiting = &pgconn.Batch{}, 0
	if n > 0 {
		rows = make([][]pgRow, n)
	}
	for i := 0; r.NextResult(); i++ {
		rr := r.ResultReader()
		if i >= first && n > 0 {
			for rr.NextRow() {
				rows[i-first] = append(rows[i-first], copyRow(rr.Values()))
			}
		}
		tag, _ := rr.Close() // the reader of all keeps the error
		changed = tag.RowsAffected()
	}
	return rows, changed, r.Close()
}

func (c *pgConn) later(q string, args ...any) error {
	if err := c.push(q, args); err != nil {
		return err
	}
	if c.waiting >= flushAt {
		return c.flush()
	}
	return nil
}

// flush sends what was gathered.
func (c *pgConn) flush() error {
	if c.waiting == 0 {
		return nil
	}
	_, _, err := c.send(0)
	return err
}

// script runs statements without parameters, at once.
func (c *pgConn) script(sql string) error {
	if err := c.flush(); err != nil {
		return err
	}
	return c.c.Exec(c.ctx, sql).Close()
}

// forget drops what was gathered and not sent.
func (c *pgConn) forget() { c.batch, c.waiting = &pgconn.Batch{}, 0 }

func (c *pgConn) exec(q string, args ...any) (int64, error) {
	if err := c.push(q, args); err != nil {
		return 0, err
	}
	_, n, err := c.send(0)
	return n, err
}

func (c *pgConn) each(q string, f func(row) (bool, error), args ...any) error {
	if err := c.push(q, args); err != nil {
		return err
	}
	rows, _, err := c.send(1)
	if err != nil {
		return err
	}
	return give(rows[0], f)
}

func (c *pgConn) every(reads ...reading) error {
	if len(reads) == 0 {
		return nil
	}
	for _, r := range reads {
		if err := c.push(r.q, r.args); err != nil {
			return err
		}
	}
	rows, _, err := c.send(len(reads))
	if err != nil {
		return err
	}
	for i, r := range reads {
		if err := give(rows[i], r.f); err != nil {
			return err
		}
	}
	return nil
}

func give(rows []pgRow, f func(row) (bool, error)) error {
	for _, r := range rows {
		if more, err := f(r); err != nil || !more {
			return err
		}
	}
	return nil
}

// healthy tells whether a transaction is open and has met no error.
func (c *pgConn) healthy() bool { return !c.c.IsClosed() && c.c.TxStatus() == 'T' }

func (c *pgConn) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return c.c.Close(ctx)
}

// pgRow is a row in PostgreSQL's binary form.
type pgRow struct{ vals [][]byte }

func copyRow(vals [][]byte) pgRow {
	size := 0
	for _, v := range vals {
		size += len(v)
	}
	buf := make([]byte, 0, size)
	out := make([][]byte, len(vals))
	for i, v := range vals {
		if v == nil {
			continue
		}
		from := len(buf)
		buf = append(buf, v...)
		out[i] = buf[from:len(buf):len(buf)]
	}
	return pgRow{out}
}

func (r pgRow) int(i int) int64 {
	switch v := r.vals[i]; len(v) {
	case 8:
		return int64(binary.BigEndian.Uint64(v))
	case 4:
		return int64(int32(binary.BigEndian.Uint32(v)))
	case 2:
		return int64(int16(binary.BigEndian.Uint16(v)))
	case 1:
		return int64(v[0])
	}
	return 0
}

func (r pgRow) text(i int) string { return string(r.vals[i]) }
func (r pgRow) blob(i int) []byte { return r.vals[i] }
func (r pgRow) null(i int) bool   { return r.vals[i] == nil }

// sqlState gives the code of an error of PostgreSQL's, "" for any other.
func sqlState(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// crossed tells whether two transactions got into each other's way, so that
// the same one, begun again, may succeed.
func crossed(err error) bool {
	switch sqlState(err) {
	case "23505", "40001", "40P01", "55P03": // unique, serialization, deadlock, lock not available
		return true
	}
	return false
}
