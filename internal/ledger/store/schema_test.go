package store

import (
	"crypto/rand"
	"encoding/hex"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kiungo-health/kiungo/internal/postgrestest"
)

// schemas are those of the ledgers under test. Most of the time that a small
// test takes goes into its tables (some 200 files): so the tables of a test that
// has ended are emptied, and given to the next.
var schemas struct {
	sync.Mutex
	of    map[string]string // by the ledger's folder
	spare []string
}

// migrated is the schema that no test uses: what is in it, the migrations wrote.
const migrated = "migrated"

// folderSchema names the schema of a folder's ledger, as the migrations leave it
// when it is first asked for. A test must close the ledger before it ends.
func folderSchema(t testing.TB, dir string) string {
	t.Helper()
	cluster := postgrestest.Shared(t)
	name, used, known := schemaOf(t, cluster, dir)
	switch {
	case known:
		return cluster.URL(name)
	case used:
		pgRun(t, cluster.URL(name), strings.ReplaceAll(emptied, "SCHEMA", name))
	}
	t.Cleanup(func() {
		schemas.Lock()
		defer schemas.Unlock()
		delete(schemas.of, dir)
		if !t.Failed() { // a ledger that may still be open is left alone
			schemas.spare = append(schemas.spare, name)
		}
	})
	return cluster.URL(name)
}

// schemaOf picks a folder's schema: the one that it has, or one that another
// test used, or a new one, whose tables the ledger makes.
func schemaOf(t testing.TB, cluster *postgrestest.Cluster, dir string) (name string, used, known bool) {
	t.Helper()
	schemas.Lock()
	defer schemas.Unlock()
	if name, known = schemas.of[dir]; known {
		return name, true, true
	}
	if schemas.of == nil {
		schemas.of = map[string]string{}
		makeTables(t, cluster.URL(migrated))
	}
	if n := len(schemas.spare); n > 0 {
		name, used, schemas.spare = schemas.spare[n-1], true, schemas.spare[:n-1]
	} else {
		id := make([]byte, 8)
		rand.Read(id) // never fails
		name = "t" + hex.EncodeToString(id)
	}
	schemas.of[dir] = name
	return name, used, false
}

// emptied brings all tables and sequences of SCHEMA to where the migrations
// leave them.
const emptied = `DO $$ DECLARE name text; kind "char"; BEGIN
	FOR name, kind IN SELECT relname, relkind FROM pg_class WHERE relnamespace = 'SCHEMA'::regnamespace AND relkind IN ('r', 'S') LOOP
		IF kind = 'S' THEN
			PERFORM setval(format('SCHEMA.%I', name), 1, false);
		ELSE
			EXECUTE format('DELETE FROM SCHEMA.%I', name);
			EXECUTE format('INSERT INTO SCHEMA.%1$I SELECT * FROM ` + migrated + `.%1$I', name);
		END IF;
	END LOOP;
END $$`

func makeTables(t testing.TB, url string) {
	t.Helper()
	conf, err := pgconn.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	c, err := openPg(t.Context(), conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	p := &postgres{conf: conf}
	if err := p.names(); err != nil {
		t.Fatal(err)
	}
	if err := p.makeSchema(c); err != nil {
		t.Fatal(err)
	}
	if err := migrate(c, postgresDialect); err != nil {
		t.Fatal(err)
	}
}

func pgRun(t testing.TB, url, sql string) {
	t.Helper()
	c, err := pgconn.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	if _, err := c.Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatal(err)
	}
}
