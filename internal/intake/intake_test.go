package intake_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/connectors/commcare"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/intake"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/system"
)

func open(t *testing.T) (*intake.Intake, ledger.Ledger) {
	t.Helper()
	l, err := store.OpenSQLite(t.Context(), t.TempDir(), store.Options{MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	s, err := commcare.Connector().Open(connector.Config{Name: "commcare", HTTP: http.DefaultClient, Our: "kiungo", Values: map[string]string{
		"url": "https://example.org", "domain": "demo", "username": "u", "api_key": "k", "inbound_username": "forwarder", "inbound_password": "secret"}})
	if err != nil {
		t.Fatal(err)
	}
	return &intake.Intake{Ledger: l, Registry: connector.Registry{"commcare": commcare.Connector()}, Systems: map[string]*system.Port{"commcare": system.New(s, "commcare", system.Limits{})}}, l
}

func send(in http.Handler, method, path, user, password, body string) *httptest.ResponseRecorder {
	mux := http.NewServeMux()
	mux.Handle("/in/{system}", in)
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if user != "" {
		r.SetBasicAuth(user, password)
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w
}

func sample(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../integrations/i05-commcare-openmrs-feed/samples/visit-2.json")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestBadInputGetsAClearAnswerAndKeepsNothing(t *testing.T) {
	in, l := open(t)
	deep := strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000)
	for name, c := range map[string]struct {
		method, path, user, password, body string
		status                             int
		says                               string
	}{
		"no such system":       {"POST", "/in/nowhere", "forwarder", "secret", "{}", 404, "nowhere"},
		"not by POST":          {"GET", "/in/commcare", "forwarder", "secret", "", 405, "POST"},
		"wrong password":       {"POST", "/in/commcare", "forwarder", "guess", sample(t), 401, "password"},
		"no credentials":       {"POST", "/in/commcare", "", "", sample(t), 401, "password"},
		"empty":                {"POST", "/in/commcare", "forwarder", "secret", "", 400, "empty"},
		"neither JSON nor XML": {"POST", "/in/commcare", "forwarder", "secret", "hello", 400, "JSON"},
		"cut JSON":             {"POST", "/in/commcare", "forwarder", "secret", sample(t)[:300], 400, "JSON"},
		"broken XML":           {"POST", "/in/commcare", "forwarder", "secret", "<data><a></data>", 400, "XML"},
		"XML with entities":    {"POST", "/in/commcare", "forwarder", "secret", `<!DOCTYPE d [<!ENTITY a "b">]><d>&a;</d>`, 400, ""},
		"a JSON list":          {"POST", "/in/commcare", "forwarder", "secret", "[1,2]", 400, "object"},
		"something else":       {"POST", "/in/commcare", "forwarder", "secret", `{"a":1}`, 400, "none of what CommCare forwards"},
		"nested too deeply":    {"POST", "/in/commcare", "forwarder", "secret", deep, 400, "deep"},
		"20 MB":                {"POST", "/in/commcare", "forwarder", "secret", strings.Repeat("x", 20<<20), 413, "10 MB"},
	} {
		w := send(in, c.method, c.path, c.user, c.password, c.body)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s: %d %s; want %d with %q", name, w.Code, strings.TrimSpace(w.Body.String()), c.status, c.says)
		}
	}
	kept, err := l.Messages(t.Context(), "", 0, 10)
	if err != nil || len(kept) > 0 {
		t.Fatalf("%d messages were kept, %v", len(kept), err)
	}
}

func TestAFormForNoFlowIsKeptAndSaidToBeOfNoUse(t *testing.T) {
	in, l := open(t)
	w := send(in, "POST", "/in/commcare", "forwarder", "secret", sample(t))
	if w.Code != 202 || !strings.Contains(w.Body.String(), `"deliveries":0`) {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	again := send(in, "POST", "/in/commcare", "forwarder", "secret", sample(t))
	if again.Code != 202 || !strings.Contains(again.Body.String(), `"duplicate":true`) {
		t.Fatalf("%d %s", again.Code, again.Body)
	}
	kept, err := l.Messages(t.Context(), "", 0, 10)
	if err != nil || len(kept) != 1 {
		t.Fatalf("%d messages, %v", len(kept), err)
	}
	counts, err := l.Counts(t.Context())
	if err != nil || len(counts) != 1 || counts[0].State != ledger.NotRouted || counts[0].N != 1 ||
		!strings.HasPrefix(counts[0].Flow, "commcare form, app 9393007a6921eecd4a9f20eefb7b97f4, xmlns http://openrosa.org/") {
		t.Fatalf("counted as %+v, %v", counts, err)
	}
}

// brokenLedger cannot take anything.
type brokenLedger struct{ ledger.Ledger }

func (brokenLedger) Accept(context.Context, []ledger.Arrival, *ledger.Advance) ([]ledger.Accepted, error) {
	return nil, ledger.ErrFull
}

// CommCare gives a form up for good at 401, 403 and 422, but sends it again
// after a 503.
func TestALedgerThatCannotTakeItIsAnswered503(t *testing.T) {
	in, l := open(t)
	in.Ledger = brokenLedger{l}
	w := send(in, "POST", "/in/commcare", "forwarder", "secret", sample(t))
	if w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
}

// A sender that hangs up while we commit has sent its message all the same.
func TestASenderThatHangsUpLosesNothing(t *testing.T) {
	in, l := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	r := httptest.NewRequestWithContext(ctx, "POST", "/in/commcare", &hangUp{Reader: strings.NewReader(sample(t)), cancel: cancel})
	r.SetPathValue("system", "commcare")
	r.SetBasicAuth("forwarder", "secret")
	in.ServeHTTP(httptest.NewRecorder(), r)
	kept, err := l.Messages(t.Context(), "", 0, 10)
	if err != nil || len(kept) != 1 {
		t.Fatalf("%d messages, %v", len(kept), err)
	}
}

// hangUp cancels its request when its last byte was read.
type hangUp struct {
	io.Reader
	cancel context.CancelFunc
}

func (h *hangUp) Read(p []byte) (int, error) {
	n, err := h.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		h.cancel()
	}
	return n, err
}
