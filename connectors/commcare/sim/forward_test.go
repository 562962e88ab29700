package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func file(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newSim(t testing.TB, options string) *Sim {
	t.Helper()
	s, err := New([]byte(options))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// target is where a repeater sends: it answers by the statuses given, the last
// one again and again; 0 cuts the connection.
type target struct {
	mu       sync.Mutex
	statuses []int
	got      []*http.Request
	bodies   []string
	at       []time.Time
}

func (g *target) RoundTrip(r *http.Request) (*http.Response, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	g.got, g.bodies, g.at = append(g.got, r), append(g.bodies, string(body)), append(g.at, time.Now())
	status := g.statuses[min(len(g.got), len(g.statuses))-1]
	if status == 0 {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
}

func (g *target) client() *http.Client { return &http.Client{Transport: g} }

func TestRetryIntervalVectors(t *testing.T) {
	var doc struct {
		Vectors []struct {
			Last *string `json:"last_checked"`
			Now  string  `json:"now"`
			Want float64 `json:"expected_hours"`
		} `json:"vectors"`
	}
	if err := json.Unmarshal(file(t, "repeaters/retry-interval.vectors.json"), &doc); err != nil {
		t.Fatal(err)
	}
	at := func(s string) time.Time {
		v, err := time.Parse(time.DateTime, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, v := range doc.Vectors {
		last := time.Time{}
		if v.Last != nil {
			last = at(*v.Last)
		}
		if got := wait(last, at(v.Now), time.Hour).Hours(); got != v.Want {
			t.Errorf("after %v at %s: %v h, want %v", v.Last, v.Now, got, v.Want)
		}
	}
}

func TestOutcomesFollowTheStateMachine(t *testing.T) {
	var doc struct {
		Empty int `json:"empty_when_status"`
		Max   int `json:"max_attempts_server_error_or_timeout"`
		Retry struct {
			Client []int `json:"4xx"`
		} `json:"retry_as_server_failure"`
	}
	if err := json.Unmarshal(file(t, "repeaters/state-machine.json"), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Max != maxAttempts {
		t.Errorf("%d attempts, want %d", maxAttempts, doc.Max)
	}
	retry := map[int]bool{}
	for _, status := range doc.Retry.Client {
		retry[status] = true
	}
	for status := 200; status < 600; status++ {
		want := InvalidPayload
		switch {
		case status == doc.Empty:
			want = Empty
		case status < 300:
			want = Success
		case status >= 500, retry[status]:
			want = Fail
		}
		if got := outcome(status); got != want {
			t.Errorf("%d is %s, want %s", status, got, want)
		}
	}
}

// A target that is down gets six tries over five days; then CommCare gives up
// at the next check.
func TestARecordIsTriedSixTimesAndThenCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, "{}")
		g := &target{statuses: []int{503, 0, 400, 429, 500, 502}}
		s.Forward("https://kiungo.example/in", FormJSON, s.Credentials())
		if _, err := s.Submit(file(t, "forms/form-json.registration.json")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { s.Run(ctx, g.client(), 2); close(done) }()
		time.Sleep(30 * 24 * time.Hour)
		synctest.Wait()
		cancel()
		<-done
		var hours []int
		for _, at := range g.at {
			hours = append(hours, int(at.Sub(g.at[0]).Round(time.Minute).Hours()))
		}
		if d := cmp.Diff([]int{0, 1, 4, 13, 40, 121}, hours); d != "" {
			t.Errorf("sent at hours %v: %s", hours, d)
		}
		if up := s.GivenUp(); len(up) != 1 || up[0].State != Cancelled || up[0].LastStatus != 502 || len(s.Pending()) != 0 {
			t.Fatalf("given up %+v, pending %d", up, len(s.Pending()))
		}
		g.statuses = []int{202}
		if err := s.Requeue(1); err != nil {
			t.Fatal(err)
		}
		if n := s.Deliver(t.Context(), g.client()); n != 1 || s.Forwarded(Success) != 1 || len(s.GivenUp()) != 0 {
			t.Errorf("after the requeue: %d sent", n)
		}
	})
}

func TestAnHourCanBeShortened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, `{"hour":"2s"}`)
		g := &target{statuses: []int{503, 503, 200}}
		s.Forward("https://kiungo.example/in", FormXML, Credentials{Header: "X-API-Key", Key: "k"})
		if _, err := s.Submit(file(t, "forms/xform.simple.xml")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
		defer cancel()
		s.Run(ctx, g.client(), 1)
		if len(g.at) != 3 || s.Forwarded(Success) != 1 || g.got[0].Header.Get("X-API-Key") != "k" {
			t.Errorf("%d sends, %d succeeded", len(g.at), s.Forwarded(Success))
		}
	})
}

func TestAnswersThatEndARecordAtOnce(t *testing.T) {
	for status, want := range map[int]State{401: InvalidPayload, 403: InvalidPayload, 422: InvalidPayload, 410: InvalidPayload, 204: Empty} {
		s := newSim(t, "")
		g := &target{statuses: []int{status}}
		s.Forward("https://kiungo.example/in", FormStub, s.Credentials())
		if _, err := s.Submit(file(t, "forms/xform.simple.xml")); err != nil {
			t.Fatal(err)
		}
		s.Deliver(t.Context(), g.client())
		if up := s.GivenUp(); len(up) != 1 || up[0].State != want {
			t.Errorf("%d ends as %+v, want %s", status, up, want)
		}
	}
}

func TestForwardedRequestsAreAsDocumented(t *testing.T) {
	s := newSim(t, "")
	for _, f := range []Format{FormJSON, FormXML, FormStub, CaseJSON, CaseXML} {
		s.Forward("https://kiungo.example/in?x=1", f, s.Credentials())
	}
	if _, err := s.Submit(file(t, "forms/form-json.registration.json")); err != nil {
		t.Fatal(err)
	}
	g := &target{statuses: []int{200}}
	s.Deliver(t.Context(), g.client())
	var lines []string
	for _, r := range g.got {
		header := "received-on"
		if r.Header.Get(header) == "" {
			header = "server-modified-on"
		}
		if _, err := time.Parse(iso, r.Header.Get(header)); err != nil {
			t.Errorf("%s: %v", header, err)
		}
		if user, password, ok := r.BasicAuth(); !ok || user != s.Credentials().Username || password != s.Credentials().Password {
			t.Error("sent without credentials")
		}
		lines = append(lines, fmt.Sprint(r.Method, " ", r.URL.RawQuery, " ", r.Header.Get("Content-Type"), " ", header))
	}
	want := []string{"POST x=1 application/json server-modified-on", "POST x=1 text/xml server-modified-on",
		"POST app_id=9393007a6921eecd4a9f20eefb7b97f4&x=1 application/json received-on",
		"POST app_id=9393007a6921eecd4a9f20eefb7b97f4&x=1 text/xml received-on", "POST x=1 application/json received-on"}
	if d := cmp.Diff(want, lines); d != "" {
		t.Error(d)
	}
	if !strings.Contains(g.bodies[4], `"case_ids":["65e55473-e83b-4d78-9dde-eaf949758997"]`) {
		t.Errorf("the stub is %s", g.bodies[4])
	}
}

// What is sent is rendered when it is sent: a retried form is the form as it
// was edited since.
func TestPayloadsAreRenderedAtSendTime(t *testing.T) {
	s := newSim(t, "")
	at := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	s.SetClock(func() time.Time { return at })
	g := &target{statuses: []int{503, 200}}
	s.Forward("https://kiungo.example/in", FormXML, s.Credentials())
	if _, err := s.Submit(file(t, "forms/xform.simple.xml")); err != nil {
		t.Fatal(err)
	}
	s.Deliver(t.Context(), g.client())
	if _, err := s.Submit(file(t, "forms/xform.simple-edited.xml")); err != nil {
		t.Fatal(err)
	}
	at = at.Add(time.Hour)
	s.Deliver(t.Context(), g.client())
	if len(g.bodies) != 3 || !strings.Contains(g.bodies[0], "bang") || !strings.Contains(g.bodies[1], "bong") || !strings.Contains(g.bodies[2], "bong") {
		t.Errorf("sent %d: %v", len(g.bodies), g.bodies)
	}
}

func TestALaterFormOvertakesAFailedOne(t *testing.T) {
	s := newSim(t, "")
	at := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	s.SetClock(func() time.Time { return at })
	g := &target{statuses: []int{503, 200}}
	s.Forward("https://kiungo.example/in", FormStub, s.Credentials())
	submit := func(id string) {
		if _, err := s.Submit(fmt.Appendf(nil, `{"form":{"@xmlns":"x","meta":{"instanceID":%q}}}`, id)); err != nil {
			t.Fatal(err)
		}
		s.Deliver(t.Context(), g.client())
	}
	submit("first")
	submit("second")
	at = at.Add(time.Hour)
	s.Deliver(t.Context(), g.client())
	var order []string
	for _, b := range g.bodies {
		var doc struct {
			ID string `json:"form_id"`
		}
		if err := json.Unmarshal([]byte(b), &doc); err != nil {
			t.Fatal(err)
		}
		order = append(order, doc.ID)
	}
	if d := cmp.Diff([]string{"first", "second", "first"}, order); d != "" {
		t.Error(d)
	}
}

func TestManyWorkersSendEachRecordOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, "")
		g := &target{statuses: []int{200}}
		s.Forward("https://kiungo.example/in", FormStub, s.Credentials())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { s.Run(ctx, g.client(), 8); close(done) }()
		gen := NewGenerator(1, 20, 2)
		for range 200 {
			if _, err := s.Submit(gen.Next().Body); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		cancel()
		<-done
		if len(g.got) != 200 || s.Forwarded(Success) != 200 {
			t.Errorf("%d requests, %d successes", len(g.got), s.Forwarded(Success))
		}
	})
}
