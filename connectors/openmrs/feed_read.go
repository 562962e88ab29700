package openmrs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"

	"github.com/kiungo-health/kiungo/internal/call"
)

const (
	// feedReaders is how many records are read at a time while a poll names people.
	feedReaders = 4
	// feedFew are read one after the other, in the feed's order: the requests of a
	// scenario are always the same.
	feedFew = 8
)

// Representations that name the person, and no more.
const (
	whosePatient   = "custom:(uuid,voided,auditInfo:(voidReason))"
	whoseEncounter = "custom:(uuid,voided,encounterDatetime,patient:(uuid))"
	whoseObs       = "custom:(uuid,voided,person:(uuid),encounter:(uuid,voided,encounterDatetime))"
)

// readers reads the records that entries are about, each once (law 2: the
// person is named before the message is given).
//
// The error is of the system as a whole: it is down, or refuses us. A record on
// which OpenMRS fails is found with trouble, or with a problem.
func (s *System) readAll(ctx context.Context, do call.Doer, wanted []target) (map[string]found, error) {
	var todo []target
	out := map[string]found{}
	for _, t := range wanted {
		if _, known := out[t.kind+t.uuid]; !known {
			out[t.kind+t.uuid] = found{}
			todo = append(todo, t)
		}
	}
	if len(todo) == 0 {
		return out, nil
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	next := make(chan target)
	var mu sync.Mutex
	var all sync.WaitGroup
	readers := 1
	if len(todo) > feedFew {
		readers = feedReaders
	}
	for range readers {
		all.Go(func() {
			for t := range next {
				f, err := s.readWhose(ctx, do, t)
				if err != nil {
					stop(err)
					return
				}
				mu.Lock()
				out[t.kind+t.uuid] = f
				mu.Unlock()
			}
		})
	}
feeding:
	for _, t := range todo {
		select {
		case next <- t:
		case <-ctx.Done():
			break feeding
		}
	}
	close(next)
	all.Wait()
	return out, context.Cause(ctx)
}

// readWhose reads one record.
func (s *System) readWhose(ctx context.Context, do call.Doer, t target) (found, error) {
	path, rep, about := "/patient/", whosePatient, "read whether a patient is there"
	switch t.kind {
	case kindEncounter:
		path, rep, about = "/encounter/", whoseEncounter, "read whose encounter it is"
	case kindObservation:
		path, rep, about = "/obs/", whoseObs, "read whose observation it is"
	}
	var w struct {
		UUID      string `json:"uuid"`
		Voided    bool   `json:"voided"`
		Audit     *audit `json:"auditInfo"`
		Patient   ref    `json:"patient"`
		Person    ref    `json:"person"`
		At        string `json:"encounterDatetime"`
		Encounter struct {
			UUID   string `json:"uuid"`
			Voided bool   `json:"voided"`
			At     string `json:"encounterDatetime"`
		} `json:"encounter"`
	}
	a, err := do.Do(ctx, about, read(path+seg(t.uuid), "v", rep))
	switch {
	case err != nil:
		return ofThisOne(a, err)
	case a.Status == http.StatusNotFound:
		return found{gone: true}, nil
	}
	if err := json.Unmarshal(a.Body, &w); err != nil || w.UUID == "" {
		return found{problem: "what OpenMRS answered about the " + t.kind + " cannot be read"}, nil
	}
	f := found{subject: cmp.Or(w.Patient.UUID, w.Person.UUID), encounter: w.Encounter.UUID, without: w.Encounter.Voided, voided: w.Voided || w.Encounter.Voided}
	if t.kind == kindPatient {
		f.subject = t.uuid
		f.merged = w.Voided && w.Audit != nil && mergedReason.MatchString(w.Audit.VoidReason)
	}
	if at, err := parseMoment(cmp.Or(w.At, w.Encounter.At), s.zone); err == nil {
		f.at = at
	}
	if f.subject == "" {
		// OpenMRS leaves out silently what the user may not read.
		f.problem = "OpenMRS does not say whose " + t.kind + " it is: does the user lack the privilege Get Patients?"
	}
	return f, nil
}

// ofThisOne tells an answer about one record from the state of the system:
// OpenMRS answers 500 to much that is the record's own fault.
func ofThisOne(a call.Answer, err error) (found, error) {
	var e *call.Error
	if !errors.As(err, &e) || e.Down {
		return found{}, err
	}
	switch {
	case e.Class == call.Refusal && a.Status != 0:
		return found{problem: e.Reason}, nil
	case a.Status == http.StatusInternalServerError:
		return found{problem: e.Reason, trouble: true}, nil
	}
	return found{}, err
}
