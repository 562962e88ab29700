package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/kiungo-health/kiungo/connectors/openmrs/checkdigit"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// form is the n-th form: its own case and patient, and national id.
func (r *rig) form(n int) []byte { return r.formOf(n, patientOf(n)) }

func (r *rig) formOf(n int, patient string) []byte {
	id := uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "bench form %d", n)).String()
	kase := uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "bench case %d", n)).String()
	lane := "none"
	if r.Lanes > 0 {
		lane = fmt.Sprint("number ", n%r.Lanes)
	}
	return []byte(strings.NewReplacer("FORM", id, "CASE", kase, "PATIENT", patient, "NID", nationalID(n), "LANE", lane).Replace(r.sample))
}

// padding is so many kB of answers that no flow reads, as real forms have them:
// text in words, codes and numbers.
func padding(kb int) string {
	var b strings.Builder
	words := strings.Fields("yes no referred fever cough none normal given counselled household water net danger sign mother child visit next week stock")
	seed := rand.New(rand.NewPCG(1, 2))
	for n := 0; b.Len() < kb<<10; n++ {
		fmt.Fprintf(&b, `"question_%d": "%s %s %d", `, n, words[seed.IntN(len(words))], words[seed.IntN(len(words))], seed.IntN(10000))
	}
	return b.String()
}

// nationalID is one number for all: the stub answers with the recorded one. The
// form that is recorded before has another, or the simulator would refuse it.
func nationalID(n int) string {
	if n == -1 {
		return "20000002"
	}
	return "20000001"
}

func patientOf(n int) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "bench patient %d", n)).String()
}

// record runs one delivery against the simulator and keeps its requests. The
// second of two is kept: the first also reads the metadata.
func (r *rig) record(ctx context.Context) ([]exchange, map[string]bool, int, error) {
	sim, err := r.Registry["openmrs"].Simulate(nil)
	if err != nil {
		return nil, nil, 0, err
	}
	r.sim = sim
	tap := &tap{next: sim}
	n, err := r.open(ctx, "record", "http://openmrs.sim", simulate.Network{"openmrs.sim": tap})
	if err != nil {
		return nil, nil, 0, err
	}
	defer n.close()
	const first = "11111111-2222-4333-8444-555555555551"
	for i, id := range []string{first, samplePatient} {
		if err := sim.Seed(patientSeed(id, i)); err != nil {
			return nil, nil, 0, err
		}
		tap.reset()
		if err := push(ctx, n.Engine, r.formOf(-1-i, id)); err != nil {
			return nil, nil, 0, err
		}
		if err := n.Settle(ctx, 30*time.Second); err != nil {
			return nil, nil, 0, err
		}
	}
	list, err := n.ledger.Deliveries(ctx, ledger.Filter{})
	if err != nil {
		return nil, nil, 0, err
	}
	for _, d := range list {
		if d.State != ledger.Done {
			return nil, nil, 0, fmt.Errorf("the sample delivery is %s: %s", d.State, d.Reason)
		}
	}
	return tap.log, metadata(tap.log), list[0].Calls, nil
}

// metadata are the ids in paths that are the same for every delivery: all but
// those of the sample patient's own rows, which stand behind hers.
func metadata(log []exchange) map[string]bool {
	out := map[string]bool{}
	for _, x := range log {
		path, _, _ := strings.Cut(x.path, "?")
		if strings.Contains(path, samplePatient) {
			continue
		}
		for at := nextUUID(path, 0); at >= 0; at = nextUUID(path, at+36) {
			out[path[at:at+36]] = true
		}
	}
	return out
}

// tap records what goes through.
type tap struct {
	next http.Handler
	mu   sync.Mutex
	log  []exchange
}

func (t *tap) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.log = nil
}

func (t *tap) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	rec := httptest.NewRecorder()
	t.next.ServeHTTP(rec, r)
	t.mu.Lock()
	t.log = append(t.log, exchange{r.Method, r.URL.RequestURI(), body, rec.Code, rec.Body.Bytes()})
	t.mu.Unlock()
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes())
}

func patientSeed(id string, n int) []byte {
	base := fmt.Sprintf("10000%d", n)
	check, _ := checkdigit.ModN(base, "0123456789ACDEFGHJKLMNPRTUVWXY")
	doc, err := json.Marshal(map[string]any{"patients": []any{map[string]any{
		"person": map[string]any{"uuid": id, "gender": "M", "birthdate": "1990-01-01",
			"names":     []any{map[string]any{"givenName": "Other", "familyName": "Name", "preferred": true}},
			"addresses": []any{map[string]any{"cityVillage": "Elsewhere", "preferred": true}}},
		"identifiers": []any{map[string]any{"identifier": base + string(check), "identifierType": "05a29f94-c0ed-11e2-94be-8c13b969e334",
			"location": "8d6c993e-c2cc-11de-8d13-0010c6dffd0f", "preferred": true}},
	}}})
	if err != nil {
		panic(err) // strings only
	}
	return doc
}
