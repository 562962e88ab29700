package cht

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
)

// settings is the part of the app settings (GET /api/v1/settings, open to every
// user who can log in) that monthly figures depend on.
type settings struct {
	DataSets []struct {
		ID string `json:"id"`
	} `json:"dhis_data_sets"`
	Tasks struct {
		Targets struct {
			Items []indicator `json:"items"`
		} `json:"targets"`
	} `json:"tasks"`
	UHC struct {
		MonthStart json.RawMessage `json:"month_start_date"`
		VisitCount struct {
			MonthStart json.RawMessage `json:"month_start_date"`
		} `json:"visit_count"`
	} `json:"uhc"`
}

// indicator is one target of the app: what a worker's device counts.
type indicator struct {
	ID   string               `json:"id"`
	Type string               `json:"type"` // count or percent
	DHIS oneOrMany[reference] `json:"dhis"`
}

// reference says which data element of DHIS2 a target is, or which org unit a
// place is. Without a data set it is for all of them.
type reference struct {
	DataSet              string `json:"dataSet"`
	OrgUnit              string `json:"orgUnit"`
	DataElement          string `json:"dataElement"`
	CategoryOptionCombo  string `json:"categoryOptionCombo"`
	AttributeOptionCombo string `json:"attributeOptionCombo"`
}

func (r reference) serves(dataSet string) bool {
	return r.DataSet == "" || dataSet == "" || r.DataSet == dataSet
}

// combo names one value of an org unit and period in DHIS2.
type combo struct{ element, category, attribute string }

func (r reference) combo() combo {
	return combo{r.DataElement, r.CategoryOptionCombo, r.AttributeOptionCombo}
}

// oneOrMany is a property that the CHT's documents hold as one object or as a list.
type oneOrMany[T any] []T

func (o *oneOrMany[T]) UnmarshalJSON(b []byte) error {
	b = bytes.TrimSpace(b)
	if len(b) == 0 || b[0] != '[' && b[0] != '{' {
		*o = nil // null, or a value that the CHT passes over too
		return nil
	}
	if b[0] == '[' {
		return json.Unmarshal(b, (*[]T)(o))
	}
	var one T
	if err := json.Unmarshal(b, &one); err != nil {
		return err
	}
	*o = oneOrMany[T]{one}
	return nil
}

func (s *System) settings(ctx context.Context, do call.Doer) (*settings, error) {
	var out settings
	found, err := s.read(ctx, do, "read the app settings", get("/api/v1/settings"), &out)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("%s: read the app settings: there are none at this address; check url", s.name)
	}
	return &out, nil
}

func (c *settings) hasDataSet(id string) bool {
	for _, d := range c.DataSets {
		if d.ID == id {
			return true
		}
	}
	return false
}

// combos lists which values of DHIS2 the targets of a data set add to.
func (c *settings) combos(dataSet string) map[string][]combo {
	out := map[string][]combo{}
	for _, item := range c.Tasks.Targets.Items {
		for _, r := range item.DHIS {
			if r.DataElement != "" && r.serves(dataSet) && !slices.Contains(out[item.ID], r.combo()) {
				out[item.ID] = append(out[item.ID], r.combo())
			}
		}
	}
	return out
}

// end is the first moment after a month as the app counts it: a programme may
// start its months on another day than the first; a month bears the name of the
// one it ends in (shared-libs/calendar-interval, 5.2.0).
func (c *settings) end(m month, zone *time.Location) time.Time {
	next := time.Date(m.year, m.month+1, 1, 0, 0, 0, 0, zone)
	day := monthStart(c.UHC.VisitCount.MonthStart)
	if day == 1 {
		day = monthStart(c.UHC.MonthStart)
	}
	if day == 1 {
		return next
	}
	return time.Date(m.year, m.month, min(day, next.AddDate(0, 0, -1).Day()), 0, 0, 0, 0, zone)
}

func monthStart(raw json.RawMessage) int {
	n, err := strconv.Atoi(string(bytes.Trim(raw, `" `)))
	if err != nil || n < 1 || n > 31 {
		return 1
	}
	return n
}

// month is the reporting period of targets: the CHT has no other.
type month struct {
	year  int
	month time.Month
}

// parseMonth reads the ISO name of a month, "202610".
func parseMonth(period string) (month, error) {
	t, err := time.Parse("200601", period)
	if err != nil || len(period) != 6 {
		return month{}, fmt.Errorf("period %q is not a month like 202610: the CHT counts targets by month only, so the flow's schedule must be monthly", period)
	}
	return month{t.Year(), t.Month()}, nil
}

func (m month) before() month {
	t := time.Date(m.year, m.month-1, 1, 0, 0, 0, 0, time.UTC)
	return month{t.Year(), t.Month()}
}

func (m month) period() string { return fmt.Sprintf("%04d%02d", m.year, m.month) }

// tag is the month as target documents name it.
func (m month) tag() string { return fmt.Sprintf("%04d-%02d", m.year, m.month) }

// middle is a moment that lies in the month in every time zone: the export takes
// the month from it in the server's own (5.2.0).
func (m month) middle() time.Time { return time.Date(m.year, m.month, 15, 12, 0, 0, 0, time.UTC) }
