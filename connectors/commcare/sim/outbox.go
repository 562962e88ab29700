package sim

import (
	"slices"
	"time"
)

// Format is what a repeater sends.
type Format string

const (
	FormJSON Format = "form_json"
	FormXML  Format = "form_xml"
	FormStub Format = "form_stub" // the short form: ids only
	CaseJSON Format = "case_json"
	CaseXML  Format = "case_xml"
)

// Credentials are what a repeater sends: basic authentication, or an API key
// in a header.
type Credentials struct {
	Username, Password string
	Header, Key        string
}

// Repeater is one forwarding rule of the project space.
type Repeater struct {
	URL    string
	Format Format
	Credentials
	XMLNS     string // only forms of this kind, if set
	CaseType  string // only cases of this type, if set
	WithoutID bool   // leave out ?app_id=
}

// State of a repeat record (motech/repeaters/const.py).
type State string

const (
	Pending        State = "Pending"
	Fail           State = "Fail"
	Success        State = "Success"
	Cancelled      State = "Cancelled"
	Empty          State = "Empty"
	InvalidPayload State = "InvalidPayload"
)

// maxAttempts is how often a record is sent; the next check only cancels it.
const maxAttempts = 6

// Record is one thing to forward. It names what to send; what is sent is
// rendered anew each time.
type Record struct {
	ID         int
	Format     Format
	PayloadID  string // id of the form or case
	State      State
	Attempts   int
	Registered time.Time
	LastCheck  time.Time // of the last send; zero before the first
	NextCheck  time.Time // only while Pending or Fail
	LastStatus int       // 0: no answer

	repeater *Repeater
	busy     bool
}

// outbox is the queue of repeat records.
type outbox struct {
	repeaters []*Repeater
	queue     []*Record // Pending and Fail
	done      []*Record // Cancelled, Empty and InvalidPayload
	counts    map[State]int
	n         int
	wake      chan struct{}
}

func (o *outbox) init() {
	o.counts, o.wake = map[State]int{}, make(chan struct{}, 1)
}

func (o *outbox) ring() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *outbox) add(r *Repeater, id string, now time.Time) {
	o.n++
	o.queue = append(o.queue, &Record{ID: o.n, Format: r.Format, PayloadID: id, State: Pending, Registered: now, NextCheck: now, repeater: r})
	o.ring()
}

func (o *outbox) formSaved(f *form, now time.Time) {
	for _, r := range o.repeaters {
		if (r.Format == FormJSON || r.Format == FormXML || r.Format == FormStub) && (r.XMLNS == "" || r.XMLNS == f.xmlns) {
			o.add(r, f.id, now)
		}
	}
}

func (o *outbox) caseSaved(id string, now time.Time) {
	for _, r := range o.repeaters {
		if r.Format == CaseJSON || r.Format == CaseXML {
			o.add(r, id, now)
		}
	}
}

// end settles a record.
func (o *outbox) end(r *Record, s State) {
	r.State, r.NextCheck = s, time.Time{}
	o.counts[s]++
	if i := slices.Index(o.queue, r); i >= 0 {
		o.queue = slices.Delete(o.queue, i, i+1)
	}
	if s != Success {
		o.done = append(o.done, r)
	}
}

// wait is how long a record waits after a failed send: three times the time
// since the send before it, an hour at the least and seven days at the most.
func wait(last, now time.Time, hour time.Duration) time.Duration {
	if last.IsZero() {
		return hour
	}
	return min(max(3*now.Sub(last), hour), 7*24*hour)
}

// retried are the 4xx answers that count as a failure of the server.
var retried = []int{400, 404, 408, 409, 412, 423, 424, 425, 426, 428, 429}

// outcome reads an answer as motech/repeaters/models.py does (008873c0);
// status 0 is no answer.
func outcome(status int) State {
	switch {
	case status == 204:
		return Empty
	case status >= 200 && status < 300:
		return Success
	case status == 0, status >= 500, slices.Contains(retried, status):
		return Fail
	}
	return InvalidPayload
}
