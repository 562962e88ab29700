package openmrs

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/record"
)

// settle is how long a request may still be waiting in Tomcat after the client
// gave up: a "not there" read sooner does not count (law 6).
const settle = 30 * time.Second

// Observe reads a patient, or how many records are below her.
func (k *patientKind) Observe(c call.Check, a call.Answer) (call.Observed, error) {
	switch c.As {
	case "name", "address", "person", "identifier", "attribute":
		if o, ok, err := k.observePart(c, a); ok || err != nil {
			return o, err
		}
		fallthrough
	case "patient":
		w, err := decodePatient(a)
		if err != nil || w == nil {
			return call.Observed{}, err
		}
		if w.Voided {
			return call.Observed{Voided: true, ByUs: k.byUs(w.Audit)}, nil
		}
		f, rows := k.patientFields(w, c.Want, c.Pre)
		o := call.Observed{Exists: true, Fields: f, Outputs: call.Outputs{"uuid": w.UUID}}
		if c.Key != "" {
			o.Outputs = call.Outputs{}
			if id := rows[c.Key]; id != "" {
				o.Outputs["uuid"] = id
			}
		}
		return o, nil
	case "count":
		return observeCount(a)
	}
	return call.Observed{}, fmt.Errorf("openmrs/Patient: unknown check %q", c.As)
}

// observeCount counts the live rows of a search.
func observeCount(a call.Answer) (call.Observed, error) {
	if a.Status == http.StatusNotFound {
		return call.Observed{Exists: true, Fields: none()}, nil
	}
	var body struct {
		Results []struct {
			Voided bool `json:"voided"`
		} `json:"results"`
	}
	if err := json.Unmarshal(a.Body, &body); err != nil {
		return call.Observed{}, fmt.Errorf("read what OpenMRS found: %w", err)
	}
	n := 0.0
	for _, r := range body.Results {
		if !r.Voided {
			n++
		}
	}
	return call.Observed{Exists: true, Fields: record.Fields{"count": n}}, nil
}
