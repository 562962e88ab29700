package bench

import (
	"encoding/json"
	"fmt"

	"github.com/kiungo-health/kiungo/connectors/openmrs/checkdigit"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// worldSystems are the systems of every world.
var worldSystems = []string{"commcare", "openmrs", "dhis2"}

// world is what the simulators hold for one measurement.
type world struct {
	name    string
	options func(SourceOptions) map[string]string // of a simulator, by system
	table   func(SourceOptions) string            // cells.csv
	fill    func(SourceOptions, func(system string, doc any) error) error
}

var worlds = map[string]world{
	"feed": {name: "feed", fill: feedWorld,
		options: func(SourceOptions) map[string]string {
			return map[string]string{"openmrs": `{"feed":"bahmni","feedPage":20}`}
		}},
	"report": {name: "report", fill: reportWorld},
	"values": {name: "values", fill: valuesWorld, table: valuesTable,
		options: func(o SourceOptions) map[string]string {
			return map[string]string{"dhis2": fmt.Sprintf(`{"facilities":%d}`, o.OrgUnits)}
		}},
}

// simulators makes the world's simulators, filled.
func (w world) simulators(o SourceOptions) (map[string]simulate.Simulator, error) {
	options := map[string]string{}
	if w.options != nil {
		options = w.options(o)
	}
	sims := map[string]simulate.Simulator{}
	for _, name := range worldSystems {
		sim, err := o.Registry[name].Simulate([]byte(options[name]))
		if err != nil {
			return nil, fmt.Errorf("simulator of %s: %w", name, err)
		}
		sim.Traffic().Keep = -1
		sims[name] = sim
	}
	return sims, w.fill(o, func(system string, doc any) error {
		text, err := json.Marshal(doc)
		if err != nil {
			return err
		}
		return sims[system].Seed(text)
	})
}

type object = map[string]any

func feedWorld(o SourceOptions, seed func(string, any) error) error {
	uuid := func(i int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", i) }
	var patients []any
	for i := range o.Patients {
		patients = append(patients, object{"person": object{"uuid": uuid(i), "gender": []string{"F", "M"}[i%2], "birthdate": fmt.Sprintf("19%02d-%02d-%02d", i%90+10, i%12+1, i%28+1),
			"names":     []any{object{"givenName": fmt.Sprintf("Given%d", i), "familyName": fmt.Sprintf("Family%d", i%997)}},
			"addresses": []any{}},
			"identifiers": []any{object{"identifier": openmrsID(i), "identifierType": "05a29f94-c0ed-11e2-94be-8c13b969e334", "location": "8d6c993e-c2cc-11de-8d13-0010c6dffd0f", "preferred": true}}})
		if len(patients) == 1000 || i == o.Patients-1 {
			if err := seed("openmrs", object{"patients": patients}); err != nil {
				return err
			}
			patients = patients[:0]
		}
	}
	// The seed has announced each patient; what is wanted is this many entries.
	var entries []any
	for i := range o.Entries {
		entries = append(entries, object{"title": "Patient", "content": "/openmrs/ws/rest/v1/patient/" + uuid(i%o.Patients) + "?v=full"})
	}
	return seed("openmrs", object{"feeds": []any{object{"category": "patient", "reset": true, "entries": entries}}})
}

func reportWorld(o SourceOptions, seed func(string, any) error) error {
	return seed("openmrs", object{"reports": []any{object{"uuid": "bench-report", "name": "Bench",
		"dataSets": []any{object{"name": "people", "generate": o.Rows, "bad": 100}}}}})
}

func valuesTable(o SourceOptions) string {
	table := "column,element\n"
	for i := range o.Elements {
		table += fmt.Sprintf("c%d,BenchDe%04d\n", i, i)
	}
	return table
}

func valuesWorld(o SourceOptions, seed func(string, any) error) error {
	rows, elements, of := []any{}, []any{}, []any{}
	columns := []any{object{"column_id": "clinic", "display": "Clinic"}}
	for i := range o.Elements {
		id, column := fmt.Sprintf("BenchDe%04d", i), fmt.Sprintf("c%d", i)
		columns = append(columns, object{"column_id": column, "display": column})
		elements = append(elements, object{"id": id, "code": "BENCH_" + fmt.Sprint(i), "name": "Bench " + fmt.Sprint(i), "shortName": "Bench " + fmt.Sprint(i),
			"valueType": "INTEGER_ZERO_OR_POSITIVE", "domainType": "AGGREGATE", "aggregationType": "SUM", "zeroIsSignificant": true, "categoryCombo": object{"id": "bjDvmb4bfuf"}})
		of = append(of, object{"dataElement": object{"id": id}})
	}
	var units []any
	for u := range o.OrgUnits {
		unit := fmt.Sprintf("GenOu%06d", u+1)
		units = append(units, object{"id": unit})
		r := object{"clinic": unit}
		for i := range o.Elements {
			r[fmt.Sprintf("c%d", i)] = (u+i)%97 + 1
		}
		rows = append(rows, r)
	}
	if err := seed("dhis2", object{"dataElements": elements, "dataSets": []any{object{"id": "BenchDsSet1", "code": "BENCH", "name": "Bench", "shortName": "Bench",
		"periodType": "Monthly", "openFuturePeriods": 0, "expiryDays": 0, "categoryCombo": object{"id": "bjDvmb4bfuf"}, "dataSetElements": of, "organisationUnits": units}}}); err != nil {
		return err
	}
	return seed("commcare", object{"reports": []any{object{"id": "bench-values", "title": "Bench", "columns": columns, "rows": rows}}})
}

// openmrsID is an OpenMRS ID with its check character.
func openmrsID(i int) string {
	base := fmt.Sprintf("%06d", 100_000+i)
	check, _ := checkdigit.ModN(base, checkdigit.Mod30) // digits are in the alphabet
	return base + string(check)
}
