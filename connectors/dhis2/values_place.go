package dhis2

import (
	"context"
	"fmt"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/period"
)

// placed resolves data set, period, organisation unit and attribute option
// combination, and gives the data set where all of it is known. data tells that
// values are to be written, and not only the registration that they are complete.
func (s *System) placed(ctx context.Context, do call.Doer, c *canoner, wanted map[string]any, data bool) (*DataSet, error) {
	ds, ok, err := lookup(c, "dataSet", "data set", wanted["dataSet"], func(ref string) (*DataSet, error) { return s.meta.dataSet(ctx, do, ref) })
	if err != nil {
		return nil, err
	}
	if !ok {
		if len(c.problems) == 0 {
			c.problem("dataSet", "required", "is missing")
		}
		return nil, nil
	}
	c.fields["dataSet"] = ds.ID
	if w := ds.Access.Data.Write; w != nil && !*w {
		c.problem("dataSet", "sharing", "the user may not write data of %s: give data-write sharing on it", ds.title())
	}
	aoc, err := s.attribute(ctx, do, c, ds.Combo.ID, wanted["attributeOptionCombo"])
	if err != nil {
		return nil, err
	}
	if aoc != "" {
		c.fields["attributeOptionCombo"] = aoc
	}
	unit, err := s.orgUnit(ctx, do, c, wanted["orgUnit"])
	if err != nil {
		return nil, err
	}
	if unit != nil && !ds.assigned(unit.ID) {
		c.problem("orgUnit", "assignment", "%s is not assigned to the data set %s: assign it in DHIS2", unit.title(), ds.title())
	}
	p, err := s.periodOf(ctx, do, c, ds, wanted["period"])
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"period", "orgUnit"} {
		if v, _ := text(wanted[name]); v == "" {
			c.problem(name, "required", "is missing")
		}
	}
	if unit == nil || p.IsZero() {
		return ds, nil
	}
	unit.openOn(c, p.Start(), p.End())
	if !data {
		return ds, nil
	}
	return ds, s.open(ctx, do, c, ds, p, unit)
}

// periodOf reads the period's name in the server's calendar, and checks that it
// is of the data set's type: DHIS2 stores a week's value in a monthly set where
// nobody sees it.
func (s *System) periodOf(ctx context.Context, do call.Doer, c *canoner, ds *DataSet, v any) (period.Period, error) {
	name, _ := text(v)
	if name == "" {
		return period.Period{}, nil
	}
	cal, err := s.calendar(ctx, do)
	if err != nil {
		return period.Period{}, err
	}
	p, err := period.ParseIn(cal, name)
	if err != nil {
		c.problem("period", "period", "%v", err)
		return period.Period{}, nil
	}
	if p.Type() != ds.PeriodType {
		c.problem("period", "period-type", "%s is %s, but the data set %s is %s", p.Name(), p.Type(), ds.title(), ds.PeriodType)
		return period.Period{}, nil
	}
	c.fields["period"] = p.Name()
	return p, nil
}

// longestWait is how long a delivery for a period that is not open waits before
// it looks again: an administrator may open it meanwhile.
const longestWait = 24 * time.Hour

// clockDoubt is how well the server's clock is known at best: its answers are
// dated in whole seconds, and differences below two of them are not believed.
const clockDoubt = 3 * time.Second

// open checks that the period takes data now. One that is not over yet is tried
// again by itself; one that is locked needs a person.
func (s *System) open(ctx context.Context, do call.Doer, c *canoner, ds *DataSet, p period.Period, unit *OrgUnit) error {
	info, err := s.meta.info(ctx, do)
	if err != nil {
		return err
	}
	zone, err := time.LoadLocation(info.Zone)
	if err != nil || info.Zone == "" {
		zone = s.zone
	}
	now := s.serverNow()
	if p.Calendar() == period.ISO8601 { // DHIS2 checks it in no other calendar
		// The latest open period is the last one that is over, and as many more as
		// the data set allows.
		last := p
		for range min(ds.OpenFuturePeriods, 1000) {
			if q := last.Prev(); !q.IsZero() {
				last = q
			}
		}
		opens := (last.End() + 1).In(zone).Add(clockDoubt)
		if now.Before(opens) {
			return &call.Error{System: s.name, About: "check the period", Verdict: call.Verdict{Class: call.RetryLater, Field: "period",
				Reason:     fmt.Sprintf("the period %s of %s is not over: DHIS2 takes it from %s on", p.Name(), ds.title(), last.End()+1),
				RetryAfter: min(opens.Sub(now), longestWait)}}
		}
	}
	// In another calendar DHIS2 stores a value of a period far ahead, where nobody
	// sees it: 202401 is a month of 2031 for an Ethiopian server.
	if p.Calendar() != period.ISO8601 && now.Before(p.Start().In(zone)) {
		c.problem("period", "calendar", "%s of the server's calendar (%s) begins on %s, which is to come: ask for the periods of that calendar", p.Name(), p.Calendar(), p.Start())
		return nil
	}
	if ds.ExpiryDays <= 0 {
		return nil
	}
	// Locked when now is past the period's end, a day, and the days of grace
	// (DataSet.isLocked).
	locks := (p.End() + 1).In(zone).Add(time.Duration(ds.ExpiryDays * float64(24*time.Hour)))
	if !now.After(locks) {
		return nil
	}
	me, err := s.meta.me(ctx, do)
	if err != nil || me.may("F_EDIT_EXPIRED") {
		return err
	}
	excepted, err := s.lockException(ctx, do, ds.ID, p.Name(), unit.ID)
	if err != nil || excepted {
		return err
	}
	c.problems = append(c.problems, connector.Problem{Field: "period", Rule: "locked",
		Text: fmt.Sprintf("%s is locked in %s since %s: make a lock exception in DHIS2 for %s, then retry", p.Name(), ds.title(), locks.Format(time.DateOnly), unit.title())})
	return nil
}

// lockException tells whether an administrator opened a locked period for a unit.
// It is not kept: a person makes one and retries at once.
func (s *System) lockException(ctx context.Context, do call.Doer, dataSet, name, unit string) (bool, error) {
	type named struct {
		ID, Name, Code string
	}
	var body struct {
		Exceptions []struct {
			DataSet Named `json:"dataSet"`
			Unit    Named `json:"organisationUnit"`
			Period  named `json:"period"`
		} `json:"lockExceptions"`
	}
	err := s.meta.get(ctx, do, "read lock exceptions", read("/lockExceptions",
		"filter", "dataSet.id:eq:"+dataSet, "filter", "organisationUnit.id:eq:"+unit,
		"fields", "dataSet[id],organisationUnit[id],period[id,name,code]", "paging", "false"), &body)
	switch {
	case unknown(err), call.ClassOf(err) == call.NotAuthorised, call.ClassOf(err) == call.Refusal:
		return false, nil // the user may not see them: there is none for us
	case err != nil:
		return false, err
	}
	for _, x := range body.Exceptions {
		p := x.Period
		if x.DataSet.ID == dataSet && x.Unit.ID == unit && (p.ID == name || p.Name == name || p.Code == name) {
			return true, nil
		}
	}
	return false, nil
}
