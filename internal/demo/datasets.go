package demo

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/integrations"
	"github.com/kiungo-health/kiungo/internal/connector"
)

// reports is a world of CommCare and DHIS2 where the reports of a completed
// month, week or quarter become data sets.
type reports struct {
	*reporters
	seed uint64
	gone int // forms of the month that were sent
}

func dataSets(seed uint64) *World {
	return &World{ID: "i03", Folder: "i03-commcare-dhis2-datasets", story: &reports{seed: seed}, zone: "Africa/Nairobi", region: "KE"}
}

const monthForm = "http://openrosa.org/formdesigner/demo/i03/month"

// reportKinds are the five reports, with the table that maps them and a day of
// the period just completed.
var reportKinds = []struct {
	value, table, id string
	day              func(now time.Time) time.Time
}{
	{"monthlyReport", "monthly", "2b9a7d3e51c84f60", lastMonth},
	{"imciReport", "imci", "2b9a7d3e51c84f61", lastMonth},
	{"stockReport", "stock", "2b9a7d3e51c84f62", lastMonth},
	{"surveillanceReport", "surveillance", "2b9a7d3e51c84f63", func(now time.Time) time.Time { return now.AddDate(0, 0, -7) }},
	{"quarterlyReport", "quarterly", "2b9a7d3e51c84f64", func(now time.Time) time.Time {
		return time.Date(now.Year(), (now.Month()-1)/3*3+1, 15, 9, 0, 0, 0, now.Location()).AddDate(0, -2, 0)
	}},
}

// today is now where the reports' worlds are: their days and months begin there.
func today() time.Time {
	zone, err := time.LoadLocation("Africa/Nairobi")
	if err != nil {
		zone = time.UTC
	}
	return time.Now().In(zone)
}

func lastMonth(now time.Time) time.Time {
	return time.Date(now.Year(), now.Month(), 15, 9, 0, 0, 0, now.Location()).AddDate(0, -1, 0)
}

func (r *reports) turns(messages int) int { return messages / 2 }

func (r *reports) prepare(w *World, reg connector.Registry) error {
	var err error
	if w.commcare, r.reporters, err = field(r.seed); err != nil {
		return err
	}
	w.values = map[string]any{}
	var defined []any
	for _, kind := range reportKinds {
		w.values[kind.value] = kind.id
		def, err := r.report(w, kind.table, kind.id, kind.day(today()))
		if err != nil {
			return err
		}
		defined = append(defined, def)
	}
	doc, err := json.Marshal(map[string]any{"reports": defined})
	if err != nil {
		return err
	}
	if err := w.commcare.Seed(doc); err != nil {
		return err
	}
	return w.addDHIS2(reg)
}

// report defines a CommCare report with a column for each row of its table. The
// monthly one counts and sums the forms that workers send; the others have
// their rows.
func (r *reports) report(w *World, table, id string, day time.Time) (map[string]any, error) {
	columns, err := columnsOf(w.Folder, table)
	if err != nil {
		return nil, err
	}
	def := map[string]any{"id": id, "title": table, "filters": []any{map[string]any{"slug": "day", "type": "date", "datatype": "date"}}}
	var shown []any
	for _, name := range columns {
		c := map[string]any{"column_id": name, "display": name, "sum": name}
		switch sex, attendant, birth := birthOf(name); {
		case name == "clinic" && table == "monthly":
			c = map[string]any{"column_id": name, "display": name, "field": "location.site_code"}
		case name == "clinic":
			c = map[string]any{"column_id": name, "display": name}
		case birth:
			c = map[string]any{"column_id": name, "display": name, "count": true, "where": map[string]string{"sex": sex, "attendant": attendant}}
		}
		shown = append(shown, c)
	}
	def["columns"] = shown
	if table == "monthly" {
		def["forms"] = monthForm
		return def, nil
	}
	var rows []any
	for _, p := range unitPlaces[:3] {
		rows = append(rows, r.row(columns, p.code, day))
	}
	def["rows"] = rows
	return def, nil
}

// birthOf tells a column of live births: live_births_male_doctor.
func birthOf(column string) (sex, attendant string, ok bool) {
	rest, ok := strings.CutPrefix(column, "live_births_")
	if !ok {
		return "", "", false
	}
	sex, attendant, ok = strings.Cut(rest, "_")
	return sex, attendant, ok
}

// row is one clinic's counts; stock adds up.
func (r *reports) row(columns []string, clinic string, day time.Time) map[string]any {
	row := map[string]any{"clinic": clinic, "day": day.Format(time.DateOnly), "workers": 12, "workers_reported": 12}
	for _, name := range columns {
		if row[name] != nil {
			continue
		}
		row[name] = r.rng.IntN(30)
		if what, ok := strings.CutPrefix(name, "opening_"); ok {
			opening, received := 20+r.rng.IntN(50), r.rng.IntN(40)
			used := r.rng.IntN(opening)
			row[name], row["received_"+what], row["used_"+what], row["closing_"+what], row["days_out_"+what] = opening, received, used, opening+received-used, r.rng.IntN(3)
		}
	}
	return row
}

// columnsOf reads the first cells of a shipped table.
func columnsOf(folder, table string) ([]string, error) {
	text, err := fs.ReadFile(integrations.Files(), filepath.ToSlash(filepath.Join(folder, "tables", table+".csv")))
	if err != nil {
		return nil, err
	}
	rows, err := csv.NewReader(strings.NewReader(string(text))).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s.csv: %w", table, err)
	}
	var out []string
	for _, row := range rows[1:] {
		out = append(out, row[0])
	}
	return out, nil
}

// begin: some forms of the month are there when its report is asked for, and of
// one clinic only eleven of twelve workers have reported.
func (r *reports) begin(ctx context.Context, w *World) error {
	for place := range 3 {
		reported := "12"
		if place == 1 {
			reported = "11"
		}
		if err := r.month(w, place, map[string]any{"workers": "12", "workers_reported": reported, "households": "96", "referred": "2", "deaths_under5": "0", "training_days": "1"}); err != nil {
			return err
		}
		for range 4 {
			if err := r.birth(w, place); err != nil {
				return err
			}
		}
	}
	return r.ask(ctx, w)
}

func (r *reports) ask(ctx context.Context, w *World) error {
	clinics := 3
	if r.gone > 0 {
		clinics = 4
	}
	w.account.lists("commcare", "report", 4*3+clinics)
	return w.ask(ctx)
}

func (r *reports) birth(w *World, place int) error {
	return r.month(w, place, map[string]any{"sex": []string{"male", "female"}[r.rng.IntN(2)], "attendant": []string{"doctor", "midwife", "tba"}[r.rng.IntN(3)]})
}

// month sends a form about the month just completed.
func (r *reports) month(w *World, place int, answers map[string]any) error {
	day := lastMonth(today())
	answers["day"] = day.Format(time.DateOnly)
	_, err := w.commcare.Submit(r.form(monthForm, place, day, answers, false))
	return err
}

// turn is a form of that month that comes late.
func (r *reports) turn(_ context.Context, w *World, n int) error {
	r.gone++
	switch n {
	case 0: // the clinic of which nobody has said which org unit it is
		return r.month(w, 3, map[string]any{"workers": "12", "workers_reported": "12", "households": "10"})
	case 1: // a worker who is still missing elsewhere
		return r.month(w, 2, map[string]any{"workers": "1", "workers_reported": "0"})
	}
	return r.birth(w, r.rng.IntN(3))
}

func (r *reports) end(ctx context.Context, w *World) error { return r.ask(ctx, w) }
