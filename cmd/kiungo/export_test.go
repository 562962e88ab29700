package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	cht "github.com/kiungo-health/kiungo/connectors/cht/sim"
	dhis2 "github.com/kiungo-health/kiungo/connectors/dhis2/sim"
	"github.com/kiungo-health/kiungo/internal/desk"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
)

// month is a site with a CHT and a DHIS2, both simulated, and integration I13.
type month struct {
	t     *testing.T
	dir   string
	dhis2 *dhis2.Server
	args  []string
}

func newMonth(t *testing.T) *month {
	t.Helper()
	source, err := cht.New([]byte(`{"default":"2026-10"}`))
	if err != nil {
		t.Fatal(err)
	}
	target, err := dhis2.New([]byte(`{"now":"2026-11-03T06:05:00"}`))
	if err != nil {
		t.Fatal(err)
	}
	m := &month{t: t, dir: t.TempDir(), dhis2: target}
	site := "zone: Africa/Nairobi\nregion: KE\nsystems:\n"
	for name, s := range map[string]interface {
		http.Handler
		Settings() map[string]string
	}{"cht": source, "dhis2": target} {
		server := httptest.NewServer(s)
		t.Cleanup(server.Close)
		site += fmt.Sprintf("  %s:\n    connector: %s\n    options:\n      url: %s\n", name, name, server.URL)
		for k, v := range s.Settings() {
			if k == "password" {
				path := filepath.Join(m.dir, name+".password")
				if err := os.WriteFile(path, []byte(v), 0o600); err != nil {
					t.Fatal(err)
				}
				v = "file:" + path
			}
			site += fmt.Sprintf("      %s: %q\n", k, v)
		}
	}
	site += "integrations:\n  i13-cht-dhis2-aggregate: {}\n"
	m.write("site.yaml", site)
	if err := os.Mkdir(filepath.Join(m.dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	m.args = []string{"--site", filepath.Join(m.dir, "site.yaml"), "--data", filepath.Join(m.dir, "data"), "--integrations", "../../integrations"}
	return m
}

func (m *month) write(name, text string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *month) run(args ...string) (string, int) {
	m.t.Helper()
	return run(m.t, append(args, m.args...)...)
}

// answer fetches October and answers the open question about a place. No answer
// is given where there is none.
func (m *month) answer(place, answer, who string) {
	m.t.Helper()
	ctx, stop := context.WithTimeout(m.t.Context(), time.Minute)
	defer stop()
	a := root0()
	a.siteFile, a.integrations = filepath.Join(m.dir, "site.yaml"), "../../integrations"
	site, integrations, err := a.load()
	if err != nil {
		m.t.Fatal(err)
	}
	l, err := store.OpenSQLite(ctx, filepath.Join(m.dir, "data"), store.Options{})
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	e, err := engine.New(engine.Options{Ledger: l, Registry: a.reg, Site: site, Integrations: integrations, NoPolls: true, Log: discard()})
	if err != nil {
		m.t.Fatal(err)
	}
	if err := e.Start(ctx); err != nil {
		m.t.Fatal(err)
	}
	defer e.Stop()
	if _, err := e.Ask(ctx, "month-to-dhis2", "", "202610"); err != nil {
		m.t.Fatal(err)
	}
	if err := e.Fetch(ctx, "month-to-dhis2", ""); err != nil {
		m.t.Fatal(err)
	}
	settle := func() {
		if err := e.Settle(ctx, 30*time.Second); err != nil {
			m.t.Fatal(err)
		}
	}
	settle()
	if answer == "" {
		return
	}
	s := local(e)
	open, err := s.Questions(ctx, 0, 100)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, q := range open {
		if strings.Contains(q.Text, place) {
			if _, err := s.Answer(ctx, desk.Answer{Question: q.ID, Answer: answer, Who: who}); err != nil {
				m.t.Fatal(err)
			}
			settle()
			return
		}
	}
	m.t.Fatalf("nothing is asked about %s", place)
}

func (m *month) upload(contentType string, file []byte) {
	m.t.Helper()
	r := httptest.NewRequestWithContext(m.t.Context(), http.MethodPost, "/api/dataValueSets?async=false", bytes.NewReader(file))
	r.Header.Set("Content-Type", contentType)
	r.SetBasicAuth("clerk", "Clerk123")
	w := httptest.NewRecorder()
	m.dhis2.ServeHTTP(w, r)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"SUCCESS"`) {
		m.t.Fatalf("the file is not taken: %d %s\n%s", w.Code, w.Body, file)
	}
}

// exports are the entries of the audit trail about files.
func (m *month) exports() []ledger.Audit {
	m.t.Helper()
	l, err := store.OpenSQLite(m.t.Context(), filepath.Join(m.dir, "data"), store.Options{})
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	all, err := l.Audits(m.t.Context(), 0, 0, 100)
	if err != nil {
		m.t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(a ledger.Audit) bool { return a.Act != "export" })
}

var uploadedComment = regexp.MustCompile(`\s*"comment":\s*"[^"]*",?`)

// values is what DHIS2 stores of values, without comments.
func (m *month) values() string {
	m.t.Helper()
	b, err := m.dhis2.State()
	if err != nil {
		m.t.Fatal(err)
	}
	s := uploadedComment.ReplaceAllString(string(b), "")
	return s[strings.Index(s, `"dataValues"`):]
}

const nyangoma, october = "Nyangoma community unit", "202610"

// The way from the confirmation to DHIS2: by a file in each format it stores what
// sending writes, and nothing is in a file before the confirmation.
func TestAConfirmedMonthIsUploadedByHand(t *testing.T) {
	sent := newMonth(t)
	sent.answer(nyangoma, "yes", "Grace Wanjiru")
	empty := newMonth(t).values()
	if sent.values() == empty {
		t.Fatal("nothing was sent")
	}
	out, code := sent.run("export", "dhis2", "month-to-dhis2", "--period", october)
	if code != 1 || !strings.Contains(out, "was sent, approved by Grace Wanjiru") {
		t.Errorf("a month that was sent is exported: %d %s", code, out)
	}
	for format, contentType := range map[string]string{"json": "application/json", "adx": "application/adx+xml", "csv": "application/csv"} {
		t.Run(format, func(t *testing.T) {
			m := newMonth(t)
			m.answer("", "", "")
			out, code := m.run("export", "dhis2", "month-to-dhis2", "--period", october, "--format", format)
			if code != 1 || !strings.Contains(out, "is not confirmed yet") || !strings.Contains(out, "kiungo questions") {
				t.Fatalf("before the confirmation: %d %s", code, out)
			}
			m.answer(nyangoma, "by hand", "Grace Wanjiru")
			if got := m.values(); got != empty {
				t.Fatalf("a month that is confirmed for upload was sent:\n%s", got)
			}
			file := filepath.Join(m.dir, "october."+format)
			args := []string{"export", "dhis2", "i13/month-to-dhis2", "--period", october, "--format", format, "--out", file}
			if out, code := m.run(args...); code != 0 || !strings.Contains(out, "not in the file: Usigu community unit") || !strings.Contains(out, "1 report") {
				t.Fatalf("%d %s", code, out)
			}
			b, err := os.ReadFile(file)
			if err != nil || !bytes.Contains(b, []byte("Confirmed by Grace Wanjiru on ")) {
				t.Fatalf("%v %s", err, b)
			}
			m.upload(contentType, b)
			if got := m.values(); got != sent.values() {
				t.Errorf("uploaded:\n%s\nsent:\n%s", got, sent.values())
			}
			if out, code := m.run(args...); code != 1 || !strings.Contains(out, "has them all already") {
				t.Errorf("after the upload: %d %s", code, out)
			}
			// Who took it out is kept, once, with how many values; nothing of them is.
			kept := m.exports()
			if len(kept) != 1 || kept[0].Who != whoAmI() || kept[0].Delivery == 0 || kept[0].Note != "4 values of i13/month-to-dhis2, 202610, written as "+format+" for upload by hand" {
				t.Errorf("in the audit trail: %+v", kept)
			}
		})
	}
}

func TestExportRefusesWhatWasChangedSinceTheConfirmation(t *testing.T) {
	m := newMonth(t)
	m.answer(nyangoma, "by hand", "Grace Wanjiru")
	m.upload("application/json", []byte(`{"dataValues":[{"dataElement":"ImDeFever01","categoryOptionCombo":"ImCoc000001","period":"202610","orgUnit":"OuVilBon001","value":"8"}]}`))
	args := []string{"export", "dhis2", "month-to-dhis2", "--period", october, "--place", "OuVilBon001"}
	out, code := m.run(args...)
	if code != 1 || !strings.Contains(out, "8 -> 7") || !strings.Contains(out, "Grace Wanjiru") || !strings.Contains(out, "--anyway") {
		t.Errorf("%d %s", code, out)
	}
	if out, code := m.run(append(args, "--anyway")...); code != 0 || !strings.Contains(out, `"value": "7"`) {
		t.Errorf("%d %s", code, out)
	}
}

func TestExportSaysWhatItCanWrite(t *testing.T) {
	m := newMonth(t)
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"no period": {[]string{"export", "dhis2", "month-to-dhis2"}, "--period"},
		"no flow":   {[]string{"export", "dhis2", "monthly", "--period", october}, "i13/month-to-dhis2"},
		"no files":  {[]string{"export", "cht", "month-to-dhis2", "--period", october}, "there are: dhis2"},
		"no format": {[]string{"export", "dhis2", "month-to-dhis2", "--period", october, "--format", "xlsx"}, "json, adx, csv"},
	} {
		if out, code := m.run(c.args...); code != 2 || !strings.Contains(out, c.says) {
			t.Errorf("%s: exit %d, %s; want %q", name, code, out, c.says)
		}
	}
	if out, code := m.run("export", "dhis2", "month-to-dhis2", "--period", "202601"); code != 1 || !strings.Contains(out, "nothing to upload") {
		t.Errorf("%d %s", code, out)
	}
}
