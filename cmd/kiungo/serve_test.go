package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/system"
)

// serving is a kiungo serve of a test.
type serving struct {
	t       *testing.T
	dir     string
	address string
	figures string
	told    chan string // what systemd was told
	stop    context.CancelFunc
	ended   chan error
}

// free gives an address that nobody listens to.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// serveBench serves the bench's integration; OpenMRS is at that address.
func serveBench(t *testing.T, openmrs string, args ...string) *serving {
	t.Helper()
	s := &serving{t: t, dir: t.TempDir(), address: free(t), figures: free(t), told: make(chan string, 64), ended: make(chan error, 1)}
	if err := os.CopyFS(filepath.Join(s.dir, "integrations", "b00-bench"), os.DirFS("../../internal/bench/files")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KIUNGO_TEST_PASSWORD", "simulated")
	site := fmt.Sprintf(`zone: Africa/Nairobi
systems:
  commcare: {connector: commcare, options: {url: 'http://127.0.0.1:1', domain: bench, username: bench, api_key: 'env:KIUNGO_TEST_PASSWORD', inbound_username: bench, inbound_password: 'env:KIUNGO_TEST_PASSWORD'}}
  openmrs: {connector: openmrs, options: {url: '%s', username: admin, password: 'env:KIUNGO_TEST_PASSWORD', traceparent: 'yes'}}
  openmrs-down: {connector: openmrs, options: {url: '%s', username: admin, password: 'env:KIUNGO_TEST_PASSWORD'}}
integrations:
  b00-bench: {}
`, openmrs, openmrs)
	if err := os.WriteFile(filepath.Join(s.dir, "site.yaml"), []byte(site), 0o600); err != nil {
		t.Fatal(err)
	}
	s.listenAsSystemd()
	ctx, stop := context.WithCancel(t.Context())
	s.stop = stop
	cmd := root()
	cmd.SetOut(io.Discard)
	cmd.SetErr(io.Discard)
	cmd.SetArgs(append([]string{"serve", "--site", filepath.Join(s.dir, "site.yaml"), "--integrations", filepath.Join(s.dir, "integrations"),
		"--data", filepath.Join(s.dir, "data"), "--listen", s.address, "--metrics", s.figures, "--log-level", "error"}, args...))
	go func() { s.ended <- cmd.ExecuteContext(ctx) }()
	s.hears("READY=1")
	return s
}

func (s *serving) listenAsSystemd() {
	path := filepath.Join(s.dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	s.t.Setenv("NOTIFY_SOCKET", path)
	s.t.Setenv("WATCHDOG_USEC", "40000000")
	go func() {
		b := make([]byte, 256)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			s.told <- string(b[:n])
		}
	}()
}

// hears waits until systemd was told something.
func (s *serving) hears(what string) {
	s.t.Helper()
	for {
		select {
		case got := <-s.told:
			if got == what {
				return
			}
		case err := <-s.ended:
			s.t.Fatalf("it ended before it said %s: %v", what, err)
		}
	}
}

func (s *serving) ask(url string) (int, string) {
	s.t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// push sends the bench's form, as its number n.
func (s *serving) push(n int) *http.Response {
	s.t.Helper()
	b, err := os.ReadFile("../../internal/bench/files/samples/form.json")
	if err != nil {
		s.t.Fatal(err)
	}
	text := strings.NewReplacer("FORM", fmt.Sprintf("f0000000-0000-4000-8000-%012d", n), "CASE", fmt.Sprintf("c0000000-0000-4000-8000-%012d", n),
		"PATIENT", fmt.Sprintf("a0000000-0000-4000-8000-%012d", n), "NID", "20000001").Replace(string(b))
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "http://"+s.address+"/in/commcare", strings.NewReader(text))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth("bench", "simulated")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp
}

// TestAStopEndsWhatIsUnderWayAndLosesNothing: first it is not ready any more,
// then it takes no messages, then the call under way ends, then it is gone with
// its lanes given back.
func TestAStopEndsWhatIsUnderWayAndLosesNothing(t *testing.T) {
	asked, answer := make(chan http.Header, 16), make(chan struct{})
	openmrs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header
		<-answer
		http.Error(w, "not now", http.StatusServiceUnavailable)
	}))
	defer openmrs.Close()
	traces := make(chan string, 16)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { traces <- r.URL.Path }))
	defer collector.Close()
	draining, drain := make(chan struct{}), make(chan struct{})
	drained = func(time.Duration) { close(draining); <-drain }
	defer func() { drained = time.Sleep }()
	s := serveBench(t, openmrs.URL, "--drain", "5s", "--otlp", collector.URL)
	if code, body := s.ask("http://" + s.address + "/healthz"); code != 200 || body != "ok\n" {
		t.Errorf("healthz: %d %q", code, body)
	}
	if code, body := s.ask("http://" + s.address + "/readyz"); code != 200 || body != "ready\n" {
		t.Errorf("readyz: %d %q", code, body)
	}
	s.hears("WATCHDOG=1")
	if out, code := run(t, "health", "--ready", "--listen", s.address); code != 0 || out != "ready\n" {
		t.Errorf("kiungo health: %d %q", code, out)
	}
	resp := s.push(1)
	if resp.StatusCode != http.StatusAccepted || len(resp.Header.Get("X-Request-Id")) != 16 {
		t.Fatalf("intake: %s, %v", resp.Status, resp.Header)
	}
	if h := <-asked; !strings.HasPrefix(h.Get("Traceparent"), "00-") {
		t.Errorf("a system that is to be told the trace was told %q", h.Get("Traceparent"))
	}
	if _, body := s.ask("http://" + s.figures + "/metrics"); !strings.Contains(body, `kiungo_messages_total{outcome="accepted",system="commcare"} 1`) ||
		!strings.Contains(body, `kiungo_flow_system{flow="b00-bench/bench",system="openmrs"} 1`) || !strings.Contains(body, "kiungo_deliveries_in_progress 1") || !strings.Contains(body, `kiungo_calls_in_flight{system="openmrs"} 1`) {
		t.Errorf("the metrics do not show the message, its delivery and its call:\n%s", body)
	}

	s.stop()
	s.hears("STOPPING=1")
	<-draining
	if code, body := s.ask("http://" + s.address + "/readyz"); code != 503 || body != "stopping\n" {
		t.Errorf("readyz while it stops: %d %q", code, body)
	}
	code, body := s.ask("http://" + s.address + "/readyz?verbose")
	var reply readyReply
	if err := json.Unmarshal([]byte(body), &reply); err != nil || code != 503 || reply.Ready || reply.Reason != "stopping" {
		t.Errorf("readyz?verbose: %d %s", code, body)
	}
	if out, code := run(t, "health", "--ready", "--listen", s.address); code != 1 || !strings.Contains(out, "stopping") {
		t.Errorf("kiungo health: %d %q", code, out)
	}
	if resp := s.push(2); resp.StatusCode != http.StatusAccepted || !resp.Close {
		t.Errorf("while a load balancer notices, intake answered %s, close %v", resp.Status, resp.Close)
	}
	close(drain)
	select {
	case err := <-s.ended:
		t.Fatalf("it did not wait for the call under way: %v", err)
	case answer <- struct{}{}:
		close(answer)
	}
	if err := <-s.ended; err != nil {
		t.Fatal(err)
	}

	if path := <-traces; path != "/v1/traces" {
		t.Errorf("traces were sent to %s", path)
	}
	l, err := store.OpenSQLite(t.Context(), filepath.Join(s.dir, "data"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	list, err := l.Deliveries(t.Context(), ledger.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 {
		t.Fatalf("%d deliveries, want those of two messages", len(list))
	}
	for _, d := range list {
		if d.State.Ended() || d.State == ledger.Held || d.Starts != 0 {
			t.Errorf("delivery %d is %s after %d unfinished starts", d.ID, d.State, d.Starts)
		}
	}
}

// TestAnAddressInUseIsToldBeforeAnythingHappens: no ledger is made for nothing;
// only the usual address for metrics is done without.
func TestAnAddressInUseIsToldBeforeAnythingHappens(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "integrations", "b00-bench"), os.DirFS("../../internal/bench/files")); err != nil {
		t.Fatal(err)
	}
	site := "zone: UTC\nsystems:\n  commcare: {connector: commcare, options: {url: 'http://127.0.0.1:1', domain: d, username: u, api_key: 'env:K', inbound_username: u, inbound_password: 'env:K'}}\n" +
		"  openmrs: {connector: openmrs, options: {url: 'http://127.0.0.1:1', username: u, password: 'env:K'}}\n  openmrs-down: {connector: openmrs, options: {url: 'http://127.0.0.1:1', username: u, password: 'env:K'}}\nintegrations:\n  b00-bench: {}\n"
	if err := os.WriteFile(filepath.Join(dir, "site.yaml"), []byte(site), 0o600); err != nil {
		t.Fatal(err)
	}
	base := []string{"serve", "--site", filepath.Join(dir, "site.yaml"), "--integrations", filepath.Join(dir, "integrations"), "--data", filepath.Join(dir, "data")}
	for _, args := range [][]string{{"--listen", taken.Addr().String()}, {"--listen", "127.0.0.1:0", "--metrics", taken.Addr().String()}} {
		out, code := run(t, append(base, args...)...)
		if code != 1 || !strings.Contains(out, "in use") {
			t.Errorf("%v: exit %d, %s", args, code, out)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "data", "ledger.db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a ledger was made: %v", err)
	}
}

func TestReadinessNamesNoFolderAndNoDatabase(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, "ready"},
		{fmt.Errorf("1 MB are free in /var/lib/secret: %w", ledger.ErrFull), reasonFull},
		{fmt.Errorf("secret: %w", ledger.ErrFenced), reasonLease},
		{fmt.Errorf("secret: %w", ledger.ErrClosed), reasonClosed},
		{errors.New("dial tcp secret:5432"), reasonSilent},
	} {
		asked := 0
		r := &readiness{look: func(context.Context) error { asked++; return c.err }, log: discard(), systems: map[string]*system.Port{}}
		for _, url := range []string{"/readyz", "/readyz?verbose"} {
			w := httptest.NewRecorder()
			r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, url, nil))
			if ok := w.Code == http.StatusOK; ok != (c.err == nil) || strings.Contains(w.Body.String(), "secret") || !strings.Contains(w.Body.String(), c.want) {
				t.Errorf("%v: %s: %d %s", c.err, url, w.Code, w.Body)
			}
		}
		if asked != 1 {
			t.Errorf("the ledger was asked %d times within a moment", asked)
		}
	}
}

// TestAStoppedIntakeSendsSendersElsewhere: what comes on a connection that was
// kept.
func TestAStoppedIntakeSendsSendersElsewhere(t *testing.T) {
	s := &server{ready: &readiness{}}
	s.ready.stopping.Store(true)
	s.closed.Store(true)
	w := httptest.NewRecorder()
	s.intake(w, httptest.NewRequest(http.MethodPost, "/in/commcare", nil))
	if w.Code != 503 || w.Header().Get("Retry-After") == "" || w.Header().Get("Connection") != "close" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

// TestTheWatchdogHearsNothingWhileTheLedgerHangs: a process that waits for ever
// is started again; a database that says no is not a reason.
func TestTheWatchdogHearsNothingWhileTheLedgerHangs(t *testing.T) {
	s := &serving{t: t, dir: t.TempDir(), told: make(chan string, 64), ended: make(chan error)}
	s.listenAsSystemd()
	t.Setenv("WATCHDOG_USEC", "2000") // it is told every millisecond
	asked, answer := make(chan struct{}), make(chan struct{})
	go func() {
		_ = watchdog(t.Context(), func(context.Context) error {
			asked <- struct{}{}
			<-answer
			return errors.New("the database is away")
		})
	}()
	for range 3 {
		<-asked
		select {
		case got := <-s.told:
			t.Fatalf("systemd was told %s while the ledger was still asked", got)
		default:
		}
		answer <- struct{}{}
		s.hears("WATCHDOG=1")
	}
}

func TestLogsCarryIDsOfRequestAndNothingOfTheirs(t *testing.T) {
	var b bytes.Buffer
	log, err := newLog(&b, logOptions{"json", "debug"}, false)
	if err != nil {
		t.Fatal(err)
	}
	h := logged(log, func(string) bool { return false }, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		log.ErrorContext(r.Context(), "it failed")
		w.WriteHeader(http.StatusTeapot)
	}))
	r := httptest.NewRequest(http.MethodPost, "/in/Achieng-Atieno?phone=0712345678", strings.NewReader("x"))
	r.SetPathValue("system", "Achieng-Atieno")
	r.Header.Set("X-Request-Id", "Achieng")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	id := w.Header().Get("X-Request-Id")
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines: %s", len(lines), b.String())
	}
	for _, line := range lines {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil || record["request"] != id {
			t.Errorf("%v: %s", err, line)
		}
		if strings.Contains(line, "Achieng") || strings.Contains(line, "0712345678") {
			t.Errorf("the log holds what a stranger wrote: %s", line)
		}
	}
	for _, o := range []logOptions{{"xml", ""}, {"json", "loud"}, {"json", "info+2"}} {
		if _, err := newLog(&b, o, false); err == nil {
			t.Errorf("%v was taken", o)
		}
	}
}
