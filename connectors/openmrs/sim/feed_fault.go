package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// feedSeed changes one category's feed, in the order of its fields. It is how
// scenarios bring about what happens to feeds.
type feedSeed struct {
	Category string `json:"category"`
	// Reset empties the feed: the server was set up anew.
	Reset bool `json:"reset"`
	// DropNewest takes the newest entries away: a backup was restored.
	DropNewest int `json:"dropNewest"`
	// DropOldest takes the oldest away, so that all pages are numbered anew: the
	// event table was purged.
	DropOldest int `json:"dropOldest"`
	// HidePage takes a page out of the archive; its neighbours' links skip it.
	HidePage int `json:"hidePage"`
	// RepeatLast writes the newest entry once more, with the same id.
	RepeatLast bool `json:"repeatLast"`
	// SwapLast has the two newest entries change places: one was committed later
	// than the number that it had drawn.
	SwapLast bool `json:"swapLast"`
	// Entries are added as they are given.
	Entries []struct {
		Title    string   `json:"title"`
		Category string   `json:"category"` // else the feed's
		Tags     []string `json:"tags"`
		ID       string   `json:"id"`
		At       string   `json:"at"`
		Content  string   `json:"content"`
		Raw      string   `json:"raw"` // instead of all that, what stands in the page
	} `json:"entries"`
}

// ChangeFeed applies one change to a feed.
func (s *Server) changeFeed(in feedSeed) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, key := s.feed, strings.ToLower(in.Category)
	if in.Category == "" {
		return fmt.Errorf("a feed needs its category")
	}
	list := f.entries[key]
	if in.Reset {
		list = nil
		delete(f.hidden, key)
	}
	list = list[:max(0, len(list)-in.DropNewest)]
	list = slices.Clone(list[min(len(list), in.DropOldest):])
	if in.RepeatLast && len(list) > 0 {
		list = append(list, list[len(list)-1])
	}
	if n := len(list); in.SwapLast && n > 1 {
		list[n-1], list[n-2] = list[n-2], list[n-1]
	}
	f.entries[key] = list
	if in.HidePage > 0 {
		if f.hidden[key] == nil {
			f.hidden[key] = map[int]bool{}
		}
		f.hidden[key][in.HidePage] = true
	}
	for _, e := range in.Entries {
		entry := &feedEntry{title: e.Title, category: e.Category, tags: e.Tags, id: e.ID, content: e.Content, raw: e.Raw}
		if e.At != "" {
			at, err := time.Parse(time.RFC3339, e.At)
			if err != nil {
				return fmt.Errorf("feed %s: at: %w", in.Category, err)
			}
			entry.at = at
		}
		if entry.category == "" {
			entry.category = in.Category
		}
		shown := entry.category
		entry.category = key
		s.feedAdd(entry)
		entry.category = shown
	}
	return nil
}

// WhilePaging has a function called after each page was read and before it is
// sent, so that entries are published while a client walks the pages. The
// function may use the server.
func (s *Server) WhilePaging(f func(category string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.feed.busy = f
}

// FeedLength is how many entries a category's feed has.
func (s *Server) FeedLength(category string) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.feed.entries[strings.ToLower(category)])
}
