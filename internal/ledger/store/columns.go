package store

import (
	"fmt"
	"strings"
)

// What is archived is copied column by column as the tables have them, so that
// a column that a migration adds is never left behind.

// column is a column of a table.
type column struct {
	name string
	kind columnKind
}

type columnKind byte

const (
	numbers64 columnKind = 'i'
	texts     columnKind = 't'
	blobs     columnKind = 'b'
)

const (
	qColumnsSQLite   = `SELECT name, type FROM pragma_table_info(?) ORDER BY cid`
	qColumnsPostgres = `SELECT CAST(a.attname AS TEXT), format_type(a.atttypid, NULL) FROM pg_attribute a WHERE a.attrelid = to_regclass(CAST(? AS TEXT)) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`
)

func columnsOf(c conn, table string, pg bool) (out []column, err error) {
	q := qColumnsSQLite
	if pg {
		q = qColumnsPostgres
	}
	err = c.each(q, func(r row) (bool, error) {
		col := column{name: r.text(0)}
		switch kind := strings.ToUpper(r.text(1)); {
		case strings.Contains(kind, "INT"):
			col.kind = numbers64
		case strings.Contains(kind, "TEXT"):
			col.kind = texts
		case kind == "BLOB", kind == "BYTEA":
			col.kind = blobs
		default:
			return false, fmt.Errorf("column %s of %s has type %q", col.name, table, kind)
		}
		out = append(out, col)
		return true, nil
	}, table)
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("there is no table %s", table)
	}
	return out, err
}

// columnList names columns for a statement.
func columnList(cols []column) string {
	names := make([]string, len(cols))
	for i, c := range cols {
		names[i] = c.name
	}
	return strings.Join(names, ", ")
}

// insertInto inserts a row of all columns; how is INSERT, or INSERT OR REPLACE.
func insertInto(how, table string, cols []column) string {
	return how + " INTO " + table + " (" + columnList(cols) + ") VALUES (" + strings.TrimSuffix(strings.Repeat("?, ", len(cols)), ", ") + ")"
}

// scanColumns reads a row of all columns as arguments for another statement.
func scanColumns(r row, cols []column) []any {
	out := make([]any, len(cols))
	for i, c := range cols {
		switch {
		case r.null(i):
		case c.kind == numbers64:
			out[i] = r.int(i)
		case c.kind == texts:
			out[i] = r.text(i)
		default:
			out[i] = r.blob(i)
		}
	}
	return out
}

// place gives the position of a column.
func place(cols []column, name string) int {
	for i, c := range cols {
		if c.name == name {
			return i
		}
	}
	panic("no column " + name) // a table of this package's own schema
}
