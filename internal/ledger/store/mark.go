package store

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// mark is how far a ledger had come, kept beside it in the data folder. A
// ledger that is behind its mark was put back by other means than "kiungo
// restore" (law 24). It is written now and then and at the end, and is no more
// than a hint: it may be older than the ledger, or missing.
type mark struct {
	Ledger      string    `json:"ledger"` // the ledger's name for itself
	Incarnation int64     `json:"incarnation"`
	At          time.Time `json:"at"` // of a commit, ledger time
}

// markEvery is how often the mark is written while there are commits.
const markEvery = 10 * time.Second

func markPath(dir string) string { return filepath.Join(dir, "mark.json") }

func readMark(dir string) (*mark, error) {
	b, err := os.ReadFile(markPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the ledger's mark: %w", err)
	}
	var m mark
	if json.Unmarshal(b, &m) != nil {
		return nil, nil // half written: it is only a hint
	}
	return &m, nil
}

// write replaces the mark. It is not synced: an older one serves as well.
func (m mark) write(dir string) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	part := markPath(dir) + ".part"
	if err := os.WriteFile(part, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(part, markPath(dir))
}

// passed tells why a ledger that stands at another point is not the one that
// the mark is of, or is behind it; "" if neither.
func (m *mark) passed(now mark) string {
	switch {
	case m == nil:
		return ""
	case m.Ledger != now.Ledger:
		return "another ledger was put in the place of the one that this data folder had"
	case now.Incarnation < m.Incarnation, now.Incarnation == m.Incarnation && now.At.Before(m.At):
		return fmt.Sprintf("the ledger ends at %s and had come to %s: an older copy was put in its place",
			now.At.Format(time.RFC3339), m.At.Format(time.RFC3339))
	}
	return ""
}

// stands says where the ledger stands, as its last commit has it.
func (s *Store) stands() mark {
	at := s.last.Load()
	if s.pg != nil && s.pg.seen.Load() != 0 {
		at = s.pg.seen.Load()
	}
	return mark{s.id, s.incarn.Load(), fromMicro(at)}
}

// keepMark writes the mark, at the end or if it is long ago.
func (s *Store) keepMark(dir string, end bool) {
	if !end && time.Since(s.marked) < markEvery {
		return
	}
	s.marked = time.Now()
	if err := s.stands().write(dir); err != nil {
		s.log("the ledger's mark cannot be written: %v", err)
	}
}

// nameLedger gives the ledger's name for itself, and gives it one at first.
func nameLedger(c conn) (string, error) {
	name, err := settingOf(c, settingLedger)
	if err != nil || name != nil {
		return string(name), err
	}
	id := make([]byte, 16)
	rand.Read(id) // never fails
	fresh := hex.EncodeToString(id)
	return fresh, setSetting(c, settingLedger, []byte(fresh))
}
