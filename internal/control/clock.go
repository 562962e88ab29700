package control

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Clock is what a running server makes of its clock.
type Clock struct {
	Now     time.Time `json:"now,omitzero"`      // what schedules go by; zero while they stand still
	Stopped string    `json:"stopped,omitempty"` // why they stand still
}

// Clock looks at the clock that schedules go by, and believes it as it is when
// somebody confirms it.
func (l Local) Clock(ctx context.Context, confirmedBy string) (Clock, error) {
	if l.Today == nil {
		return Clock{}, errors.New("no server runs on this data folder: nothing goes by the clock")
	}
	if confirmedBy != "" {
		if err := l.ConfirmClock(ctx, confirmedBy); err != nil {
			return Clock{}, err
		}
	}
	now, err := l.Today()
	if err != nil {
		return Clock{Stopped: err.Error()}, nil
	}
	return Clock{Now: now}, nil
}

func handleClock(mux *http.ServeMux, s Service) {
	on(mux, "clock", func(ctx context.Context, who string) (any, error) { return s.Clock(ctx, who) })
}

// Clock: see Local.Clock.
func (c Remote) Clock(ctx context.Context, confirmedBy string) (out Clock, err error) {
	err = c.desk(ctx, "clock", confirmedBy, &out)
	return out, err
}
