package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

// waitingForm is the xmlns whose flow goes to the system that is down.
const waitingForm = "http://kiungo.example/waiting"

// fillBacklog stores deliveries for a system that is down, and lets each come
// to rest behind its circuit, as they would within hours of an outage.
func fillBacklog(ctx context.Context, e *engine.Engine, l ledger.Ledger, r *rig) error {
	e.Systems["openmrs-down"].Trip("switched off for the bench")
	receiver, ok := e.Systems["commcare"].System.(connector.Receiver)
	if !ok {
		return fmt.Errorf("commcare takes no messages")
	}
	const chunk = 500
	most := r.Waiting
	if r.copies() > 0 {
		most = copied
	}
	for n := 0; n < most; n += chunk {
		var batch []connector.Incoming
		for i := n; i < min(n+chunk, most); i++ {
			var doc map[string]any
			if err := json.Unmarshal(r.form(2_000_000_000+i), &doc); err != nil {
				return err
			}
			doc["form"].(map[string]any)["@xmlns"] = waitingForm
			body, err := json.Marshal(doc)
			if err != nil {
				return err
			}
			messages, err := receiver.Receive(&http.Request{URL: &url.URL{}, Header: http.Header{}}, body)
			if err != nil {
				return err
			}
			batch = append(batch, messages...)
		}
		if _, err := e.Intake.Accept(ctx, "commcare", batch, nil); err != nil {
			return err
		}
	}
	for {
		lanes, _, err := l.Due(ctx, l.Now(), 1)
		if err != nil {
			return err
		}
		resting, err := l.Deliveries(ctx, ledger.Filter{States: []ledger.State{ledger.Received, ledger.Planning}, Limit: 1})
		if err != nil {
			return err
		}
		if len(lanes) == 0 && len(resting) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
