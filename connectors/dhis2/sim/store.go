package sim

import "time"

// store is the data: what data entry and imports have made.
type store struct {
	values    map[place]map[cell]*value
	complete  map[completeKey]*registration
	events    map[string]*event
	approved  map[completeKey]bool
	exempted  map[completeKey]bool // lock exceptions; their aoc is empty
	eventsSeq int
}

// place and cell are the key of a data value.
type place struct{ unit, period string }
type cell struct{ element, coc, aoc string }

// value is a stored data value; a deleted one stays, as in the database.
type value struct {
	text, comment    string
	hasText          bool
	followup         bool
	storedBy         string
	created, updated time.Time
	deleted          bool
}

type completeKey struct{ set, period, unit, aoc string }

// registration says that a data set is complete for a period.
type registration struct {
	date      string
	storedBy  string
	completed bool
	created   time.Time
}

func newStore() store {
	return store{values: map[place]map[cell]*value{}, complete: map[completeKey]*registration{}, events: map[string]*event{},
		approved: map[completeKey]bool{}, exempted: map[completeKey]bool{}}
}

func (d *store) at(p place) map[cell]*value {
	cells := d.values[p]
	if cells == nil {
		cells = map[cell]*value{}
		d.values[p] = cells
	}
	return cells
}
