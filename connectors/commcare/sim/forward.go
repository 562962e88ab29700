package sim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/kiungo-health/kiungo/connectors/commcare/xform"
)

// Forward sets forwarding up: what is saved from now on is sent to the address
// in the format given. Deliver or Run sends.
func (s *Sim) Forward(address string, f Format, c Credentials) *Repeater {
	r := &Repeater{URL: address, Format: f, Credentials: c}
	s.AddRepeater(r)
	return r
}

// AddRepeater sets a forwarding rule up.
func (s *Sim) AddRepeater(r *Repeater) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.repeaters = append(s.out.repeaters, r)
}

// Pending are the records that still wait to be sent, in order of registration.
func (s *Sim) Pending() []Record { return s.records(func(o *outbox) []*Record { return o.queue }) }

// GivenUp are the records that CommCare will not send again by itself:
// Cancelled, InvalidPayload, and Empty.
func (s *Sim) GivenUp() []Record { return s.records(func(o *outbox) []*Record { return o.done }) }

func (s *Sim) records(of func(*outbox) []*Record) []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []Record{}
	for _, r := range of(&s.out) {
		out = append(out, *r)
	}
	return out
}

// Forwarded counts the records that ended in a state.
func (s *Sim) Forwarded(state State) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.counts[state]
}

// Requeue gives a given-up record six more tries, as an administrator can.
func (s *Sim) Requeue(id int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.out.done, func(r *Record) bool { return r.ID == id })
	if i < 0 {
		return fmt.Errorf("record %d was not given up", id)
	}
	r := s.out.done[i]
	s.out.done = slices.Delete(s.out.done, i, i+1)
	s.out.counts[r.State]--
	r.State, r.Attempts, r.LastCheck, r.NextCheck = Pending, 0, time.Time{}, s.stamp()
	s.out.queue = append(s.out.queue, r)
	s.out.ring()
	return nil
}

// Deliver sends every record that is due, one after the other in order of
// registration, and gives how many were sent.
func (s *Sim) Deliver(ctx context.Context, client *http.Client) int {
	sent := 0
	for ctx.Err() == nil {
		r := s.claim()
		if r == nil {
			break
		}
		if s.send(ctx, client, r) {
			sent++
		}
	}
	return sent
}

// Run sends records as they fall due, by several workers as CommCare does,
// until the context ends.
func (s *Sim) Run(ctx context.Context, client *http.Client, workers int) {
	done := make(chan struct{})
	for range max(workers, 1) {
		go func() {
			defer func() { done <- struct{}{} }()
			for ctx.Err() == nil {
				if r := s.claim(); r != nil {
					s.send(ctx, client, r)
					continue
				}
				s.sleep(ctx)
			}
		}()
	}
	for range max(workers, 1) {
		<-done
	}
}

// sleep waits for the next record to fall due, or for a new one.
func (s *Sim) sleep(ctx context.Context) {
	s.mu.Lock()
	next := s.hour
	for _, r := range s.out.queue {
		if !r.busy {
			next = min(next, r.NextCheck.Sub(s.stamp()))
		}
	}
	s.mu.Unlock()
	t := time.NewTimer(max(next, time.Millisecond))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-s.out.wake:
	case <-t.C:
	}
}

// claim takes the first record that is due.
func (s *Sim) claim() *Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.stamp()
	for _, r := range s.out.queue {
		if !r.busy && !r.NextCheck.After(now) {
			r.busy = true
			s.out.ring() // there may be another for the next worker
			return r
		}
	}
	return nil
}

// send sends one record; false if there was nothing to send.
func (s *Sim) send(ctx context.Context, client *http.Client, r *Record) bool {
	q, state := s.render(ctx, r)
	status := 0
	if q != nil {
		state, status = post(client, q)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.busy = false
	if q == nil {
		s.out.end(r, state)
		return false
	}
	if ctx.Err() != nil && status == 0 {
		return false // we were stopped: nothing was tried
	}
	now := s.stamp()
	r.Attempts, r.LastStatus = r.Attempts+1, status
	if state != Fail {
		s.out.end(r, state)
		return true
	}
	r.State, r.NextCheck = Fail, now.Add(wait(r.LastCheck, now, s.hour))
	r.LastCheck = now
	return true
}

func post(client *http.Client, q *http.Request) (State, int) {
	res, err := client.Do(q)
	if err != nil {
		return Fail, 0
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20))
	return outcome(res.StatusCode), res.StatusCode
}

// render makes the request from what is stored now. nil means not to send: the
// record is out of tries, its payload is gone, or the repeater's filter says no.
func (s *Sim) render(ctx context.Context, r *Record) (*http.Request, State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Attempts >= maxAttempts {
		return nil, Cancelled
	}
	body, kind, stampName, at, appID := s.payload(r)
	if body == nil {
		return nil, InvalidPayload
	}
	address := r.repeater.URL
	if appID != "" && !r.repeater.WithoutID {
		u, err := url.Parse(address)
		if err != nil {
			return nil, InvalidPayload
		}
		query := u.Query()
		query.Set("app_id", appID)
		u.RawQuery = query.Encode()
		address = u.String()
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, InvalidPayload
	}
	q.Header.Set("Content-Type", kind)
	q.Header.Set(stampName, at.Format(iso))
	if c := r.repeater.Credentials; c.Username != "" {
		q.SetBasicAuth(c.Username, c.Password)
	} else if c.Header != "" {
		q.Header.Set(c.Header, c.Key)
	}
	return q, Fail
}

// payload renders a record's body, with its content type, its header of time
// and the app's id.
func (s *Sim) payload(r *Record) (body []byte, kind, stampName string, at time.Time, appID string) {
	if r.Format == CaseJSON || r.Format == CaseXML {
		c := s.cases[r.PayloadID]
		if c == nil || (r.repeater.CaseType != "" && r.repeater.CaseType != c.typ) {
			return nil, "", "", time.Time{}, ""
		}
		if r.Format == CaseJSON {
			return encode(c.forwarded(s.o.Domain)), "application/json", "server-modified-on", c.serverModified, ""
		}
		return xform.Render(c.block()), "text/xml", "server-modified-on", c.serverModified, ""
	}
	f := s.forms[r.PayloadID]
	if f == nil {
		return nil, "", "", time.Time{}, ""
	}
	switch r.Format {
	case FormJSON:
		body, kind = encode(f.envelope(s.o.Domain)), "application/json"
	case FormXML:
		body, kind = f.asXML(), "text/xml"
	default:
		ids := []string{}
		for _, b := range f.blocks {
			ids = append(ids, b.CaseID)
		}
		body = encode(map[string]any{"received_on": f.received.Format(iso), "form_id": f.id, "case_ids": ids})
		return body, "application/json", "received-on", f.received, ""
	}
	return body, kind, "received-on", f.received, f.appID
}
