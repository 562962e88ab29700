package openmrs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/record"
)

// FuzzObserve: whatever a server sends, a check reads it or says that it cannot.
func FuzzObserve(f *testing.F) {
	files, _ := filepath.Glob("testdata/contract/rest/*.response.json")
	for _, file := range files {
		b, _ := os.ReadFile(file)
		f.Add(200, b)
	}
	f.Add(404, []byte(`{}`))
	f.Add(200, []byte(`{"uuid":"x","obs":[{"concept":{"uuid":"c"},"groupMembers":[{"concept":null}]}],"encounterProviders":[{}]}`))
	f.Add(200, []byte(`{"results":[null,{}]}`))
	f.Add(200, []byte(`{"uuid":"x","provider":{"uuid":"p"}}`))
	f.Add(200, []byte(`{"uuid":"x","concept":{"uuid":"c"},"groupMembers":[{"concept":{"uuid":"c"},"value":1}]}`))
	f.Add(200, []byte(`{"uuid":"x","givenName":1,"birthdate":{},"value":[],"identifier":null,"voided":"true"}`))
	f.Add(200, []byte(`null`))
	f.Add(204, []byte(nil))
	s := newRig(f, "", "").sys
	want := record.Fields{"name/given": "Jane", "identifiers/OpenMRS ID": "100DWN", "attributes/Birthplace": "x", "deathDate": "2024-01-01", "obs/c#1/value": "v", "obs/g#1/obs/c#1/value": 1.0}
	checks := map[string][]string{
		"Patient": {"patient", "count", "name", "address", "person", "identifier", "attribute"}, "Visit": {"visit", "count"}, "Obs": {"obs", "obs changed"},
		"Encounter": {"encounter", "count", "obs added", "obs changed", "obs removed", "provider added", "provider removed"},
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		for kind, list := range checks {
			for _, as := range list {
				for _, key := range []string{"", "obs/c#1 a,b", "obs/g#1/obs/c#1 a", "identifiers/OpenMRS ID"} {
					o, err := s.Kind(kind).Observe(call.Check{As: as, Key: key, Want: want, Pre: record.Fields{"obs/c#1/value": ""}}, call.Answer{Status: status, Body: body})
					if err != nil && (o.Exists || o.Voided) {
						t.Errorf("%s %s: both an error and an observation", kind, as)
					}
				}
			}
		}
	})
}

// TestRecordedPatientsAreRead: a patient as recorded servers send her.
func TestRecordedPatientsAreRead(t *testing.T) {
	s := newRig(t, "", "").sys
	b, err := os.ReadFile("testdata/contract/rest/patient-full.response.json")
	if err != nil {
		t.Fatal(err)
	}
	w, err := decodePatient(call.Answer{Status: 200, Body: b})
	if err != nil {
		t.Fatal(err)
	}
	f, rows := s.patientFields(w)
	wanted := record.Fields{"uuid": jane, "name/given": "Jane", "name/middle": "Wanjiku", "gender": "F", "birthdate": "1988-05-17", "address/address4": "Kangemi Ward",
		"identifiers/" + openmrsID: "100DWN", "dead": false}
	for path, want := range wanted {
		if !record.Same(f[path], want) {
			t.Errorf("%s: %v, want %v", path, f[path], want)
		}
	}
	if rows["name"] != "0f7d6f1a-2c2c-4b7e-8a70-1d5b7f4b9c01" {
		t.Errorf("rows: %v", rows)
	}
	b, err = os.ReadFile("testdata/contract/rest/patient-voided.response.json")
	if err != nil {
		t.Fatal(err)
	}
	if o, err := s.Kind("Patient").Observe(call.Check{As: "patient"}, call.Answer{Status: 200, Body: b}); err != nil || o.Exists || !o.Voided {
		t.Errorf("%+v %v", o, err)
	}
}

// TestWhatTheUserMayNotReadIsUnreadable: OpenMRS leaves it out silently.
func TestWhatTheUserMayNotReadIsUnreadable(t *testing.T) {
	s := newRig(t, "", "").sys
	a := call.Answer{Status: 200, Body: []byte(`{"uuid":"x","voided":false,"person":{"gender":"F"}}`)}
	want := record.Fields{"attributes/Birthplace": "x", "identifiers/OpenMRS ID": "1"}
	o, err := s.Kind("Patient").Observe(call.Check{As: "patient", Want: want, Pre: want}, a)
	if err != nil {
		t.Fatal(err)
	}
	for path := range want {
		if o.Fields[path] != (record.Unreadable{}) {
			t.Errorf("%s: %v", path, o.Fields[path])
		}
	}
}
