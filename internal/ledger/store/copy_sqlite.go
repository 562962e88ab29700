package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// sqliteSide is a SQLite ledger that is copied from, or to, by this process
// alone.
type sqliteSide struct {
	c *sqliteConn
	// bodies is where the large contents are, which come along in their rows.
	bodies *Store
}

func (d *sqliteSide) rows(ctx context.Context, t *copied, after []keyPart, f func([]any) (bool, error)) error {
	defer context.AfterFunc(ctx, d.c.interrupt)()
	args := make([]any, len(after))
	var err error
	for i, k := range after {
		if args[i], err = k.value(); err != nil {
			return err
		}
	}
	body := -1
	if t.name == "message" && d.bodies != nil {
		body = place(t.cols, "body")
	}
	q := t.selecting(false, strings.TrimSuffix(strings.Repeat("?, ", len(args)), ", "))
	return d.c.each(q, func(r row) (bool, error) {
		out := scanColumns(r, t.cols)
		for i, v := range out {
			if s, ok := v.(string); ok {
				out[i] = plainText(s)
			}
		}
		if body >= 0 {
			if b, ok := out[body].([]byte); ok && isFiled(b) {
				sealed, err := os.ReadFile(d.bodies.bodyPath(r.int(t.key[0])))
				if err != nil {
					return false, fmt.Errorf("the content of message %d: %w", r.int(t.key[0]), err)
				}
				out[body] = sealed
			}
		}
		return f(out)
	}, args...)
}

func (d *sqliteSide) put(t *copied, rows [][]any, progress []byte) error {
	if _, err := d.c.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := d.insert(t, rows)
	if err == nil {
		err = setSetting(d.c, settingMoving, progress)
	}
	if err == nil {
		_, err = d.c.exec("COMMIT")
	}
	if err != nil && d.c.inTransaction() {
		_, _ = d.c.exec("ROLLBACK") // the first error is the one to tell
	}
	return err
}

func (d *sqliteSide) insert(t *copied, rows [][]any) error {
	q := "INSERT INTO " + t.name + " (" + columnList(t.cols) + ") VALUES (" + strings.TrimSuffix(strings.Repeat("?, ", len(t.cols)), ", ") + ")"
	for _, r := range rows {
		if _, err := d.c.exec(q, r...); err != nil {
			return err
		}
	}
	return nil
}

// plainText is a text as PostgreSQL takes it.
func plainText(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// bodiesOf gives the large contents of a data folder.
func bodiesOf(dir string) *Store {
	return &Store{files: &sqliteFiles{dir: dir, path: filepath.Join(dir, ledgerFile)}}
}
