package sim

import (
	"encoding/xml"
	"fmt"
	"strings"
	"time"
)

type adxBody struct {
	Groups []struct {
		Attrs  []xml.Attr `xml:",any,attr"`
		Values []struct {
			Attrs      []xml.Attr `xml:",any,attr"`
			Annotation *string    `xml:"annotation"`
		} `xml:"dataValue"`
	} `xml:"group"`
}

// importADX imports application/adx+xml (dxf2/adx/DefaultAdxDataService.java).
// Names are codes unless a scheme says otherwise. Up to 2.41 a value that cannot
// be resolved is a conflict; from 2.42 it ends the whole import.
func (s *Server) importADX(r *request, body []byte, o *importOptions) *summary {
	var in adxBody
	if err := xml.Unmarshal(body, &in); err != nil {
		return s.broken(err.Error())
	}
	if o.IDSchemes["idScheme"] == "" {
		o.IDSchemes["idScheme"] = "CODE"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := s.newSummary(o)
	sum.Description, sum.Complete = "Import process completed successfully", "false"
	var sets []*valueSet
	for n, g := range in.Groups {
		group := &valueSet{}
		if why := s.adxGroup(group, attrs(g.Attrs), o); why != "" {
			sum.Status, sum.Description, sum.Count = "ERROR", fmt.Sprintf("Data set import failed within group number: %d", n), importCount{}
			sum.Conflicts = []*conflict{{Object: "dataSet", Value: why}}
			return sum
		}
		for k, v := range g.Values {
			a := attrs(v.Attrs)
			if v.Annotation != nil {
				a["value"] = strings.TrimSpace(*v.Annotation)
			}
			one, why := s.adxValue(a, o)
			switch {
			case why == "":
				group.Values = append(group.Values, one)
			case s.since(42):
				return s.broken(why)
			default:
				sum.Conflicts = append(sum.Conflicts, &conflict{Object: a["dataElement"], Value: why})
				sum.ignore(k)
			}
		}
		sets = append(sets, group)
	}
	for _, group := range sets {
		one := s.importValues(r, group, adxUIDs(o))
		if one.Status == "ERROR" {
			one.Options = o
			return one
		}
		sum.Count.Imported += one.Count.Imported
		sum.Count.Updated += one.Count.Updated
		sum.Count.Deleted += one.Count.Deleted
		sum.Count.Ignored += one.Count.Ignored
		sum.Conflicts = append(sum.Conflicts, one.Conflicts...)
	}
	if len(sum.Conflicts) > 0 {
		sum.Status = "WARNING"
	}
	return sum
}

// adxUIDs are the same options for what has been resolved already.
func adxUIDs(o *importOptions) *importOptions {
	c := *o
	c.IDSchemes = map[string]string{}
	return &c
}

func attrs(list []xml.Attr) map[string]string {
	out := map[string]string{}
	for _, a := range list {
		if a.Name.Space == "" {
			out[a.Name.Local] = a.Value
		}
	}
	return out
}

func (s *Server) adxGroup(out *valueSet, a map[string]string, o *importOptions) string {
	set, found := s.model.sets.find(o.scheme("dataSetIdScheme"), a["dataSet"])
	if !found {
		return "No data set matching identifier: " + a["dataSet"]
	}
	unit, found := s.model.units.find(o.scheme("orgUnitIdScheme"), a["orgUnit"])
	if !found {
		return "No organisation unit matching identifier: " + a["orgUnit"]
	}
	p := s.adxPeriod(a["period"])
	if p == nil {
		return "Period not valid: " + a["period"]
	}
	aoc, why := s.adxCombo(set.combo, a, "attributeOptionCombo", o)
	if why != "" {
		return why
	}
	out.DataSet, out.OrgUnit, out.Period, out.AOC = set.id, unit.id, given(p.name), aoc
	return ""
}

func (s *Server) adxValue(a map[string]string, o *importOptions) (dataValue, string) {
	e, found := s.model.elements.find(o.scheme("dataElementIdScheme"), a["dataElement"])
	if !found {
		return dataValue{}, "No data element matching identifier: " + a["dataElement"]
	}
	coc, why := s.adxCombo(e.combo, a, "categoryOptionCombo", o)
	return dataValue{DataElement: e.id, COC: coc, Value: given(a["value"])}, why
}

// adxCombo finds a combination by its own attribute, or by one attribute for
// each category: the data element's own combo counts, whatever a data set says.
func (s *Server) adxCombo(c *combo, a map[string]string, whole string, o *importOptions) (id, why string) {
	if key := a[whole]; key != "" {
		k, found := s.model.cocs.find(o.scheme("categoryOptionComboIdScheme"), key)
		if !found {
			return "", "No " + whole + " matching identifier: " + key
		}
		return k.id, ""
	}
	if c.isDefault {
		return s.model.fallback.id, ""
	}
	var options []string
	for _, category := range c.categories {
		key, has := a[text(category, "code")]
		if !has {
			if key, has = a[text(category, "id")]; !has {
				return "", "Category combo not valid: the category " + text(category, "name") + " is missing"
			}
		}
		option, found := s.model.options.code[key]
		if !found {
			if option, found = s.model.options.id[key]; !found {
				return "", "No category option matching identifier: " + key
			}
		}
		options = append(options, option.id)
	}
	k := c.with(options)
	if k == nil {
		return "", "No combination of these category options"
	}
	return k.id, ""
}

// adxKinds are the period types of a duration; the start decides which.
var adxKinds = map[string][]string{"P1D": {"Daily"}, "P7D": {"Weekly", "WeeklyWednesday", "WeeklyThursday", "WeeklySaturday", "WeeklySunday"},
	"P14D": {"BiWeekly"}, "P1M": {"Monthly"}, "P2M": {"BiMonthly"}, "P3M": {"Quarterly", "QuarterlyNov"},
	"P6M": {"SixMonthly", "SixMonthlyApril", "SixMonthlyNov"}, "P1Y": {"Yearly", "FinancialApril", "FinancialJuly", "FinancialSep", "FinancialOct", "FinancialNov"}}

// adxPeriod reads start/duration (AdxPeriod.java).
func (s *Server) adxPeriod(v string) *period {
	from, duration, _ := strings.Cut(v, "/")
	day, err := time.Parse("2006-01-02", from)
	if err != nil {
		return nil
	}
	for _, kind := range adxKinds[duration] {
		if p := s.periodOf(kind, day); p != nil && p.start.Equal(day) {
			return p
		}
	}
	return nil
}
