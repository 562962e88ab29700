package xform

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func file(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(t testing.TB, body []byte) map[string]any {
	t.Helper()
	root, err := ParseXML(body)
	if err != nil {
		t.Fatal(err)
	}
	return root.JSON
}

// plain normalises moments and element attributes' namespaces as HQ's stored
// JSON has them.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, item := range v {
			out[k] = plain(item)
		}
		return out
	case []any:
		out := []any{}
		for _, item := range v {
			out = append(out, plain(item))
		}
		return out
	case string:
		return Plain(v)
	}
	return v
}

func TestXMLBecomesTheJSONThatHQStores(t *testing.T) {
	for _, name := range []string{"meta", "decimalmeta", "namespaces", "unicode"} {
		t.Run(name, func(t *testing.T) {
			var want struct {
				Form map[string]any `json:"form"`
			}
			if err := json.Unmarshal(file(t, "forms/xml-to-json/"+name+".expected.json"), &want); err != nil {
				t.Fatal(err)
			}
			got := parse(t, file(t, "forms/xml-to-json/"+name+".xml"))
			if d := cmp.Diff(plain(want.Form), plain(got)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRenderedFormReadsTheSame(t *testing.T) {
	for _, name := range []string{"forms/form-json.registration.json", "forms/form-json.followup.json"} {
		v, err := DecodeJSON(file(t, name))
		if err != nil {
			t.Fatal(err)
		}
		form := v.(map[string]any)["form"].(map[string]any)
		meta := form["meta"].(map[string]any)
		delete(meta, "commcare_version") // null: never in XML
		delete(meta, "geo_point")
		meta["app_build_version"] = Text(meta["app_build_version"])
		got := parse(t, Render(form))
		if d := cmp.Diff(form, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestCaseBlocksOfBothVersionsAndAtAnyDepth(t *testing.T) {
	tests := []struct {
		file string
		want []*Block
	}{
		{"forms/case-v2.create.xml", []*Block{{CaseID: "foo-case-id", UserID: "bar-user-id", DateModified: "2011-12-06T13:42:50Z", Created: true,
			Create: map[string]string{"case_type": "v2_case_type", "case_name": "test case name"}}}},
		{"forms/case-v2.update.xml", []*Block{{CaseID: "foo-case-id", UserID: "bar-user-id", DateModified: "2011-12-07T13:42:50Z",
			Update: map[string]string{"case_type": "updated_v2_case_type", "case_name": "updated case name", "dynamic": "something dynamic"}}}},
		{"forms/case-v2.close.xml", []*Block{{CaseID: "foo-case-id", UserID: "bar-user-id", DateModified: "2011-12-06T13:42:50Z", Closed: true}}},
		{"forms/case-v2.noop.xml", []*Block{{CaseID: "foo-case-id", UserID: "bar-user-id", DateModified: "2011-12-07T13:44:50Z"}}},
		{"forms/case-v2.index-update.xml", []*Block{{CaseID: "foo-case-id", UserID: "bar-user-id", DateModified: "2011-12-07T13:42:50Z",
			Index: map[string]Index{"foo_ref": {"some_referenced_id", "bar", "child"}, "baz_ref": {"some_other_referenced_id", "bop", "child"}}}}},
		{"forms/case-v2.prefixed-namespace.xml", []*Block{{CaseID: "14cc2770-2d1c-49c2-b252-22d6ecce385a", UserID: "d5ce3a980b5b69e793445ec0e3b2138e",
			DateModified: "2011-12-27", Created: true,
			Create: map[string]string{"case_type": "cc_bihar_pregnancy", "owner_id": "347b31fab217f6f28e0c8d6ff4f0651b", "case_name": "TEST"},
			Update: map[string]string{"village": "JGN.GM", "edd": "2012-02-27", "partner_name": "JD.MH", "next_form": "bp", "next_due": "2012-01-10"}}}},
	}
	for _, test := range tests {
		for _, b := range test.want {
			if b.Create == nil {
				b.Create = map[string]string{}
			}
			if b.Update == nil {
				b.Update = map[string]string{}
			}
			if b.Index == nil {
				b.Index = map[string]Index{}
			}
		}
		if d := cmp.Diff(test.want, Blocks(parse(t, file(t, test.file)))); d != "" {
			t.Errorf("%s: %s", test.file, d)
		}
	}
}

func TestOldCaseBlocksInRepeats(t *testing.T) {
	got := Blocks(parse(t, file(t, "forms/case-v1.cases-in-repeats.xml")))
	var lines []string
	for _, b := range got {
		lines = append(lines, strings.Join([]string{b.CaseID, b.Create["case_type"], b.Create["owner_id"], b.Update["sex"]}, " "))
	}
	want := []string{"CMYOSI95QCED3ZWIP9ZK1QNQ6 mother 2XC1EINEJV1NZ7QXHVUMHUQQV ",
		"32337c03-2b73-497f-ab18-2b587f8c21df newborn_hiv_child 2XC1EINEJV1NZ7QXHVUMHUQQV 1",
		"581b0506-7c94-4af5-ac67-f934566d5418 newborn_hiv_child 2XC1EINEJV1NZ7QXHVUMHUQQV 2"}
	if d := cmp.Diff(want, lines); d != "" {
		t.Error(d)
	}
	if !got[0].Closed || got[1].Closed {
		t.Error("only the mother's case is closed")
	}
	if n := len(Blocks(parse(t, file(t, "forms/case-v1.parallel-cases.xml")))); n != 4 {
		t.Errorf("%d cases in the form of four", n)
	}
}

func TestBlocksOfOneCaseAreFolded(t *testing.T) {
	got := Blocks(parse(t, file(t, "forms/xform.case-and-ledger.xml")))
	if len(got) != 2 {
		t.Fatalf("%d cases, want 2", len(got))
	}
	first := got[0]
	if !first.Created || !first.Closed || first.Said()["owner_id"] != "91cadfa4cb957cf021c76dfe31d206a6" || first.DateModified != "2016-03-02T09:21:48.715Z" {
		t.Errorf("folded block is %+v", first)
	}
}

func TestAGroupNamedCaseIsNoCaseBlock(t *testing.T) {
	if got := Blocks(parse(t, file(t, "forms/xml-to-json/meta.xml"))); len(got) != 0 {
		t.Errorf("found %d cases in a form without any", len(got))
	}
}

func TestBadDocumentsAreRefusedInWords(t *testing.T) {
	deepJSON := strings.Repeat(`{"a":`, MaxDepth+1) + "1" + strings.Repeat("}", MaxDepth+1)
	deepXML := strings.Repeat("<a>", MaxDepth+1) + strings.Repeat("</a>", MaxDepth+1)
	tests := []struct{ name, body, want string }{
		{"json cut off", `{"form": {`, "ends too early"},
		{"json broken", `{"form": }`, "error at byte 10 of 10"},
		{"json twice", `{} {}`, "not one JSON document"},
		{"json deep", deepJSON, "nested more than 64 deep"},
		{"json wide", "[" + strings.Repeat("1,", MaxValues) + "1]", "more than 200000 values"},
		{"xml cut off", `<data><a>`, "line 1"},
		{"xml broken", "<data>\n<a></b></data>", "error at line 2"},
		{"xml twice", `<a/><b/>`, "something follows its end"},
		{"xml deep", deepXML, "nested more than 64 deep"},
		{"xml wide", "<d>" + strings.Repeat("<a/>", MaxValues) + "</d>", "more than 200000 values"},
		{"xml with entities", `<!DOCTYPE d [<!ENTITY e "x">]><d>&e;</d>`, "document type"},
		{"xml with unknown entity", `<d>&e;</d>`, "error at line 1"},
		{"xml in another encoding", `<?xml version="1.0" encoding="UTF-16"?><d/>`, "error at line 1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var err error
			if test.body[0] == '<' {
				_, err = ParseXML([]byte(test.body))
			} else {
				_, err = DecodeJSON([]byte(test.body))
			}
			var b *Bad
			if !errors.As(err, &b) || !strings.Contains(b.Text, test.want) {
				t.Errorf("got %v, want a refusal that says %q", err, test.want)
			}
		})
	}
}

func TestMomentsReadTheSameHoweverWritten(t *testing.T) {
	for in, want := range map[string]string{
		"2015-04-17T16:04:54.950-04":       "2015-04-17T20:04:54.95Z",
		"2015-04-17T20:04:54.950000Z":      "2015-04-17T20:04:54.95Z",
		"2015-04-17T16:04:54.950-0400":     "2015-04-17T20:04:54.95Z",
		"2015-04-17T22:04:54.950000+02:00": "2015-04-17T20:04:54.95Z",
		"2015-04-17T20:04:54.950":          "2015-04-17T20:04:54.95Z", // without a zone: UTC
		"2015-04-17":                       "2015-04-17",              // a day has no zone
		"16:04:54.950-04":                  "16:04:54.950-04",         // nor has a time of day
		"  68 kg ":                         "68 kg",
	} {
		if got := Plain(in); got != want {
			t.Errorf("%q is read as %q, want %q", in, got, want)
		}
	}
}

func FuzzParseXML(f *testing.F) {
	names, err := filepath.Glob("../testdata/forms/*.xml")
	if err != nil || len(names) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		root, err := ParseXML(body)
		if err != nil {
			var b *Bad
			if !errors.As(err, &b) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		Blocks(root.JSON)
		if _, err := json.Marshal(root.JSON); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzDecodeJSON(f *testing.F) {
	f.Add([]byte(`{"form":{"case":{"@case_id":"a","update":{"x":[1,null,{"#text":"t"}]}}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		v, err := DecodeJSON(body)
		if err != nil {
			var b *Bad
			if !errors.As(err, &b) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if m, ok := v.(map[string]any); ok {
			Blocks(m)
		}
	})
}
