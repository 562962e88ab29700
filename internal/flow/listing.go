package flow

import (
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// runNames are the names that with: of a list may use besides site.
var runNames = []string{"period", "start", "end", "at"}

// With works out what a list is asked with for one run, by name; days are
// YYYY-MM-DD. What is absent is left out.
func (f *Flow) With(s *Source, run connector.Run) (map[string]string, error) {
	zone := f.integ.Zone
	if zone == nil {
		zone = time.UTC
	}
	day := func(t time.Time) any {
		if t.IsZero() {
			return nil
		}
		return t.In(zone).Format(time.DateOnly)
	}
	r := &Run{flow: f, env: map[string]any{"site": f.integ.values, "start": day(run.Start), "end": day(run.End), "at": day(run.At)},
		state: state{integ: f.integ, site: f.integ.site, zone: zone, received: run.At}}
	if run.Period != "" {
		r.env["period"] = run.Period
	}
	r.env[stateName] = &r.state
	out := map[string]string{}
	for _, w := range s.Schedule.with {
		v, err := w.v.eval(r)
		if err != nil {
			return nil, err
		}
		if t, ok := asText(v); ok && !absent(v) {
			out[w.name] = t
		}
	}
	return out, nil
}
