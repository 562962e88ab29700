package demo

import (
	"context"
	"fmt"
	"time"

	chtsim "github.com/kiungo-health/kiungo/connectors/cht/sim"
	"github.com/kiungo-health/kiungo/internal/connector"
)

// monthEnd is a world of the CHT and DHIS2: what workers count on their phones
// becomes the month's report, when a supervisor has confirmed it.
type monthEnd struct{ cht *chtsim.Sim }

func totals(uint64) *World {
	return &World{ID: "i13", Folder: "i13-cht-dhis2-aggregate", story: &monthEnd{}, zone: "Africa/Nairobi", region: "KE"}
}

func (m *monthEnd) prepare(w *World, reg connector.Registry) error {
	var err error
	if m.cht, err = chtsim.New(fmt.Appendf(nil, `{"default":%q}`, lastMonth(today()).Format("2006-01"))); err != nil {
		return err
	}
	w.systems = append(w.systems, &system{name: "cht", connector: "cht", sim: m.cht})
	return w.addDHIS2(reg)
}

// late are the workers who have not reported the whole month at first.
var late = []string{"rose", "david", "peter", "rose"}

func (m *monthEnd) turns(messages int) int { return min(len(late), messages) }

func (m *monthEnd) begin(ctx context.Context, w *World) error {
	w.account.lists("cht", "dhis_export", 2)
	return w.ask(ctx)
}

// turn: a worker syncs late.
func (m *monthEnd) turn(_ context.Context, _ *World, n int) error {
	month := lastMonth(today())
	var counts []chtsim.Count
	for i, id := range []string{"fever-2-11-months", "fever-12-59-months", "diarrhoea-2-11-months", "diarrhoea-12-59-months"} {
		counts = append(counts, chtsim.Count{ID: id, Total: 2 + n + i, Pass: 1 + i})
	}
	return m.cht.Sync(late[n], month.Format("2006-01"), time.Now(), counts...)
}

func (m *monthEnd) end(ctx context.Context, w *World) error { return w.ask(ctx) }
