package commcare

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"time"
)

// stamp is how CommCare writes and reads moments in queries.
const stamp = "2006-01-02T15:04:05.000000Z"

// maxSeen bounds what a position remembers. Beyond it the overlap is sent
// again, which the ledger folds by document and version.
const maxSeen = 2000

// position is where a sweep stands.
//
// A pass goes from an overlap before the newest moment known to the end of
// what there is. Within it, At moves with the pages; a page full of one moment
// is passed by Offset, or by the case API's own cursor.
type position struct {
	Begun  bool      `json:"begun"`
	Floor  time.Time `json:"floor"` // nothing before it is read
	High   time.Time `json:"high"`  // newest indexed_on seen
	At     time.Time `json:"at"`    // where the next page starts
	Offset int       `json:"offset,omitempty"`
	Cursor string    `json:"cursor,omitempty"`
	// Seen holds, for each thing at or after the start of the next pass, 8 bytes
	// of hash of its id and moment, and 4 of the moment in Unix seconds.
	Seen string `json:"seen,omitempty"`

	seen  []sighting
	known map[uint64]bool
}

type sighting struct {
	hash uint64
	at   uint32
}

func (p *position) read(b []byte) error {
	p.known = map[uint64]bool{}
	if len(b) == 0 {
		return nil
	}
	if err := json.Unmarshal(b, p); err != nil {
		return fmt.Errorf("the position is not JSON: %w", err)
	}
	raw, err := base64.RawStdEncoding.DecodeString(p.Seen)
	if err != nil || len(raw)%12 != 0 {
		return fmt.Errorf("the position's list of things seen is damaged")
	}
	for ; len(raw) > 0; raw = raw[12:] {
		s := sighting{binary.BigEndian.Uint64(raw), binary.BigEndian.Uint32(raw[8:])}
		p.seen = append(p.seen, s)
		p.known[s.hash] = true
	}
	return nil
}

func (p *position) write() ([]byte, error) {
	raw := make([]byte, 0, 12*len(p.seen))
	for _, s := range p.seen {
		raw = binary.BigEndian.AppendUint64(raw, s.hash)
		raw = binary.BigEndian.AppendUint32(raw, s.at)
	}
	p.Seen = base64.RawStdEncoding.EncodeToString(raw)
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("write the position: %w", err)
	}
	return b, nil
}

func sightingOf(id string, at time.Time) sighting {
	h := fnv.New64a()
	// A hash's Write never fails.
	_, _ = fmt.Fprintf(h, "%s|%d", id, at.UnixMicro())
	return sighting{h.Sum64(), uint32(max(0, min(at.Unix(), 1<<32-1)))}
}

func (p *position) saw(id string, at time.Time) bool { return p.known[sightingOf(id, at).hash] }

func (p *position) remember(id string, at time.Time) {
	s := sightingOf(id, at)
	p.known[s.hash] = true
	p.seen = append(p.seen, s)
}

func (p *position) newest(at time.Time) { p.High = later(p.High, at) }

// startPass goes back by the overlap for the next pass.
func (p *position) startPass(overlap time.Duration) {
	p.Offset, p.Cursor, p.At = 0, "", later(p.High.Add(-overlap), p.Floor)
}

// forget drops what lies before anything that will be read again.
func (p *position) forget(overlap time.Duration) {
	from := p.High.Add(-overlap)
	if p.At.Before(from) {
		from = p.At
	}
	kept := p.seen[:0]
	for _, s := range p.seen {
		if int64(s.at) >= from.Unix() {
			kept = append(kept, s)
		}
	}
	p.seen = kept[max(0, len(kept)-maxSeen):]
}

// advance moves behind the last thing taken, or ends the pass.
func (p *position) advance(last time.Time, taken int, cursor string, more bool, overlap time.Duration) {
	switch {
	case !more:
		p.startPass(overlap)
	case cursor != "":
		p.Cursor = cursor
	case p.Cursor != "":
		// A page was cut short in the middle of a cursor's walk: the same page
		// comes again, without what was taken.
	case last.After(p.At):
		p.At, p.Offset = last, 0
	default:
		p.Offset += max(taken, 1)
	}
	p.forget(overlap)
}
