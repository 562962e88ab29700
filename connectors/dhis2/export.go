package dhis2

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
)

var _ connector.Exporter = (*System)(nil)

// Formats of the files that DHIS2's Import/Export app takes for data values.
const (
	formatJSON = "json"
	formatADX  = "adx"
	formatCSV  = "csv"
)

// Formats are the formats that Export writes.
func (s *System) Formats() []string { return []string{formatJSON, formatADX, formatCSV} }

// Export writes data value sets as a file for DHIS2's Import/Export app. Who
// confirmed the values stands in it: as each value's comment (json, csv), or as a
// remark before the group (adx, whose values have none). The registration that a
// data set is complete is in no file: an officer presses Complete.
//
// json and csv name everything by UID, adx by code.
func (s *System) Export(ctx context.Context, do call.Doer, format string, list []connector.Confirmed) ([]byte, error) {
	var sets []uploaded
	for _, c := range list {
		if c.Kind != valuesSpec.Name {
			continue
		}
		p, ok := placeOf(c.ID)
		if !ok {
			return nil, s.refused("write the file", "%q is not the id of a place for data", c.ID)
		}
		set := uploaded{place: p, values: valuesIn(c),
			by: fmt.Sprintf("Confirmed by %s on %s, Kiungo delivery %d", c.By, c.At.In(s.zone).Format(time.DateOnly), c.Delivery)}
		if len(set.values) > 0 {
			sets = append(sets, set)
		}
	}
	if len(sets) == 0 {
		return nil, s.refused("write the file", "there is no value to upload: DHIS2 has them all already")
	}
	switch format {
	case formatJSON:
		return jsonFile(sets)
	case formatCSV:
		return csvFile(sets)
	case formatADX:
		return s.adxFile(ctx, do, sets)
	}
	return nil, s.refused("write the file", "there is no format %q; there are %s", format, strings.Join(s.Formats(), ", "))
}

// Exported is how many values of a record stand in a file.
func (s *System) Exported(c connector.Confirmed) int {
	if c.Kind != valuesSpec.Name {
		return 0
	}
	return len(valuesIn(c))
}

// valuesIn lists the values of a record that a file holds.
func valuesIn(c connector.Confirmed) []uploadedValue {
	var out []uploadedValue
	for _, path := range c.Write.Paths() {
		element, combo, ok := cellOf(path)
		if !ok {
			continue
		}
		v := uploadedValue{element: element, combo: combo}
		if v.value, _ = c.Write[path].(string); v.value == "" {
			if v.value = c.Was.Text(path); v.value == "" {
				continue // nothing stands there
			}
			v.deleted = true
		}
		out = append(out, v)
	}
	return out
}

// uploaded is one place with the values of a file.
type uploaded struct {
	place
	by     string
	values []uploadedValue
}

type uploadedValue struct {
	element, combo, value string
	deleted               bool // it stands there and is to go
}

// jsonFile writes a data value set. The data set is named where it is one: 2.43
// wants to know it.
func jsonFile(sets []uploaded) ([]byte, error) {
	type value struct {
		DataElement string `json:"dataElement"`
		Period      string `json:"period"`
		Unit        string `json:"orgUnit"`
		Combo       string `json:"categoryOptionCombo"`
		Attribute   string `json:"attributeOptionCombo"`
		Value       string `json:"value"`
		Comment     string `json:"comment"`
		Deleted     bool   `json:"deleted,omitempty"`
	}
	var file struct {
		DataSet string  `json:"dataSet,omitempty"`
		Values  []value `json:"dataValues"`
	}
	file.DataSet = sets[0].dataSet
	for _, set := range sets {
		if set.dataSet != file.DataSet {
			file.DataSet = ""
		}
		for _, v := range set.values {
			file.Values = append(file.Values, value{v.element, set.period, set.unit, v.combo, set.attribute, v.value, set.by, v.deleted})
		}
	}
	b, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the file: %w", err)
	}
	return append(b, '\n'), nil
}

// csvHeader are DHIS2's columns. Up to 2.42 they count by position, from 2.43 on
// by name (CsvDataValueSetReader).
var csvHeader = []string{"dataelement", "period", "orgunit", "catoptcombo", "attroptcombo", "value", "storedby", "lastupdated", "comment", "followup", "deleted"}

func csvFile(sets []uploaded) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	rows := [][]string{csvHeader}
	for _, set := range sets {
		for _, v := range set.values {
			rows = append(rows, []string{v.element, set.period, set.unit, v.combo, set.attribute, v.value, "", "", set.by, "false", strconv.FormatBool(v.deleted)})
		}
	}
	if err := w.WriteAll(rows); err != nil {
		return nil, fmt.Errorf("write the file: %w", err)
	}
	return b.Bytes(), nil
}
