//go:build unix

package chaos

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	mrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/kiungo-health/kiungo/internal/clinictest"
	"github.com/kiungo-health/kiungo/internal/seal"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// world is what a round is played in: the systems, which live here and survive,
// and the nodes, which do not.
type world struct {
	*testing.T
	rng  *mrand.Rand
	dir  string
	url  string // of the database; "" for SQLite
	sims map[string]simulate.Simulator
	gate *gate
	load *load
	// board is polled by the nodes, if there is one; asked is since when each of
	// the questions about its broadcasts is known.
	board *board
	asked map[int64]time.Time
	// members are the nodes; on SQLite there is one.
	members []*member
	servers []*httptest.Server
	tally   tally
	told    bool // its nodes' logs were shown
	orphans []orphan
	// mayBeLate is how many calls may come of an epoch that has passed: what is
	// on its way when a node is paused or dies.
	mayBeLate int
	calm      atomic.Bool // nothing is broken any more

	mu sync.Mutex
	db *sql.DB // to look into the ledger; nil while nobody may
}

// tally is what a round counts.
type tally struct {
	faults                          int // kills, pauses, lies and so on
	lost, doubled, disordered, half int
	late                            int // calls of an epoch that had passed
	asked                           int // deliveries that a person had tried again
	// longest take-over of a lane, from the dead node's last heartbeat.
	takeover time.Duration
}

// member is a node as its parent sees it.
type member struct {
	w *world
	orders
	n    int
	cmd  *exec.Cmd
	hold io.Closer // the child ends with it
	dead chan struct{}
	how  error // of its end, once it is dead
	said bytes.Buffer

	mu      sync.Mutex
	address string // "" while it is down
}

// dictionary is read once.
var dictionary = sync.OnceValues(func() ([]byte, error) {
	return os.ReadFile(filepath.Join(shipped, "scenarios", "openmrs.json"))
})

// timeout and settling time of the systems are short, so that what waits for
// them is not long in coming.
const (
	callTimeout = time.Second
	callSettle  = 400 * time.Millisecond
)

func newWorld(t *testing.T, seed uint64, database string, nodes int, more ...func(*world)) *world {
	t.Helper()
	w := &world{T: t, rng: mrand.New(mrand.NewPCG(seed, 1)), url: database}
	doc, err := dictionary()
	w.must(err)
	w.sims, err = clinictest.Simulators(registry, doc)
	w.must(err)
	w.dir, err = clinictest.TempDir("chaos")
	w.must(err)
	t.Cleanup(func() { _ = os.RemoveAll(w.dir) })
	_, err = seal.Create(w.keys())
	w.must(err)
	w.gate = &gate{w: w}
	for _, f := range more {
		f(w)
	}
	for i := range nodes {
		w.members = append(w.members, w.newMember(i))
	}
	t.Cleanup(w.end)
	if w.url != "" {
		w.attach()
		// On a machine that is short of time a lease may end without our doing.
		w.mayBeLate = nodes * w.members[0].Workers
	}
	return w
}

func (w *world) keys() string { return filepath.Join(w.dir, "keys.json") }

// newMember makes a node's folder. It has its own ways to the systems, so that
// they know who asks.
func (w *world) newMember(i int) *member {
	m := &member{w: w, n: i, orders: orders{Site: filepath.Join(w.dir, fmt.Sprint("node", i)), Data: filepath.Join(w.dir, fmt.Sprint("data", i)),
		Database: w.url, Workers: 8, MinFree: -1, Lease: lease, Sweep: lease / 30}}
	w.must(os.Mkdir(m.Site, 0o700))
	address := map[string]string{}
	serve := func(name string, sim simulate.Simulator) {
		server := httptest.NewServer(w.gate.wrap(i, name, sim))
		server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		w.servers = append(w.servers, server)
		address[name] = server.URL
	}
	for name, sim := range w.sims {
		serve(name, sim)
	}
	w.must(clinictest.WriteSite(m.Site, registry, w.sims, func(name string) string { return address[name] },
		map[string]string{"timeout": callTimeout.String(), "settle": callSettle.String()}, filepath.Base(shipped)))
	if w.board != nil {
		serve(boardName, w.board)
		w.addBoard(m.Site, address[boardName])
		m.Board = true
	}
	return m
}

// lease of nodes in rounds that have no time for the usual one.
const lease = 1500 * time.Millisecond

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// end stops everything; the books are balanced before.
func (w *world) end() {
	for _, m := range w.members {
		m.kill()
	}
	w.detach()
	for _, s := range w.servers {
		s.CloseClientConnections()
		s.Close()
	}
	if w.Failed() && !w.told {
		w.told = true
		for _, m := range w.members {
			w.Logf("node %d said:\n%s", m.n, tail(m.said.String(), 30))
		}
	}
}

func tail(s string, lines int) string {
	list := bytes.Split([]byte(s), []byte("\n"))
	return string(bytes.Join(list[max(0, len(list)-lines):], []byte("\n")))
}

// attach opens the ledger to be looked into, beside the nodes.
func (w *world) attach() {
	w.Helper()
	driver, source := "pgx", w.url
	if w.url == "" {
		driver, source = "sqlite", "file:"+filepath.Join(w.members[0].Data, "ledger.db")+"?mode=ro&_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, source)
	w.must(err)
	db.SetMaxOpenConns(3)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.db = db
}

// detach lets go of the ledger's file: a node that starts must find it as after
// a crash, with nobody else at it.
func (w *world) detach() {
	w.mu.Lock()
	db := w.db
	w.db = nil
	w.mu.Unlock()
	if db != nil {
		db.Close()
	}
}

// look asks the ledger; the error is errAway when nobody may.
func (w *world) look(ctx context.Context, query string, scan func(*sql.Rows) error) error {
	w.mu.Lock()
	db := w.db
	w.mu.Unlock()
	if db == nil {
		return errAway
	}
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

var errAway = fmt.Errorf("nobody may look into the ledger now")

// numbers gives the rows of a query of whole numbers and short texts.
func (w *world) rows(query string) [][]any {
	w.Helper()
	var out [][]any
	read := func(r *sql.Rows) error {
		names, err := r.Columns()
		if err != nil {
			return err
		}
		row, to := make([]any, len(names)), make([]any, len(names))
		for i := range row {
			to[i] = &row[i]
		}
		out = append(out, row)
		return r.Scan(to...)
	}
	err := w.look(w.Context(), query, read)
	for n := 0; err != nil && n < 5; n++ { // a connection of ours may be one that the trial cut
		time.Sleep(20 * time.Millisecond)
		out = nil
		err = w.look(w.Context(), query, read)
	}
	if err != nil {
		w.Fatalf("look into the ledger (%s): %v", query, err)
	}
	return out
}

// start starts a node and waits until it takes messages.
func (m *member) start() {
	m.w.Helper()
	if err := m.tryStart(time.Minute); err != nil {
		m.w.Fatal(err)
	}
}

func (m *member) tryStart(patience time.Duration) error {
	file := filepath.Join(m.Site, "address")
	_ = os.Remove(file)
	text, err := json.Marshal(m.orders)
	if err != nil {
		return err
	}
	m.cmd = exec.Command(os.Args[0])
	m.cmd.Env = append(os.Environ(), ordersEnv+"="+string(text), seal.EnvKeyFile+"="+m.w.keys())
	m.cmd.Stdout, m.cmd.Stderr = &m.said, &m.said
	if m.hold, err = m.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := m.cmd.Start(); err != nil {
		return err
	}
	m.dead = make(chan struct{})
	go func(cmd *exec.Cmd, dead chan struct{}) {
		m.how = cmd.Wait()
		close(dead)
	}(m.cmd, m.dead)
	for began := time.Now(); ; time.Sleep(2 * time.Millisecond) {
		if b, err := os.ReadFile(file); err == nil {
			m.setAddress(string(b))
			break
		}
		if m.gone() {
			m.reap()
			return fmt.Errorf("node %d ended while it started:\n%s", m.n, tail(m.said.String(), 20))
		}
		if time.Since(began) > patience {
			m.kill()
			return fmt.Errorf("node %d does not come up:\n%s", m.n, tail(m.said.String(), 20))
		}
	}
	if m.w.url == "" {
		m.w.attach()
	}
	return nil
}

// gone tells whether the process has ended, whoever ended it.
func (m *member) gone() bool {
	select {
	case <-m.dead:
		return true
	default:
		return false
	}
}

func (m *member) setAddress(a string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.address = a
}

func (m *member) at() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.address
}

// up tells whether it runs, as far as is known.
func (m *member) up() bool { return m.at() != "" }

// kill kills it with SIGKILL.
func (m *member) kill() {
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Kill()
	m.reap()
}

// reap takes note of the end of a process.
func (m *member) reap() error {
	if m.cmd == nil {
		return nil
	}
	<-m.dead
	m.hold.Close()
	m.cmd = nil
	m.setAddress("")
	if m.w.url == "" {
		m.w.detach()
	}
	return m.how
}

// stop has it stop by itself, as systemd does.
func (m *member) stop() {
	m.w.Helper()
	m.signal(syscall.SIGTERM)
	m.setAddress("") // nobody is to send it anything more
	if err := m.reap(); err != nil {
		m.w.Errorf("node %d was told to stop: %v\n%s", m.n, err, tail(m.said.String(), 20))
	}
}

func (m *member) signal(s syscall.Signal) {
	m.w.Helper()
	m.w.must(m.cmd.Process.Signal(s))
}

// set changes its conditions.
func (m *member) set(c conditions) {
	m.w.Helper()
	m.conditions = c
	body, err := json.Marshal(c)
	m.w.must(err)
	answer, err := http.Post(m.at()+"/conditions", "application/json", bytes.NewReader(body))
	m.w.must(err)
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		m.w.Fatalf("node %d: conditions: %s", m.n, answer.Status)
	}
}

// someone gives a node that is up, nil if none is.
func (w *world) someone(n int) *member {
	for i := range w.members {
		if m := w.members[(n+i)%len(w.members)]; m.up() {
			return m
		}
	}
	return nil
}

// pause sleeps between from and to.
func (w *world) pause(from, to time.Duration) { time.Sleep(from + mrand.N(to-from)) }

// schema names a ledger of its own in a cluster.
func schema() string {
	id := make([]byte, 8)
	rand.Read(id) // never fails
	return "c" + hex.EncodeToString(id)
}
