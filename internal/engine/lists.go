package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/intake"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

// learn gives an integration the rows that people gave as answers before.
func (e *Engine) learn(in *flow.Integration) error {
	lessons, err := e.Ledger.Lessons(context.Background())
	if err != nil {
		return fmt.Errorf("read what people have taught: %w", err)
	}
	for _, l := range lessons {
		if l.Integration == in.ID {
			in.Teach(l.Table, l.Codes, l.Value)
		}
	}
	return nil
}

// Learned gives a row that a person gave as an answer to the integration it is
// for.
func (e *Engine) Learned(l ledger.Lesson) {
	for _, in := range e.Integrations {
		if in.ID == l.Integration {
			in.Teach(l.Table, l.Codes, l.Value)
		}
	}
}

// Forgot takes a row that a person took back from the integration it was for.
func (e *Engine) Forgot(l ledger.Lesson) {
	for _, in := range e.Integrations {
		if in.ID == l.Integration {
			in.Unteach(l.Table, l.Codes)
		}
	}
}

// makeLists makes one List for each list that a flow asks for and each active
// system that it asks. A system that is switched off is not asked.
func (e *Engine) makeLists(flows []*flow.Flow) error {
	for _, f := range flows {
		for _, s := range f.From {
			if s.Message == nil || s.Message.List == "" {
				continue
			}
			for name, port := range e.Systems {
				if s.System != name && s.System != port.Connector {
					continue
				}
				if _, ok := port.System.(connector.Lister); !ok {
					return fmt.Errorf("flow %s asks %s for a list, and it has none", f.Name, name)
				}
				e.lists = append(e.lists, &intake.List{In: e.Intake, System: port, Flow: f, Source: s, Now: make(chan struct{}, 1), Today: e.Today})
			}
		}
	}
	slices.SortFunc(e.lists, func(a, b *intake.List) int {
		return strings.Compare(a.Name()+" "+a.System.Name(), b.Name()+" "+b.System.Name())
	})
	return nil
}

// Ask asks for the lists of a flow now, before their time: of all its systems,
// or of one; for a period by its name, or the one just completed. It gives how
// many lists it asked for; they are read in the background.
func (e *Engine) Ask(ctx context.Context, flowName, systemName, periodName string) (int, error) {
	n := 0
	for _, l := range e.listsOf(flowName, systemName) {
		if err := l.Ask(ctx, periodName); err != nil {
			return n, fmt.Errorf("ask %s for a list: %w", l.System.Name(), err)
		}
		select {
		case l.Now <- struct{}{}:
		default:
		}
		n++
	}
	if n == 0 {
		return 0, fmt.Errorf("no active flow %q asks a system for a list", flowName)
	}
	return n, nil
}

// Fetch reads all that is due of a flow's lists, and waits until they are read.
func (e *Engine) Fetch(ctx context.Context, flowName, systemName string) error {
	for _, l := range e.listsOf(flowName, systemName) {
		for {
			wait, err := l.Once(ctx)
			if err != nil {
				return err
			}
			if wait > time.Minute {
				break // the next time of its schedule
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(wait):
			}
		}
	}
	return nil
}

func (e *Engine) listsOf(flowName, systemName string) []*intake.List {
	var out []*intake.List
	for _, l := range e.lists {
		short := strings.HasSuffix(l.Flow.Name, "/"+flowName)
		if (l.Flow.Name == flowName || short) && (systemName == "" || l.System.Name() == systemName) {
			out = append(out, l)
		}
	}
	return out
}
