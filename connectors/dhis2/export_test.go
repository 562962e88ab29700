package dhis2

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

// contentTypes are those with which DHIS2 takes each format.
var contentTypes = map[string]string{formatJSON: "application/json", formatADX: "application/adx+xml", formatCSV: "application/csv"}

// confirmed is what a plan would write, as a person has confirmed it.
func (r *rig) confirmed(wanted map[string]any) connector.Confirmed {
	r.t.Helper()
	want := r.canon("DataValueSet", wanted)
	found, err := r.sys.Kind("DataValueSet").Find(r.t.Context(), r, connector.Query{Wanted: want})
	if err != nil {
		r.t.Fatal(err)
	}
	c := connector.Confirmed{Kind: "DataValueSet", ID: found.ID, Write: record.Fields{}, Was: record.Fields{}, By: "Grace <Wanjiru> & --co", At: r.sys.now(), Delivery: 7}
	for path, v := range want {
		if !record.Same(found.Fields[path], v) {
			c.Write[path], c.Was[path] = v, found.Fields[path]
		}
	}
	return c
}

// upload uploads a file as an officer does.
func (r *rig) upload(format string, file []byte) {
	r.t.Helper()
	req := httptest.NewRequestWithContext(r.t.Context(), http.MethodPost, "/api/dataValueSets?async=false", bytes.NewReader(file))
	req.Header.Set("Content-Type", contentTypes[format])
	req.SetBasicAuth("clerk", "Clerk123")
	out := httptest.NewRecorder()
	r.sim.ServeHTTP(out, req)
	if out.Code != http.StatusOK || !strings.Contains(out.Body.String(), `"SUCCESS"`) {
		r.t.Fatalf("%s is not taken: %d %s\n%s", format, out.Code, out.Body, file)
	}
}

var comments = regexp.MustCompile(`"comment":\s*"[^"]*",?\s*`)

// values is the state without comments.
func (r *rig) values() string { return comments.ReplaceAllString(r.state(), "") }

func TestAnUploadedFileStoresWhatSendingWrites(t *testing.T) {
	wanted := []map[string]any{
		monthOf(row("LIVE_BIRTHS", maleDoc, 3.0), row(births, femTBA, "2"), row(deaths, "", 0), row(houses, "", 12), row(remarks, "", "Roads <flooded> & \"closed\", since the 12th")),
		{"dataSet": "CHW_MONTHLY", "period": "202401", "orgUnit": "CU-YAL-2", "values": []any{row(houses, "", 9)}},
	}
	for _, v := range versions {
		for _, format := range []string{formatJSON, formatADX, formatCSV} {
			t.Run(v+" "+format, func(t *testing.T) {
				sends, uploads := newRig(t, `{"version":"`+v+`"}`), newRig(t, `{"version":"`+v+`"}`)
				var list []connector.Confirmed
				for _, w := range wanted {
					sends.apply("DataValueSet", sends.plan("DataValueSet", "", connector.Query{}, w)[0])
					list = append(list, uploads.confirmed(w))
				}
				file, err := uploads.sys.Export(t.Context(), uploads, format, list)
				if err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(string(file), "Confirmed by Grace") {
					t.Errorf("the file does not say who confirmed it:\n%s", file)
				}
				before := uploads.values()
				uploads.upload(format, file)
				if got := uploads.values(); got != sends.values() || got == before {
					t.Errorf("uploaded:\n%s\nsent:\n%s", got, sends.values())
				}
				// What was uploaded is not sent again.
				for _, w := range wanted {
					if calls := uploads.plan("DataValueSet", "", connector.Query{}, w); calls != nil {
						t.Errorf("after the upload there is still to send: %+v", calls)
					}
				}
			})
		}
	}
}

// The rules of ADX, also where xmllint is missing: attributes that must be there,
// values that are decimals, groups and values that are not empty.
func TestAnADXFileKeepsToTheSchema(t *testing.T) {
	r := newRig(t, "")
	file, err := r.sys.Export(t.Context(), r, formatADX, []connector.Confirmed{r.confirmed(monthOf(row(births, maleDoc, 3), row(remarks, "", "flooded")))})
	if err != nil {
		t.Fatal(err)
	}
	var in struct {
		XMLName  xml.Name `xml:"urn:ihe:qrph:adx:2015 adx"`
		Exported string   `xml:"exported,attr"`
		Groups   []struct {
			Unit   string `xml:"orgUnit,attr"`
			Period string `xml:"period,attr"`
			Set    string `xml:"dataSet,attr"`
			Values []struct {
				Element   string     `xml:"dataElement,attr"`
				Value     string     `xml:"value,attr"`
				More      []xml.Attr `xml:",any,attr"`
				Annotated string     `xml:"annotation"`
			} `xml:"urn:ihe:qrph:adx:2015 dataValue"`
		} `xml:"urn:ihe:qrph:adx:2015 group"`
	}
	if err := xml.Unmarshal(file, &in); err != nil {
		t.Fatalf("%v\n%s", err, file)
	}
	if _, err := time.Parse(time.RFC3339, in.Exported); err != nil {
		t.Error(err)
	}
	if len(in.Groups) != 1 || in.Groups[0].Unit != "CU-YAL-1" || in.Groups[0].Period != "2024-01-01/P1M" || in.Groups[0].Set != "CHW_MONTHLY" || len(in.Groups[0].Values) != 2 {
		t.Fatalf("%+v\n%s", in, file)
	}
	for _, v := range in.Groups[0].Values {
		if _, err := strconv.ParseFloat(v.Value, 64); err != nil || v.Element == "" {
			t.Errorf("%+v", v)
		}
		switch v.Element {
		case "LIVE_BIRTHS":
			if len(v.More) != 2 || v.More[0].Name.Local != "GENDER" || v.More[0].Value != "MALE" || v.More[1].Name.Local != "ATTENDANT" || v.More[1].Value != "DOCTOR" {
				t.Errorf("%+v", v.More)
			}
		case "CHW_REMARKS":
			if v.Value != "0" || v.Annotated != "flooded" {
				t.Errorf("%+v", v)
			}
		default:
			t.Errorf("%+v", v)
		}
	}
}

// testdata/adx.xsd has the rules of an ADX message, checked here by a program that
// is not ours.
func TestAnADXFileIsValidByASchema(t *testing.T) {
	lint, err := exec.LookPath("xmllint")
	if err != nil {
		fmt.Fprintln(os.Stderr, "*** xmllint is missing: exported ADX files are NOT validated by their schema; scripts/xmllint.sh brings it")
		t.Skip("xmllint is missing; scripts/xmllint.sh brings it")
	}
	validates := func(file []byte) (string, bool) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "file.xml")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), lint, "--nonet", "--noout", "--schema", "testdata/adx.xsd", path).CombinedOutput()
		return string(out), err == nil
	}
	r := newRig(t, "")
	second := monthOf(row(houses, "", 9))
	second["orgUnit"] = "CU-YAL-2"
	week := map[string]any{"dataSet": "IDSR_WEEKLY", "period": "2024W4", "orgUnit": "CU-YAL-1", "values": []any{row("IDSR_CHOLERA", "", 0)}}
	file, err := r.sys.Export(t.Context(), r, formatADX, []connector.Confirmed{
		r.confirmed(monthOf(row(births, maleDoc, 3), row(births, femTBA, "2"), row(deaths, "", 0), row(remarks, "", "Roads <flooded> & \"closed\" -- since the 12th"))),
		r.confirmed(second), r.confirmed(week)})
	if err != nil {
		t.Fatal(err)
	}
	if out, ok := validates(file); !ok {
		t.Errorf("%s\n%s", out, file)
	}
	for _, sample := range []string{"adx/docs_sample.xml", "adx/iccm_request.xml"} {
		if out, ok := validates(golden(t, sample)); !ok {
			t.Errorf("the schema refuses the sample %s: %s", sample, out)
		}
	}
	for name, change := range map[string][2]string{
		"no moment of export": {" exported=", " exportedAt="}, "no org unit": {` orgUnit="CU-YAL-2"`, ""}, "no data set": {` dataSet="IDSR_WEEKLY"`, ""},
		"a period of DHIS2": {"2024-01-01/P1M", "202401"}, "a value that is no number": {`value="9"`, `value="nine"`}, "no value": {` value="9"`, ""},
		"no data element": {` dataElement="HOUSEHOLDS_VISITED"`, ""}, "another namespace": {"adx:2015", "adx:2016"}, "two annotations": {"</annotation>", "</annotation><annotation>x</annotation>"},
	} {
		bad := bytes.ReplaceAll(file, []byte(change[0]), []byte(change[1]))
		if bytes.Equal(bad, file) {
			t.Errorf("%s: the file has no %s", name, change[0])
		}
		if _, ok := validates(bad); ok {
			t.Errorf("%s: the schema takes it", name)
		}
	}
}

func TestAnADXFileNamesWhatHasNoCode(t *testing.T) {
	for name, c := range map[string]struct{ seed, says string }{
		"organisation unit": {`{"organisationUnits":[{"id":"OuVilYal001","code":null}]}`, "Nyamninia community unit (OuVilYal001) has none"},
		"data element":      {`{"dataElements":[{"id":"LbDeLiveB09","code":null}]}`, "Live births (LbDeLiveB09) has none"},
		"category":          {`{"categories":[{"id":"LbCatGend06","code":null}]}`, "the category Gender (LbCatGend06) has none"},
		"category's name":   {`{"categories":[{"id":"LbCatGend06","code":"SEX OF CHILD"}]}`, `"SEX OF CHILD" of the category Gender cannot be the name of an attribute`},
		"option":            {`{"categoryOptions":[{"id":"LbGenMale01","code":null}]}`, "the category option Male (LbGenMale01) has none"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "", c.seed)
			wanted := monthOf(row(births, maleDoc, 3))
			wanted["dataSet"], wanted["orgUnit"] = monthly, yala
			wanted["values"] = []any{row(births, maleDoc, 3)}
			_, err := r.sys.Export(t.Context(), r, formatADX, []connector.Confirmed{r.confirmed(wanted)})
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "use json or csv") {
				t.Errorf("%v; want %q", err, c.says)
			}
		})
	}
}

// A value that is to go is marked as deleted; ADX cannot say it.
func TestAFileTakesAValueAway(t *testing.T) {
	for _, format := range []string{formatJSON, formatCSV} {
		r := newRig(t, "")
		r.apply("DataValueSet", r.plan("DataValueSet", "", connector.Query{}, monthOf(row(births, maleDoc, 3), row(houses, "", 12)))[0])
		c := r.confirmed(monthOf(row(births, maleDoc, 4)))
		c.Write["values/"+houses+"/"+coc], c.Was["values/"+houses+"/"+coc] = record.Clear{}, "12"
		file, err := r.sys.Export(t.Context(), r, format, []connector.Confirmed{c})
		if err != nil {
			t.Fatal(err)
		}
		r.upload(format, file)
		if s := r.values(); strings.Contains(s, `"HOUSEHOLDS_VISITED"`) && strings.Contains(s, `"value": "12"`) || !strings.Contains(s, `"4"`) {
			t.Errorf("%s: %s", format, s)
		}
		if _, err := r.sys.Export(t.Context(), r, formatADX, []connector.Confirmed{c}); err == nil || !strings.Contains(err.Error(), "taken away") {
			t.Errorf("adx: %v", err)
		}
	}
}

func TestAFileHoldsOnlyWhatDiffers(t *testing.T) {
	r := newRig(t, "")
	first := monthOf(row(births, maleDoc, 3), row(houses, "", 12))
	r.apply("DataValueSet", r.plan("DataValueSet", "", connector.Query{}, first)[0])
	c := r.confirmed(monthOf(row(births, maleDoc, 4), row(houses, "", 12)))
	file, err := r.sys.Export(t.Context(), r, formatCSV, []connector.Confirmed{c, {Kind: "Completion", ID: c.ID}})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(file)).ReadAll()
	if err != nil || len(rows) != 2 || rows[1][0] != births || rows[1][5] != "4" {
		t.Fatalf("%v %v", rows, err)
	}
	if _, err := r.sys.Export(t.Context(), r, formatJSON, []connector.Confirmed{r.confirmed(first)}); err == nil || !strings.Contains(err.Error(), "has them all already") {
		t.Errorf("%v", err)
	}
	if _, err := r.sys.Export(t.Context(), r, "xlsx", []connector.Confirmed{c}); err == nil || !strings.Contains(err.Error(), "json, adx, csv") {
		t.Errorf("%v", err)
	}
	if file, err = r.sys.Export(t.Context(), r, formatJSON, []connector.Confirmed{c}); err != nil || !json.Valid(file) {
		t.Errorf("%v %s", err, file)
	}
}
