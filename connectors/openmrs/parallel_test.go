package openmrs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

// TestManyLanesUseOneSystem: one system, one set of metadata, many goroutines.
func TestManyLanesUseOneSystem(t *testing.T) {
	r := newRig(t, "", people)
	var wait sync.WaitGroup
	for i := range 16 {
		wait.Add(1)
		go func() {
			defer wait.Done()
			// Each lane has outputs of its own; the system is shared.
			lane := &rig{t: t, sys: r.sys, sim: r.sim, known: map[record.Later]string{}}
			patient := fmt.Sprintf("aaaaaaaa-0000-5000-8000-%012d", i)
			want := mary()
			want["identifiers"] = map[string]any{"National ID": fmt.Sprintf("%08d", 30000000+i)}
			if err := lane.send(lane.plan("Patient", patient, connector.Query{}, want)); err != nil {
				t.Error(err)
				return
			}
			encounter := encounterWanted()
			encounter["patient"] = patient
			if err := lane.send(lane.plan("Encounter", fmt.Sprintf("cccccccc-0000-5000-8000-%012d", i), connector.Query{}, encounter)); err != nil {
				t.Error(err)
			}
		}()
	}
	wait.Wait()
}

// send sends calls without looking at their checks.
func (r *rig) send(calls []call.Call) error {
	for _, c := range calls {
		req, err := c.Request.Bound(r.outputs)
		if err != nil {
			return err
		}
		a, err := r.do(r.t.Context(), c.About, req)
		if err != nil {
			return err
		}
		outs, err := c.Collect(a)
		if err != nil {
			return err
		}
		for name, v := range outs {
			r.known[record.Later{Call: c.Name, Output: name}] = v
		}
	}
	return nil
}

// TestAWaitForMetadataCanBeStopped: while one lane's reading hangs, another that
// waits for it still hears that it is to stop.
func TestAWaitForMetadataCanBeStopped(t *testing.T) {
	r := newRig(t, "", people)
	reading, release := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() {
		_, err := r.sys.meta.identifierType(context.Background(), hanging{r, reading, release}, openmrsID)
		first <- err
	}()
	<-reading
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := r.sys.meta.identifierType(ctx, r, openmrsID); !errors.Is(err, context.Canceled) {
		t.Errorf("the waiting lane: %v", err)
	}
	close(release)
	if err := <-first; err != nil {
		t.Errorf("the reading lane: %v", err)
	}
	r.reads = 0
	if _, err := r.sys.meta.identifierType(t.Context(), r, openmrsID); err != nil || r.reads != 0 {
		t.Errorf("%d reads, %v", r.reads, err)
	}
}

// hanging is a Doer whose answers wait.
type hanging struct {
	*rig
	reading, release chan struct{}
}

func (h hanging) Do(ctx context.Context, about string, req call.Request) (call.Answer, error) {
	close(h.reading)
	<-h.release
	return h.rig.do(ctx, about, req)
}
