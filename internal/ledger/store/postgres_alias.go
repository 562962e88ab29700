package store

import "sync"

// mostAliases bounds what is remembered of aliases.
const mostAliases = 50_000

// aliases remembers where lanes lead, so that a transaction locks the right
// ones at its first try. It is never trusted: what is locked tells.
type aliases struct {
	mu    sync.Mutex
	byID  map[int64]int64
	byMac map[string]int64
}

// hints gives ids, and what they and the keys are known to lead to.
func (a *aliases) hints(macs [][]byte, ids []int64) []int64 {
	out := append([]int64(nil), ids...)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range macs {
		if id, ok := a.byMac[string(m)]; ok {
			out = append(out, id)
		}
	}
	for i := 0; i < len(out) && len(out) < 10_000; i++ {
		if id, ok := a.byID[out[i]]; ok {
			out = append(out, id)
		}
	}
	return out
}

// learn remembers the aliases that a transaction met.
func (a *aliases) learn(h *shared) {
	if len(h.alias) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byID == nil || len(a.byID) > mostAliases {
		a.byID, a.byMac = map[int64]int64{}, map[string]int64{}
	}
	for id, to := range h.alias {
		a.byID[id] = to
	}
	for mac, id := range h.byMac {
		if to, ok := h.alias[id]; ok {
			a.byMac[mac] = to
		}
	}
}
