package dhis2

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/record"
)

// defaultBackground is from how many values in one request on DHIS2 is asked to
// import in the background: a proxy before it cuts a request at 60 seconds.
const defaultBackground = 5000

// Where a job's log and its verdict are read (SystemController, 2.38 to 2.43). Both
// show only what the same user has started, and neither outlives a restart of
// the server.
const (
	tasksPath     = "/system/tasks/DATAVALUE_IMPORT/"
	summariesPath = "/system/taskSummaries/DATAVALUE_IMPORT/"
)

// inBackground makes a call that is answered before its work is done: first the
// job's log is asked whether it has ended, then its summary for the verdict row
// by row. Where the server has forgotten the job, what stands there decides.
func inBackground(c *call.Call) {
	c.Request.Query["async"] = []string{"true"}
	c.Outputs = map[string]string{"job": "/response/id"}
	id := "{" + c.Name + ".job}"
	c.Await.Verdicts = []call.Check{
		{Read: read(tasksPath + id), As: "task", Want: record.Fields{}},
		// The rows of its conflicts are numbered as they were sent: in the order of Want.
		{Read: read(summariesPath + id), As: "summary", Want: c.Check.Want},
	}
}

// notice is one line of a job's log.
type notice struct {
	Level     string `json:"level"`
	Completed bool   `json:"completed"`
}

// ended reads a job's log, the newest line first: [] before it begins, and when
// the server has forgotten it.
func (s *System) ended(a call.Answer) (call.Observed, error) {
	if a.Status == http.StatusNotFound {
		return call.Observed{}, nil
	}
	var log []notice
	if err := json.Unmarshal(a.Body, &log); err != nil {
		return call.Observed{}, fmt.Errorf("read the job's log that DHIS2 sent: %w", err)
	}
	for _, n := range log {
		if n.Completed && n.Level == "ERROR" {
			// How far it came is not said.
			return call.Observed{}, &call.Denied{Verdict: call.Verdict{Class: call.Refusal, Traces: true,
				Reason: "DHIS2 began to import in the background and failed: its log says more"}}
		}
		if n.Completed {
			return call.Observed{Exists: true}, nil
		}
	}
	return call.Observed{}, nil
}

// summaryOf reads the verdict of a job on the rows of a call.
func (s *System) summaryOf(a call.Answer, want record.Fields) (call.Observed, error) {
	body := bytes.TrimSpace(a.Body)
	if len(body) == 0 || a.Status == http.StatusNotFound {
		return call.Observed{}, nil
	}
	sum, ok := decodeSummary(body)
	if !ok {
		return call.Observed{}, fmt.Errorf("read the job's summary that DHIS2 sent: it is in a form that this version of Kiungo does not know")
	}
	rows := make([]sentRow, 0, len(want))
	for _, path := range want.Paths() {
		element, combo, _ := cellOf(path)
		rows = append(rows, sentRow{path, s.meta.cellName(element, combo), record.Empty(want[path])})
	}
	v := sum.judge(rows, true, s.countsAll())
	if v.Class == call.Done {
		return call.Observed{Exists: true}, nil
	}
	v.Class = call.Refusal // the job has ended: it is not the job that is tried again
	return call.Observed{}, &call.Denied{Verdict: v}
}
