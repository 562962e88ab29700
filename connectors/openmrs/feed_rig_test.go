package openmrs

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/connectors/openmrs/sim"
	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// feedRig is a system that reads feeds of a simulator, and keeps a position as
// the core does.
type feedRig struct {
	t        testing.TB
	sys      *System
	sim      *sim.Server
	position map[string][]byte

	mu  sync.Mutex
	log []string
	// answer replaces answers, if set.
	answer func(r call.Request) (call.Answer, bool)
}

// newFeedRig makes one; settings are options as "name=value".
func newFeedRig(t testing.TB, options, seed string, settings ...string) *feedRig {
	t.Helper()
	s, err := sim.New([]byte(options))
	if err != nil {
		t.Fatal(err)
	}
	if seed != "" {
		if err := s.Seed([]byte(seed)); err != nil {
			t.Fatal(err)
		}
	}
	r := &feedRig{t: t, sim: s, position: map[string][]byte{}}
	r.open(settings...)
	return r
}

// open makes the system anew, as after a restart.
func (r *feedRig) open(settings ...string) {
	r.t.Helper()
	values := r.sim.Settings()
	values["url"] = "http://emr.example.org/openmrs"
	for _, s := range settings {
		name, v, _ := strings.Cut(s, "=")
		values[name] = v
	}
	zone, err := time.LoadLocation("Africa/Nairobi")
	if err != nil {
		r.t.Fatal(err)
	}
	if r.sys, err = Open(connector.Config{Name: "emr", Values: values, Our: "kiungo", Zone: zone,
		HTTP: &http.Client{Transport: simulate.Network{"emr.example.org": r.sim}}}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *feedRig) Do(ctx context.Context, about string, req call.Request) (call.Answer, error) {
	if req.Changes() {
		r.t.Errorf("%q wants to change something", about)
	}
	r.mu.Lock()
	r.log = append(r.log, req.Path)
	answer := r.answer
	r.mu.Unlock()
	a, err := call.Answer{}, error(nil)
	replaced := false
	if answer != nil {
		a, replaced = answer(req)
	}
	if !replaced {
		a, err = r.sys.Send(ctx, req)
	}
	if v := r.sys.Classify(req, a, err); v.Class != call.Done {
		return a, &call.Error{System: "emr", About: about, Verdict: v, Err: err}
	}
	return a, nil
}

// requests counts what was asked below a path since the last time, and forgets it.
func (r *feedRig) requests(part string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, p := range r.log {
		if strings.Contains(p, part) {
			n++
		}
	}
	r.log = nil
	return n
}

// chunk is one Poll; its position is kept.
func (r *feedRig) chunk(stream string) (connector.Batch, error) {
	r.t.Helper()
	b, err := r.sys.Poll(r.t.Context(), r, stream, r.position[stream])
	if err != nil {
		return b, err
	}
	if len(b.Messages) > 500 {
		r.t.Errorf("%d messages in a batch", len(b.Messages))
	}
	if len(b.Position) == 0 {
		r.t.Error("a batch without a position")
	}
	r.position[stream] = b.Position
	return b, nil
}

// poll reads all that there is now.
func (r *feedRig) poll(stream string) (messages []connector.Incoming, alarms []string) {
	r.t.Helper()
	for range 10_000 {
		b, err := r.chunk(stream)
		if err != nil {
			r.t.Fatal(err)
		}
		messages, alarms = append(messages, b.Messages...), append(alarms, b.Alarms...)
		if !b.More {
			return messages, alarms
		}
	}
	r.t.Fatal("the poll never ends")
	return nil, nil
}

// quietly is a poll that must raise no alarm.
func (r *feedRig) quietly(stream string) []connector.Incoming {
	r.t.Helper()
	messages, alarms := r.poll(stream)
	if len(alarms) > 0 {
		r.t.Errorf("alarms: %q", alarms)
	}
	return messages
}

// alarming is a poll that must raise one alarm with the words.
func (r *feedRig) alarming(stream, words string) []connector.Incoming {
	r.t.Helper()
	messages, alarms := r.poll(stream)
	if len(alarms) != 1 || !strings.Contains(alarms[0], words) {
		r.t.Errorf("alarms %q, want one with %q", alarms, words)
	}
	return messages
}

func (r *feedRig) seed(doc string) {
	r.t.Helper()
	if err := r.sim.Seed([]byte(doc)); err != nil {
		r.t.Fatal(err)
	}
}

// personID is the uuid of an invented patient.
func personID(n int) string { return fmt.Sprintf("10000000-0000-4000-8000-%012d", n) }

// eventID is the id of an invented entry.
func eventID(n int) string { return fmt.Sprintf("tag:atomfeed.ict4h.org:e-%d", n) }

// announce adds entries from..to to a feed, each about a patient (n modulo many).
func (r *feedRig) announce(category string, from, to, many int) {
	r.t.Helper()
	var entries []map[string]any
	for n := from; n <= to; n++ {
		entries = append(entries, map[string]any{"title": "Patient", "id": eventID(n), "content": "/openmrs/ws/rest/v1/patient/" + personID(n%many) + "?v=full"})
	}
	b, err := json.Marshal(map[string]any{"feeds": []any{map[string]any{"category": category, "entries": entries}}})
	if err != nil {
		r.t.Fatal(err)
	}
	r.seed(string(b))
}

func (r *feedRig) change(category, what string) {
	r.t.Helper()
	r.seed(`{"feeds":[{"category":"` + category + `",` + what + `}]}`)
}

// versions are the entry ids of messages, without what all have in common.
func versions(messages []connector.Incoming) string {
	var out []string
	for _, m := range messages {
		out = append(out, strings.TrimPrefix(m.Version, "tag:atomfeed.ict4h.org:e-"))
	}
	return strings.Join(out, " ")
}

func numbers(from, to int) string {
	var out []string
	for n := from; n <= to; n++ {
		out = append(out, fmt.Sprint(n))
	}
	return strings.Join(out, " ")
}

func contentOf(t testing.TB, m connector.Incoming) (doc struct {
	Entry   map[string]any    `json:"entry"`
	Subject map[string]string `json:"subject"`
	Server  string            `json:"server"`
}) {
	t.Helper()
	if err := json.Unmarshal(m.Content, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}
