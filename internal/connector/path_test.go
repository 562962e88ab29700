package connector

import "testing"

func TestOpenFieldsHaveTheirCanonicalPath(t *testing.T) {
	k := &KindSpec{OpenUnder: "properties", Fields: []FieldSpec{{Name: "case_name"}, {Name: "properties"}, {Name: "indices"}}, Gives: []FieldSpec{{Name: "case_id"}}}
	for name, want := range map[string]string{"phone": "properties/phone", "properties/phone": "properties/phone", "case_name": "case_name",
		"case_id": "case_id", "indices/parent/case_id": "indices/parent/case_id"} {
		if got := k.Path(name); got != want {
			t.Errorf("%s stands at %s, want %s", name, got, want)
		}
	}
	if got := (&KindSpec{}).Path("phone"); got != "phone" {
		t.Errorf("a kind without OpenUnder: %s", got)
	}
}
