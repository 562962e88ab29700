package cht

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kiungo-health/kiungo/connectors/cht/sim"
	"github.com/kiungo-health/kiungo/internal/connector"
)

// poll reads on from a position until there is no more.
func (r *rig) poll(t *testing.T, position []byte) (list []connector.Incoming, alarms []string, at []byte) {
	t.Helper()
	for range 100 {
		b, err := r.Poll(t.Context(), r, streamChanges, position)
		if err != nil {
			t.Fatal(err)
		}
		list, alarms, position = append(list, b.Messages...), append(alarms, b.Alarms...), b.Position
		if !b.More {
			return list, alarms, position
		}
	}
	t.Fatal("the changes have no end")
	return nil, nil, nil
}

func report(id, form, subject string) map[string]any {
	return map[string]any{"_id": id, "type": "data_record", "form": form, "reported_date": 1790000000000.0, "content_type": "xml",
		"contact": map[string]any{"_id": sim.ContactID(41)}, "fields": map[string]any{"patient_id": subject, "fever": "yes"}}
}

func put(t *testing.T, r *rig, doc map[string]any) {
	t.Helper()
	if err := r.sim.Put(doc); err != nil {
		t.Fatal(err)
	}
}

func TestEveryNewReportComesOnceAndNothingElse(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	put(t, r, report("before", "assessment", ""))
	list, _, at := r.poll(t, nil)
	if len(list) != 0 {
		t.Fatalf("switching on sends history: %v", list)
	}
	r.pageSize = 2 // many pages
	for i := range 5 {
		put(t, r, report(fmt.Sprintf("report-%d", i), "assessment", ""))
	}
	put(t, r, map[string]any{"_id": "person-1", "type": "person", "name": "x"})
	put(t, r, map[string]any{"_id": "task~x", "type": "data_record", "form": "no"})
	if err := r.sim.Sync("rose", "2026-10", time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	list, alarms, at := r.poll(t, at)
	var docs []string
	for _, m := range list {
		docs = append(docs, m.Doc)
	}
	if d := cmp.Diff([]string{"report-0", "report-1", "report-2", "report-3", "report-4"}, docs); d != "" || len(alarms) != 0 {
		t.Errorf("%s %v", d, alarms)
	}
	if list, _, _ = r.poll(t, at); len(list) != 0 {
		t.Errorf("they come again: %v", list)
	}
}

func TestTheServersOwnWorkOnAReportIsNoNewVersion(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	_, _, at := r.poll(t, nil)
	doc := report("a", "assessment", "")
	put(t, r, doc)
	first, _, at := r.poll(t, at)
	doc["tasks"] = []any{map[string]any{"state": "pending"}}
	put(t, r, doc)
	second, _, at := r.poll(t, at)
	doc["fields"].(map[string]any)["fever"] = "no"
	put(t, r, doc)
	third, _, _ := r.poll(t, at)
	if first[0].Version != second[0].Version || first[0].Version == third[0].Version {
		t.Errorf("versions %s, %s, %s", first[0].Version, second[0].Version, third[0].Version)
	}
	var c struct {
		Report struct{ ID, Form, At string } `json:"report"`
	}
	if err := json.Unmarshal(third[0].Content, &c); err != nil || c.Report.ID != "a" || c.Report.Form != "assessment" || c.Report.At != "2026-09-21T14:13:20Z" || !third[0].Event.Equal(time.UnixMilli(1790000000000)) {
		t.Errorf("%+v %v", c, err)
	}
}

func TestADeletedReportIsWithdrawnWithItsLastContent(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	_, _, at := r.poll(t, nil)
	put(t, r, report("a", "assessment", ""))
	put(t, r, report("b", "assessment", ""))
	_, _, at = r.poll(t, at)
	for _, id := range []string{"a", "b"} {
		if err := r.sim.Delete(id); err != nil {
			t.Fatal(err)
		}
		list, alarms, next := r.poll(t, at)
		if len(list) != 1 || !list[0].Withdrawn || list[0].Doc != id || !strings.Contains(string(list[0].Content), `"form":"assessment"`) || len(alarms) != 0 {
			t.Fatalf("%s: %+v %v", id, list, alarms)
		}
		at = next
	}
}

func TestADeletedDocumentThatNobodyKnowsIsAnAlarm(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	put(t, r, report("a", "assessment", ""))
	_, _, at := r.poll(t, nil)
	if err := r.sim.Delete("a"); err != nil {
		t.Fatal(err)
	}
	r.sim.Compact()
	if list, alarms, _ := r.poll(t, at); len(list) != 0 || len(alarms) != 1 {
		t.Fatalf("%v %v", list, alarms)
	}
}

func TestAfterARestoreEverythingComesAgainUnderTheSameVersions(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	_, _, at := r.poll(t, nil)
	put(t, r, report("a", "assessment", ""))
	first, _, _ := r.poll(t, at)
	again, _, _ := r.poll(t, []byte(`{"since":"9000-g1AAAAfromAnotherDatabase"}`))
	if d := cmp.Diff(first, again); d != "" {
		t.Error(d)
	}
}

func TestSequencesAreTextOrNumbers(t *testing.T) {
	for in, want := range map[string]string{`{"last_seq":"42-g1AA","results":[]}`: "42-g1AA", `{"last_seq":3}`: "3"} {
		var c changes
		if err := json.Unmarshal([]byte(in), &c); err != nil || string(c.LastSeq) != want {
			t.Errorf("%s: %q %v", in, c.LastSeq, err)
		}
	}
}

func TestWorkerAndSubjectAreLookedUp(t *testing.T) {
	r := newRig(t, `{"default":"2026-10"}`)
	for subject, want := range map[string]string{sim.ContactID(43): "Mary Atieno", "20044": "John Otieno", "99999": "", "": ""} {
		_, _, at := r.poll(t, nil)
		put(t, r, report("r"+subject, "assessment", subject))
		list, _, _ := r.poll(t, at)
		var content any
		if err := json.Unmarshal(list[0].Content, &content); err != nil {
			t.Fatal(err)
		}
		if ref := content.(map[string]any)["report"].(map[string]any)["subject_id"]; subject != "" && ref != subject {
			t.Errorf("subject_id %v, want %s", ref, subject)
		}
		m := &connector.Message{Incoming: list[0]}
		got, err := r.Surround(t.Context(), r, m, content, nil, []string{"worker", "subject"})
		if err != nil {
			t.Fatal(err)
		}
		worker := got["worker"].(map[string]any)
		if worker["name"] != "Jane Akinyi" || worker["place"].(map[string]any)["type"] != "chw_area" || len(worker["places"].([]any)) != 3 || worker["id"] != sim.ContactID(41) {
			t.Errorf("worker: %v", worker)
		}
		who, _ := got["subject"].(map[string]any)
		if text(who["name"]) != want {
			t.Errorf("subject %q: %v, want %q", subject, who, want)
		}
	}
}

func TestASampleIsAStoredReport(t *testing.T) {
	raw, err := json.Marshal(report("a", "assessment", "x"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := sample(kindReport, raw)
	if err != nil || len(got) != 1 || !strings.Contains(string(got[0]), `"fever":"yes"`) {
		t.Errorf("%s %v", got, err)
	}
	for _, bad := range []string{`{"type":"person"}`, `no`} {
		if _, err := sample(kindReport, []byte(bad)); err == nil {
			t.Errorf("%s is taken for a report", bad)
		}
	}
}
