package flow

import (
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
)

var timeFunctions = []*function{
	{name: "day", min: 1, max: 1, about: "the day of YYYY-MM-DD, never shifted, or of a moment in the integration's zone", example: "day(case.dob)", result: connector.Day,
		call: each1(func(s *state, where string, v any, _ []any) (any, error) { return s.day(where, v) })},
	{name: "moment", min: 1, max: 1, about: "a moment; one without a zone is in the integration's, a day is its start there", example: "moment(form.meta.timeEnd)", result: connector.Moment,
		call: each1(func(s *state, where string, v any, _ []any) (any, error) { return s.asMoment(where, v) })},
	{name: "plus", min: 2, max: 2, about: `a day or moment later, or with a minus earlier: "7 days", "24 hours", "1 month", "-1 day"`, example: `plus(received, "7 days")`, result: connector.Any,
		call: each1(func(s *state, where string, v any, rest []any) (any, error) {
			return s.plus(where, v, argText(rest, 0))
		})},
	{name: "startOfDay", min: 1, max: 1, about: "00:00:00 of the day in the integration's zone", example: "startOfDay(received)", result: connector.Moment,
		call: each1(func(s *state, where string, v any, _ []any) (any, error) {
			d, err := s.day(where, v)
			if err != nil {
				return nil, err
			}
			return d.time(s.zone), nil
		})},
	{name: "endOfDay", min: 1, max: 1, about: "23:59:59 of the day in the integration's zone", example: "endOfDay(form.meta.timeEnd)", result: connector.Moment,
		call: each1(func(s *state, where string, v any, _ []any) (any, error) {
			d, err := s.day(where, v)
			if err != nil {
				return nil, err
			}
			return d.time(s.zone).AddDate(0, 0, 1).Add(-time.Second), nil
		})},
}

func (s *state) day(where string, v any) (Day, error) {
	switch t, d, ok := s.timeOf(v); {
	case !ok:
		return "", notA(where, v, "a day (YYYY-MM-DD)")
	case d != "":
		return d, nil
	default:
		return dayOf(t, s.zone), nil
	}
}

func (s *state) asMoment(where string, v any) (time.Time, error) {
	switch t, d, ok := s.timeOf(v); {
	case !ok:
		return t, notA(where, v, "a moment (YYYY-MM-DDThh:mm:ss)")
	case d != "":
		return d.time(s.zone), nil
	default:
		return t, nil
	}
}

func (s *state) plus(where string, v any, by string) (any, error) {
	span, ok := parseSpan(by)
	if !ok {
		return nil, &BadValue{Field: "plus", Text: `needs a number and minutes, hours, days, weeks, months or years: "7 days"`}
	}
	t, d, ok := s.timeOf(v)
	if !ok {
		return nil, notA(where, v, "a day or a moment")
	}
	if d == "" {
		return s.bounded(where, span.add(t.In(s.zone)))
	}
	if span.Clock != 0 {
		return nil, &BadValue{Field: where, Text: "is a day; hours can be added to a moment only: plus(moment(…), …)"}
	}
	out, err := s.bounded(where, span.add(d.time(time.UTC)))
	if err != nil {
		return nil, err
	}
	return dayOf(out, time.UTC), nil
}

// bounded keeps years within four digits, the only ones that systems read.
func (s *state) bounded(where string, t time.Time) (time.Time, error) {
	if t.Year() < 1 || t.Year() > 9999 {
		return t, &BadValue{Field: where, Text: "moves out of the calendar"}
	}
	return t, nil
}
