package openmrs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func goldenPage(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata/contract/atomfeed", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What README and index of the contracts say of each page.
func TestGoldenPagesAreRead(t *testing.T) {
	for file, want := range map[string]struct {
		number, next, prev, entries int
		kind                        string
	}{
		"empty-recent.xml":                       {0, -1, -1, 0, ""},
		"encounter-page-emrapi.xml":              {1, -1, -1, 1, "encounter"},
		"encounter-recent.xml":                   {335, -1, 334, 3, "encounter"},
		"patient-page-1.xml":                     {1, 2, -1, 5, "patient"},
		"patient-page-2.xml":                     {2, 3, 1, 5, "patient"},
		"patient-page-3.xml":                     {3, -1, 2, 2, "patient"},
		"patient-page-3-full.xml":                {3, 4, 2, 5, "patient"},
		"patient-recent-derived.xml":             {3, -1, 2, 2, "patient"},
		"patient-recent.xml":                     {32, -1, 31, 3, "patient"},
		"patient-page-openmrs-module.xml":        {1, -1, -1, 3, "patient"},
		"atomfeed-patient-recent.response.xml":   {32, -1, 31, 3, "patient"},
		"atomfeed-encounter-recent.response.xml": {335, -1, 334, 3, "encounter"},
	} {
		p, err := parsePage(goldenPage(t, file))
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if p.number != want.number || p.next != want.next || p.prev != want.prev || len(p.entries) != want.entries {
			t.Errorf("%s: page %d, next %d, prev %d, %d entries, want %+v", file, p.number, p.next, p.prev, len(p.entries), want)
		}
		for _, e := range p.entries {
			got, why := targetOf(e.content)
			if why != "" || got.kind != want.kind || e.problem != "" || !strings.HasPrefix(e.id, "tag:atomfeed.ict4h.org:") || e.updated.Location() != time.UTC || e.updated.Year() < 2018 {
				t.Errorf("%s: %+v %+v %s", file, e, got, why)
			}
		}
	}
}

func TestGoldenEntriesThatMOTECHMeets(t *testing.T) {
	for file, want := range map[string]struct{ resource, problem string }{
		"atomfeed-bed-assignment.entry.xml": {"bedPatientAssignment", ""},
		"atomfeed-unknown.entry.xml":        {"UNKNOWN", "not known here"},
	} {
		p, err := parsePage([]byte("<feed>" + string(goldenPage(t, file)) + "</feed>"))
		if err != nil || len(p.entries) != 1 {
			t.Errorf("%s: %v", file, err)
			continue
		}
		got, why := targetOf(p.entries[0].content)
		if got.resource != want.resource || got.kind != kindOther || !strings.Contains(why, want.problem) || (why == "") != (want.problem == "") {
			t.Errorf("%s: %+v %q", file, got, why)
		}
	}
}

func TestTheActionIsFoundInAnyOrder(t *testing.T) {
	p, err := parsePage(goldenPage(t, "patient-page-openmrs-module.xml"))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"CREATED", "UPDATED", "VOIDED"} {
		e := &p.entries[i]
		turned := atomEntry{categories: []string{e.categories[1], e.categories[0]}}
		if e.action() != want || turned.action() != want || e.category() != "patient" || turned.category() != "patient" {
			t.Errorf("%d: %q %q", i, e.action(), e.category())
		}
	}
}

// Neither entities nor nesting nor numbers of entries may hurt us.
func TestAHostilePageIsBounded(t *testing.T) {
	for name, body := range map[string]string{
		"entities":   `<!DOCTYPE f [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><feed><entry><id>x</id><title>&b;</title></entry></feed>`,
		"nesting":    `<feed><entry>` + strings.Repeat("<a>", 100_000) + `</entry></feed>`,
		"no closing": `<feed>` + strings.Repeat("<entry>", 100_000) + `</feed>`,
		"one title":  `<feed><entry><id>x</id><title>` + strings.Repeat("t", 1<<20) + `</title></entry></feed>`,
	} {
		p, err := parsePage([]byte(body))
		if err != nil {
			continue
		}
		if len(p.entries) > maxEntries || len(p.entries) == 0 || p.entries[0].problem == "" {
			t.Errorf("%s: %d entries, problem %.60q", name, len(p.entries), p.entries[0].problem)
		}
	}
}

func TestNamespacePrefixesDoNotMatter(t *testing.T) {
	p, err := parsePage([]byte(`<a:feed xmlns:a="http://www.w3.org/2005/Atom"><a:link rel="via" href="/x/7"/><a:entry><a:id>i</a:id><a:content>c</a:content></a:entry></a:feed>`))
	if err != nil || p.number != 7 || len(p.entries) != 1 || p.entries[0].id != "i" || p.entries[0].content != "c" {
		t.Errorf("%+v %v", p, err)
	}
}

func FuzzPage(f *testing.F) {
	files, err := filepath.Glob("testdata/contract/atomfeed/*.xml")
	if err != nil || len(files) == 0 {
		f.Fatal(err)
	}
	for _, name := range files {
		f.Add(goldenPage(f, filepath.Base(name)))
	}
	for _, s := range []string{"<feed><entry><id>a</id></entry>&<entry><id>b</id></entry></feed>", "<feed><entry><title>AT&T</title></entry><entry/></feed>", "<feed>\x00</feed>", "<entry></entry>"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := parsePage(body)
		if err != nil {
			return
		}
		if p.number < 0 || len(p.entries) > maxEntries+1 {
			t.Fatalf("page %d with %d entries", p.number, len(p.entries))
		}
		s := &System{name: "emr"}
		again, err := parsePage(body)
		if err != nil {
			t.Fatal(err)
		}
		for i := range p.entries {
			e := &p.entries[i]
			if e.id == "" || len(e.id) > 200 || e.id != again.entries[i].id {
				t.Fatalf("id %q, then %q", e.id, again.entries[i].id)
			}
			target, why := targetOf(e.content)
			m := s.entryMessage(feedStream{"patient", "patient"}, e, p.number, target, why, found{})
			if m.Kind == "" || m.Doc == "" || m.Version == "" || !utf8.Valid(m.Content) {
				t.Fatalf("%+v", m)
			}
			if target.uuid != "" && !looksLikeUUID(target.uuid) {
				t.Fatalf("%q would be read", target.uuid)
			}
		}
	})
}

// BenchmarkPoll reads 50,000 entries from the simulator, in pages of 20.
func BenchmarkPoll(b *testing.B) {
	r := newFeedRig(b, `{"feed":"bahmni","feedPage":20}`, "", "feeds=patient", "feed_from=start")
	r.sim.Traffic().Keep = -1
	for n := 0; n < 50_000; n += 5000 {
		r.announce("patient", n+1, n+5000, 2000)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		r.position, r.log = map[string][]byte{}, nil
		got, _ := r.poll("patient")
		if len(got) != 50_000 {
			b.Fatal(fmt.Sprint(len(got), " messages"))
		}
	}
	b.ReportMetric(50_000*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}
