package sim

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/simulate"
)

// Tomcat dates every answer; whoever asks learns the server's clock from it.
func TestEveryAnswerIsDatedByTheServersOwnClock(t *testing.T) {
	s := newServer(t, `{"now":"2024-02-03T09:00:00","zone":"Africa/Nairobi"}`)
	dated := func(why string) {
		t.Helper()
		at, err := http.ParseTime(ask(t, s, "GET", "/api/me", nil).Header().Get("Date"))
		if want := time.Date(2024, 2, 3, 6, 0, 0, 0, time.UTC); err != nil || at.Sub(want) > time.Minute || at.Before(want) {
			t.Errorf("%s: %v %v, want %v", why, at, err, want)
		}
	}
	dated("a good answer")
	s.Traffic().Switch(simulate.Fault{Kind: simulate.Error503, Match: "*"})
	dated("a failure")
}

func TestAProxyChangesWhatComesThrough(t *testing.T) {
	s := newServer(t, `{"version":"2.41.0","now":"2024-02-03T09:00:00"}`)
	put := func(doc string) {
		t.Helper()
		if err := s.Seed([]byte(doc)); err != nil {
			t.Fatal(err)
		}
	}
	put(`{"proxy":{"drops":["Authorization","X-Requested-With"]}}`)
	w := ask(t, s, "GET", "/api/me", nil, "X-Requested-With", "XMLHttpRequest")
	if w.Code != http.StatusFound || w.Header().Get("Location") != loginPage {
		t.Errorf("without credentials: HTTP %d to %q", w.Code, w.Header().Get("Location"))
	}
	put(`{"proxy":{"drops":["Authorization"]}}`)
	if w := ask(t, s, "GET", "/api/me", nil, "X-Requested-With", "XMLHttpRequest"); w.Code != http.StatusUnauthorized {
		t.Errorf("without credentials, from a script: HTTP %d", w.Code)
	}
	put(`{"proxy":{"api":"37"}}`)
	bad := `{"dataSet":"LbDsMonth10","period":"202401","orgUnit":"OuVilYal001","dataValues":[{"dataElement":"ChDeHouse01","value":"many"}]}`
	if m := must(t, ask(t, s, "POST", "/api/dataValueSets", bad), 200); m["status"] != "WARNING" || m["response"] != nil {
		t.Errorf("/api/37: %v", m)
	}
	put(`{"proxy":{"query":{"atomicMode":"OBJECT"}}}`)
	event := `{"events":[{"event":"Y8FRzr4y2jG","program":"EvPrFever01","orgUnit":"yyyyyyyyyyy","occurredAt":"2024-01-15"}]}`
	if m := must(t, ask(t, s, "POST", tracker+"CREATE&atomicMode=ALL", event), 200); m["status"] != "OK" || dig(m, "stats", "ignored") != 1.0 {
		t.Errorf("atomicMode=OBJECT: %v", m)
	}
	put(`{"proxy":{}}`)
	must(t, ask(t, s, "POST", "/api/dataValueSets", bad), 409)
	if err := s.Seed([]byte(`{"proxy":{"drop":["x"]}}`)); err == nil {
		t.Error("a proxy with an unknown key was taken")
	}
}

func TestWhatChangesAfterADryRunIsThereForTheImport(t *testing.T) {
	s := newServer(t, `{"now":"2024-02-03T09:00:00"}`)
	if err := s.Seed([]byte(`{"afterDryRun":[{"dataSets":[{"id":"LbDsMonth10","expiryDays":1}]},{"settings":{}}]}`)); err != nil {
		t.Fatal(err)
	}
	body := `{"dataSet":"LbDsMonth10","period":"202401","orgUnit":"OuVilYal001","dataValues":[{"dataElement":"ChDeHouse01","value":"7"}]}`
	must(t, ask(t, s, "POST", "/api/dataValueSets?dryRun=true", body), 200)
	if m := must(t, ask(t, s, "POST", "/api/dataValueSets", body), 409); !strings.Contains(dig(m, "response", "conflicts", 0, "errorCode").(string), "E7640") {
		t.Errorf("%v", m)
	}
	for _, bad := range []string{`{"afterDryRun":["x"]}`, `{"afterDryRun":[[]]}`} {
		if err := s.Seed([]byte(bad)); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}
