package commcare

import (
	"net/http/httptest"
	"testing"

	"github.com/kiungo-health/kiungo/connectors/commcare/sim"
)

func BenchmarkReceive(b *testing.B) {
	s := open(b, nil)
	for name, body := range map[string][]byte{"json": file(b, "forms/form-json.registration.json"), "xml": file(b, "submission/xform.register-case.request.xml")} {
		b.Run(name, func(b *testing.B) {
			r := httptest.NewRequest("POST", "/", nil)
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, err := s.Receive(r, body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkGenerateAndSubmit(b *testing.B) {
	hq, err := sim.New(nil)
	if err != nil {
		b.Fatal(err)
	}
	g := sim.NewGenerator(1, 1000, 20)
	for b.Loop() {
		if _, err := hq.Submit(g.Next().Body); err != nil {
			b.Fatal(err)
		}
	}
}
