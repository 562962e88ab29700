package invariants

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/clinictest"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/runner"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

const (
	childFolder = "KIUNGO_INVARIANTS_CHILD" // the data folder: this process is the child
	childAhead  = "KIUNGO_INVARIANTS_AHEAD" // how far the ledger's clock is ahead
)

func TestMain(m *testing.M) {
	dir := os.Getenv(childFolder)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := child(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// child is a whole Kiungo in a process of its own, to be killed.
func child(dir string) error {
	ahead, err := time.ParseDuration(os.Getenv(childAhead))
	if err != nil {
		return err
	}
	site, in, err := loadSite(dir, shipped)
	if err != nil {
		return err
	}
	clock := func() time.Time { return time.Now().Add(ahead) }
	l, err := store.OpenSQLite(context.Background(), filepath.Join(dir, "ledger"), store.Options{Clock: clock, MinFree: -1})
	if err != nil {
		return err
	}
	e, err := engine.New(engine.Options{Ledger: l, Registry: registry, Site: site, Integrations: []*flow.Integration{in}, Concurrency: 8, NoPolls: true,
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Probe: 10 * time.Millisecond, Soon: 5 * time.Millisecond,
		Policy: runner.Policy{First: 5 * time.Millisecond, Most: 50 * time.Millisecond}})
	if err != nil {
		return err
	}
	if err := e.Start(context.Background()); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/in/{system}", e.Intake)
	mux.HandleFunc("GET /deliveries", func(w http.ResponseWriter, r *http.Request) { clinictest.ServeDeliveries(w, r, l) })
	mux.HandleFunc("POST /retry/{id}", func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
		var lane int64
		if err == nil {
			lane, err = l.Retry(r.Context(), id, "test", "")
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		e.Ring(lane)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	// The address appears whole or not at all.
	address := filepath.Join(dir, "address")
	if err := os.WriteFile(address+".new", []byte("http://"+listener.Addr().String()), 0o600); err != nil {
		return err
	}
	if err := os.Rename(address+".new", address); err != nil {
		return err
	}
	return (&http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}).Serve(listener)
}

// victim is the child as the parent sees it.
type victim struct {
	t    *testing.T
	dir  string
	runs int
	cmd  *exec.Cmd
	said bytes.Buffer

	mu      sync.Mutex
	address string
}

// start starts the child; each one's clock is further ahead, so that what waits
// for a server to settle is due at once.
func (v *victim) start() {
	v.t.Helper()
	file := filepath.Join(v.dir, "address")
	_ = os.Remove(file)
	v.cmd = exec.CommandContext(v.t.Context(), os.Args[0])
	v.cmd.Env = append(os.Environ(), childFolder+"="+v.dir, fmt.Sprintf("%s=%dm", childAhead, 10*v.runs))
	v.cmd.Stderr = &v.said
	v.runs++
	if err := v.cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	for began := time.Now(); ; time.Sleep(2 * time.Millisecond) {
		if b, err := os.ReadFile(file); err == nil {
			v.mu.Lock()
			v.address = string(b)
			v.mu.Unlock()
			return
		}
		if time.Since(began) > time.Minute {
			v.kill()
			v.t.Fatalf("the child does not come up:\n%s", v.said.String())
		}
	}
}

func (v *victim) kill() {
	_ = v.cmd.Process.Kill()
	_ = v.cmd.Wait() // killed: it says so
}

func (v *victim) at(path string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.address + path
}

// send sends a form until it is acknowledged.
func (v *victim) send(client *http.Client, sim simulate.Simulator, f form) error {
	settings := sim.Settings()
	for range 2000 {
		r, err := http.NewRequest(http.MethodPost, v.at("/in/"+source), bytes.NewReader(f.Body()))
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "application/json")
		r.SetBasicAuth(settings["inbound_username"], settings["inbound_password"])
		if answer, err := client.Do(r); err == nil {
			_, _ = io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
			switch answer.StatusCode {
			case http.StatusAccepted:
				return nil
			case http.StatusServiceUnavailable:
			default:
				return fmt.Errorf("intake answered %d", answer.StatusCode)
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("a form was never acknowledged")
}

// deliveries lists what the child has.
func (v *victim) deliveries() (list []ledger.Delivery) {
	v.t.Helper()
	answer, err := http.Get(v.at("/deliveries"))
	if err != nil {
		v.t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&list); err != nil {
		v.t.Fatal(err)
	}
	return list
}

// rest waits until all is done, has what was held as poison tried again (one
// that was run at two kills is taken for their cause), and starts the child
// anew where it waits for a server to settle.
func (v *victim) rest() []ledger.Delivery {
	v.t.Helper()
	for round := 0; ; round++ {
		open := 0
		list := v.deliveries()
		for _, d := range list {
			switch {
			case d.State == ledger.Held && d.Code == "poison":
				open++
				answer, err := http.Post(v.at(fmt.Sprintf("/retry/%d", d.ID)), "", nil)
				if err != nil {
					v.t.Fatal(err)
				}
				answer.Body.Close()
			case d.State == ledger.Held || d.State == ledger.HalfUndone:
				v.t.Fatalf("delivery %d is %s (%s): %s", d.ID, d.State, d.Code, d.Reason)
			case !d.State.Ended():
				open++
			}
		}
		if open == 0 {
			return list
		}
		if round == 3000 {
			v.t.Fatalf("%d of %d deliveries do not end:\n%s", open, len(list), v.said.String())
		}
		if round%50 == 49 {
			v.kill()
			v.start()
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestKilledUnderLoad kills a real process at random moments while forms come:
// nothing acknowledged is lost, nothing is there twice or half.
func TestKilledUnderLoad(t *testing.T) {
	kills := 20
	if testing.Short() {
		kills = 4
	}
	w := newWorld(t, shipped) // for its simulators and files only
	address := map[string]string{}
	for name, sim := range w.sims {
		server := httptest.NewServer(sim)
		server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		defer server.Close()
		address[name] = server.URL
		sim.Traffic().Switch(simulate.Fault{Kind: simulate.Slow, Match: "*", Share: 0.3, Delay: 15 * time.Millisecond})
	}
	w.must(writeSite(w.dir, w.sims, func(name string) string { return address[name] }))

	v := &victim{t: t, dir: w.dir}
	v.start()
	defer func() { v.kill() }()
	stop, sent := make(chan struct{}), make(chan int)
	var failed error
	forms := many(1000)
	go func() {
		client := &http.Client{Timeout: 5 * time.Second}
		n := 0
		for _, f := range forms {
			select {
			case <-stop:
			default:
				time.Sleep(2 * time.Millisecond)
				if failed = submit(w.sims[source], f); failed == nil {
					failed = v.send(client, w.sims[source], f)
				}
				if failed == nil {
					n++
					continue
				}
			}
			break
		}
		sent <- n
	}()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	for range kills {
		time.Sleep(time.Duration(20+random.IntN(200)) * time.Millisecond)
		v.kill()
		v.start()
	}
	close(stop)
	n := <-sent
	w.must(failed)
	list := v.rest()
	t.Logf("%d forms, %d deliveries, %d kills and starts", n, len(list), v.runs)
	if n < 5*kills || n == len(forms) {
		t.Errorf("%d forms were sent during %d kills: not under load to the end", n, kills)
	}
	w.accounts(list, forms[:n])
	w.epochsRise()
	got, err := unnamed(w.state())
	w.must(err)
	var want map[string]string
	bubble(t, func(calm *world) { want = calm.calmly(forms[:n]) })
	w.same("after the kills", want, got)
}

// many is the load: a person is registered, visited twice, a visit is edited,
// and her number is corrected; many people at a time.
func many(people int) []form {
	var out []form
	const abreast = 6
	for first := 0; first < people; first += abreast {
		for step := range 5 {
			for n := first; n < min(first+abreast, people); n++ {
				p := somebody(n, string("ab"[n%2]))
				newer := p
				newer.Phone = fmt.Sprintf("+2547118%05d", n)
				visit := p.Visit(day(2), "50")
				out = append(out, []form{p.Register(day(1)), visit, p.Visit(day(2).Add(time.Hour), "51"), visit.Edited("52"), newer.Register(day(3))}[step])
			}
		}
	}
	return out
}

// epochsRise checks that no request came after one of a later epoch of its
// delivery, and that a call that was answered well did not come again.
func (w *world) epochsRise() {
	w.t.Helper()
	for name := range w.sims {
		epochs := map[int64]int64{}
		for _, r := range w.changes(name) {
			c, ok := clinictest.ParseCall(r.CallID)
			if !ok {
				w.t.Errorf("%s: %s %s came without a call's id", name, r.Method, r.Path)
				continue
			}
			if c.Epoch < epochs[c.Delivery] {
				w.t.Errorf("%s: call %s came after epoch %d", name, r.CallID, epochs[c.Delivery])
			}
			epochs[c.Delivery] = c.Epoch
		}
	}
}
