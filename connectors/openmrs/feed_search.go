package openmrs

import (
	"bytes"
	"context"
	"errors"
)

// saysGone reads the error page of a page that is not there
// (NumberFeedGenerator.validateFeedId; TimeFeedGenerator for feeds by time).
func saysGone(body []byte) bool {
	return bytes.Contains(body, []byte("feed does not exist")) || bytes.Contains(body, []byte("lies in future"))
}

// overlapPages is how many pages before the place that was found are read again:
// entries that were committed late stand before others that were seen already
// (law 35).
const overlapPages = 2

// misplaced begins the search for the place to go on: the last entry is not where it
// was. It goes from the newest page backwards, since that is where the place is
// after all but the worst.
func (w *walk) misplaced(ctx context.Context) (bool, error) {
	recent, _, err := w.ask(ctx, "recent")
	if err != nil {
		return false, err
	}
	if recent.number == 0 {
		w.alarmLost("it was reset: it had entries up to page %d and is empty now. What is announced from now on is read", w.p.Page)
		w.p.Page, w.p.Last, w.p.Done, w.p.Safe, w.p.Trail = 0, "", 0, nil, nil
		return false, nil
	}
	w.p.Search = &search{Page: recent.number, Lost: w.p.Last, Was: w.p.Page}
	if w.p.Last == "" && w.p.Page > recent.number {
		w.p.Search.Was = w.p.Page - 1 // the page whose end was reached
	}
	return true, nil
}

// look looks at one page of a search.
func (w *walk) look(ctx context.Context) (bool, error) {
	at := w.p.Search
	if at.Page <= 0 { // the first pages are hidden or broken
		if at.Goal == nil {
			w.anew(1)
			return true, nil
		}
		w.tell(1)
		w.p.resume(1, at.Goal)
		return true, nil
	}
	pg, err := w.page(ctx, at.Page)
	switch {
	case errors.Is(err, errGone), errors.Is(err, errStuck):
		at.Page-- // a page that is hidden or broken does not end the search
		return true, nil
	case err != nil:
		return false, err
	}
	if at.Seen == 0 && at.Lost != "" && pg.index(at.Lost) >= 0 {
		at.Seen = pg.number
	}
	if at.Goal != nil {
		at.Back--
	}
	for _, goal := range w.p.goals() {
		if at.Goal == nil && pg.index(goal.ID) >= 0 {
			at.Goal, at.Back = &goal, overlapPages
		}
	}
	first := pg.prev < 0 || pg.prev >= pg.number
	switch {
	case at.Goal != nil && (at.Back <= 0 || first):
		w.tell(pg.number)
		w.p.resume(pg.number, at.Goal)
	case first:
		w.anew(pg.number)
	default:
		at.Page = pg.prev
	}
	return true, nil
}

// tell says what was found out about a feed that changed.
func (w *walk) tell(page int) {
	at := w.p.Search
	if at.Seen > 0 {
		w.alarm("it changed under us: the last entry, of page %d, is now on page %d, at another place. From page %d on it is read again; what is known already is not done twice", at.Was, at.Seen, page)
		return
	}
	w.alarmLost("its last entry, on page %d, is not there any more: was a backup restored? It is read again from an older entry on page %d on", at.Was, page)
}

// anew reads the whole archive again: nothing of what was handled is there.
func (w *walk) anew(page int) {
	at := w.p.Search
	switch {
	case at.Seen > 0:
		w.tell(page)
	case len(w.p.goals()) == 0 && at.Lost == "":
		w.alarm("its archive begins with page %d", page)
	default:
		w.alarmLost("it was reset: no entry that was handled is in it any more. All its pages from %d on are read", page)
	}
	w.p.resume(page, nil)
}

// index is where an entry is on a page, the last time if it is there twice.
func (p *atomPage) index(id string) int {
	for i := len(p.entries) - 1; i >= 0; i-- {
		if p.entries[i].id == id {
			return i
		}
	}
	return -1
}
