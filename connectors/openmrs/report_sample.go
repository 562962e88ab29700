package openmrs

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// sampleReport turns a sample of a report into the contents of its messages: the
// answer of reportdata or dataSet, a row by itself, or a message's content.
func sampleReport(raw []byte) ([][]byte, error) {
	var shape map[string]json.RawMessage
	if err := json.Unmarshal(raw, &shape); err != nil {
		return nil, fmt.Errorf("it is no JSON object: %w", err)
	}
	s := &System{name: "openmrs", zone: time.UTC}
	src := &source{Report: "sample", run: connector.Run{At: time.Unix(0, 0)}}
	c := &chosen{zone: time.UTC}
	content := func(row []byte) []byte { return s.incoming(src, c.read(row), 0, "").Content }
	switch {
	case shape["dataSets"] == nil && shape["rows"] == nil && shape["row"] != nil:
		return [][]byte{raw}, nil
	case shape["dataSets"] == nil && shape["rows"] == nil:
		return [][]byte{content(raw)}, nil
	}
	var data struct {
		Rows     []json.RawMessage `json:"rows"`
		Metadata struct {
			Columns []column `json:"columns"`
		} `json:"metadata"`
		DataSets []struct {
			Rows     []json.RawMessage `json:"rows"`
			Metadata struct {
				Columns []column `json:"columns"`
			} `json:"metadata"`
		} `json:"dataSets"`
	}
	if err := json.Unmarshal(raw, &data); err != nil {
		return nil, err
	}
	if len(data.DataSets) > 0 {
		data.Rows, data.Metadata = data.DataSets[0].Rows, data.DataSets[0].Metadata
	}
	c.dates = datesOf(data.Metadata.Columns)
	var out [][]byte
	for _, row := range data.Rows {
		out = append(out, content(row))
	}
	return out, nil
}

// sampleContents reads a sample of any message kind. Of the others a sample is a
// content already, or a list of them.
func sampleContents(kind string, raw []byte) ([][]byte, error) {
	if kind == reportMessage.Name {
		return sampleReport(raw)
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return [][]byte{raw}, nil
	}
	var out [][]byte
	for _, content := range list {
		out = append(out, content)
	}
	return out, nil
}
