package sim

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// trackerWork is one event under way. The checks follow trk/validation: groups
// in order, each of which may find several things, and the first group that
// finds any ends the event's validation.
type trackerWork struct {
	s     *Server
	r     *request
	p     *trackerParams
	e     *trackerEvent
	old   *event
	rep   *report
	index int

	unit    *orgUnit
	program *program
	stage   *stage
	aoc     *coc
}

func (w *trackerWork) fail(code string, args ...string) {
	w.rep.fail(w.s, "EVENT", w.e.Event, code, args...)
}

func (w *trackerWork) deleting() bool { return w.p.strategy == "DELETE" }

// updating tells whether the event is one that is there.
func (w *trackerWork) updating() bool { return w.old != nil && w.p.strategy != "CREATE" }

func (w *trackerWork) validate() {
	groups := []func(){w.exists, w.mandatory, w.find, w.unchanged, w.related, w.secured, w.dated, w.placed, w.valued, w.moved}
	if w.deleting() {
		groups = []func(){w.exists, w.find, w.secured}
	}
	before := len(w.rep.Errors)
	for _, g := range groups {
		if g(); len(w.rep.Errors) > before {
			return
		}
	}
}

// preheat is all that is left with validationMode=SKIP: what cannot be written
// without.
func (w *trackerWork) preheat() {
	if w.exists(); w.old != nil || !w.deleting() {
		w.find()
	}
	if w.program == nil && w.stage == nil && !w.deleting() {
		w.mandatory()
	}
}

func (w *trackerWork) exists() {
	uid := w.e.Event
	switch {
	case !uidPattern.MatchString(uid):
		w.fail("E1048", uid, uid)
	case w.old != nil && w.old.deleted:
		w.fail("E1082", uid)
	case w.old != nil && w.p.strategy == "CREATE":
		w.fail("E1030", uid)
	case w.old == nil && (w.p.strategy == "UPDATE" || w.deleting()):
		w.fail("E1032", uid)
	}
}

func (w *trackerWork) mandatory() {
	if w.e.Unit == "" {
		w.fail("E1123", "orgUnit")
	}
	if w.e.Program == "" && w.e.Stage == "" {
		w.fail("E1123", "program")
		w.fail("E1123", "programStage")
	}
}

// find resolves the event's metadata; a program gives its only stage, a stage
// its program.
func (w *trackerWork) find() {
	m := w.s.model
	if w.deleting() && w.old != nil {
		w.unit, w.program, w.stage = m.units.id[w.old.unit], m.programs.id[w.old.program], m.stages.id[w.old.stage]
		return
	}
	found := false
	if w.unit, found = m.units.find(w.p.scheme("orgUnitIdScheme"), string(w.e.Unit)); !found {
		w.fail("E1011", string(w.e.Unit))
	}
	if w.e.Program != "" {
		if w.program, found = m.programs.find(w.p.scheme("programIdScheme"), string(w.e.Program)); !found {
			w.fail("E1010", string(w.e.Program))
		}
	}
	if w.e.Stage != "" {
		if w.stage, found = m.stages.find(w.p.scheme("programStageIdScheme"), string(w.e.Stage)); !found {
			w.fail("E1013", string(w.e.Stage))
		}
	}
	if w.program == nil && w.stage != nil && w.e.Program == "" {
		w.program = m.programs.id[w.stage.program]
	}
	if w.stage == nil && w.program != nil && w.e.Stage == "" {
		if len(w.program.stages) > 0 {
			w.stage = m.stages.id[w.program.stages[0]]
		}
		if w.stage == nil {
			w.fail("E1013", "")
		}
	}
}

// unchanged refuses that an event moves to another program or stage.
func (w *trackerWork) unchanged() {
	if !w.updating() {
		return
	}
	if w.old.program != w.program.id {
		w.fail("E1128", "program")
	}
	if w.old.stage != w.stage.id {
		w.fail("E1128", "programStage")
	}
}

func described(class, id string) string { return class + " (" + id + ")" }

func (w *trackerWork) related() {
	m := w.s.model
	if w.stage.program != w.program.id {
		w.fail("E1089", w.e.Event, described("ProgramStage", w.stage.id), described("Program", w.program.id))
	}
	if !w.program.units[w.unit.id] {
		w.fail("E1029", described("OrganisationUnit", w.unit.id), described("Program", w.program.id))
	}
	if w.program.registration {
		w.fail("E1033", w.e.Event)
	}
	w.aoc = m.fallback
	options := categoryOptions(w.e.ACO)
	switch {
	case w.e.AOC != "":
		k, found := m.cocs.find(w.p.scheme("categoryOptionComboIdScheme"), string(w.e.AOC))
		if !found {
			w.fail("E1115", string(w.e.AOC))
			return
		}
		w.aoc = k
	case len(options) > 0:
		var ids []string
		for _, o := range options {
			option, found := m.options.find(w.p.scheme("categoryOptionIdScheme"), o)
			if !found {
				w.fail("E1116", o)
				return
			}
			ids = append(ids, option.id)
		}
		if w.aoc = w.program.combo.with(ids); w.aoc == nil {
			w.fail("E1117", described("CategoryCombo", w.program.combo.id), strings.Join(ids, ","))
			return
		}
	}
	switch {
	case w.aoc == m.fallback && !w.program.combo.isDefault:
		w.fail("E1055")
	case w.aoc.combo != w.program.combo:
		w.fail("E1054", described("CategoryOptionCombo", w.aoc.id), described("CategoryCombo", w.program.combo.id))
	}
}

// categoryOptions are a text with commas (semicolons before 2.40) or a list.
func categoryOptions(b json.RawMessage) []string {
	var text string
	if json.Unmarshal(b, &text) == nil {
		return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ';' || r == ' ' })
	}
	var list []ident
	_ = json.Unmarshal(b, &list)
	var out []string
	for _, i := range list {
		out = append(out, string(i))
	}
	return out
}

func (w *trackerWork) secured() {
	u := w.r.user
	if w.unit != nil && !w.unit.under(w.r.scope) {
		w.fail("E1000", described("User", u.id), described("OrganisationUnit", w.unit.id))
	}
	if w.program != nil && !mayWrite(w.program.r, u) {
		w.fail("E1091", described("User", u.id), described("Program", w.program.id))
	}
	if w.stage != nil && !mayWrite(w.stage.r, u) {
		w.fail("E1095", described("User", u.id), described("ProgramStage", w.stage.id))
	}
}

// status is what the event will be; VISITED means ACTIVE from 2.42.
func (w *trackerWork) status() string {
	switch st := w.e.Status; {
	case st == "":
		return "ACTIVE"
	case st == "VISITED" && w.s.since(42):
		return "ACTIVE"
	default:
		return st
	}
}

func (w *trackerWork) dated() {
	st := w.status()
	if w.e.Occurred.text == "" && st != "SCHEDULE" {
		w.fail("E1031")
		return
	}
	if st == "SCHEDULE" && w.e.Scheduled.text == "" {
		w.fail("E1050")
		return
	}
	if w.e.Completed.text != "" && st != "COMPLETED" && w.s.since(42) {
		w.fail("E1051", w.e.Event, st)
	}
	free := w.r.user.may("F_EDIT_EXPIRED")
	days := number(w.program.r, "completeEventsExpiryDays")
	if w.updating() && w.old.status == "COMPLETED" && days > 0 && !free && w.s.now().After(w.old.completed.Add(time.Duration(days)*24*time.Hour)) {
		w.fail("E1043", w.e.Event)
	}
	kind, after := text(w.program.r, "expiryPeriodType"), number(w.program.r, "expiryDays")
	if kind == "" || after <= 0 || free || w.e.Occurred.text == "" {
		return
	}
	at := w.e.Occurred.in(w.s.zone).In(w.s.zone)
	p := w.s.periodOf(kind, isoDay(at.Year(), int(at.Month()), at.Day()))
	if p != nil && w.s.today().After(p.end.AddDate(0, 0, int(after))) {
		w.fail("E1047", w.e.Event)
	}
}

func (w *trackerWork) placed() {
	g, _ := w.e.Geometry.(record)
	if g == nil {
		return
	}
	kind := strings.ToUpper(text(g, "type"))
	feature := text(w.stage.r, "featureType")
	switch {
	case feature == "":
		w.fail("E1074")
	case feature != kind:
		w.fail("E1012", feature)
	}
}

// withValues are the states in which an event may carry values.
var withValues = []string{"ACTIVE", "VISITED", "COMPLETED"}

func (w *trackerWork) valued() {
	m, s := w.s.model, w.s
	given := map[string]bool{}
	var outside []string
	for _, v := range w.e.Values {
		name := string(v.Element)
		e, found := m.elements.find(w.p.scheme("dataElementIdScheme"), name)
		if !found {
			w.fail("E1304", name)
			continue
		}
		link, inside := w.stage.elements[e.id]
		if !inside {
			outside = append(outside, name)
		}
		if !v.Value.set {
			if inside && truth(link, "compulsory") && w.strict() {
				w.fail("E1076", "DataElement", e.id)
			}
			continue
		}
		given[e.id] = true
		if s.badValue(e.valueType, v.Value.text) != "" {
			w.wrongType(e, v.Value.text)
			continue
		}
		w.options(e, v.Value.text)
	}
	st := w.status()
	if len(w.e.Values) > 0 && !slices.Contains(withValues, st) && s.since(39) {
		w.fail("E1315", st, strings.Join(withValues, ", "))
	}
	if w.strict() {
		for _, id := range sorted(w.stage.elements) {
			has := given[id] || w.updating() && w.old.values[id] != nil
			if truth(w.stage.elements[id], "compulsory") && !has {
				w.fail("E1303", id)
			}
		}
	}
	for _, name := range outside {
		w.fail("E1305", name, w.stage.id)
	}
}

// strict tells whether mandatory elements are asked for now.
func (w *trackerWork) strict() bool {
	return w.status() == "COMPLETED" || text(w.stage.r, "validationStrategy") == "ON_UPDATE_AND_INSERT" && slices.Contains(withValues, w.status())
}

func (w *trackerWork) wrongType(e *dataElement, v string) {
	first := e.id
	if w.s.since(41) {
		first = e.valueType
	}
	w.fail("E1302", first, "Value type is "+e.valueType+" but the value `"+v+"` is not.")
}

func (w *trackerWork) options(e *dataElement, v string) {
	if e.options == nil {
		return
	}
	chosen := []string{v}
	if e.valueType == "MULTI_TEXT" {
		chosen = strings.Split(v, ",")
	}
	for _, o := range chosen {
		if e.options[o] {
			continue
		}
		if w.s.since(41) {
			w.fail("E1125", v, e.optionSet)
		} else {
			w.fail("E1125", v, "DataElement", e.id, e.optionSet)
		}
		return
	}
}

func (w *trackerWork) moved() {
	st := w.status()
	if w.updating() && slices.Contains(withValues, w.old.status) && !slices.Contains(withValues, st) && w.s.since(39) {
		w.fail("E1316", w.old.status, st)
	}
	if a := w.e.Assigned; a != nil && (a.UID != "" || a.Username != "") {
		if !truth(w.stage.r, "enableUserAssignment") {
			w.rep.warn(w.s, "EVENT", w.e.Event, "E1120", w.stage.id)
			w.e.Assigned = nil
		} else if w.s.users[a.Username] == nil && !slices.ContainsFunc(sorted(w.s.users), func(n string) bool { return w.s.users[n].id == a.UID }) {
			w.fail("E1118", a.Username+a.UID)
		}
	}
}

// commit writes the event.
func (w *trackerWork) commit(st *stats, out *typeReport) {
	s, now := w.s, w.s.now()
	one := objectReport{Type: "EVENT", UID: w.e.Event, Errors: []trackerError{}}
	if !s.since(41) {
		n := w.index
		one.Index = &n
	}
	out.Objects = append(out.Objects, one)
	old := s.data.events[w.e.Event] // another of the same body may have made it
	switch {
	case w.deleting():
		old.deleted, old.updated = true, now
		st.Deleted++
		out.Stats.Deleted++
	case old != nil:
		st.Updated++
		out.Stats.Updated++
		w.write(old, now)
	default:
		st.Created++
		out.Stats.Created++
		e := &event{uid: w.e.Event, values: map[string]*eventValue{}, created: now}
		s.data.events[e.uid] = e
		w.write(e, now)
	}
	out.Stats.Total++
}

// write replaces all that is not a value; of values, only those that are named.
func (w *trackerWork) write(e *event, now time.Time) {
	if w.aoc == nil {
		w.aoc = w.s.model.fallback
	}
	e.program, e.stage, e.unit, e.aoc, e.status, e.updated = w.program.id, w.stage.id, w.unit.id, w.aoc.id, w.status(), now
	e.occurred, e.scheduled, e.geometry = w.e.Occurred.in(w.s.zone), w.e.Scheduled.in(w.s.zone), w.e.Geometry
	e.storedBy, e.assigned = w.r.user.name, ""
	if w.e.StoredBy != "" {
		e.storedBy = w.e.StoredBy
	}
	if w.e.Assigned != nil {
		e.assigned = w.e.Assigned.Username
	}
	switch {
	case e.status != "COMPLETED":
		e.completed, e.completedBy = time.Time{}, ""
	case w.e.Completed.text != "":
		e.completed, e.completedBy = w.e.Completed.in(w.s.zone), w.r.user.name
	case e.completed.IsZero():
		e.completed, e.completedBy = now, w.r.user.name
	}
	for _, n := range w.e.Notes {
		text := n.Note + n.Value
		if text != "" {
			e.notes = append(e.notes, eventNote{w.s.uid(), text})
		}
	}
	for _, v := range w.e.Values {
		d, found := w.s.model.elements.find(w.p.scheme("dataElementIdScheme"), string(v.Element))
		if !found {
			continue
		}
		if !v.Value.set || v.Value.text == "" {
			delete(e.values, d.id)
			continue
		}
		created := now
		if known := e.values[d.id]; known != nil {
			created = known.created
		}
		e.values[d.id] = &eventValue{v.Value.text, v.Elsewhere, w.r.user.name, created, now}
	}
}
