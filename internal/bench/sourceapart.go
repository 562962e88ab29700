package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// apart is the process that the simulators run in.
type apart struct {
	cmd *exec.Cmd
	in  io.Closer // closed, it ends
}

// order is what the process is told on its standard input.
type order struct {
	World   string        `json:"world"`
	Options SourceOptions `json:"options"`
}

// standing is where a simulator stands, and what a system needs that points at it.
type standing struct {
	URL      string            `json:"url"`
	Settings map[string]string `json:"settings"`
}

// startApart starts this program once more for the simulators, and waits until
// they are filled and listen.
func startApart(ctx context.Context, o SourceOptions, name string) (*apart, map[string]standing, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.CommandContext(ctx, self, o.Apart...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, fmt.Errorf("start the simulators: %w", err)
	}
	a := &apart{cmd, in}
	there := map[string]standing{}
	if err = json.NewEncoder(in).Encode(order{name, o}); err == nil {
		err = json.NewDecoder(out).Decode(&there)
	}
	if err != nil {
		a.stop()
		return nil, nil, fmt.Errorf("the simulators did not start: %w", err)
	}
	return a, there, nil
}

func (a *apart) stop() {
	_ = a.in.Close()
	_ = a.cmd.Wait()
}

// Serve is the other process: it reads what is wanted, says where the simulators
// stand, and serves them on this machine until its standard input ends.
func Serve(ctx context.Context, reg connector.Registry, in io.Reader, out io.Writer) error {
	var want order
	reader := bufio.NewReader(in)
	if err := json.NewDecoder(reader).Decode(&want); err != nil {
		return fmt.Errorf("read what is to be simulated: %w", err)
	}
	w, ok := worlds[want.World]
	if !ok {
		return fmt.Errorf("there is no world %q", want.World)
	}
	want.Options.Registry = reg
	sims, err := w.simulators(want.Options)
	if err != nil {
		return err
	}
	there := map[string]standing{}
	for name, sim := range sims {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		server := &http.Server{Handler: sim, ReadHeaderTimeout: 10 * time.Second}
		defer server.Close()
		go func() { _ = server.Serve(listener) }()
		there[name] = standing{URL: "http://" + listener.Addr().String(), Settings: sim.Settings()}
	}
	if err := json.NewEncoder(out).Encode(there); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, reader)
		ended <- err
	}()
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
}
