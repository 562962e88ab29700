package sim

import (
	"fmt"
	"net/http"
	"strings"
)

// job is an import that was asked for with async=true. It runs at once; who asks
// sees it start and end as the polls go by.
type job struct {
	id, kind string
	user     string
	polls    int
	summary  any
	log      []notice
}

// notice is one line of a job's log.
type notice struct {
	UID       string `json:"uid"`
	Level     string `json:"level"`
	Category  string `json:"category"`
	Time      string `json:"time"`
	Message   string `json:"message"`
	Completed bool   `json:"completed"`
	ID        string `json:"id"`
}

func (s *Server) uid() string {
	s.seq++
	return derivedUID("job", s.opt.SystemID, fmt.Sprint(s.seq))
}

// newJob keeps what a job came to. The lock must be held.
func (s *Server) newJob(r *request, kind, started, ended, failed string, result any) *job {
	j := &job{id: s.uid(), kind: kind, user: r.user.name, summary: result}
	line := func(level, text string, done bool) notice {
		id := s.uid()
		return notice{id, level, kind, stamp(s.now()), text, done, id}
	}
	j.log = []notice{line("INFO", started, false)}
	if failed != "" {
		j.log = append([]notice{line("ERROR", failed, true)}, j.log...)
	} else {
		j.log = append([]notice{line("INFO", ended, true)}, j.log...)
	}
	s.jobs[j.id] = j
	return j
}

// startImport answers async=true of data values and completeness.
func (s *Server) startImport(r *request, kind string, do func() *summary) answer {
	sum := do()
	s.mu.Lock()
	defer s.mu.Unlock()
	failed, ended := "", "Import done"
	switch {
	case sum.Options == nil:
		failed = "Process failed: " + strings.TrimPrefix(sum.Description, "The import process failed: ")
	case sum.Status == "ERROR" && kind == "DATAVALUE_IMPORT":
		ended = "Import process aborted"
	}
	j := s.newJob(r, kind, "Process started", ended, failed, sum)
	name, response := kind+"_"+j.id, record{"responseType": "JobConfiguration", "id": j.id, "created": stamp(s.now()), "jobType": kind,
		"relativeNotifierEndpoint": "/api/system/tasks/" + kind + "/" + j.id}
	text := "Initiated " + name
	if s.since(41) {
		response["jobStatus"] = "NOT_STARTED"
	} else {
		name, text = "dataValueImport", "Initiated dataValueImport"
		if kind != "DATAVALUE_IMPORT" {
			name, text = "completeDataSetRegistrationImport", "Initiated completeDataSetRegistrationImport"
		}
	}
	response["name"] = name
	return envelope(http.StatusOK, "OK", text, response)
}

// poll is what a job shows to this asking: nothing, the start, then all.
func (s *Server) poll(j *job) []notice {
	if j == nil {
		return []notice{}
	}
	j.polls++
	switch {
	case j.polls > s.opt.Polls:
		return j.log
	case j.polls == 1 && s.opt.Polls > 1:
		return []notice{}
	}
	return j.log[len(j.log)-1:]
}

// tasks is /api/system/tasks: a log only for who started the job.
func (s *Server) tasks(r *request) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	mine := func(id, kind string) *job {
		if j := s.jobs[id]; j != nil && j.kind == kind && j.user == r.user.name {
			return j
		}
		return nil
	}
	switch p := r.path[2:]; len(p) {
	case 2:
		return ok(s.poll(mine(p[1], p[0])))
	case 1, 0:
		out := record{}
		for _, id := range sorted(s.jobs) {
			j := s.jobs[id]
			if j.user != r.user.name || len(p) == 1 && j.kind != p[0] {
				continue
			}
			of, _ := out[j.kind].(record)
			if of == nil {
				of = record{}
				out[j.kind] = of
			}
			of[id] = j.log
		}
		if len(p) == 1 {
			if out[p[0]] == nil {
				return ok(record{})
			}
			return ok(out[p[0]])
		}
		return ok(out)
	}
	return notFound("HTTP 404 Not Found")
}

// taskSummary is /api/system/taskSummaries/KIND/ID: a plain summary, or an
// empty body as long as there is none.
func (s *Server) taskSummary(r *request) answer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(r.path) != 4 {
		return notFound("HTTP 404 Not Found")
	}
	j := s.jobs[r.path[3]]
	if j == nil || j.kind != r.path[2] || j.user != r.user.name || j.polls <= s.opt.Polls || j.summary == nil {
		return raw(jsonType, []byte{})
	}
	return ok(j.summary)
}
