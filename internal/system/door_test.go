package system

import (
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
)

// A redirect to a login page and a token that cannot be read are no better than a
// wrong password; a 403 is about one thing that the user may not do.
func TestCredentialsThatAreNotTakenOpenTheCircuitAtOnce(t *testing.T) {
	for status, want := range map[int]bool{401: true, 302: true, 400: true, 403: false, 200: false} {
		c := &circuit{}
		if got := c.note(1, call.Verdict{Class: call.NotAuthorised, Reason: "x"}, status, time.Now()); got != want || c.byLogin() != want {
			t.Errorf("%d: opened %t, by login %t, want %t", status, got, c.byLogin(), want)
		}
	}
	c := &circuit{}
	if c.note(1, call.Verdict{Class: call.Refusal}, 302, time.Now()) {
		t.Error("another redirect opened the circuit")
	}
}
