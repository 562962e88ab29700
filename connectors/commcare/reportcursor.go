package commcare

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
)

// reportCursor is where a run of a report stands.
type reportCursor struct {
	Begun    bool              `json:"begun"`
	Title    string            `json:"title,omitempty"`
	Query    map[string]string `json:"query,omitempty"`
	Offset   int               `json:"offset,omitempty"` // the next row
	Total    int               `json:"total,omitempty"`
	Columns  string            `json:"columns,omitempty"` // hash; set with Total by the first page
	Restarts int               `json:"restarts,omitempty"`
	// Seen holds 8 bytes of hash of each key that was given.
	Seen string `json:"seen,omitempty"`

	seen  []byte
	known map[uint64]bool
}

func (c *reportCursor) read(b []byte) error {
	c.known = map[uint64]bool{}
	if len(b) == 0 {
		return nil
	}
	if err := json.Unmarshal(b, c); err != nil {
		return fmt.Errorf("the cursor is not JSON: %w", err)
	}
	raw, err := base64.RawStdEncoding.DecodeString(c.Seen)
	if err != nil || len(raw)%8 != 0 || c.Offset < 0 {
		return fmt.Errorf("the cursor is damaged")
	}
	c.seen = raw
	for ; len(raw) > 0; raw = raw[8:] {
		c.known[binary.BigEndian.Uint64(raw)] = true
	}
	return nil
}

func (c *reportCursor) write() ([]byte, error) {
	c.Seen = base64.RawStdEncoding.EncodeToString(c.seen)
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("write the cursor: %w", err)
	}
	return b, nil
}

func keyHash(key string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key)) // a hash's Write never fails
	return h.Sum64()
}

func (c *reportCursor) saw(key string) bool { return c.known[keyHash(key)] }

// taken moves behind a row.
func (c *reportCursor) taken(key string) {
	c.Offset++
	if key == "" || c.saw(key) {
		return
	}
	c.known[keyHash(key)] = true
	c.seen = binary.BigEndian.AppendUint64(c.seen, keyHash(key))
}

// restart goes back to the first row; the query and the count of restarts stay.
func (c *reportCursor) restart() {
	*c = reportCursor{Begun: c.Begun, Title: c.Title, Query: c.Query, Restarts: c.Restarts + 1, known: map[uint64]bool{}}
}

// differs says in what a page does not go with those before it, or "".
func (c *reportCursor) differs(p *reportPageDoc) string {
	if c.Columns == "" {
		c.Columns, c.Total = p.hash, p.total
	}
	switch {
	case p.total != c.Total:
		return fmt.Sprintf("it had %d rows, now %d", c.Total, p.total)
	case p.hash != c.Columns:
		return "its columns changed"
	case len(p.rows) != min(reportPage, max(0, p.total-c.Offset)):
		return fmt.Sprintf("a page has %d rows, and %d of %d were read before it", len(p.rows), c.Offset, p.total)
	}
	return ""
}
