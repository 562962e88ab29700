package call

import (
	"net/http"
	"sync/atomic"
	"time"
)

// Skew is how far a server's clock is ahead of ours, learnt from the Date field
// of its answers. The zero Skew knows nothing. Many goroutines may use it.
type Skew struct{ by atomic.Int64 }

// Learn takes an answer's Date, if it has one. Differences below two seconds
// are the network and the whole seconds of the field.
func (k *Skew) Learn(a Answer) {
	at, err := http.ParseTime(a.Header["Date"])
	if err != nil {
		return
	}
	by := at.Sub(a.At.Truncate(time.Second))
	if by.Abs() < 2*time.Second {
		by = 0
	}
	k.by.Store(int64(by))
}

// By is the server's clock minus ours.
func (k *Skew) By() time.Duration { return time.Duration(k.by.Load()) }
