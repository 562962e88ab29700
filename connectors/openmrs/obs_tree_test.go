package openmrs

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kiungo-health/kiungo/internal/record"
)

// TestTreeAndFieldsSayTheSame: whatever the labels, and in groups of groups.
func TestTreeAndFieldsSayTheSame(t *testing.T) {
	want := record.Fields{
		"obs/A#1/value": 1.0, "obs/A#1/comment": "x", "obs/A#1 2/value": "space before slash", "obs/A#1.5/value": "point", "obs/A#10/value": 10.0,
		"obs/B#1/comment": "of a group", "obs/B#1/obs/A#1/value": true, "obs/B#1/obs/C#1/obs/A#2/value": "deep", "obs/B#1/obs/C#1/obs/A#2/comment": "c",
		"obs/B#2/obs/A#1/value": "other group",
	}
	f := want.Clone()
	f["patient"], f["obs/Z#1/value"], f["obs/nolabel/value"] = "p", "", "no row"
	got := record.Fields{}
	nodes := treeOf(f, "")
	fieldsOf(nodes, "", got, nil)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := size(nodes); n != 10 {
		t.Errorf("%d rows", n)
	}
}

// TestPartsOfAPatientHaveTheirPaths: every field of the kind is read, and no other.
func TestPartsOfAPatientHaveTheirPaths(t *testing.T) {
	got, want := record.Fields{}, record.Fields{}
	(&wireName{}).fields(got)
	(&wireAddress{}).fields(got)
	for _, n := range nameFields {
		want["name/"+n.ours] = ""
	}
	for _, n := range addressFields {
		want["address/"+n] = ""
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
