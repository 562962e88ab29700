// Package believed holds what was read of a system and hardly ever changes, its
// metadata, for as long as it is believed.
package believed

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Key names what is kept: a list ("identifier types"), or one thing of a kind
// under the word that a flow has for it.
type Key struct{ What, Ref string }

// Store keeps values. Many goroutines may use it.
type Store struct {
	age     time.Duration
	now     func() time.Time
	mu      sync.RWMutex
	entries map[Key]*entry
}

type entry struct {
	loading chan struct{} // full while one reads
	last    atomic.Pointer[reading]
}

type reading struct {
	until time.Time
	value any
}

// New makes a store whose values are believed for age, by the clock now.
func New(age time.Duration, now func() time.Time) *Store {
	return &Store{age: age, now: now, entries: map[Key]*entry{}}
}

// Read gives the value kept under key, or loads it. Readers of one key wait for
// one loading, or until they are stopped; an error is not kept.
func Read[T any](ctx context.Context, s *Store, key Key, load func() (T, error)) (v T, err error) {
	e := s.entryOf(key)
	if v, ok := current[T](s, e); ok {
		return v, nil
	}
	select {
	case e.loading <- struct{}{}:
		defer func() { <-e.loading }()
	case <-ctx.Done():
		return v, ctx.Err()
	}
	if v, ok := current[T](s, e); ok {
		return v, nil
	}
	if v, err = load(); err != nil {
		var none T
		return none, err
	}
	e.last.Store(&reading{until: s.now().Add(s.age), value: v})
	return v, nil
}

// Known gives the value kept under key, if it is still believed.
func Known[T any](s *Store, key Key) (v T, ok bool) {
	if e := s.find(key); e != nil {
		return current[T](s, e)
	}
	return v, false
}

// Last gives the value that was kept last under key, however old.
func Last[T any](s *Store, key Key) (v T, ok bool) {
	e := s.find(key)
	if e == nil {
		return v, false
	}
	r := e.last.Load()
	if r == nil {
		return v, false
	}
	v, ok = r.value.(T)
	return v, ok
}

func current[T any](s *Store, e *entry) (v T, ok bool) {
	r := e.last.Load()
	if r == nil || !s.now().Before(r.until) {
		return v, false
	}
	v, ok = r.value.(T)
	return v, ok
}

func (s *Store) find(key Key) *entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.entries[key]
}

// entryOf gives the place of a key, and makes it where there is none.
func (s *Store) entryOf(key Key) *entry {
	if e := s.find(key); e != nil {
		return e
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[key]
	if e == nil {
		e = &entry{loading: make(chan struct{}, 1)}
		s.entries[key] = e
	}
	return e
}
