package upgrade

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Difference is one thing that the new version would do differently, of so many
// deliveries.
type Difference struct {
	Flow string `json:"flow"`
	// What: "more", "fewer" (deliveries), "call added", "call removed", "field",
	// "held", "not held", "state".
	What string `json:"what"`
	Kind string `json:"kind,omitempty"` // of record
	// Name is the call, or the path of the field, or the reason.
	Name    string `json:"name,omitempty"`
	N       int    `json:"n"`
	Message int64  `json:"message"` // an example
}

// Report is what a comparison found.
type Report struct {
	Messages   int          `json:"messages"`
	Deliveries int          `json:"deliveries"` // compared
	Different  int          `json:"different"`
	Unread     int          `json:"unread"` // not compared: neither version could read what it needed
	Found      []Difference `json:"differences"`
}

// Read reads lines as Print wrote them.
func Read(from io.Reader) ([]Line, error) {
	in := bufio.NewScanner(from)
	in.Buffer(nil, 64<<20)
	var out []Line
	for in.Scan() {
		var l Line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("line %d of the plans: %w", len(out)+1, err)
		}
		out = append(out, l)
	}
	return out, in.Err()
}

type key struct {
	message    int64
	flow, each string
}

type counted struct {
	flow, what, kind, name string
}

// Compare compares what two versions plan.
func Compare(old, now []Line) *Report {
	was := map[key]Line{}
	for _, l := range old {
		was[key{l.Message, l.Flow, l.Each}] = l
	}
	r := &Report{}
	messages := map[int64]bool{}
	sums := map[counted]*Difference{}
	for _, l := range now {
		k := key{l.Message, l.Flow, l.Each}
		before, ok := was[k]
		delete(was, k)
		messages[l.Message] = true
		r.Deliveries++
		var found []counted
		switch {
		case !ok:
			found = []counted{{l.Flow, "more", "", outcome(l)}}
		case before.State == notPlanned && l.State == notPlanned:
			r.Unread++
		default:
			found = compare(before, l)
		}
		r.add(sums, l.Message, found)
	}
	for _, k := range slices.SortedFunc(maps.Keys(was), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.message, b.message), cmp.Compare(a.flow, b.flow), cmp.Compare(a.each, b.each))
	}) {
		messages[k.message] = true
		r.Deliveries++
		r.add(sums, k.message, []counted{{k.flow, "fewer", "", outcome(was[k])}})
	}
	r.Messages = len(messages)
	for _, d := range sums {
		r.Found = append(r.Found, *d)
	}
	slices.SortFunc(r.Found, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(a.Flow, b.Flow), cmp.Compare(a.What, b.What), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return r
}

func (r *Report) add(sums map[counted]*Difference, message int64, found []counted) {
	if len(found) > 0 {
		r.Different++
	}
	for _, c := range found {
		if sums[c] == nil {
			sums[c] = &Difference{Flow: c.flow, What: c.what, Kind: c.kind, Name: c.name, Message: message}
		}
		sums[c].N++
	}
}

const notPlanned = "not planned"

// outcome says in words how a delivery would go.
func outcome(l Line) string {
	if l.State == Planned {
		return fmt.Sprintf("%d calls", len(l.Calls))
	}
	return l.State + ": " + cmp.Or(l.Cause, l.Reason)
}

// compare lists what is different of one delivery.
func compare(old, now Line) []counted {
	if old.State != Planned || now.State != Planned {
		switch {
		case old.State == now.State && old.Code == now.Code && old.Cause == now.Cause:
			return nil
		case now.State == "held":
			return []counted{{now.Flow, "held", "", outcome(now)}}
		case old.State == "held":
			return []counted{{now.Flow, "not held", "", outcome(old)}}
		}
		return []counted{{now.Flow, "state", "", outcome(old) + " -> " + outcome(now)}}
	}
	var out []counted
	out = append(out, calls(old, now)...)
	records := map[string]Record{}
	for _, r := range old.Records {
		records[r.Name] = r
	}
	for _, r := range now.Records {
		before := records[r.Name]
		if before.What != "" && before.ID != r.ID {
			out = append(out, counted{now.Flow, "field", r.Kind, "(which record)"})
		}
		paths := map[string]bool{}
		for p := range before.Write {
			paths[p] = true
		}
		for p := range r.Write {
			paths[p] = true
		}
		for _, p := range slices.Sorted(maps.Keys(paths)) {
			if before.Write[p] != r.Write[p] {
				out = append(out, counted{now.Flow, "field", r.Kind, p})
			}
		}
	}
	return out
}

// calls compares calls by their names; those of one name that differ only in
// what they send are told by their fields.
func calls(old, now Line) []counted {
	var out []counted
	was := map[string]Call{}
	for _, c := range old.Calls {
		was[c.Name] = c
	}
	fields := map[string]string{}
	for _, r := range old.Records {
		fields[r.Name] = fmt.Sprint(r.Write)
	}
	told := map[string]bool{}
	for _, r := range now.Records {
		told[r.Name] = fields[r.Name] != fmt.Sprint(r.Write)
	}
	for _, c := range now.Calls {
		before, ok := was[c.Name]
		delete(was, c.Name)
		switch {
		case !ok:
			out = append(out, counted{now.Flow, "call added", c.Kind, c.Name})
		case before.Request != c.Request && !told[c.Record]:
			out = append(out, counted{now.Flow, "call changed", c.Kind, c.Name})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		out = append(out, counted{now.Flow, "call removed", was[name].Kind, name})
	}
	return out
}
