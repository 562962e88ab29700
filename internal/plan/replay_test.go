package plan

import (
	"testing"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/record"
)

// TestAReplaySendsNothingTwiceThatCannotBeTakenBack: blind calls never, unless
// they are named; final ones only where the record was looked for and is gone.
func TestAReplaySendsNothingTwiceThatCannotBeTakenBack(t *testing.T) {
	sms := []call.Call{{Repeat: call.Blind, Reversal: call.Final}}
	final := []call.Call{{Repeat: call.Safe, Reversal: call.Exact}, {Repeat: call.Safe, Reversal: call.Final}}
	plain := []call.Call{{Repeat: call.Safe, Reversal: call.Exact}}
	sent := &ledger.Made{ID: "1", Created: true}
	for name, c := range map[string]struct {
		replay *ledger.Replay
		system string
		lasts  bool
		made   *ledger.Made
		calls  []call.Call
		want   bool
	}{
		"an ordinary delivery":              {nil, "rapidpro", false, sent, sms, false},
		"an SMS":                            {&ledger.Replay{System: "openmrs"}, "rapidpro", false, sent, sms, true},
		"an SMS of the restored system":     {&ledger.Replay{System: "rapidpro"}, "rapidpro", true, sent, sms, true},
		"an SMS that is named":              {&ledger.Replay{System: "openmrs", Again: []string{"sms"}}, "rapidpro", false, sent, sms, false},
		"an SMS that was never sent":        {&ledger.Replay{System: "openmrs"}, "rapidpro", false, nil, sms, false},
		"a final call that is gone":         {&ledger.Replay{System: "openmrs"}, "openmrs", true, sent, final, false},
		"a final call elsewhere":            {&ledger.Replay{System: "openmrs"}, "commcare", true, sent, final, true},
		"a final call that leaves no trace": {&ledger.Replay{System: "openmrs"}, "openmrs", false, sent, final, true},
		"calls that can be taken back":      {&ledger.Replay{System: "openmrs"}, "commcare", false, sent, plain, false},
	} {
		p := &planner{replay: c.replay}
		if got := p.notAgain(&Record{Name: "sms", System: c.system}, c.made, &connector.KindSpec{Lasts: c.lasts}, c.calls); got != c.want {
			t.Errorf("%s: left out %v, want %v", name, got, c.want)
		}
	}
}

// TestOnlyWhatWasForgottenIsPutBack: a field that says again what stood there
// before is given what was agreed last; what people changed since is theirs.
func TestOnlyWhatWasForgottenIsPutBack(t *testing.T) {
	agreed := map[string]record.Agreed{"phone": {Value: "new", Over: []any{"old", "older"}}, "gone": {Over: []any{"old"}}}
	made := &ledger.Made{ID: "1", Fields: record.Fields{"phone": "new"}, Before: record.Fields{"village": "before"}}
	for name, c := range map[string]struct {
		path      string
		ours, now any
		want      any // nil: not put back
	}{
		"as it was before":              {"phone", "new", "old", "new"},
		"as it was long before":         {"phone", "new", "older", "new"},
		"by an older message":           {"phone", "older", "old", "new"},
		"as it is agreed":               {"phone", "new", "new", nil},
		"as somebody set it since":      {"phone", "new", "other", nil},
		"emptied since":                 {"phone", "new", "", nil},
		"cleared, and there again":      {"gone", "", "old", record.Clear{}},
		"never agreed, as before us":    {"village", "ours", "before", "ours"},
		"never agreed, and not as then": {"village", "ours", "other", nil},
		"hidden":                        {"phone", "new", record.Unreadable{}, nil},
	} {
		r := &Record{System: "openmrs", ID: "1", Agreed: agreed, Write: record.Fields{}, Was: record.Fields{}, Mine: record.Fields{}}
		p := &planner{replay: &ledger.Replay{System: "openmrs"}, spec: &connector.KindSpec{}}
		if got := p.putBack(r, made, c.path, c.ours, c.now); got != (c.want != nil) || got && r.Write[c.path] != c.want {
			t.Errorf("%s: put back %v, writes %v", name, got, r.Write)
		}
		other := &planner{replay: &ledger.Replay{System: "dhis2"}, spec: &connector.KindSpec{}}
		if other.putBack(r, made, c.path, c.ours, c.now) {
			t.Errorf("%s: put back in a system that lost nothing", name)
		}
	}
}
