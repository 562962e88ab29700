package flow

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"
)

// languageVersion is part of every flow's hash: a change of meaning of the
// language is a change of every flow.
const languageVersion = "1"

// hash is over everything that decides what the flow does: its text as YAML
// reads it, the tables and site values that it uses, the zone, who wins.
func (f *Flow) hash(u *use, doc *node) string {
	h := sha256.New()
	fmt.Fprintf(h, "kiungo flow %s\n%s\n%s\n", languageVersion, f.Name, f.integ.Zone)
	doc.write(h)
	names := slices.Compact(slices.Sorted(slices.Values(u.tables)))
	if u.tablesX {
		names = slices.Sorted(maps.Keys(f.integ.Tables))
	}
	for _, n := range names {
		if t := f.integ.Tables[n]; t != nil {
			fmt.Fprintf(h, "table %q %x\n", n, t.hash())
		}
	}
	for _, s := range f.From {
		for _, p := range s.repeats {
			fmt.Fprintf(h, "list %q\n", p)
		}
	}
	if s := f.integ.site; s != nil {
		fmt.Fprintf(h, "site %q %q\n", s.Region, s.Language)
		for _, name := range slices.Sorted(maps.Keys(s.Systems)) {
			fmt.Fprintf(h, "system %q %q %q %t\n", name, s.Systems[name].Connector, s.Systems[name].Places, s.Systems[name].Active)
		}
	}
	writeJSON(h, f.integ.values)
	writeJSON(h, f.integ.People)
	f.integ.Wins.write(h)
	for _, r := range f.Records {
		r.Wins.write(h)
		r.integWins = f.integ.Wins
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (w Wins) write(h hash.Hash) {
	for _, k := range slices.Sorted(maps.Keys(w)) {
		fmt.Fprintf(h, "%q %s %s", k, w[k].Rule, w[k].System)
		if w[k].Table != nil {
			h.Write(w[k].Table.hash())
		}
	}
}

func writeJSON(w io.Writer, v any) {
	b, err := json.Marshal(v) // maps come sorted; only text, numbers and bools are inside
	if err != nil {
		b = fmt.Append(nil, err)
	}
	_, _ = w.Write(b) // a hash cannot fail
}

// write puts a node into a hash: comments, quotes and layout do not count.
func (n *node) write(w io.Writer) {
	fmt.Fprintf(w, "%d%q", n.kind, n.text)
	for _, p := range n.pairs {
		fmt.Fprintf(w, "{%q", p.key.text)
		p.value.write(w)
	}
	for _, i := range n.items {
		fmt.Fprint(w, "[")
		i.write(w)
	}
	fmt.Fprint(w, ";")
}

func (i *Integration) hash() string {
	h := sha256.New()
	for _, f := range i.Flows {
		fmt.Fprintln(h, f.Name, f.Hash)
	}
	for _, n := range slices.Sorted(maps.Keys(i.Tables)) {
		fmt.Fprintf(h, "%q %x\n", n, i.Tables[n].hash())
	}
	return hex.EncodeToString(h.Sum(nil))
}
