package upgrade

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestEachDifferenceIsNamedOnce compares two versions' lines.
func TestEachDifferenceIsNamedOnce(t *testing.T) {
	planned := func(message int64, records []Record, calls ...Call) Line {
		return Line{Message: message, Flow: "i05/visit", Each: "e", State: Planned, Records: records, Calls: calls}
	}
	encounter := func(write map[string]string) []Record {
		return []Record{{Name: "encounter", Kind: "openmrs/Encounter", ID: "u", What: "made", Write: write}}
	}
	create := func(request string) Call {
		return Call{Name: "encounter.create", Record: "encounter", Kind: "openmrs/Encounter", Request: request}
	}
	held := func(message int64, cause string) Line {
		return Line{Message: message, Flow: "i05/visit", Each: "e", State: "held", Code: "unmapped", Cause: cause, Reason: "because " + cause}
	}
	unread := Line{Message: 9, Flow: "i05/visit", Each: "e", State: notPlanned, Reason: "503"}
	old := []Line{
		planned(1, encounter(map[string]string{"at": "1", "obs/5089": "2"}), create("a")),
		planned(2, encounter(map[string]string{"at": "1"}), create("a")),
		planned(3, encounter(map[string]string{"at": "1"}), create("a")),
		planned(4, nil), held(5, "sex = x"), held(6, "sex = x"), held(7, "sex = x"), planned(8, nil, create("a")), unread,
		planned(11, encounter(map[string]string{"at": "1"}), create("a")),
	}
	now := []Line{
		planned(1, encounter(map[string]string{"at": "1", "obs/5089": "3"}), create("b")),
		planned(2, encounter(map[string]string{"at": "1", "obs/5088": "4"}), create("c")),
		planned(3, encounter(map[string]string{"at": "1"}), create("a")),
		held(4, "sex = y"), planned(5, nil), held(6, "sex = x"), held(7, "sex = z"), planned(8, nil), unread,
		planned(10, nil),
		planned(11, encounter(map[string]string{"at": "1"}), create("other header")),
	}
	got := Compare(old, now)
	want := &Report{Messages: 11, Deliveries: 11, Different: 8, Unread: 1, Found: []Difference{
		{Flow: "i05/visit", What: "call changed", Kind: "openmrs/Encounter", Name: "encounter.create", N: 1, Message: 11},
		{Flow: "i05/visit", What: "call removed", Kind: "openmrs/Encounter", Name: "encounter.create", N: 1, Message: 8},
		{Flow: "i05/visit", What: "field", Kind: "openmrs/Encounter", Name: "obs/5088", N: 1, Message: 2},
		{Flow: "i05/visit", What: "field", Kind: "openmrs/Encounter", Name: "obs/5089", N: 1, Message: 1},
		{Flow: "i05/visit", What: "held", Name: "held: sex = y", N: 1, Message: 4},
		{Flow: "i05/visit", What: "held", Name: "held: sex = z", N: 1, Message: 7},
		{Flow: "i05/visit", What: "more", Name: "0 calls", N: 1, Message: 10},
		{Flow: "i05/visit", What: "not held", Name: "held: sex = x", N: 1, Message: 5},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if back := Compare(now, now); back.Different != 0 || len(back.Found) != 0 {
		t.Errorf("the same differs from itself: %+v", back)
	}
}

func TestLinesAreReadAsTheyWerePrinted(t *testing.T) {
	want := []Line{{Message: 1, Flow: "f", State: Planned, Calls: []Call{{Name: "c"}}}, {Message: 2, Flow: "g", State: "held", Reason: "x"}}
	var b bytes.Buffer
	for _, l := range want {
		if err := json.NewEncoder(&b).Encode(l); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Read(&b)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if _, err := Read(bytes.NewBufferString("{\"message\":1}\nno\n")); err == nil {
		t.Error("a line that is none was read")
	}
}

// TestDigestsTellNothingButEquality: the same value is the same, and another
// salt gives another digest.
func TestDigestsTellNothingButEquality(t *testing.T) {
	a, b := digester("salt"), digester("other")
	again := digester("salt")
	if a.of("x") != again.of("x") || a.of("x") == a.of("y") || a.of("x") == b.of("x") || a.of(1.0) == a.of("1") {
		t.Error("digests")
	}
}
