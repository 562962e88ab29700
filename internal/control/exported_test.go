package control

import "testing"

func TestAnExportIsKeptInTheServersAuditTrail(t *testing.T) {
	s := newSite(t)
	s.begin(t, "a")
	if err := s.remote.Exported(t.Context(), Export{Delivery: 1, Who: "amina", Note: "4 values"}); err != nil {
		t.Fatal(err)
	}
	audits, err := s.Audits(t.Context(), 1, 0, 10)
	if err != nil || len(audits) == 0 || audits[0].Act != "export" || audits[0].Who != "amina" || audits[0].Delivery != 1 || audits[0].Note != "4 values" {
		t.Error(audits, err)
	}
}
