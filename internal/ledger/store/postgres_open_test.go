package store

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/postgrestest"
	"github.com/kiungo-health/kiungo/internal/seal"
)

func pgAt(t *testing.T, url, dir string, o Options) *Store {
	t.Helper()
	if o.Ring == nil {
		o.Ring = testRing
	}
	s, err := Open(t.Context(), url, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// pgText gives all rows of all tables of a ledger as PostgreSQL writes them.
func pgText(t *testing.T, s *Store) string {
	t.Helper()
	var b strings.Builder
	err := s.read(t.Context(), func(c conn) error {
		b.Reset()
		var tables []string
		if err := c.each(`SELECT CAST(tablename AS TEXT) FROM pg_tables WHERE schemaname = CAST(? AS TEXT)`, func(r row) (bool, error) {
			tables = append(tables, r.text(0))
			return true, nil
		}, s.pg.schema); err != nil {
			return err
		}
		for _, name := range tables {
			if err := c.each(`SELECT CAST(x AS TEXT) FROM "`+name+`" x`, func(r row) (bool, error) {
				b.WriteString(name + " " + r.text(0) + "\n")
				return true, nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestNothingFromAMessageIsInClearOnPostgres plants a name in what comes from a
// message, and looks for it in every table (law 34).
func TestNothingFromAMessageIsInClearOnPostgres(t *testing.T) {
	s := pgAt(t, postgrestest.URL(t), t.TempDir(), Options{})
	const marker = "Wanjiku"
	a := arrival1(marker + "-doc")
	a[0].Content, a[0].Routes[0].Each, a[0].Routes[0].Lanes = []byte(`{"name":"`+marker+`"}`), marker, []string{"person:" + marker}
	w := begun(t, s, a)
	if err := s.Journal(t.Context(), w, ledger.Plan{Body: []byte(marker), Claims: []string{"openmrs|Patient|" + marker}, Intent: "c",
		Pending: []ledger.Link{{Person: marker, System: "openmrs", Kind: "openmrs/Patient", ID: marker}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Step(t.Context(), w, ledger.Step{Kind: ledger.StepAnswer, Call: "c", Data: json.RawMessage(`{"name":"` + marker + `"}`)}); err != nil {
		t.Fatal(err)
	}
	text := pgText(t, s)
	if !strings.Contains(text, "i05") && !strings.Contains(text, "visit") {
		t.Error("the tables that were looked at do not hold the delivery")
	}
	for _, m := range []string{marker, hex.EncodeToString([]byte(marker))} {
		if i := strings.Index(text, m); i >= 0 {
			t.Errorf("%q is in clear: %.200s", m, text[max(0, i-100):])
		}
	}
}

func TestNewerSchemaIsRefusedOnPostgres(t *testing.T) {
	url, dir := postgrestest.URL(t), t.TempDir()
	s := pgAt(t, url, dir, Options{})
	if err := s.pg.beat.do(t.Context(), func(c *pgConn) error {
		_, err := c.exec(`INSERT INTO schema_version (version) VALUES (99)`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Open(t.Context(), url, dir, Options{Ring: testRing}); err == nil || !strings.Contains(err.Error(), "newer program") {
		t.Errorf("opened: %v", err)
	}
}

func TestAnotherKeyringIsRefusedOnPostgres(t *testing.T) {
	t.Setenv(seal.EnvKeyFile, "")
	url, dir := postgrestest.URL(t), t.TempDir()
	s, err := Open(t.Context(), url, dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := Open(t.Context(), url, t.TempDir(), Options{Ring: seal.Temporary()}); err == nil || !strings.Contains(err.Error(), "not this ledger's") {
		t.Errorf("opened with another keyring: %v", err)
	}
	if _, err := Open(t.Context(), url, t.TempDir(), Options{}); err == nil || !strings.Contains(err.Error(), "copy it from another node") {
		t.Errorf("opened without a keyring: %v", err)
	}
	if _, err := Open(t.Context(), url, dir, Options{}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("two nodes on one folder: %v", err)
	}
}

// TestThePasswordIsInNoError tries URLs that cannot be read, or lead nowhere.
func TestThePasswordIsInNoError(t *testing.T) {
	const secret = "s3cretword"
	for _, url := range []string{
		"postgres://kiungo:" + secret + "@127.0.0.1:1/x?sslmode=disable&connect_timeout=1",
		"postgres://kiungo:" + secret + "@127.0.0.1:notaport/x",
		"postgres://kiungo:" + secret + "@127.0.0.1:1/x?sslmode=perhaps",
		"postgresql://kiungo@127.0.0.1:1/x?sslmode=disable&password=" + secret,
		"mysql://kiungo:" + secret + "@127.0.0.1/x",
		"postgres://kiungo:" + secret + "@127.0.0.1:1/x?search_path=A;B",
		"postgres://kiungo:" + secret + "@127.0.0.1:1/x%zz",
	} {
		_, err := Open(t.Context(), url, t.TempDir(), Options{Ring: testRing})
		if err == nil {
			t.Fatalf("%s was opened", url)
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error tells the password: %v", err)
		}
	}
}

// TestALostConnectionLosesNothing ends the sessions of a node while it takes
// messages in: each that is acknowledged is there, once.
func TestALostConnectionLosesNothing(t *testing.T) {
	url := postgrestest.URL(t)
	s := pgAt(t, url, t.TempDir(), Options{})
	other := pgAt(t, url, t.TempDir(), Options{})
	stop := make(chan struct{})
	var ending sync.WaitGroup
	ending.Go(func() {
		for range 15 {
			err := other.pg.beat.do(context.Background(), func(c *pgConn) error {
				_, err := c.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND application_name = 'kiungo'`)
				return err
			})
			if err != nil {
				t.Error(err)
			}
			time.Sleep(3 * time.Millisecond) // between two blows, not for a result
		}
		close(stop)
	})
	var sending sync.WaitGroup
	var mu sync.Mutex
	taken, again := 0, 0
	for n := range 4 {
		sending.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				doc := fmt.Sprintf("f%d-%d", n, i)
				_, err := s.Accept(context.Background(), arrival1(doc), nil)
				if errors.Is(err, ledger.ErrUncertain) {
					mu.Lock()
					again++
					mu.Unlock()
					_, err = s.Accept(context.Background(), arrival1(doc), nil) // the sender comes again
				}
				if err != nil {
					t.Errorf("%s: %v", doc, err)
					return
				}
				mu.Lock()
				taken++
				mu.Unlock()
			}
		})
	}
	ending.Wait()
	sending.Wait()
	counts, err := s.Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(counts) != 1 || counts[0].N != int64(taken) || taken == 0 {
		t.Errorf("%d were acknowledged, %d of them after a doubt: %+v", taken, again, counts)
	}
}
