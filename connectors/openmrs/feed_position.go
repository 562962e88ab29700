package openmrs

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"slices"
	"time"
)

// feedPosition is how far a feed was read: the last entry handled, the page it
// was on, and its place there. It is never a moment: clocks differ, and what is
// published while a poll goes on would be older than the poll's end.
type feedPosition struct {
	Begun bool `json:"begun,omitempty"`
	// Page is where to look next; 0: the feed had no entry. Last is the id of the
	// last entry handled of that page, "" if none was, and Done how many were.
	Page int    `json:"page,omitempty"`
	Last string `json:"last,omitempty"`
	Done int    `json:"done,omitempty"`
	// Pages counts the pages read to their end, for the trail.
	Pages int `json:"pages,omitempty"`
	// Safe is the newest entry that was at its place when a poll began: all up to
	// it was read while the pages stood still. Trail are older ones, ever farther
	// apart, to go on from where a restored server lost the newest.
	Safe  *mark  `json:"safe,omitempty"`
	Trail []mark `json:"trail,omitempty"`
	// Search is set while the place to go on is looked for, from the newest page
	// backwards.
	Search *search `json:"search,omitempty"`
	// Tries counts how often an entry, or the page "page N", made OpenMRS fail.
	Tries map[string]int `json:"tries,omitempty"`
	// Heard is when there was something new, by our clock; Hushed that a silence
	// was reported.
	Heard  time.Time `json:"heard,omitzero"`
	Hushed bool      `json:"hushed,omitempty"`
}

// mark is an entry that was handled, after so many pages.
type mark struct {
	ID string `json:"id"`
	At int    `json:"at"`
}

type search struct {
	Page int    `json:"page"`           // to look at next
	Lost string `json:"lost,omitempty"` // id of the entry that was not at its place
	Was  int    `json:"was,omitempty"`  // the page it was on
	Seen int    `json:"seen,omitempty"` // the page it was found on
	// Goal was found; Back is how many more pages to go back from it.
	Goal *mark `json:"goal,omitempty"`
	Back int   `json:"back,omitempty"`
}

func (p *feedPosition) read(from []byte) error {
	if len(from) == 0 {
		return nil
	}
	if err := json.Unmarshal(from, p); err != nil {
		return fmt.Errorf("read the position: %w", err)
	}
	return nil
}

// leave notes that a page was read to its end and goes to another.
func (p *feedPosition) leave(next int) {
	p.Pages++
	if p.Last != "" {
		p.Trail = append(slices.Clip(p.Trail), mark{p.Last, p.Pages})
	}
	p.Page, p.Last, p.Done = next, "", 0
	p.thin()
}

// thin keeps of the trail the oldest mark in each power of two of distance, and
// the newest of all: some 1, 2, 4, 8 pages back and so on.
func (p *feedPosition) thin() {
	var kept []mark // a new list: other positions hold the old one
	for i, m := range p.Trail {
		if i > 0 && i < len(p.Trail)-1 && bits.Len(uint(p.Pages-m.At)) == bits.Len(uint(p.Pages-kept[len(kept)-1].At)) {
			continue
		}
		kept = append(kept, m)
	}
	p.Trail = kept
}

// goals are the entries after which reading may go on, newest first.
func (p *feedPosition) goals() []mark {
	var out []mark
	limit := p.Pages
	if p.Safe != nil {
		out, limit = append(out, *p.Safe), p.Safe.At
	}
	for i := len(p.Trail) - 1; i >= 0; i-- {
		if m := p.Trail[i]; m.At <= limit {
			out = append(out, m)
		}
	}
	return out
}

// resume goes on at the beginning of a page, at or before the one where a goal
// was found, and forgets what came after the goal.
func (p *feedPosition) resume(page int, goal *mark) {
	p.Search, p.Safe = nil, goal
	p.Page, p.Last, p.Done = page, "", 0
	var kept []mark
	if goal != nil {
		p.Pages = goal.At
		for _, m := range p.Trail {
			if m.At <= goal.At {
				kept = append(kept, m)
			}
		}
	}
	p.Trail = kept
}
