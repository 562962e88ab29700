package openmrs

import (
	"context"
	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/record"
	"slices"
	"strings"
)

// updateObs plans the observations that differ, in the order of their names.
func (k *encounterKind) updateObs(ctx context.Context, do call.Doer, p *planner) error {
	tops := map[string]record.Fields{} // "obs/C#1" -> its part of Write
	for path, v := range p.c.Write {
		if rest, ok := strings.CutPrefix(path, "obs/"); ok {
			key, _, _ := strings.Cut(rest, "/")
			if tops["obs/"+key] == nil {
				tops["obs/"+key] = record.Fields{}
			}
			tops["obs/"+key][path] = v
		}
	}
	for _, top := range keysOf(tops) {
		if err := k.updateTop(ctx, do, p, top, tops[top]); err != nil {
			return err
		}
	}
	return nil
}

// updateTop changes one observation or one group of the encounter.
func (k *encounterKind) updateTop(ctx context.Context, do call.Doer, p *planner, top string, write record.Fields) error {
	found := part(p.c.Found.Fields, top)
	next := found.Clone()
	for path, v := range write {
		next[path] = v
	}
	after := treeOf(next, "")
	if len(after) > 0 {
		after[0].value = orNil(after[0].value)
	}
	row := p.c.Found.Rows[top]
	switch {
	case len(after) == 0 && row == "":
		return nil
	case len(after) == 0:
		k.removeObs(p, top, row, found)
		return nil
	case row == "":
		return k.addObs(ctx, do, p, top, after[0], next)
	}
	leaves, structural := leavesOf(write, p.c.Found.Rows)
	if structural || len(after[0].members) == 0 && len(treeOf(found, "")) > 0 && len(treeOf(found, "")[0].members) > 0 {
		// A member is added: the group is made again as a whole, because a member
		// cannot be posted into a group.
		k.removeObs(p, top, row, found)
		return k.addObs(ctx, do, p, top, after[0], next)
	}
	for _, leaf := range leaves {
		leafWrite := part(write, leaf)
		if v, ok := leafWrite[leaf+"/value"]; ok && record.Empty(v) {
			k.removeObs(p, leaf, p.c.Found.Rows[leaf], part(p.c.Found.Fields, leaf))
			continue
		}
		if err := k.changeObs(ctx, do, p, leaf, leafWrite); err != nil {
			return err
		}
	}
	return nil
}

func orNil(v any) any {
	if record.Empty(v) {
		return nil
	}
	return v
}

// leavesOf lists the rows that are written, and tells whether one of them is not
// there yet.
func leavesOf(write record.Fields, rows map[string]string) (leaves []string, structural bool) {
	seen := map[string]bool{}
	for _, path := range write.Paths() {
		leaf := path[:strings.LastIndexByte(path, '/')]
		if seen[leaf] {
			continue
		}
		seen[leaf] = true
		if rows[leaf] == "" {
			if record.Empty(write[path]) {
				continue // not there and not wanted
			}
			structural = true
		}
		leaves = append(leaves, leaf)
	}
	return leaves, structural
}

func (k *encounterKind) obsCheck(p *planner, as, path string, uuids []string, want, pre record.Fields) *call.Check {
	c := k.check(p.c.ID, want, pre)
	c.As, c.Key = as, path+" "+strings.Join(uuids, ",")
	return c
}

func (k *encounterKind) removeObs(p *planner, path, row string, found record.Fields) {
	if row == "" {
		return
	}
	gone := record.Fields{}
	for f := range found {
		gone[f] = ""
	}
	at := "/obs/" + seg(row)
	p.add(call.Call{Name: p.name(obsName("obs-remove", path)), About: "void an observation", Request: void(at, p.c.Reason),
		Repeat: call.Safe, Reversal: call.Exact, ReadBack: true, Check: k.obsCheck(p, "obs removed", path, []string{row}, gone, found),
		Undo: &call.Undo{Request: unvoid(at)}})
}

// obsName names a call by what it writes, the same at each planning.
func obsName(what, path string) string {
	return what + "-" + slug(strings.ReplaceAll(path, "obs/", ""))
}

func (k *encounterKind) addObs(ctx context.Context, do call.Doer, p *planner, top string, n *node, next record.Fields) error {
	b := newBody()
	row, err := k.obsBody(ctx, do, b, "", n)
	if err != nil {
		return err
	}
	for name, v := range row {
		b.root[name] = v
	}
	have := p.c.Found.Fields
	b.set("person", orAny(p.c.Wanted["patient"], have["patient"]))
	b.set("encounter", p.c.ID)
	b.set("obsDatetime", k.wire("at", orAny(p.c.Write["at"], have["at"])))
	if len(n.members) > 0 {
		// Members posted with a group do not inherit from it.
		inherit(b, row["groupMembers"])
	}
	known := siblings(p.c.Found.Rows, top)
	want, pre := settled(part(next, top)), record.Fields{}
	for path := range want {
		if want[path] == "" {
			delete(want, path)
			continue
		}
		pre[path] = ""
	}
	name := p.name(obsName("obs", top))
	p.add(call.Call{Name: name, About: "add an observation", Request: b.post("/obs", "v", rowRep), ReadBack: true, Outputs: map[string]string{"uuid": "/uuid"},
		Repeat: call.Findable, Reversal: call.Exact, Settle: settle, Check: k.obsCheck(p, "obs added", top, known, want, pre),
		Undo: &call.Undo{Request: void("/obs/"+out(name, "uuid"), p.c.Reason)}})
	return nil
}

// siblings are the uuids of the other observations in the same place, as they
// were when the change was planned.
func siblings(rows map[string]string, path string) []string {
	place := path[:strings.LastIndexByte(path, '/')]
	var out []string
	for other, id := range rows {
		if i := strings.LastIndexByte(other, '/'); i > 0 && other[:i] == place && other != path && strings.HasPrefix(other, "obs/") {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// inherit gives the members of a posted group its person, time and encounter.
func inherit(b *body, members any) {
	list, ok := members.([]any)
	if !ok {
		return
	}
	for _, m := range list {
		row, ok := m.(map[string]any)
		if !ok {
			continue
		}
		for _, name := range []string{"person", "obsDatetime", "encounter"} {
			row[name] = b.root[name]
		}
		inherit(b, row["groupMembers"])
	}
}

func orAny(a, b any) any {
	if record.Empty(a) {
		return b
	}
	return a
}

// changeObs gives an observation another value. OpenMRS voids it and makes a new
// one: the answer has its uuid, which the undo needs.
func (k *encounterKind) changeObs(ctx context.Context, do call.Doer, p *planner, path string, write record.Fields) error {
	con, _, _ := strings.Cut(path[strings.LastIndexByte(path, '/')+1:], "#")
	pre := before(p.c.Found, write)
	name := p.name(obsName("obs", path))
	b, back, restore := newBody(), newBody(), map[string]string{}
	for _, field := range write.Paths() {
		v := write[field]
		property := field[strings.LastIndexByte(field, '/')+1:]
		old := pre[field]
		if record.Empty(old) {
			old = record.Clear{}
		}
		if property == "value" {
			var err error
			if v, err = k.obsWire(ctx, do, con, v); err != nil {
				return err
			}
			if old, err = k.obsWire(ctx, do, con, old); err != nil {
				return err
			}
		}
		b.set(property, v)
		back.set(property, old)
		restore["/"+property] = field
	}
	p.add(call.Call{Name: name, About: "change an observation", Request: b.post("/obs/"+seg(p.c.Found.Rows[path]), "v", rowRep), ReadBack: true, Outputs: map[string]string{"uuid": "/uuid"},
		Repeat: call.Findable, Reversal: call.Exact, Settle: settle,
		Check: k.obsCheck(p, "obs changed", path, append([]string{p.c.Found.Rows[path]}, siblings(p.c.Found.Rows, path)...), settled(write), pre),
		Undo:  &call.Undo{Request: back.post("/obs/" + out(name, "uuid")), Restore: restore}})
	return nil
}
