package openmrs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
)

// Everything of a patient that has a time of change. What is asked for in full
// is so because servers differ in its fields.
const (
	sweepPatientRep = "custom:(uuid,voided,auditInfo,identifiers:(uuid,identifier,preferred,voided,auditInfo)," +
		"person:(uuid,gender,birthdate,birthdateEstimated,dead,deathDate,auditInfo,preferredName:full,preferredAddress:full,attributes:full))"
	sweepEncounterRep = "custom:(uuid,auditInfo)"
	sweepObsRep       = "custom:(uuid,voided,auditInfo,encounter:(uuid,voided))"
)

var sweepStreamed = feedStream{name: sweepStream}

// sweepPerson reads one person again and gives what changed since floor. The
// error is of the system as a whole; a person on whom OpenMRS fails is an alarm
// and looked at in the next round.
func (s *System) sweepPerson(ctx context.Context, do call.Doer, id string, floor time.Time) (out []connector.Incoming, alarm string, err error) {
	failed := func(a call.Answer, err error) ([]connector.Incoming, string, error) {
		f, err := ofThisOne(a, err)
		if err != nil {
			return nil, "", err
		}
		return out, fmt.Sprintf("sweep: OpenMRS fails on a patient of the patient feed: %s. She is looked at again in the next round", f.problem), nil
	}
	a, err := do.Do(ctx, "sweep: read patient", read("/patient/"+seg(id), "v", sweepPatientRep))
	if err != nil {
		return failed(a, err)
	}
	gone := a.Status == http.StatusNotFound
	if s.feeds.sweeps(kindPatient) {
		out = s.sweptPatient(id, a, gone, floor)
	}
	if gone || !s.feeds.sweeps(kindEncounter) {
		return out, "", nil
	}
	states, err := s.encounterStates(ctx, do, id)
	if err != nil {
		return failed(call.Answer{Status: blameOf(err)}, err)
	}
	for _, uuid := range keysOf(states) {
		state := states[uuid]
		if state.at.Before(floor) {
			continue
		}
		t := target{kind: kindEncounter, resource: "encounter", uuid: uuid}
		f, err := s.readWhose(ctx, do, t)
		if err != nil {
			return nil, "", err
		}
		e := atomEntry{id: "sweep:" + state.hash(), updated: state.at}
		out = append(out, s.entryMessage(sweepStreamed, &e, 0, t, "", f))
	}
	return out, "", nil
}

// blameOf guesses the status behind the error of a list: what is no fault of
// the system is one of this person.
func blameOf(err error) int {
	if call.ClassOf(err) == call.RetryLater {
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

func (f *feedConfig) sweeps(what string) bool {
	for _, w := range f.sweep {
		if w == what {
			return true
		}
	}
	return false
}

// sweptPatient gives a patient who changed, or is gone.
func (s *System) sweptPatient(id string, a call.Answer, gone bool, floor time.Time) []connector.Incoming {
	t := target{kind: kindPatient, resource: "patient", uuid: id}
	if gone {
		// The version is the same in each round: it is taken once.
		e := atomEntry{id: "sweep:gone", categories: []string{"DELETED"}}
		return []connector.Incoming{s.entryMessage(sweepStreamed, &e, 0, t, "", found{gone: true})}
	}
	var doc map[string]any
	if json.Unmarshal(a.Body, &doc) != nil {
		return nil
	}
	dropLinks(doc)
	at := latest(doc, s.zone)
	if at.Before(floor) {
		return nil
	}
	voided, _ := doc["voided"].(bool)
	e := atomEntry{id: "sweep:" + sweepHash(doc), updated: at}
	audited, _ := doc["auditInfo"].(map[string]any)
	reason, _ := text(audited["voidReason"])
	return []connector.Incoming{s.entryMessage(sweepStreamed, &e, 0, t, "", found{voided: voided, merged: voided && mergedReason.MatchString(reason)})}
}

// encounterState is what is known of an encounter without reading it.
type encounterState struct {
	at   time.Time
	rows []any
}

func (e *encounterState) hash() string { return sweepHash(e.rows) }

func (e *encounterState) add(row map[string]any, zone *time.Location) {
	dropLinks(row)
	if at := latest(row, zone); at.After(e.at) {
		e.at = at
	}
	e.rows = append(e.rows, row)
}

// encounterStates lists a patient's encounters and when something in them was
// written last. A voided one is found by its observations only.
func (s *System) encounterStates(ctx context.Context, do call.Doer, patient string) (map[string]*encounterState, error) {
	out := map[string]*encounterState{}
	add := func(id string, row map[string]any) {
		if looksLikeUUID(id) {
			if out[id] == nil {
				out[id] = &encounterState{}
			}
			out[id].add(row, s.zone)
		}
	}
	encounters, err := list[map[string]any](ctx, do, "sweep: read encounters", read("/encounter", "patient", patient, "v", sweepEncounterRep))
	if err != nil {
		return nil, err
	}
	for _, e := range encounters {
		id, _ := e["uuid"].(string)
		add(id, e)
	}
	all, err := list[map[string]any](ctx, do, "sweep: read observations", read("/obs", "patient", patient, "includeAll", "true", "v", sweepObsRep))
	if err != nil {
		return nil, err
	}
	for _, o := range all {
		if e, ok := o["encounter"].(map[string]any); ok {
			id, _ := e["uuid"].(string)
			add(id, o)
		}
	}
	return out, nil
}

// latest is the newest time of creation, change or voiding in a document.
func latest(v any, zone *time.Location) time.Time {
	var newest time.Time
	switch v := v.(type) {
	case map[string]any:
		for name, below := range v {
			at := time.Time{}
			if text, ok := below.(string); ok {
				switch name {
				case "dateCreated", "dateChanged", "dateVoided":
					at, _ = parseMoment(text, zone)
				}
			} else {
				at = latest(below, zone)
			}
			if at.After(newest) {
				newest = at
			}
		}
	case []any:
		for _, below := range v {
			if at := latest(below, zone); at.After(newest) {
				newest = at
			}
		}
	}
	return newest
}

// dropLinks takes out what says nothing of the record itself.
func dropLinks(v any) {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "links")
		delete(v, "resourceVersion")
		for _, below := range v {
			dropLinks(below)
		}
	case []any:
		for _, below := range v {
			dropLinks(below)
		}
	}
}

// sweepHash is a short name for content.
func sweepHash(v any) string {
	sum := sha256.Sum256(encode(v))
	return hex.EncodeToString(sum[:16])
}
