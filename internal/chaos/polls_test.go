//go:build unix

package chaos

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/postgrestest"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// noticesFolder is the integration that polls the board and broadcasts.
const noticesFolder = "testdata/chaos-notices"

// polls has a feed and a list read by nodes that are killed meanwhile, at any
// commit and while broadcasts are under way, which nobody can look up. Each
// entry is taken once; each broadcast is sent once, and whether one whose answer
// was lost was sent at all is asked and not guessed.
func polls(r *round) {
	database, nodes := "", 1
	if r.seed%2 == 1 {
		database, nodes = postgrestest.Shared(r).URL(schema()), 2
	}
	w := r.worldWith(database, nodes, newBoard())
	b := w.board
	for _, m := range w.members {
		m.start()
	}
	b.traffic.Switch(simulate.Fault{Kind: simulate.LostResponse, Match: "POST /broadcast", Share: 0.1})
	b.traffic.Switch(simulate.Fault{Kind: simulate.TimeoutBefore, Match: "POST /broadcast", Share: 0.05})
	b.traffic.Switch(simulate.Fault{Kind: simulate.Error503, Match: "POST /broadcast", Share: 0.1})
	b.traffic.Switch(simulate.Fault{Kind: simulate.Slow, Match: "*", Share: 0.5, Delay: 60 * time.Millisecond})
	w.publish(size(24, 120), size(14, 60))
	w.while(func() {
		m := w.members[w.rng.IntN(nodes)]
		w.tally.faults++
		w.mayBeLate += m.Workers
		if w.rng.IntN(2) == 0 {
			w.whileBroadcasting()
			m.kill()
		} else {
			m.kill()
			m.strikeAt(1 + w.rng.Int64N(120))
		}
		w.pause(0, 300*time.Millisecond)
		m.start()
	})
	w.wait()
	w.calmly()
	for _, m := range w.members {
		if !m.up() {
			m.start()
		}
	}
	w.polled()
	w.rest(false)
	w.balance()
	w.broadcasts()
}

// worldWith is a world that has a board besides, which its nodes poll.
func (r *round) worldWith(database string, nodes int, b *board) *world {
	r.Helper()
	w := newWorld(r.T, r.seed, database, nodes, func(w *world) {
		w.board, w.asked = b, map[int64]time.Time{}
	})
	r.worlds = append(r.worlds, w)
	return w
}

// addBoard adds the board, and what is made of it, to a node's site.
func (w *world) addBoard(site, address string) {
	w.Helper()
	path := filepath.Join(site, "site.yaml")
	text, err := os.ReadFile(path)
	w.must(err)
	var doc map[string]any
	w.must(yaml.Unmarshal(text, &doc))
	doc["systems"].(map[string]any)[boardName] = map[string]any{"connector": boardName,
		"options": map[string]any{"url": address, "timeout": callTimeout.String()}}
	doc["integrations"].(map[string]any)[filepath.Base(noticesFolder)] = map[string]any{}
	text, err = yaml.Marshal(doc)
	w.must(err)
	w.must(os.WriteFile(path, text, 0o600))
}

// publish puts a list up and, as time goes by, notices; meanwhile the nodes are
// told to poll, by several at once, and asked for the list.
func (w *world) publish(notices, rows int) {
	for n := range rows {
		id := fmt.Sprint(n + 1)
		w.board.roster = append(w.board.roster, entry{ID: id, Text: "row " + id})
		w.load = w.load.expect("roster/" + id)
	}
	for n := range notices {
		w.load.expect(fmt.Sprint("notice/", n+1))
	}
	l := w.load
	var all sync.WaitGroup
	stop := make(chan struct{})
	every := func(pause time.Duration, f func(*http.Client)) {
		all.Go(func() {
			client := &http.Client{Timeout: 5 * time.Second}
			defer client.CloseIdleConnections()
			for {
				select {
				case <-stop:
					return
				case <-time.After(pause):
					f(client)
				}
			}
		})
	}
	for range 2 {
		every(20*time.Millisecond, func(c *http.Client) { w.prod(c, "/poll") })
	}
	every(50*time.Millisecond, func(c *http.Client) { w.prod(c, "/fetch") })
	go func() {
		for range notices {
			time.Sleep(time.Duration(size(60, 50)) * time.Millisecond)
			w.board.publish()
		}
		close(stop)
		all.Wait()
		l.sent.Store(int64(len(l.polled)))
		close(l.ended)
	}()
}

// expect notes a document that is polled; it is to come once.
func (l *load) expect(doc string) *load {
	if l == nil {
		l = &load{ended: make(chan struct{}), stop: make(chan struct{})}
	}
	l.polled = append(l.polled, doc)
	return l
}

// prod tells one of the nodes to poll; whether it does does not matter.
func (w *world) prod(client *http.Client, path string) {
	m := w.someone(rand.IntN(len(w.members)))
	if m == nil {
		return
	}
	if answer, err := client.Post(m.at()+path, "", nil); err == nil {
		answer.Body.Close()
	}
}

// whileBroadcasting waits, for a while, until a broadcast is under way.
func (w *world) whileBroadcasting() {
	for range 100 {
		if w.gate.underWay(boardName) {
			return
		}
		time.Sleep(3 * time.Millisecond)
	}
}

// strikeAt starts a node that kills itself at a point of a commit, and waits a
// while until it has.
func (m *member) strikeAt(point int64) {
	m.Strike = point
	err := m.tryStart(time.Minute)
	m.Strike = 0
	if err != nil {
		return // it was one of those of its start
	}
	for range 200 {
		if m.gone() {
			m.reap()
			return
		}
		time.Sleep(3 * time.Millisecond)
	}
	m.kill()
}

// polled waits until everything that was published was read.
func (w *world) polled() {
	w.Helper()
	client := &http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		w.prod(client, "/poll")
		w.prod(client, "/fetch")
		there := map[string]bool{}
		for _, d := range w.deliveries() {
			there[d.Doc] = true
		}
		missing := 0
		for _, doc := range w.load.polled {
			if !there[doc] {
				missing++
			}
		}
		if missing == 0 {
			return
		}
		if time.Since(began) > restWithin {
			w.tally.lost += missing
			w.Fatalf("%d entries were never read", missing)
		}
	}
}

// say answers the question whether a broadcast happened, as a clerk does: who
// looks at the board sees it there; or, once nothing of it can be on its way any
// more, that it is not.
func (w *world) say(delivery int64) {
	w.Helper()
	m := w.someone(int(delivery))
	if m == nil {
		return
	}
	var open []ledger.Question
	answer, err := http.Get(m.at() + "/questions")
	if err != nil {
		return
	}
	err = json.NewDecoder(answer.Body).Decode(&open)
	answer.Body.Close()
	if err != nil {
		return
	}
	for _, q := range open {
		if q.Delivery != delivery {
			continue
		}
		if _, ok := w.asked[q.ID]; !ok {
			w.asked[q.ID] = time.Now()
		}
		said := "happened"
		if w.board.count(broadcastOf(w.doc(delivery))) == 0 {
			said = "not"
			if time.Since(w.asked[q.ID]) < callTimeout {
				return
			}
		}
		answer, err := http.Post(fmt.Sprintf("%s/answer/%d/%s", m.at(), q.ID, said), "", nil)
		if err == nil {
			answer.Body.Close()
			w.tally.asked++
		}
		return
	}
}

// doc is the document that a delivery is of.
func (w *world) doc(delivery int64) string {
	for _, d := range w.deliveries() {
		if d.ID == delivery {
			return d.Doc
		}
	}
	return ""
}

// broadcasts checks that everything that was published was broadcast once.
func (w *world) broadcasts() {
	w.Helper()
	want := map[string]bool{}
	for _, doc := range w.load.polled {
		of := broadcastOf(doc)
		want[of] = true
		switch n := w.board.count(of); {
		case n == 0:
			w.tally.lost++
			w.Errorf("%s was not broadcast", doc)
		case n > 1:
			w.tally.doubled += n - 1
			w.Errorf("%s was broadcast %d times", doc, n)
		}
	}
	w.board.mu.Lock()
	defer w.board.mu.Unlock()
	for of := range w.board.sent {
		if !want[of] {
			w.tally.doubled++
			w.Errorf("%s was broadcast, and nobody asked for it", of)
		}
	}
}

// broadcastOf is what the broadcast of a document says that it is of: a row of
// the list is new, once.
func broadcastOf(doc string) string {
	if id, ok := strings.CutPrefix(doc, "roster/"); ok {
		return "new/" + id
	}
	return doc
}
