//go:build unix

package chaos

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kiungo-health/kiungo/internal/clinictest"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// load is what comes in: people, each with forms in an order of her own.
type load struct {
	people []*subject
	polled []string     // documents that are polled instead
	sent   atomic.Int64 // acknowledged
	tried  atomic.Int64
	// underWay is how many are sent and not answered yet.
	underWay atomic.Int64
	// ackedBy, if it is set, is told once of the node that acknowledged something,
	// before anything else happens.
	ackedBy atomic.Pointer[func(*member)]
	pause   time.Duration // of a sender, between two forms
	ended   chan struct{}
	stop    chan struct{}
	failed  atomic.Pointer[error]
}

// subject is a person, and what became of her.
type subject struct {
	clinictest.Person
	forms []clinictest.Form
	// acked is how many of her forms were acknowledged, in order.
	acked atomic.Int64
}

// newLoad draws people's forms: each is registered, and then visited on some
// days, some visits are edited, and her phone number is corrected.
func newLoad(rng *rand.Rand, people, steps int) *load { return drawLoad(rng, people, steps, true) }

// drawLoad is newLoad, without edits if so told.
func drawLoad(rng *rand.Rand, people, steps int, edits bool) *load {
	l := &load{ended: make(chan struct{}), stop: make(chan struct{})}
	for n := range people {
		s := &subject{Person: clinictest.Somebody(n, string("ab"[n%2]))}
		s.forms = append(s.forms, s.Register(clinictest.Day(1)))
		var visits []clinictest.Form
		day, hour := 2, 0
		for step := range steps {
			switch k := rng.IntN(6); {
			case k < 2 || len(visits) == 0: // another day
				day, hour = day+1, 0
				visits = append(visits, s.Visit(clinictest.Day(day), weight(rng, step)))
				s.forms = append(s.forms, visits[len(visits)-1])
			case k == 2: // the same day
				hour++
				visits = append(visits, s.Visit(clinictest.Day(day).Add(time.Duration(hour)*time.Hour), weight(rng, step)))
				s.forms = append(s.forms, visits[len(visits)-1])
			case k == 3 && edits: // of any visit
				i := rng.IntN(len(visits))
				// An edit takes an answer back, gives one more or changes one, also one that
				// an earlier edit gave.
				s.forms = append(s.forms, visits[i].With(map[string]any{"vitals": map[string]any{"weight": weight(rng, step),
					"temperature": []string{"", "38.2", "37.1"}[rng.IntN(3)], "height": []string{"", "160"}[rng.IntN(2)]}}))
			default: // a correction
				day, hour = day+1, 0
				s.Phone = fmt.Sprintf("+2547%04d%04d", n, rng.IntN(10000))
				s.forms = append(s.forms, s.Register(clinictest.Day(day)))
			}
		}
		l.people = append(l.people, s)
	}
	return l
}

// weight gives another weight at every step, of nine at most.
func weight(rng *rand.Rand, step int) string {
	return fmt.Sprintf("%d.%d", 40+rng.IntN(50), 1+step)
}

// messages is how many were acknowledged.
func (l *load) messages() int { return int(l.sent.Load()) }

// senders are how many send at a time.
const senders = 8

// begin sends the load: everybody's forms in their order, each until it is
// acknowledged, as CommCare does.
func (w *world) begin(l *load) {
	w.load = l
	queue := make(chan *subject, len(l.people))
	for _, s := range l.people {
		queue <- s
	}
	close(queue)
	var all sync.WaitGroup
	for n := range senders {
		all.Go(func() {
			client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 2}}
			defer client.CloseIdleConnections()
			for s := range queue {
				for _, f := range s.forms {
					select {
					case <-l.stop:
						return
					case <-time.After(l.pause):
					}
					if err := w.send(client, n, f); err != nil {
						l.failed.CompareAndSwap(nil, &err)
						return
					}
					s.acked.Add(1)
					l.sent.Add(1)
				}
			}
		})
	}
	go func() {
		all.Wait()
		close(l.ended)
	}()
}

// send submits a form to CommCare, which then forwards it until it is taken.
func (w *world) send(client *http.Client, n int, f clinictest.Form) error {
	sim := w.sims[clinictest.Source]
	if _, err := sim.(interface {
		Submit(body []byte) (string, error)
	}).Submit(f.Body()); err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < 3*time.Minute; time.Sleep(10 * time.Millisecond) {
		n++ // another node is tried when one does not answer
		m := w.someone(n)
		if m == nil {
			continue
		}
		w.load.tried.Add(1)
		w.load.underWay.Add(1)
		status, err := forward(client, sim, m.at(), f)
		w.load.underWay.Add(-1)
		switch {
		case err != nil: // it may have been taken or not: it comes again
		case status == http.StatusAccepted:
			if told := w.load.ackedBy.Swap(nil); told != nil {
				(*told)(m)
			}
			return nil
		case status != http.StatusServiceUnavailable:
			return fmt.Errorf("intake answered %d", status)
		}
		select {
		case <-w.Context().Done():
			return w.Context().Err()
		default:
		}
	}
	return fmt.Errorf("a form was never acknowledged")
}

func forward(client *http.Client, sim simulate.Simulator, to string, f clinictest.Form) (int, error) {
	r, err := http.NewRequest(http.MethodPost, to+"/in/"+clinictest.Source, bytes.NewReader(f.Body()))
	if err != nil {
		return 0, err
	}
	settings := sim.Settings()
	r.Header.Set("Content-Type", "application/json")
	r.SetBasicAuth(settings["inbound_username"], settings["inbound_password"])
	answer, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, nil
}

// busy tells whether the load still comes.
func (l *load) busy() bool {
	select {
	case <-l.ended:
		return false
	default:
		return true
	}
}

// wait waits for the end of the load.
func (w *world) wait() {
	w.Helper()
	<-w.load.ended
	if err := w.load.failed.Load(); err != nil {
		w.Fatal(*err)
	}
}

// whileSending waits, for a while, until several forms are sent and not answered.
func (w *world) whileSending() {
	for range 300 {
		if w.load.underWay.Load() > 2 {
			time.Sleep(slowCommit / 10) // those that are to be committed are in commits
			return
		}
		time.Sleep(time.Millisecond)
	}
}
