package sim

import (
	"encoding/json"
	"encoding/xml"
	"net/http"
	"sort"
	"strings"
	"time"
)

// registered is a registration as it is sent and read.
type registered struct {
	Period    string `json:"period" xml:"period,attr"`
	Set       string `json:"dataSet" xml:"dataSet,attr"`
	Unit      string `json:"organisationUnit" xml:"organisationUnit,attr"`
	AOC       string `json:"attributeOptionCombo,omitempty" xml:"attributeOptionCombo,attr"`
	Date      string `json:"date,omitempty" xml:"date,attr"`
	StoredBy  string `json:"storedBy,omitempty" xml:"storedBy,attr"`
	Completed *bool  `json:"completed,omitempty" xml:"completed,attr"`
}

type registrations struct {
	OUScheme  string       `json:"orgUnitIdScheme" xml:"orgUnitIdScheme,attr"`
	DSScheme  string       `json:"dataSetIdScheme" xml:"dataSetIdScheme,attr"`
	AOCScheme string       `json:"attributeOptionComboIdScheme" xml:"attributeOptionComboIdScheme,attr"`
	IDScheme  string       `json:"idScheme" xml:"idScheme,attr"`
	List      []registered `json:"completeDataSetRegistrations" xml:"completeDataSetRegistration"`
}

// postComplete is POST /api/completeDataSetRegistrations
// (DefaultCompleteDataSetRegistrationExchangeService.java).
func (s *Server) postComplete(r *request) answer {
	if !r.user.may("F_DATAVALUE_ADD") {
		return message(http.StatusForbidden, "Access is denied")
	}
	o := optionsOf(r)
	if o.ImportStrategy == "" {
		return message(http.StatusBadRequest, "Value '"+r.get("importStrategy")+"' is not valid for parameter importStrategy")
	}
	body, err := unpacked(r)
	do := func() *summary {
		var in registrations
		switch {
		case err != nil:
		case strings.Contains(r.Header.Get("Content-Type"), "xml"):
			err = xml.Unmarshal(body, &in)
		default:
			if err = json.Unmarshal(body, &in); err != nil {
				err = parserWords(err)
			}
		}
		if err != nil {
			return s.broken(err.Error())
		}
		for scheme, v := range map[string]string{"idScheme": in.IDScheme, "orgUnitIdScheme": in.OUScheme, "dataSetIdScheme": in.DSScheme,
			"attributeOptionComboIdScheme": in.AOCScheme} {
			if v != "" {
				o.IDSchemes[scheme] = v
			}
		}
		return s.importComplete(r, in.List, o)
	}
	if o.Async {
		return s.startImport(r, "COMPLETE_DATA_SET_REGISTRATION_IMPORT", do)
	}
	return s.summaryAnswer(do(), r.plain)
}

func (s *Server) importComplete(r *request, in []registered, o *importOptions) *summary {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := s.newSummary(o)
	sum.Description = "Import process complete."
	for _, one := range in {
		if c := s.completeOne(r, one, o, sum); c != nil {
			sum.Conflicts = append(sum.Conflicts, c)
			sum.Count.Ignored++
		}
	}
	// None of none counts as all refused.
	if sum.Count.Ignored == len(in) {
		sum.Status = "ERROR"
	}
	return sum
}

func (s *Server) completeOne(r *request, in registered, o *importOptions, sum *summary) *conflict {
	m := s.model
	d, found := m.sets.find(o.scheme("dataSetIdScheme"), in.Set)
	if !found {
		return &conflict{Object: in.Set, Value: "Data set not found or not accessible"}
	}
	if !mayWrite(d.r, r.user) {
		return &conflict{Object: in.Set, Value: "User does not have write access for DataSet"}
	}
	p := s.parsePeriod(in.Period)
	if p == nil {
		return &conflict{Object: in.Period, Value: "Period not valid"}
	}
	u, found := m.units.find(o.scheme("orgUnitIdScheme"), in.Unit)
	if !found {
		return &conflict{Object: in.Unit, Value: "Organisation unit not found or not accessible"}
	}
	if !u.under(r.scope) {
		return &conflict{Object: in.Unit, Value: "Organisation unit not in hierarchy of current user: " + r.user.name}
	}
	aoc := m.fallback
	if in.AOC != "" {
		if aoc, found = m.cocs.find(o.scheme("attributeOptionComboIdScheme"), in.AOC); !found {
			return &conflict{Object: in.AOC, Value: "Attribute option combo not found or not accessible"}
		}
	}
	completed := in.Completed == nil || *in.Completed
	if c := s.compulsory(d, place{u.id, p.name}, aoc.id); c != nil && completed {
		return c
	}
	key := completeKey{d.id, p.name, u.id, aoc.id}
	old := s.data.complete[key]
	switch strategy := o.ImportStrategy; {
	case strategy == "DELETE" && old != nil:
		sum.Count.Deleted++
		if !o.DryRun {
			delete(s.data.complete, key)
		}
		return nil
	case strategy == "DELETE", strategy == "UPDATE" && old == nil, strategy == "CREATE" && old != nil:
		sum.Count.Ignored++
		return nil
	case old != nil:
		sum.Count.Updated++
	default:
		sum.Count.Imported++
	}
	if !o.DryRun {
		reg := &registration{date: in.Date, storedBy: in.StoredBy, completed: completed, created: s.now()}
		if reg.date == "" {
			reg.date = s.today().Format("2006-01-02")
		}
		if reg.storedBy == "" {
			reg.storedBy = r.user.name
		}
		s.data.complete[key] = reg
	}
	return nil
}

// compulsory holds completion back while a compulsory operand has no value.
func (s *Server) compulsory(d *dataSet, at place, aoc string) *conflict {
	if !truth(d.r, "compulsoryFieldsCompleteOnly") {
		return nil
	}
	for _, v := range list(d.r, "compulsoryDataElementOperands") {
		operand, _ := v.(record)
		de, coc := idOf(operand["dataElement"]), idOf(operand["categoryOptionCombo"])
		if coc == "" {
			coc = s.model.fallback.id
		}
		if v := s.data.values[at][cell{de, coc, aoc}]; v == nil || v.deleted {
			return &conflict{Object: "dataElementOperand", Value: text(s.meta.get("dataElements", de), "name") + " needs to be filled. It is compulsory."}
		}
	}
	return nil
}

// getComplete is GET /api/completeDataSetRegistrations; no hit is {}.
func (s *Server) getComplete(r *request) answer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	q := &selection{elements: map[string]bool{}, periods: map[string]bool{}, units: map[string]bool{}}
	sets := map[string]bool{}
	for _, key := range r.all("dataSet") {
		d, found := s.model.sets.find(schemeOf(r, "inputDataSetIdScheme"), key)
		if !found {
			return *s.illegal("E1105", key)
		}
		sets[d.id] = true
	}
	if len(sets) == 0 {
		return *s.illegal("E2013")
	}
	if created := r.get("created"); created != "" {
		q.since, _ = time.ParseInLocation("2006-01-02", created[:min(10, len(created))], s.zone)
	} else if refused := s.selectedTime(r, q); refused != nil {
		return *refused
	}
	if refused := s.selectedUnits(r, q); refused != nil {
		return *refused
	}
	var out []registered
	for k, reg := range s.data.complete {
		p := s.parsePeriod(k.period)
		inTime := len(q.periods) == 0 || q.periods[k.period]
		if !q.from.IsZero() {
			inTime = p != nil && !p.start.Before(q.from) && !p.end.After(q.to)
		}
		if !sets[k.set] || !q.units[k.unit] || !inTime || reg.created.Before(q.since) {
			continue
		}
		done := reg.completed
		out = append(out, registered{k.period, k.set, k.unit, k.aoc, reg.date, reg.storedBy, &done})
	}
	if len(out) == 0 {
		return ok(record{})
	}
	sort.Slice(out, func(i, j int) bool {
		return out[i].Set+out[i].Period+out[i].Unit < out[j].Set+out[j].Period+out[j].Unit
	})
	return ok(record{"completeDataSetRegistrations": out})
}

// deleteComplete is DELETE ?ds=&pe=&ou=[&cc=&cp=][&multiOu=]: cc is the category
// combo of the attributes, cp its options, by semicolon.
func (s *Server) deleteComplete(r *request) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.model.units.id[r.get("ou")]
	p := s.parsePeriod(r.get("pe"))
	if u == nil || p == nil {
		return message(http.StatusConflict, "Illegal organisation unit or period identifier")
	}
	aoc := s.model.fallback
	if cc := r.get("cc"); cc != "" || r.get("cp") != "" {
		c := s.model.combos[cc]
		if c == nil {
			return message(http.StatusConflict, "Illegal category combo identifier: "+cc)
		}
		if aoc = c.with(strings.FieldsFunc(r.get("cp"), func(r rune) bool { return r == ';' || r == ',' })); aoc == nil {
			return message(http.StatusConflict, "Illegal category option identifiers: "+r.get("cp"))
		}
	}
	units := []string{u.id}
	if r.is("multiOu") {
		units = s.below(u.id, true)
	}
	var locked []string
	var sets []*dataSet
	for _, id := range strings.Split(strings.Join(r.all("ds"), ","), ",") {
		d := s.model.sets.id[id]
		if d == nil {
			return message(http.StatusConflict, "Illegal data set identifier: "+id)
		}
		if sets = append(sets, d); s.locked(d, p, u, r.user) {
			locked = append(locked, d.name)
		}
	}
	if len(locked) > 0 {
		return message(http.StatusConflict, "Locked Data set(s) : "+strings.Join(locked, ", "))
	}
	for _, d := range sets {
		for _, unit := range units {
			delete(s.data.complete, completeKey{d.id, p.name, unit, aoc.id})
		}
	}
	return answer{status: http.StatusNoContent}
}
