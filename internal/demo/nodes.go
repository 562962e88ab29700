package demo

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// nodes are the processes that run a demo's worlds together, on ledgers in one
// PostgreSQL. The demo's own process sends, looks and counts; it runs nothing.
type nodes struct {
	d    *Demo
	file string // what each node is told
	run  string // name of this demo's schemas
	ring *seal.Ring

	mu   sync.Mutex
	list []*process
	next int // whose turn it is to be sent something
}

// process is one node.
type process struct {
	number  int
	cmd     *exec.Cmd
	in      io.Closer
	address string // "" while it is not up
	ended   chan struct{}
}

func (d *Demo) newNodes() (*nodes, error) {
	id := make([]byte, 4)
	rand.Read(id) // never fails
	n := &nodes{d: d, file: filepath.Join(d.dir, "nodes.json"), run: "demo_" + hex.EncodeToString(id)}
	var err error
	n.ring, err = seal.Create(n.keys())
	return n, err
}

func (n *nodes) keys() string { return filepath.Join(n.d.dir, "keys.json") }

// schema is where a world's ledger is.
func (n *nodes) schema(w *World) string { return n.run + "_" + w.ID }

// database names a world's ledger.
func (n *nodes) database(w *World) (string, error) {
	u, err := url.Parse(n.d.Database)
	if err != nil || !store.IsPostgres(n.d.Database) {
		return "", errors.New("the database is named by a URL such as postgres://kiungo@localhost/kiungo")
	}
	q := u.Query()
	q.Set("search_path", n.schema(w))
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// open opens a world's ledger to look at it and to count.
func (n *nodes) open(ctx context.Context, w *World) (ledger.Ledger, error) {
	database, err := n.database(w)
	if err != nil {
		return nil, err
	}
	return store.Open(ctx, database, w.Data(), store.Options{Ring: n.ring, Lease: n.d.Lease})
}

// start writes what nodes are told, and starts them.
func (n *nodes) start(ctx context.Context, integrations string) error {
	c := nodeConfig{Integrations: integrations, Keys: n.keys(), Lease: n.d.Lease, Workers: max(2, n.d.Workers/len(n.d.Worlds)/n.d.Nodes)}
	for _, w := range n.d.Worlds {
		database, err := n.database(w)
		if err != nil {
			return err
		}
		c.Worlds = append(c.Worlds, worldConfig{w.ID, w.Site(), database, w.dir})
	}
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err := os.WriteFile(n.file, b, 0o600); err != nil {
		return err
	}
	n.list = make([]*process, n.d.Nodes)
	for i := range n.list {
		p, err := n.launch(ctx, i+1)
		if err != nil {
			return err
		}
		n.d.say("node %d is up: process %d", p.number, p.cmd.Process.Pid)
	}
	return nil
}

// launch starts a node and waits until it works.
func (n *nodes) launch(ctx context.Context, number int) (*process, error) {
	command := n.d.Child
	if len(command) == 0 {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		command = []string{self, "demo", "node"}
	}
	// Not CommandContext: a node ends by itself when its input does.
	cmd := exec.Command(command[0], append(command[1:len(command):len(command)], n.file, fmt.Sprint(number))...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var problems bytes.Buffer
	cmd.Stderr = &problems
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start node %d: %w", number, err)
	}
	p := &process{number: number, cmd: cmd, in: in, ended: make(chan struct{})}
	lines := bufio.NewScanner(out)
	up := make(chan string, 1)
	go func() {
		defer close(p.ended)
		for lines.Scan() {
			var r ready
			if json.Unmarshal(lines.Bytes(), &r) == nil && r.Address != "" {
				up <- r.Address
			}
		}
		_ = cmd.Wait() // how it ended is seen by those who wait for it
	}()
	select {
	case p.address = <-up:
	case <-p.ended:
		return nil, fmt.Errorf("node %d ended at once: %s", number, bytes.TrimSpace(problems.Bytes()))
	case <-ctx.Done():
		p.stop()
		return nil, ctx.Err()
	}
	n.mu.Lock()
	n.list[number-1] = p
	n.mu.Unlock()
	return p, nil
}

func (p *process) stop() {
	p.in.Close()
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// stop ends the nodes, and drops what they had in the database.
func (n *nodes) stop() {
	var stopping sync.WaitGroup
	for _, p := range n.list {
		if p != nil {
			stopping.Go(p.stop)
		}
	}
	stopping.Wait()
}

// drop removes the demo's ledgers from the database, once nobody has them open.
func (n *nodes) drop() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, n.d.Database)
	if err != nil {
		return // it is away, or thrown away
	}
	defer c.Close(ctx)
	for _, w := range n.d.Worlds {
		if _, err := c.Exec(ctx, `DROP SCHEMA IF EXISTS `+pgx.Identifier{n.schema(w)}.Sanitize()+` CASCADE`); err != nil {
			n.d.Log.Warn("the demo's tables stay in the database", "schema", n.schema(w), "error", err)
		}
	}
}

// balancer sends what comes for a world to the nodes in turn; one that does not
// answer is passed over, as a load balancer before them would.
func (n *nodes) balancer(world string) http.Handler {
	client := &http.Client{Timeout: 30 * time.Second}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 10<<20))
		if err != nil {
			http.Error(w, "the message did not arrive whole", http.StatusBadRequest)
			return
		}
		for range n.d.Nodes {
			address := n.turn()
			if address == "" {
				continue
			}
			to, err := http.NewRequestWithContext(r.Context(), r.Method, address+"/"+world+r.URL.RequestURI(), bytes.NewReader(body))
			if err != nil {
				continue
			}
			to.Header = r.Header.Clone()
			answer, err := client.Do(to)
			if err != nil {
				continue
			}
			defer answer.Body.Close()
			for k, v := range answer.Header {
				w.Header()[k] = v
			}
			w.WriteHeader(answer.StatusCode)
			_, _ = io.Copy(w, answer.Body)
			return
		}
		http.Error(w, "no node answers", http.StatusServiceUnavailable)
	})
}

func (n *nodes) turn() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.next = (n.next + 1) % len(n.list)
	p := n.list[n.next]
	if p == nil {
		return ""
	}
	return p.address
}
