package river

import (
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"
)

// gatheredFor is how long what was said once is counted instead of said again.
const gatheredFor = time.Minute

// repeats says the first of messages that are alike, and counts the others:
// while the database is away each of River's parts has something to say at each
// try, several times a second.
type repeats struct {
	to func(text string)

	mu    sync.Mutex
	known map[string]*repeated
	ended bool
}

type repeated struct {
	last  string // of those that were counted
	n     int
	timer *time.Timer
}

// say says a text, or counts it if one of that kind was said within the last
// minute; at its end the last one is said, with how many there were.
func (r *repeats) say(kind, text string) {
	if r.to == nil {
		return
	}
	kind = strings.Map(func(c rune) rune {
		if unicode.IsDigit(c) {
			return -1
		}
		return c
	}, kind)
	if r.first(kind, text) {
		r.to(text) // without the lock: who listens may take his time
	}
}

// first tells whether a text is to be said, and counts it if not.
func (r *repeats) first(kind, text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return true
	}
	if k := r.known[kind]; k != nil {
		k.n, k.last = k.n+1, text
		return false
	}
	if r.known == nil {
		r.known = map[string]*repeated{}
	}
	r.known[kind] = &repeated{timer: time.AfterFunc(gatheredFor, func() { r.minute(kind) })}
	return true
}

// minute ends a minute of counting: another one follows if there was anything
// to count.
func (r *repeats) minute(kind string) {
	r.mu.Lock()
	k, text := r.known[kind], ""
	switch {
	case k == nil || r.ended:
	case k.n == 0:
		delete(r.known, kind)
	default:
		text = k.counted()
		k.timer.Reset(gatheredFor)
	}
	r.mu.Unlock()
	if text != "" {
		r.to(text)
	}
}

// counted says what was counted, and begins to count anew.
func (k *repeated) counted() string {
	times := fmt.Sprintf("%d times", k.n)
	if k.n == 1 {
		times = "once"
	}
	k.n = 0
	return fmt.Sprintf("%s (%s more within a minute)", k.last, times)
}

// end says what was counted and not said, and counts no more.
func (r *repeats) end() {
	var texts []string
	r.mu.Lock()
	r.ended = true
	for _, k := range r.known {
		k.timer.Stop()
		if k.n > 0 {
			texts = append(texts, k.counted())
		}
	}
	clear(r.known)
	r.mu.Unlock()
	for _, text := range texts {
		r.to(text)
	}
}
