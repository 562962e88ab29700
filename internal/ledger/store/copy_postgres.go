package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// pgCopySide is a PostgreSQL ledger that is copied from, or to, by COPY in its
// binary form (postgresql.org/docs/15/sql-copy.html, "Binary Format").
type pgCopySide struct{ c *pgConn }

var copySignature = []byte("PGCOPY\n\xff\r\n\x00")

func (d *pgCopySide) rows(ctx context.Context, t *copied, after []keyPart, f func([]any) (bool, error)) error {
	parts := make([]string, len(after))
	for i, k := range after {
		parts[i] = k.literal()
	}
	q := "COPY (" + t.selecting(true, strings.Join(parts, ", ")) + ") TO STDOUT (FORMAT binary)"
	in, out := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		_, err := d.c.c.CopyTo(ctx, out, q)
		out.CloseWithError(err) // none is the end of what was sent
		sent <- err
	}()
	err := readCopy(bufio.NewReaderSize(in, 1<<16), t, f)
	in.CloseWithError(err)
	if sentErr := <-sent; err == nil || sentErr != nil && errors.Is(err, io.ErrUnexpectedEOF) {
		err = sentErr
	}
	return err
}

// readCopy reads rows in COPY's binary form.
func readCopy(r *bufio.Reader, t *copied, f func([]any) (bool, error)) error {
	head := make([]byte, len(copySignature)+8)
	if _, err := io.ReadFull(r, head); err != nil {
		return fmt.Errorf("read what the database sends: %w", unexpected(err))
	}
	if !bytes.HasPrefix(head, copySignature) {
		return errors.New("the database sends something else than rows")
	}
	if _, err := r.Discard(int(binary.BigEndian.Uint32(head[len(head)-4:]))); err != nil {
		return unexpected(err)
	}
	for {
		var n int16
		if err := binary.Read(r, binary.BigEndian, &n); err != nil {
			return fmt.Errorf("read what the database sends: %w", unexpected(err))
		}
		if n < 0 {
			_, err := io.Copy(io.Discard, r) // nothing follows
			return err
		}
		if int(n) != len(t.cols) {
			return fmt.Errorf("a row has %d values, not %d", n, len(t.cols))
		}
		row, err := readRow(r, t)
		if err != nil {
			return err
		}
		if _, err := f(row); err != nil {
			return err
		}
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func readRow(r *bufio.Reader, t *copied) ([]any, error) {
	row := make([]any, len(t.cols))
	var head [8]byte
	for i, c := range t.cols {
		if _, err := io.ReadFull(r, head[:4]); err != nil {
			return nil, unexpected(err)
		}
		size := int32(binary.BigEndian.Uint32(head[:4]))
		switch {
		case size < 0:
		case c.kind == numbers64:
			if size != 8 {
				return nil, fmt.Errorf("column %s of %s is no BIGINT", c.name, t.name)
			}
			if _, err := io.ReadFull(r, head[:]); err != nil {
				return nil, unexpected(err)
			}
			row[i] = int64(binary.BigEndian.Uint64(head[:]))
		default:
			b := make([]byte, size)
			if _, err := io.ReadFull(r, b); err != nil {
				return nil, unexpected(err)
			}
			if c.kind == texts {
				row[i] = string(b)
			} else {
				row[i] = b
			}
		}
	}
	return row, nil
}

func (d *pgCopySide) put(t *copied, rows [][]any, progress []byte) error {
	if _, err := d.c.exec("BEGIN"); err != nil {
		return err
	}
	err := d.insert(t, rows)
	if err == nil {
		err = setSetting(d.c, settingMoving, progress)
	}
	if err == nil {
		_, err = d.c.exec("COMMIT")
	}
	if err != nil && !d.c.c.IsClosed() {
		_, _ = d.c.exec("ROLLBACK") // the first error is the one to tell
	}
	return err
}

func (d *pgCopySide) insert(t *copied, rows [][]any) error {
	if len(rows) == 0 {
		return nil
	}
	buf := bytes.NewBuffer(append(bytes.Clone(copySignature), 0, 0, 0, 0, 0, 0, 0, 0))
	for _, r := range rows {
		b := binary.BigEndian.AppendUint16(buf.AvailableBuffer(), uint16(len(r)))
		for _, v := range r {
			switch v := v.(type) {
			case nil:
				b = binary.BigEndian.AppendUint32(b, 0xffffffff)
			case int64:
				b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(b, 8), uint64(v))
			case string:
				b = append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
			case []byte:
				b = append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
			}
		}
		buf.Write(b)
	}
	buf.Write([]byte{0xff, 0xff})
	_, err := d.c.c.CopyFrom(d.c.ctx, buf, "COPY "+t.name+" ("+columnList(t.cols)+") FROM STDIN (FORMAT binary)")
	return err
}
