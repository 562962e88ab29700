package sim

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// word is a JSON string, or a number or truth value that the server turns into
// one.
type word struct {
	set  bool
	text string
}

func (w *word) UnmarshalJSON(b []byte) error {
	switch {
	case string(b) == "null":
		return nil
	case b[0] == '"':
		w.set = true
		return json.Unmarshal(b, &w.text)
	case b[0] == '{' || b[0] == '[':
		return said("Cannot deserialize value of type `java.lang.String`")
	}
	w.set, w.text = true, string(b)
	return nil
}

func (w *word) UnmarshalXMLAttr(a xml.Attr) error {
	w.set, w.text = true, a.Value
	return nil
}

func given(s string) word { return word{true, s} }

// valueSet is the body of an import of data values.
type valueSet struct {
	DataSet      string      `json:"dataSet" xml:"dataSet,attr"`
	CompleteDate word        `json:"completeDate" xml:"completeDate,attr"`
	Period       word        `json:"period" xml:"period,attr"`
	OrgUnit      string      `json:"orgUnit" xml:"orgUnit,attr"`
	AOC          string      `json:"attributeOptionCombo" xml:"attributeOptionCombo,attr"`
	ACO          []string    `json:"attributeCategoryOptions" xml:"attributeCategoryOptions>attributeCategoryOption"`
	IDScheme     string      `json:"idScheme" xml:"idScheme,attr"`
	DEScheme     string      `json:"dataElementIdScheme" xml:"dataElementIdScheme,attr"`
	OUScheme     string      `json:"orgUnitIdScheme" xml:"orgUnitIdScheme,attr"`
	COCScheme    string      `json:"categoryOptionComboIdScheme" xml:"categoryOptionComboIdScheme,attr"`
	DSScheme     string      `json:"dataSetIdScheme" xml:"dataSetIdScheme,attr"`
	DryRun       *bool       `json:"dryRun" xml:"dryRun,attr"`
	Strategy     string      `json:"strategy" xml:"strategy,attr"`
	Values       []dataValue `json:"dataValues" xml:"dataValue"`
}

// dataValue is one value as it is sent.
type dataValue struct {
	DataElement string `json:"dataElement" xml:"dataElement,attr"`
	Period      word   `json:"period" xml:"period,attr"`
	OrgUnit     string `json:"orgUnit" xml:"orgUnit,attr"`
	COC         string `json:"categoryOptionCombo" xml:"categoryOptionCombo,attr"`
	AOC         string `json:"attributeOptionCombo" xml:"attributeOptionCombo,attr"`
	Value       word   `json:"value" xml:"value,attr"`
	StoredBy    string `json:"storedBy" xml:"storedBy,attr"`
	Comment     word   `json:"comment" xml:"comment,attr"`
	Followup    bool   `json:"followup" xml:"followup,attr"`
	Deleted     bool   `json:"deleted" xml:"deleted,attr"`
}

// unpacked is the body, which may be gzip or zip: the server looks at its first
// bytes, not at Content-Encoding.
func unpacked(r *request) ([]byte, error) {
	body, err := io.ReadAll(r.Body)
	switch {
	case err != nil:
		return nil, err
	case bytes.HasPrefix(body, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(z)
	case bytes.HasPrefix(body, []byte("PK\x03\x04")):
		z, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
		if err != nil || len(z.File) == 0 {
			return nil, errors.New("the archive is empty")
		}
		f, err := z.File[0].Open()
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(f)
	}
	return body, nil
}

// postValues is POST /api/dataValueSets.
func (s *Server) postValues(r *request) answer {
	if !r.user.may("F_DATAVALUE_ADD") {
		return message(http.StatusForbidden, "Access is denied")
	}
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	switch kind {
	case "application/json", "application/xml", "application/csv", "application/adx+xml", "":
	default:
		return message(http.StatusUnsupportedMediaType, "Content-Type '"+kind+"' is not supported")
	}
	o := optionsOf(r)
	if o.ImportStrategy == "" {
		return message(http.StatusBadRequest, "Value '"+r.get("importStrategy")+"' is not valid for parameter importStrategy")
	}
	body, err := unpacked(r)
	do := func() *summary {
		if err != nil {
			return s.broken(err.Error())
		}
		sum := s.importBody(r, kind, body, o)
		if o.DryRun {
			s.dryRan()
		}
		return sum
	}
	if o.Async {
		return s.startImport(r, "DATAVALUE_IMPORT", do)
	}
	return s.summaryAnswer(do(), r.plain)
}

func (s *Server) importBody(r *request, kind string, body []byte, o *importOptions) *summary {
	if kind == "application/adx+xml" {
		return s.importADX(r, body, o)
	}
	in, err := s.readValues(r, kind, body, o)
	if err != nil {
		return s.broken(err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.importValues(r, in, o)
}

func (s *Server) readValues(r *request, kind string, body []byte, o *importOptions) (*valueSet, error) {
	in := &valueSet{}
	var err error
	switch kind {
	case "application/csv":
		err = s.readCSV(r, body, o, in)
	case "application/xml":
		err = xml.Unmarshal(body, in)
	default:
		if err = json.Unmarshal(body, in); err != nil {
			err = parserWords(err)
		} else if s.since(43) {
			err = stringsOnly(body)
		}
	}
	return in, err
}

// parserWords puts what went wrong as the server's parser would.
func parserWords(err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) && strings.Contains(err.Error(), "unexpected end") {
		return said("Unexpected end-of-input: expected close marker for Object")
	}
	var words said
	if errors.As(err, &words) {
		return words
	}
	return said("Unexpected character: " + err.Error())
}

// stringsOnly is what 2.43 asks of values.
func stringsOnly(body []byte) error {
	var in struct {
		Values []struct {
			Value any `json:"value"`
		} `json:"dataValues"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return err
	}
	for i, v := range in.Values {
		switch v.Value.(type) {
		case nil, string:
		default:
			return fmt.Errorf("dataValues[%d].value is not a string", i)
		}
	}
	return nil
}

// The columns of CSV: by position up to 2.42, by these names from 2.43.
var csvColumns = []string{"dataelement", "period", "orgunit", "catoptcombo", "attroptcombo", "value", "storedby", "lastupdated", "comment", "followup", "deleted"}

func (s *Server) readCSV(r *request, body []byte, o *importOptions, in *valueSet) error {
	c := csv.NewReader(bytes.NewReader(body))
	c.FieldsPerRecord, c.TrimLeadingSpace = -1, true
	rows, err := c.ReadAll()
	if err != nil {
		return err
	}
	column := map[string]int{}
	for i, name := range csvColumns {
		column[name] = i
	}
	if len(rows) > 0 && (o.FirstRowIsHeader || s.since(43)) {
		if s.since(43) {
			column = map[string]int{}
			for i, name := range rows[0] {
				column[strings.ToLower(name)] = i
			}
			for _, must := range []string{"dataelement", "period", "orgunit", "value"} {
				if _, has := column[must]; !has {
					return fmt.Errorf("column %s is missing", must)
				}
			}
		}
		rows = rows[1:]
	}
	in.DataSet = r.get("dataSet")
	for _, row := range rows {
		at := func(name string) string {
			if i, has := column[name]; has && i < len(row) {
				return row[i]
			}
			return ""
		}
		v := dataValue{DataElement: at("dataelement"), Period: given(at("period")), OrgUnit: at("orgunit"), COC: at("catoptcombo"), AOC: at("attroptcombo"),
			StoredBy: at("storedby"), Followup: strings.EqualFold(at("followup"), "true"), Deleted: strings.EqualFold(at("deleted"), "true")}
		if t := at("value"); t != "" {
			v.Value = given(t)
		}
		if t := at("comment"); t != "" {
			v.Comment = given(t)
		}
		in.Values = append(in.Values, v)
	}
	return nil
}
