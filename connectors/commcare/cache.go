package commcare

import (
	"sync"
	"time"
)

// maxCached bounds a cache: a country's places, or the workers of one.
const maxCached = 20_000

// cache remembers documents read from CommCare, nil for what is not there.
type cache struct {
	ttl time.Duration
	now func() time.Time

	mu    sync.Mutex
	items map[string]cached
}

type cached struct {
	value map[string]any
	until time.Time
}

func newCache(ttl time.Duration, now func() time.Time) *cache {
	return &cache{ttl: ttl, now: now, items: map[string]cached{}}
}

func (c *cache) get(id string) (map[string]any, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	item, ok := c.items[id]
	if !ok || c.now().After(item.until) {
		return nil, false
	}
	return item.value, true
}

func (c *cache) put(id string, value map[string]any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.items) >= maxCached {
		clear(c.items)
	}
	c.items[id] = cached{value: value, until: c.now().Add(c.ttl)}
}

// forget drops a document that CommCare said has changed.
func (c *cache) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.items, id)
}
