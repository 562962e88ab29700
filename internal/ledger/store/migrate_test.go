package store

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// schemaOf10 makes a SQLite ledger as programs of schema 10 made it.
func schemaOf10(t *testing.T, path string) *sqliteConn {
	t.Helper()
	c, err := openWriter(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.exec(`CREATE TABLE schema_version (version BIGINT NOT NULL)`); err != nil {
		t.Fatal(err)
	}
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for n, name := range files[:10] {
		sql, err := migrations.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := runMigration(c, sqliteDialect.adapt(string(sql)), int64(n+1)); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestALedgerOfAnEarlierSchemaKeepsItsRows(t *testing.T) {
	c := schemaOf10(t, filepath.Join(t.TempDir(), "ledger.db"))
	defer c.close()
	tables := []string{"made", "link", "snapshot", "journal", "routed"}
	before := map[string][]string{}
	for _, table := range tables {
		fillTable(t, c, table, 300)
		before[table] = rowsOf(t, c, table)
	}
	if err := migrate(c, sqliteDialect); err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		if after := rowsOf(t, c, table); len(after) != 300 || !slices.Equal(before[table], after) {
			t.Errorf("%s: %d rows before, %d after, or not the same ones", table, len(before[table]), len(after))
		}
	}
	if got := asked(t, c, "PRAGMA integrity_check"); !slices.Equal(got, []string{"ok"}) {
		t.Error(got)
	}
	fresh, err := openWriter(filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.close()
	if err := migrate(fresh, sqliteDialect); err != nil {
		t.Fatal(err)
	}
	const schema = `SELECT type || ' ' || name || ' ' || COALESCE(sql, '') FROM sqlite_schema ORDER BY 1`
	if had, want := asked(t, c, schema), asked(t, fresh, schema); !slices.Equal(had, want) {
		t.Errorf("the schema of a ledger that was brought up to date is not that of a new one:\n%s\n\n%s", strings.Join(had, "\n"), strings.Join(want, "\n"))
	}
}

// fillTable adds rows of all sizes.
func fillTable(t *testing.T, c conn, table string, rows int) {
	t.Helper()
	columns, err := columnsOf(c, table, false)
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		values := make([]any, len(columns))
		for k, col := range columns {
			switch col.kind {
			case numbers64:
				values[k] = int64(i*100 + k)
			case texts:
				values[k] = fmt.Sprintf("%s %d", col.name, i)
			case blobs:
				values[k] = fmt.Appendf(nil, "%03d %s %s", i*7%rows, col.name, strings.Repeat("x", i*20))
			}
		}
		if _, err := c.exec(insertInto("INSERT", table, columns), values...); err != nil {
			t.Fatalf("%s: %v", table, err)
		}
	}
}

func rowsOf(t *testing.T, c conn, table string) []string {
	t.Helper()
	columns, err := columnsOf(c, table, false)
	if err != nil {
		t.Fatal(err)
	}
	quoted := "quote(" + strings.ReplaceAll(columnList(columns), ", ", ") || ' ' || quote(") + ")"
	return asked(t, c, "SELECT "+quoted+" FROM "+table+" ORDER BY 1")
}

func asked(t *testing.T, c conn, q string) []string {
	t.Helper()
	var out []string
	if err := c.every(all(q, func(r row) { out = append(out, r.text(0)) })); err != nil {
		t.Fatal(err)
	}
	return out
}
