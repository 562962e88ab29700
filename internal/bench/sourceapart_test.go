package bench

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/kiungo-health/kiungo/connectors"
)

// The process of the simulators says where they stand, serves them filled, and
// ends with its standard input, so that none is left behind.
func TestTheSimulatorsApartEndWithTheirInput(t *testing.T) {
	in, orders := io.Pipe()
	answers, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- Serve(context.Background(), connectors.All(), in, out) }()
	if err := json.NewEncoder(orders).Encode(order{World: "values", Options: SourceOptions{OrgUnits: 2, Elements: 3}}); err != nil {
		t.Fatal(err)
	}
	there := map[string]standing{}
	if err := json.NewDecoder(answers).Decode(&there); err != nil {
		t.Fatal(err)
	}
	at := there["dhis2"]
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at.URL+"/api/dataSets/BenchDsSet1?fields=organisationUnits,dataSetElements", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(at.Settings["username"], at.Settings["password"])
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var set struct {
		Units    []any `json:"organisationUnits"`
		Elements []any `json:"dataSetElements"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&set); err != nil || len(set.Units) != 2 || len(set.Elements) != 3 || len(there) != len(worldSystems) {
		t.Errorf("HTTP %d: %+v %v; %v", resp.StatusCode, set, err, there)
	}
	_ = orders.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAWorldThatIsNotThereIsSaid(t *testing.T) {
	in, orders := io.Pipe()
	go func() { _ = json.NewEncoder(orders).Encode(order{World: "moon"}) }()
	if err := Serve(t.Context(), connectors.All(), in, io.Discard); err == nil {
		t.Error("it is served")
	}
}
