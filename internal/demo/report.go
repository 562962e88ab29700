package demo

import (
	"context"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// Row is what became of one integration's messages. Every accepted message is
// in one of done, undone and held: held is also what waits behind a held one.
type Row struct {
	ID       string  `json:"id"`
	Messages int     `json:"messages"`
	Done     int     `json:"done"`
	Undone   int     `json:"undone"`
	Held     int     `json:"held"`
	Calls    int     `json:"calls"` // requests sent that change something
	Seconds  float64 `json:"seconds"`
}

// Report counts what became of every message, by integration.
func (d *Demo) Report(ctx context.Context) ([]Row, error) {
	type fate struct{ undone, held bool }
	fates := map[string]map[int64]*fate{}
	calls := map[string]int{}
	last := map[string]time.Time{}
	f := ledger.Filter{Limit: 1000}
	for {
		list, err := d.Ledger.Deliveries(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, x := range list {
			id, _, _ := strings.Cut(x.Flow, "/")
			if fates[id] == nil {
				fates[id] = map[int64]*fate{}
			}
			if fates[id][x.Message] == nil {
				fates[id][x.Message] = &fate{}
			}
			m := fates[id][x.Message]
			switch {
			case x.State == ledger.Undone, x.State == ledger.Refused:
				m.undone = true
			case !x.State.Ended():
				m.held = true
			}
			calls[id] += x.Calls
			if x.Ended.After(last[id]) {
				last[id] = x.Ended
			}
		}
		if len(list) < f.Limit {
			break
		}
		f.After = list[len(list)-1].ID
	}
	var rows []Row
	for _, s := range d.stories {
		r := Row{ID: s.id, Messages: len(fates[s.id]), Calls: calls[s.id]}
		for _, m := range fates[s.id] {
			switch {
			case m.held:
				r.Held++
			case m.undone:
				r.Undone++
			default:
				r.Done++
			}
		}
		if end := last[s.id]; end.After(d.began) {
			r.Seconds = float64(end.Sub(d.began).Milliseconds()) / 1000
		}
		rows = append(rows, r)
	}
	return rows, nil
}
