package sim

import (
	"fmt"
	"strings"

	"github.com/kiungo-health/kiungo/internal/simulate"
)

var (
	_ simulate.Restorer = (*Server)(nil)
	_ simulate.Replacer = (*Server)(nil)
)

// Mark keeps a backup of the data, not of the metadata, under a name.
func (s *Server) Mark(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.backups == nil {
		s.backups = map[string]*store{}
	}
	s.backups[name] = simulate.Clone(&s.data, (*model)(nil))
}

// Restore puts the data back to a backup. The systemId is in the database and
// stays the same.
func (s *Server) Restore(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.backups[name]
	if !ok {
		return fmt.Errorf("there is no backup %q", name)
	}
	s.data = *simulate.Clone(d, (*model)(nil))
	return nil
}

// Replace puts another database in place of this one, with the data of a backup
// and a systemId of its own.
func (s *Server) Replace(name string) error {
	if err := s.Restore(name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := []byte(s.opt.SystemID)
	for i, c := range id {
		if at := strings.IndexByte("0123456789abcdef", c); at >= 0 {
			id[i] = "fedcba9876543210"[at]
		}
	}
	s.opt.SystemID = string(id)
	return nil
}
