package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/clinictest"
	"github.com/kiungo-health/kiungo/internal/postgrestest"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// databaseFacts is what stands in a ledger's database, as text.
func databaseFacts(t *testing.T, url string) string {
	t.Helper()
	rows, err := postgrestest.Column(t.Context(), url, `SELECT 'schema ' || MAX(version) FROM schema_version UNION ALL SELECT 'incarnation ' || incarnation FROM clock
		UNION ALL SELECT 'messages ' || COUNT(*) FROM message UNION ALL SELECT 'delivery ' || id || ' ' || state FROM delivery UNION ALL SELECT 'lanes taken ' || COUNT(*) FROM lane WHERE owner <> 0
		UNION ALL SELECT 'audit ' || act FROM audit WHERE act <> 'backup' ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(rows, "\n")
}

// TestAnUpgradeOfAPostgresLedgerIsTriedWithoutTouchingIt: both versions plan on
// copies that the old one makes while its node works; the database, the data
// folder and the systems are as before. A database that a node has open is no
// copy.
func TestAnUpgradeOfAPostgresLedgerIsTriedWithoutTouchingIt(t *testing.T) {
	t.Setenv(programEnv, "yes")
	c := newClinic(t)
	database := postgrestest.URL(t)
	node := c.nodes(1, database, nil)[0]
	p := clinictest.Somebody(1, "a")
	c.push(node.Engine, p.Register(clinictest.Day(1)))
	c.push(node.Engine, p.Visit(clinictest.Day(2), "51"))
	c.allDone(node)

	folder := t.TempDir() // of the command: with nothing but the keyring
	c.must(copyFile(filepath.Join(c.data, "0", "keys.json"), seal.Path(folder)))
	old := filepath.Join(c.dir, "integrations")
	changed := filepath.Join(c.dir, "changed")
	c.must(os.CopyFS(changed, os.DirFS(old)))
	file := filepath.Join(changed, filepath.Base(feedIntegration), "flows", "registration-to-openmrs.yaml")
	text, err := os.ReadFile(file)
	c.must(err)
	other := strings.Replace(string(text), "cityVillage: '${case.village}'", "cityVillage: '${case.village}', country: Kenya", 1)
	if other == string(text) {
		t.Fatal("the flow does not set the village that way any more")
	}
	c.must(os.WriteFile(file, []byte(other), 0o600))
	try := func(want int, more ...string) string {
		t.Helper()
		out, code := run(t, append([]string{"upgrade", "--try", "--site", filepath.Join(c.dir, "site.yaml"), "--data", folder, "--database", database}, more...)...)
		if code != want {
			t.Fatalf("upgrade --try %s: exit %d, want %d: %s", strings.Join(more, " "), code, want, out)
		}
		for _, word := range p.Markers() {
			if strings.Contains(out, word) {
				t.Errorf("it shows %q", word)
			}
		}
		return out
	}
	differs := func(out string) {
		t.Helper()
		if !strings.Contains(out, "address/country would be written otherwise") || !strings.Contains(out, "2 deliveries of 2 messages planned with both versions; 1 would go otherwise") {
			t.Errorf("it says %s", out)
		}
	}
	had, stood := c.state(), databaseFacts(t, database)
	differs(try(1, "--old-integrations", old, "--integrations", changed))
	if out := try(0, "--old-integrations", old, "--integrations", old); !strings.Contains(out, "0 would go otherwise") {
		t.Errorf("the same differs: %s", out)
	}
	if now := databaseFacts(t, database); now != stood {
		t.Errorf("the database has\n%s\nand had\n%s", now, stood)
	}
	if c.state() != had {
		t.Error("a system was changed")
	}

	if out := try(2, "--copy", "--old-integrations", old, "--integrations", changed); !strings.Contains(out, "that is no copy: a node on") {
		t.Errorf("of a ledger that is in use: %s", out)
	}
	node.Stop()
	c.must(node.Ledger.Close())
	files := listing(t, folder)
	differs(try(1, "--copy", "--old-integrations", old, "--integrations", changed))
	if now := listing(t, folder); !slices.Equal(now, files) {
		t.Errorf("a copy's mark was left in the folder of the original: %v, before %v", now, files)
	}
	missing := t.TempDir()
	if out, code := run(t, "upgrade", "--try", "--site", filepath.Join(c.dir, "site.yaml"), "--data", missing, "--database", database, "--copy", "--old-integrations", old, "--integrations", old); code != 1 || !strings.Contains(out, "the keyring "+filepath.Join(missing, "keys.json")+" is missing") {
		t.Errorf("without a keyring: %d %s", code, out)
	}
}

// listing names the files of a folder, with their times.
func listing(t *testing.T, dir string) (out []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e.Name()+" "+info.ModTime().Format(time.RFC3339Nano))
	}
	return out
}
