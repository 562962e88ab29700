package clinictest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"sync"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// Log is a log that many write to, while a test reads it.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write adds to it.
func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

// String is what was written until now.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// ServeDeliveries answers with all deliveries of a ledger, as a list of
// ledger.Delivery in JSON: by it a parent looks into the ledger of its child.
func ServeDeliveries(w http.ResponseWriter, r *http.Request, l ledger.Ledger) {
	var all []ledger.Delivery
	f := ledger.Filter{Limit: 1000}
	for {
		list, err := l.Deliveries(r.Context(), f)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		all = append(all, list...)
		if len(list) < f.Limit {
			_ = json.NewEncoder(w).Encode(all)
			return
		}
		f.After = list[len(list)-1].ID
	}
}
