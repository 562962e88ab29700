package sim

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"fmt"
	"net/http"
	"sort"
	"strings"
	"time"
)

// stored is a data value as it is read back.
type stored struct {
	XMLName  xml.Name `json:"-" xml:"dataValue"`
	Element  string   `json:"dataElement" xml:"dataElement,attr"`
	Period   string   `json:"period" xml:"period,attr"`
	Unit     string   `json:"orgUnit" xml:"orgUnit,attr"`
	COC      string   `json:"categoryOptionCombo" xml:"categoryOptionCombo,attr"`
	AOC      string   `json:"attributeOptionCombo" xml:"attributeOptionCombo,attr"`
	Value    string   `json:"value" xml:"value,attr"`
	StoredBy string   `json:"storedBy,omitempty" xml:"storedBy,attr,omitempty"`
	Created  string   `json:"created" xml:"created,attr"`
	Updated  string   `json:"lastUpdated" xml:"lastUpdated,attr"`
	Comment  string   `json:"comment,omitempty" xml:"comment,attr,omitempty"`
	Followup bool     `json:"followup" xml:"followup,attr"`
	Deleted  *bool    `json:"deleted,omitempty" xml:"deleted,attr,omitempty"`
}

// exported is what GET /api/dataValueSets answers.
type exported struct {
	XMLName  xml.Name `json:"-" xml:"http://dhis2.org/schema/dxf/2.0 dataValueSet"`
	DataSet  string   `json:"dataSet,omitempty" xml:"dataSet,attr,omitempty"`
	Complete string   `json:"completeDate,omitempty" xml:"completeDate,attr,omitempty"`
	Period   string   `json:"period,omitempty" xml:"period,attr,omitempty"`
	Unit     string   `json:"orgUnit,omitempty" xml:"orgUnit,attr,omitempty"`
	Values   []stored `json:"dataValues,omitempty" xml:"dataValue"`
}

// selection is which data a GET asks for.
type selection struct {
	sets     []*dataSet
	elements map[string]bool
	periods  map[string]bool
	from, to time.Time
	units    map[string]bool
	aocs     map[string]bool
	since    time.Time
	deleted  bool
}

func (s *Server) illegal(code string, args ...string) *answer {
	a := coded(http.StatusConflict, code, s.text(codes().data, code, args...))
	return &a
}

// getValues is GET /api/dataValueSets.
func (s *Server) getValues(r *request) answer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	q, refused := s.selection(r)
	if refused != nil {
		return *refused
	}
	out := exported{Values: s.selected(r, q)}
	if len(q.sets) == 1 && len(q.periods) == 1 && len(q.units) == 1 {
		p, u := sorted(q.periods)[0], sorted(q.units)[0]
		out.DataSet, out.Period, out.Unit = q.sets[0].id, p, u
		if reg := s.data.complete[completeKey{q.sets[0].id, p, u, s.model.fallback.id}]; reg != nil && reg.completed {
			out.Complete = reg.date
		}
	}
	switch {
	case strings.HasSuffix(r.URL.Path, ".csv") || strings.Contains(r.Header.Get("Accept"), "application/csv"):
		return raw("application/csv", csvOf(out.Values))
	case strings.HasSuffix(r.URL.Path, ".xml") || strings.Contains(r.Header.Get("Accept"), "application/xml"):
		b, err := xml.Marshal(out)
		if err != nil {
			return message(http.StatusInternalServerError, err.Error())
		}
		return raw("application/xml", append([]byte(xml.Header), b...))
	}
	return ok(out)
}

func csvOf(values []stored) []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write([]string{"dataelement", "period", "orgunit", "catoptcombo", "attroptcombo", "value", "storedby", "lastupdated", "comment", "flwup"})
	for _, v := range values {
		_ = w.Write([]string{v.Element, v.Period, v.Unit, v.COC, v.AOC, v.Value, v.StoredBy, v.Updated, v.Comment, fmt.Sprint(v.Followup)})
	}
	w.Flush()
	return b.Bytes()
}

func (s *Server) selection(r *request) (*selection, *answer) {
	q := &selection{elements: map[string]bool{}, periods: map[string]bool{}, units: map[string]bool{}, aocs: map[string]bool{}, deleted: r.is("includeDeleted")}
	for _, key := range r.all("dataSet") {
		d, found := s.model.sets.find(schemeOf(r, "inputDataSetIdScheme"), key)
		if !found {
			return nil, s.illegal("E1105", key)
		}
		q.sets = append(q.sets, d)
		for e := range d.elements {
			q.elements[e] = true
		}
	}
	for _, g := range r.all("dataElementGroup") {
		for _, e := range idsOf(s.meta.get("dataElementGroups", g), "dataElements") {
			q.elements[e] = true
		}
	}
	if s.since(39) {
		for _, key := range r.all("dataElement") {
			e, found := s.model.elements.find(schemeOf(r, "inputDataElementIdScheme"), key)
			if !found {
				return nil, s.illegal("E1100", key)
			}
			q.elements[e.id] = true
		}
	}
	if len(q.elements) == 0 && len(q.sets) == 0 {
		return nil, s.illegal("E2001")
	}
	for _, a := range r.all("attributeOptionCombo") {
		q.aocs[a] = true
	}
	if refused := s.selectedTime(r, q); refused != nil {
		return nil, refused
	}
	return q, s.selectedUnits(r, q)
}

func schemeOf(r *request, name string) string {
	if v := r.get(name); v != "" {
		return v
	}
	return r.get("inputIdScheme")
}

func (s *Server) selectedTime(r *request, q *selection) *answer {
	for _, name := range r.all("period") {
		p := s.parsePeriod(name)
		if p == nil {
			return s.illegal("E1101", name)
		}
		q.periods[p.name] = true
	}
	from, to := r.get("startDate"), r.get("endDate")
	switch updated := r.get("lastUpdated"); {
	case len(q.periods) > 0 && from != "":
		return s.illegal("E2003")
	case from != "" && to != "":
		var good, also bool
		q.from, good = isoCalendar{}.parseDate(from)
		q.to, also = isoCalendar{}.parseDate(to)
		if !good || !also || q.to.Before(q.from) {
			return s.illegal("E2004")
		}
	case updated != "":
		for _, layout := range []string{"2006-01-02T15:04:05.000", "2006-01-02T15:04:05", "2006-01-02"} {
			if t, err := time.ParseInLocation(layout, updated, s.zone); err == nil {
				q.since = t
			}
		}
	case len(q.periods) == 0:
		return s.illegal("E2002")
	}
	return nil
}

func (s *Server) selectedUnits(r *request, q *selection) *answer {
	for _, key := range r.all("orgUnit") {
		u, found := s.model.units.find(schemeOf(r, "inputOrgUnitIdScheme"), key)
		if !found {
			return s.illegal("E1102", key)
		}
		if !u.under(r.scope) && !r.user.may("ALL") {
			return s.illegal("E2012", key)
		}
		for _, id := range s.below(u.id, true) {
			q.units[id] = true
			if !r.is("children") {
				break
			}
		}
	}
	for _, g := range r.all("orgUnitGroup") {
		for _, id := range idsOf(s.meta.get("organisationUnitGroups", g), "organisationUnits") {
			q.units[id] = true
		}
	}
	if len(q.units) == 0 {
		return s.illegal("E2006")
	}
	return nil
}

// places are the stored places that a selection covers.
func (s *Server) places(q *selection) []place {
	var out []place
	if len(q.periods) > 0 {
		for u := range q.units {
			for p := range q.periods {
				if s.data.values[place{u, p}] != nil {
					out = append(out, place{u, p})
				}
			}
		}
	} else {
		for p := range s.data.values {
			at := s.parsePeriod(p.period)
			if q.units[p.unit] && (q.from.IsZero() || at != nil && !at.start.Before(q.from) && !at.end.After(q.to)) {
				out = append(out, p)
			}
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].unit+out[i].period < out[j].unit+out[j].period })
	return out
}

func (s *Server) selected(r *request, q *selection) []stored {
	var out []stored
	de, ou, co := s.outScheme(r, "dataElementIdScheme"), s.outScheme(r, "orgUnitIdScheme"), s.outScheme(r, "categoryOptionComboIdScheme")
	for _, at := range s.places(q) {
		var here []stored
		for c, v := range s.data.values[at] {
			if v.deleted && !q.deleted || !q.elements[c.element] || len(q.aocs) > 0 && !q.aocs[c.aoc] || v.updated.Before(q.since) {
				continue
			}
			one := stored{Element: s.named("dataElements", c.element, de), Period: at.period, Unit: s.named("organisationUnits", at.unit, ou),
				COC: s.named("categoryOptionCombos", c.coc, co), AOC: s.named("categoryOptionCombos", c.aoc, co), Value: v.text, StoredBy: v.storedBy,
				Created: stamp(v.created.In(s.zone)), Updated: stamp(v.updated.In(s.zone)), Comment: v.comment, Followup: v.followup}
			if q.deleted {
				gone := v.deleted
				one.Deleted = &gone
			}
			here = append(here, one)
		}
		sort.Slice(here, func(i, j int) bool {
			return here[i].Element+here[i].COC+here[i].AOC < here[j].Element+here[j].COC+here[j].AOC
		})
		out = append(out, here...)
	}
	return out
}

func (s *Server) outScheme(r *request, name string) string {
	if v := r.get(name); v != "" {
		return strings.ToLower(v)
	}
	return strings.ToLower(r.get("idScheme"))
}

// named writes an id in the scheme that was asked for.
func (s *Server) named(collection, id, scheme string) string {
	switch scheme {
	case "code":
		return text(s.meta.get(collection, id), "code")
	case "name":
		return text(s.meta.get(collection, id), "name")
	}
	return id
}
