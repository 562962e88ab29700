package flow

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kiungo-health/kiungo/internal/connector"
)

const usesFlow = `flow: month
from: {commcare: report, report: r1, every: month, day: 3, sample: samples/row.json}
let: {unit: 'row.unit ?? lookup("units", row.clinic)'}
records:
  values:
    kind: dhis2/DataValueSet
    set:
      dataSet: '${site.visitType}'
      period: '${row.month}'
      orgUnit: '${unit}'
      values:
        - {dataElement: DE1, value: '${number(row.a)}'}
        - each: {cell: 'table("cells")'}
          when: cell.element != "OFF"
          dataElement: '${cell.element}'
          categoryOptionCombo: '${cell.combo}'
          value: '${number(row[cell.column])}'
        - each: {x: rows(row.more)}
          when: x.code != ""
          dataElement: '${x.code}'
          categoryOptionCombo: FIXED
          value: '${number(x.value)}'
  done:
    kind: dhis2/Completion
    set: {of: '${values}'}
`

// What a flow says of a system by itself: literals, site values, cells of tables.
// Where the message decides, nothing is said, so that nothing wrong is reported.
func TestUsesHoldWhatIsKnownWithoutAMessage(t *testing.T) {
	in, problems := snippet(t, usesFlow, "samples/row.json", `{"row": {"unit": "u", "clinic": "c", "month": "202610", "a": "1", "more": [{"code": "X", "value": "2"}, {"code": "Y", "value": "3"}]}}`,
		"tables/units.csv", "clinic,unit,name\nc1,OU1,One\nc2,OU2,Two\nc3,OU1,Three\nc4,,none\n",
		"tables/cells.csv", "column,element,combo\na,DE2,CO1\na,DE2,CO2\na,OFF,\n")
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	uses := in.Flows[0].Uses()
	if len(uses) != 2 || uses[0].Connector != "dhis2" || uses[0].Kind != "DataValueSet" || uses[0].Where != "i05/month, record values (flows/a.yaml:5)" {
		t.Fatalf("%+v", uses)
	}
	want := connector.Use{Where: uses[0].Where, Kind: "DataValueSet", Period: "Monthly", Day: 3,
		Values: map[string][]string{"dataSet": {"7b0f5697"}, "orgUnit": {"OU1", "OU2"}},
		Rows: map[string][]map[string]string{"values": {{"dataElement": "DE1"},
			{"dataElement": "DE2", "categoryOptionCombo": "CO1"}, {"dataElement": "DE2", "categoryOptionCombo": "CO2"},
			{"categoryOptionCombo": "FIXED"}}}}
	if diff := cmp.Diff(want, uses[0].Use); diff != "" {
		t.Error(diff)
	}
	if len(uses[1].Values) > 0 || len(uses[1].Rows) > 0 {
		t.Errorf("a reference to a record is no literal: %+v", uses[1])
	}
}
