package store

import (
	"embed"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

//go:embed migrations/*.sql
var migrations embed.FS

// dialect is what differs between the databases in the schema.
type dialect struct {
	ID        string // type of a numeric primary key
	Clustered string // rows stored in the order of the primary key
	Blob      string
	Only      string // beginning of lines that are for this database only
}

var (
	sqliteDialect = dialect{ID: "INTEGER PRIMARY KEY", Clustered: "WITHOUT ROWID", Blob: "BLOB", Only: "--sqlite "}
	// Numbers begin at 1: 0 is none everywhere.
	postgresDialect = dialect{ID: "BIGINT PRIMARY KEY CHECK (id > 0)", Blob: "BYTEA", Only: "--pg "}
)

// adapt gives the statements of a migration for one database.
func (d dialect) adapt(sql string) []string {
	var lines []string
	for line := range strings.SplitSeq(sql, "\n") {
		if rest, ok := strings.CutPrefix(line, d.Only); ok {
			line = rest
		}
		if !strings.HasPrefix(line, "--") {
			lines = append(lines, line)
		}
	}
	sql = strings.NewReplacer("{{ID}}", d.ID, "{{CLUSTERED}}", d.Clustered, " BLOB", " "+d.Blob).Replace(strings.Join(lines, "\n"))
	var out []string
	for stmt := range strings.SplitSeq(sql, ";\n") {
		if stmt = strings.TrimSpace(stmt); stmt != "" {
			out = append(out, stmt)
		}
	}
	return out
}

// migrate brings the schema up to date, each step in a transaction of its own,
// and refuses a schema that is newer than this program.
func migrate(c conn, d dialect) error {
	if _, err := c.exec(`CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)`); err != nil {
		return err
	}
	var have int64
	if _, err := one(c, `SELECT COALESCE(MAX(version), 0) FROM schema_version`, func(r row) { have = r.int(0) }); err != nil {
		return err
	}
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	known := int64(0)
	for _, name := range files {
		number, _, _ := strings.Cut(strings.TrimPrefix(name, "migrations/"), "_")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n <= known {
			return fmt.Errorf("migration %s does not follow number %d", name, known)
		}
		known = n
	}
	if have > known {
		return fmt.Errorf("the ledger's schema is version %d, this program knows %d: run the newer program", have, known)
	}
	for _, name := range files {
		number, _, _ := strings.Cut(strings.TrimPrefix(name, "migrations/"), "_")
		n, _ := strconv.ParseInt(number, 10, 64) // read above
		if n <= have {
			continue
		}
		sql, err := migrations.ReadFile(name)
		if err != nil {
			return err
		}
		if err := runMigration(c, d.adapt(string(sql)), n); err != nil {
			return fmt.Errorf("migration %s: %w", name, err)
		}
	}
	return nil
}

func runMigration(c conn, stmts []string, version int64) error {
	if _, err := c.exec("BEGIN"); err != nil {
		return err
	}
	if c, ok := c.(*pgConn); ok {
		if err := c.script(strings.Join(stmts, ";\n")); err != nil {
			_, _ = c.exec("ROLLBACK")
			return err
		}
		stmts = nil
	}
	for _, stmt := range stmts {
		if _, err := c.exec(stmt); err != nil {
			_, _ = c.exec("ROLLBACK") // the first error is the one to tell
			return err
		}
	}
	if _, err := c.exec(`INSERT INTO schema_version (version) VALUES (?)`, version); err != nil {
		_, _ = c.exec("ROLLBACK")
		return err
	}
	_, err := c.exec("COMMIT")
	return err
}
