package openmrs

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
)

// A merge (PatientServiceImpl.mergePatients, core 1.9 to 3) voids the loser. Its
// reason names the winner by an internal number, and REST shows that number
// nowhere (the merge log has no resource, module 2.24 to 4.0); so the winner is
// learnt from what the merge copies to it: each live identifier of the loser
// that the winner had not, as a new row made in the moment of the merge. The
// loser's own identifiers are voided with it, and are shown by
// /patient/{uuid}/identifier?includeAll=true (module 2.24 and later).
var mergedReason = regexp.MustCompile(`^Merged with patient #\d+$`)

// mergeRep shows of a patient what tells a winner.
const mergeRep = "custom:(uuid,voided,identifiers:(uuid,identifier,voided,identifierType:(uuid,validator,uniquenessBehavior),auditInfo))"

// mergeSlack is how much earlier than the loser's void the copies may have been
// made: it is one transaction, and the database keeps whole seconds.
const mergeSlack = time.Minute

type mergeIdentifier struct {
	Identifier string         `json:"identifier"`
	Voided     bool           `json:"voided"`
	Type       identifierType `json:"identifierType"`
	Audit      *audit         `json:"auditInfo"`
}

func (a mergeIdentifier) same(b mergeIdentifier) bool {
	return a.Type.UUID != "" && a.Type.UUID == b.Type.UUID && a.Type.same(a.Identifier, b.Identifier)
}

// mergedInto gives the uuid of the patient into whom a voided one was merged, ""
// where that cannot be learnt for sure. A patient is taken for the winner if it
// is the only live one that has all identifiers which the loser lost by the
// merge, and at least one of them as a row that was made then or later. A winner
// that was itself merged later is passed over: its own winner has the identifiers
// too. It cannot be learnt where the loser's identifiers were taken from the winner
// since, where the winner had all of them before, or where the user may not read them.
func (k *patientKind) mergedInto(ctx context.Context, do call.Doer, w *wirePatient) (string, error) {
	if w.Audit == nil || !mergedReason.MatchString(w.Audit.VoidReason) {
		return "", nil
	}
	all, err := list[mergeIdentifier](ctx, do, "read identifiers of a merged patient",
		read("/patient/"+seg(w.UUID)+"/identifier", "includeAll", "true", "v", "custom:(uuid,identifier,voided,identifierType:(uuid,validator,uniquenessBehavior),auditInfo)"))
	if errors.Is(err, errUnknown) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	lost := slices.DeleteFunc(all, func(id mergeIdentifier) bool {
		return !id.Voided || id.Identifier == "" || id.Audit == nil || id.Audit.VoidReason != w.Audit.VoidReason
	})
	if len(lost) == 0 {
		return "", nil
	}
	at, err := parseMoment(w.Audit.DateVoided, k.zone)
	if err != nil {
		return "", nil
	}
	type holder struct {
		UUID        string             `json:"uuid"`
		Voided      bool               `json:"voided"`
		Identifiers *[]mergeIdentifier `json:"identifiers"`
	}
	holders, err := list[*holder](ctx, do, "search patient by identifier", read("/patient", "identifier", lost[0].Identifier, "v", mergeRep))
	if err != nil {
		return "", err
	}
	winner := ""
	for _, h := range holders {
		if h == nil || h.Voided || h.Identifiers == nil || h.UUID == w.UUID || h.UUID == winner {
			continue
		}
		if !holdsAll(*h.Identifiers, lost, at.Add(-mergeSlack), k.zone) {
			continue
		}
		if winner != "" {
			return "", nil
		}
		winner = h.UUID
	}
	return winner, nil
}

// holdsAll tells whether live rows hold all identifiers, one of them as a row
// made since.
func holdsAll(has, lost []mergeIdentifier, since time.Time, zone *time.Location) bool {
	copied := false
	for _, id := range lost {
		i := slices.IndexFunc(has, func(x mergeIdentifier) bool { return !x.Voided && x.same(id) })
		if i < 0 {
			return false
		}
		if x := has[i].Audit; x != nil {
			made, err := parseMoment(x.DateCreated, zone)
			copied = copied || err == nil && !made.Before(since)
		}
	}
	return copied
}
