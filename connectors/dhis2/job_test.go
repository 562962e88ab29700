package dhis2

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/record"
)

// begin sends a call that is imported in the background, and gives what later
// reads know of it.
func (r *rig) begin(c call.Call) call.Known {
	r.t.Helper()
	a, err := r.do(r.t.Context(), c.About, c.Request)
	if call.ClassOf(err) != call.Queued {
		r.t.Fatalf("%s: %v", c.Name, err)
	}
	outputs, err := c.Collect(a)
	if err != nil {
		r.t.Fatal(err)
	}
	return func(l record.Later) (string, bool) {
		v, ok := outputs[l.Output]
		return v, ok && l.Call == c.Name
	}
}

// ask reads one verdict of a call, as the runner does.
func (r *rig) ask(check call.Check, known call.Known) (call.Happened, error) {
	r.t.Helper()
	req, err := check.Read.Bound(known)
	if err != nil {
		r.t.Fatal(err)
	}
	a, err := r.do(r.t.Context(), "ask", req)
	if err != nil {
		r.t.Fatal(err)
	}
	o, err := r.sys.Kind("DataValueSet").Observe(check, a)
	return check.Judge(o, known), err
}

func background(t *testing.T, options string) (*rig, call.Call) {
	r := newRig(t, options)
	r.sys.background = 3
	calls := r.plan("DataValueSet", "", connector.Query{}, monthOf(row(births, maleDoc, 3), row(births, femTBA, 2), row(houses, "", 7)))
	return r, calls[0]
}

func TestABigReportIsImportedInTheBackgroundAndItsVerdictIsRead(t *testing.T) {
	for _, v := range versions {
		t.Run(v, func(t *testing.T) {
			r, c := background(t, `{"version":"`+v+`"}`)
			known := r.begin(c)
			if got, err := r.ask(c.Await.Verdicts[0], known); got != call.NotYet || err != nil {
				t.Errorf("a job that runs: %s %v", got, err)
			}
			if got, err := r.ask(c.Await.Verdicts[1], known); got != call.NotYet || err != nil {
				t.Errorf("the summary of a job that runs: %s %v", got, err)
			}
			for i, check := range c.Await.Verdicts {
				if got, err := r.ask(check, known); got != call.Yes || err != nil {
					t.Errorf("verdict %d of a job that has ended: %s %v", i+1, got, err)
				}
			}
			if sent, rev := r.undo("DataValueSet", c); !sent {
				t.Errorf("it was not undone: %+v", rev)
			}
		})
	}
}

func TestASmallReportIsNotImportedInTheBackground(t *testing.T) {
	r := newRig(t, "")
	r.sys.background = 3
	c := r.plan("DataValueSet", "", connector.Query{}, monthOf(row(births, maleDoc, 3), row(births, femTBA, 2)))[0]
	if c.Request.Query["async"][0] != "false" || c.Outputs != nil || c.Await.Verdicts != nil {
		t.Errorf("%+v", c)
	}
	r.sys.background = 0
	if c = r.plan("DataValueSet", "", connector.Query{}, monthOf(row(births, maleDoc, 3), row(births, femTBA, 2), row(houses, "", 7)))[0]; c.Await.Verdicts != nil {
		t.Errorf("0 is never: %+v", c)
	}
}

// The rows of the summary's conflicts are numbered as they were sent.
func TestTheVerdictOfAJobNamesTheRows(t *testing.T) {
	for _, v := range versions {
		r, c := background(t, `{"polls":0,"version":"`+v+`"}`)
		seed(t, r, `{"dataElements":[{"id":"`+births+`","valueType":"INTEGER_NEGATIVE"}]}`)
		known := r.begin(c)
		if got, err := r.ask(c.Await.Verdicts[0], known); got != call.Yes || err != nil {
			t.Errorf("%s: the job has ended: %s %v", v, got, err)
		}
		_, err := r.ask(c.Await.Verdicts[1], known)
		var denied *call.Denied
		if !errors.As(err, &denied) || denied.Class != call.Refusal || !denied.Traces || denied.Field != cell(births, maleDoc) ||
			!holds(denied.Reason, "Live births (Male, Doctor), Live births (Female, TBA): ", "E7619", "saved: 1") || strings.Contains(denied.Reason, "ouse") {
			t.Errorf("%s: %+v", v, err)
		}
	}
}

func TestAJobThatFailsLeavesTraces(t *testing.T) {
	r, c := background(t, `{"polls":0}`)
	c.Request.Body = []byte(`{"dataValues":[`)
	known := r.begin(c)
	_, err := r.ask(c.Await.Verdicts[0], known)
	var denied *call.Denied
	if !errors.As(err, &denied) || denied.Class != call.Refusal || !denied.Traces {
		t.Errorf("%v", err)
	}
}

// A server that was started again has forgotten its jobs: what stands there decides.
func TestAForgottenJobIsJudgedByWhatIsThere(t *testing.T) {
	r, c := background(t, "")
	known := r.begin(c)
	seed(t, r, `{"jobs":[]}`)
	for range 3 {
		if got, err := r.ask(c.Await.Verdicts[0], known); got != call.NotYet || err != nil {
			t.Errorf("%s %v", got, err)
		}
	}
	if got := c.Await.Check.Judge(r.look("DataValueSet", c.Await.Check), known); got != call.Yes {
		t.Errorf("the values are there: %s", got)
	}
}

func TestTheContractsOfJobsAreRead(t *testing.T) {
	s := opened(t, nil)
	for file, want := range map[string]struct {
		exists, denied bool
	}{"task_notifications_running": {}, "task_notifications": {exists: true}, "task_notifications_failed": {denied: true}} {
		o, err := s.ended(call.Answer{Status: 200, Body: golden(t, "jobs/"+file+".json")})
		if denied := errors.As(err, new(*call.Denied)); denied != want.denied || o.Exists != want.exists || err != nil && !denied {
			t.Errorf("%s: %+v %v", file, o, err)
		}
	}
	want := record.Fields{}
	for i := range 431 {
		want[cell("DataElemen1", fmt.Sprintf("Combinat%03d", i))] = "1"
	}
	if o, err := s.summaryOf(call.Answer{Status: 200, Body: golden(t, "jobs/task_summary.json")}, want); err != nil || !o.Exists {
		t.Errorf("%+v %v", o, err)
	}
	get := read(summariesPath + "kCMb2aYqGH5")
	if v := s.Classify(get, call.Answer{Status: 200}, nil); v.Class != call.Done {
		t.Errorf("a summary that is not there yet: %+v", v)
	}
	if v := s.Classify(read(valuesPath), call.Answer{Status: 200}, nil); v.Class == call.Done {
		t.Errorf("another empty answer: %+v", v)
	}
}

func FuzzJob(f *testing.F) {
	for _, name := range []string{"task_notifications_failed", "task_notifications_running", "task_summary"} {
		f.Add(golden(f, "jobs/"+name+".json"))
	}
	f.Add(golden(f, "data_value_sets/partial_response_409.json"))
	s := opened(f, nil)
	want := record.Fields{cell(births, maleDoc): "3", cell(houses, coc): record.Clear{}}
	f.Fuzz(func(t *testing.T, body []byte) {
		if o, err := s.ended(call.Answer{Status: 200, Body: body}); err != nil && o.Exists {
			t.Fatalf("ended and not: %v", err)
		}
		o, err := s.summaryOf(call.Answer{Status: 200, Body: body}, want)
		if err != nil && o.Exists || o.Exists && len(body) == 0 {
			t.Fatalf("%+v %v", o, err)
		}
	})
}

func seed(t *testing.T, r *rig, doc string) {
	t.Helper()
	if err := r.sim.Seed([]byte(doc)); err != nil {
		t.Fatal(err)
	}
}
