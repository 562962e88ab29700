package sim

import (
	"fmt"
	"regexp"

	"github.com/kiungo-health/kiungo/internal/simulate"
)

var _ simulate.Restorer = (*Server)(nil)

// database is what a backup of the server's database holds. The numbers that
// idgen gave out since are given out again after a restore.
type database struct {
	seq, drawn int
	data       store
	made       int // events of the feeds
	entries    map[string][]*feedEntry
}

func (d *database) clone() *database {
	return simulate.Clone(d, &kind{}, &regexp.Regexp{})
}

// Mark keeps a backup of the database under a name.
func (s *Server) Mark(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.backups == nil {
		s.backups = map[string]*database{}
	}
	s.backups[name] = (&database{s.seq, s.drawn, s.data, s.feed.made, s.feed.entries}).clone()
}

// Restore puts the database back to a backup. What has a uuid that the server
// chose may get one again that something else had.
func (s *Server) Restore(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.backups[name]
	if !ok {
		return fmt.Errorf("there is no backup %q", name)
	}
	d = d.clone()
	s.seq, s.drawn, s.data, s.feed.made, s.feed.entries = d.seq, d.drawn, d.data, d.made, d.entries
	return nil
}
