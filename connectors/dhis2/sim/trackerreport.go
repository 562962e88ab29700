package sim

// trackerError is one error or warning of a tracker import.
type trackerError struct {
	Message string   `json:"message"`
	Code    string   `json:"errorCode,omitempty"`
	Warning string   `json:"warningCode,omitempty"`
	Type    string   `json:"trackerType"`
	UID     string   `json:"uid"`
	Args    []string `json:"args,omitempty"` // 2.41
}

type stats struct {
	Created int `json:"created"`
	Updated int `json:"updated"`
	Deleted int `json:"deleted"`
	Ignored int `json:"ignored"`
	Total   int `json:"total"`
}

type objectReport struct {
	Type   string         `json:"trackerType"`
	UID    string         `json:"uid"`
	Index  *int           `json:"index,omitempty"` // up to 2.40
	Errors []trackerError `json:"errorReports"`
}

type typeReport struct {
	Type    string         `json:"trackerType"`
	Stats   stats          `json:"stats"`
	Objects []objectReport `json:"objectReports"`
}

// report is the answer of a tracker import: no envelope.
type report struct {
	Errors, Warnings []trackerError
	Stats            stats
	minor            int
}

func (s *Server) newReport() *report {
	return &report{Errors: []trackerError{}, Warnings: []trackerError{}, minor: s.minor}
}

// fail notes an error of an object.
func (r *report) fail(s *Server, kind, uid, code string, args ...string) {
	e := trackerError{Message: s.text(codes().tracker, code, args...), Code: code, Type: kind, UID: uid}
	if s.since(41) {
		e.Args = args
	}
	r.Errors = append(r.Errors, e)
}

func (r *report) warn(s *Server, kind, uid, code string, args ...string) {
	r.Warnings = append(r.Warnings, trackerError{Message: s.text(codes().tracker, code, args...), Warning: code, Type: kind, UID: uid})
}

var trackerTypes = []string{"TRACKED_ENTITY", "ENROLLMENT", "RELATIONSHIP", "EVENT"}

// finished puts a report together; without objects nothing was written.
func (r *report) finished(status string, types map[string]*typeReport) record {
	validation := record{"errorReports": r.Errors}
	if r.minor > 40 {
		validation["warningReports"] = r.Warnings
	}
	out := record{"status": status, "validationReport": validation, "stats": r.Stats}
	if types == nil {
		return out
	}
	bundle := record{"typeReportMap": types}
	if r.minor <= 40 {
		done := r.Stats
		done.Ignored, done.Total = 0, done.Created+done.Updated+done.Deleted
		bundle["status"], bundle["stats"] = "OK", done
	}
	out["bundleReport"] = bundle
	return out
}

func newTypes() map[string]*typeReport {
	out := map[string]*typeReport{}
	for _, t := range trackerTypes {
		out[t] = &typeReport{Type: t, Objects: []objectReport{}}
	}
	return out
}
