package runner_test

import (
	"net/http"
	"testing"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

// TestWhatIsSaidToBeDoneAndIsNotIsDoneAgain: something answers a write with 200,
// and the record is as it was. It is sent again, some times; then a person is
// asked. A retry sends it once more.
func TestWhatIsSaidToBeDoneAndIsNotIsDoneAgain(t *testing.T) {
	const said = "id=c1 nid=7 given=Elsa family=M born=1990-01-01 sex=f place=a phone=1"
	for name, x := range map[string]struct {
		lies  int
		retry bool
		state ledger.State
		code  string
	}{
		"once":                          {1, false, ledger.Done, ""},
		"three times":                   {3, false, ledger.Done, ""},
		"again and again":               {100, false, ledger.Held, "answer"},
		"four times, and it is retried": {4, true, ledger.Done, ""},
		"five times, and it is retried": {5, true, ledger.Held, "answer"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "", there+toReg+person)
			reg := b.sys["reg-a"]
			reg.put("p1", "nid=7", "given=Elsa", "family=M", "born=1990-01-01", "sex=f")
			lies := x.lies
			reg.before = func(r call.Request) int {
				if r.Method == http.MethodPatch && lies > 0 {
					lies--
					return http.StatusOK
				}
				return 0
			}
			id := b.does("field", said)
			for range 10 {
				b.run() // a moment later
			}
			if x.retry {
				b.is(id, ledger.Held, "answer")
				_, err := b.l.Retry(b.Context(), id, "the test", "mended")
				b.must(err)
				for range 10 {
					b.run()
				}
			}
			b.is(id, x.state, x.code)
			want := any("1")
			if x.state != ledger.Done {
				want = nil
			}
			if got := reg.get("p1", "phone"); got != want {
				t.Errorf("the phone is %v, not %v", got, want)
			}
		})
	}
}
