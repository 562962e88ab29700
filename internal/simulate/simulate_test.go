package simulate

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func client(t *Traffic, executed *int) *http.Client {
	h := t.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*executed++
		_, _ = io.WriteString(w, "ok")
	}))
	return &http.Client{Transport: Network{"sim": h}}
}

func TestFaultsSayWhetherTheRequestWasExecuted(t *testing.T) {
	for _, c := range []struct {
		fault    Kind
		executed int
		status   int // 0: no answer
	}{
		{"", 1, 200}, {Down, 0, 0}, {LostResponse, 1, 0}, {Error500, 0, 500}, {Error500After, 1, 500},
		{Error503, 0, 503}, {TooMany, 0, 429}, {Unauthorised, 0, 401}, {Executed401, 1, 401}, {HTMLPage, 0, 502}, {Refuse, 0, 400},
		{TimeoutBefore, 0, 0}, {TimeoutAfter, 1, 0}, {Slow, 1, 200},
	} {
		traffic := NewTraffic(1)
		if c.fault != "" {
			traffic.Switch(Fault{Kind: c.fault, Call: 1})
		}
		executed := 0
		cl := client(traffic, &executed)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		req, _ := http.NewRequestWithContext(ctx, "POST", "http://sim/x", strings.NewReader("{}"))
		resp, err := cl.Do(req)
		status := 0
		if err == nil {
			status = resp.StatusCode
			resp.Body.Close()
		}
		cancel()
		if executed != c.executed || status != c.status {
			t.Errorf("%q: executed %d times with status %d, want %d with %d", c.fault, executed, status, c.executed, c.status)
		}
		got := traffic.Requests()
		if len(got) != 1 || got[0].Status != c.status || got[0].Executed != (c.executed == 1) {
			t.Errorf("%q: recorded %+v", c.fault, got)
		}
	}
}

func TestAFaultHitsTheNamedRequestOnly(t *testing.T) {
	traffic := NewTraffic(1)
	traffic.Switch(Fault{Kind: Error503, Match: "POST /a/*", Call: 2})
	executed := 0
	cl := client(traffic, &executed)
	var got []int
	for _, path := range []string{"/a/1", "/b/1", "/a/2", "/a/3"} {
		resp, err := cl.Post("http://sim"+path, "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		got = append(got, resp.StatusCode)
	}
	if want := []int{200, 200, 503, 200}; len(got) != 4 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] || got[3] != want[3] {
		t.Fatalf("statuses %v, want %v", got, want)
	}
}
