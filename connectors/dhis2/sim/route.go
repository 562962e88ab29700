package sim

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// route finds the handler of a request; its path is what follows /api.
func (s *Server) route(r *request) answer {
	if len(r.path) == 0 {
		return ok(record{"resources": []any{}})
	}
	name, _, _ := strings.Cut(r.path[0], ".")
	switch name {
	case "me", "system", "systemSettings", "periodTypes", "apiToken", "ping":
		return s.about(r, name)
	case "dataValueSets":
		return by(r, map[string]func(*request) answer{"GET": s.getValues, "POST": s.postValues})
	case "completeDataSetRegistrations":
		return by(r, map[string]func(*request) answer{"GET": s.getComplete, "POST": s.postComplete, "DELETE": s.deleteComplete})
	case "lockExceptions":
		return by(r, map[string]func(*request) answer{"GET": s.lockExceptions, "POST": s.mark, "DELETE": s.mark})
	case "dataApprovals":
		return by(r, map[string]func(*request) answer{"POST": s.mark, "DELETE": s.mark})
	case "tracker":
		return s.routeTracker(r)
	case "events":
		if s.since(42) {
			return notFound("HTTP 404 Not Found")
		}
		return by(r, map[string]func(*request) answer{"GET": s.readLegacy, "POST": s.legacyEvents})
	}
	return by(r, map[string]func(*request) answer{"GET": s.metadataGet})
}

// by chooses by method; HEAD is GET.
func by(r *request, handlers map[string]func(*request) answer) answer {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if h := handlers[method]; h != nil {
		return h(r)
	}
	return message(http.StatusMethodNotAllowed, "Request method '"+r.Method+"' is not supported")
}

func (s *Server) routeTracker(r *request) answer {
	switch {
	case len(r.path) == 1:
		return by(r, map[string]func(*request) answer{"POST": s.postTracker})
	case r.path[1] == "events" && len(r.path) <= 3:
		return by(r, map[string]func(*request) answer{"GET": s.trackerEvents})
	case r.path[1] == "jobs":
		return by(r, map[string]func(*request) answer{"GET": s.trackerJob})
	}
	return notFound("HTTP 404 Not Found")
}

func (s *Server) about(r *request, name string) answer {
	switch {
	case name == "ping":
		return raw("text/plain", []byte("pong"))
	case name == "me":
		return by(r, map[string]func(*request) answer{"GET": s.me})
	case name == "systemSettings":
		return by(r, map[string]func(*request) answer{"GET": s.systemSettings})
	case name == "periodTypes":
		return by(r, map[string]func(*request) answer{"GET": s.periodTypes})
	case name == "apiToken":
		return by(r, map[string]func(*request) answer{"POST": s.createToken})
	case len(r.path) < 2:
		return notFound("HTTP 404 Not Found")
	}
	part, _, _ := strings.Cut(r.path[1], ".")
	switch part {
	case "ping":
		return raw("text/plain", []byte("pong"))
	case "info":
		return s.info(r)
	case "id":
		return s.newIDs(r)
	case "tasks":
		return s.tasks(r)
	case "taskSummaries":
		return s.taskSummary(r)
	}
	return notFound("HTTP 404 Not Found")
}

func (s *Server) info(r *request) answer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	now := s.now()
	out := record{"contextPath": "http://" + r.Host, "userAgent": r.UserAgent(), "calendar": s.opt.Calendar, "dateFormat": "yyyy-MM-dd",
		"serverDate": stamp(now), "serverTimeZoneId": s.opt.Zone, "serverTimeZoneDisplayName": now.Format("MST"),
		"lastAnalyticsTableSuccess": stamp(now.Truncate(24 * time.Hour)), "intervalSinceLastAnalyticsTableSuccess": "7 h, 57 m, 57 s",
		"lastAnalyticsTableRuntime": "00:01:30.000", "version": s.opt.Version, "revision": "74bc573", "buildTime": born,
		"systemId": s.opt.SystemID, "systemName": "Kiungo simulated DHIS2"}
	if r.user.may("ALL") {
		out["databaseInfo"], out["javaVersion"], out["osName"] = record{"spatialSupport": true}, "17.0.9", "Linux"
	}
	return ok(out)
}

func (s *Server) newIDs(r *request) answer {
	n, err := strconv.Atoi(r.get("limit"))
	if r.get("limit") == "" {
		n, err = 1, nil
	}
	if err != nil || n < 0 || n > 10000 {
		return message(http.StatusConflict, "Limit must be between 0 and 10000")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]string, 0, n)
	for range n {
		out = append(out, s.uid())
	}
	return ok(record{"codes": out})
}

func (s *Server) me(r *request) answer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(r.path) > 1 && r.path[1] == "authorities" {
		return ok(r.user.authorities)
	}
	u := r.user
	one := record{"id": u.id, "username": u.name, "name": strings.TrimSpace(u.first + " " + u.last), "displayName": strings.TrimSpace(u.first + " " + u.last),
		"firstName": u.first, "surname": u.last, "authorities": anys(u.authorities), "organisationUnits": refs(r.scope...),
		"dataViewOrganisationUnits": refs(r.scope...), "teiSearchOrganisationUnits": refs(r.scope...), "userGroups": refs(u.groups...),
		"settings": record{"keyDbLocale": nil, "keyUiLocale": "en"}, "disabled": u.disabled, "created": born}
	fields := parseFields(strings.Join(r.query["fields"], ","))
	if len(fields) == 0 {
		fields = []field{{name: "*"}}
	}
	for i := range fields { // three names of one collection
		if fields[i].name == "dataViewOrganisationUnits" || fields[i].name == "teiSearchOrganisationUnits" {
			fields[i].rename, fields[i].name = fields[i].name, "organisationUnits"
		}
	}
	return ok(s.show(one, fields, u))
}

func anys(list []string) []any {
	out := make([]any, 0, len(list))
	for _, v := range list {
		out = append(out, v)
	}
	return out
}

func (s *Server) systemSettings(r *request) answer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(r.path) > 1 {
		v, found := s.settings[r.path[1]]
		if !found {
			return notFound("Setting does not exist: " + r.path[1])
		}
		return ok(record{r.path[1]: v})
	}
	out := record{}
	keys := r.all("key")
	if len(keys) == 0 {
		keys = sorted(s.settings)
	}
	for _, k := range keys {
		if v, found := s.settings[k]; found {
			out[k] = v
		}
	}
	return ok(out)
}

func (s *Server) periodTypes(*request) answer {
	list := []any{}
	for _, kinds := range []string{"P1D", "P7D", "P14D", "P1M", "P2M", "P3M", "P6M", "P1Y"} {
		for _, kind := range adxKinds[kinds] {
			if kind != "FinancialSep" || s.since(42) {
				list = append(list, record{"name": kind, "displayName": kind, "isoDuration": kinds})
			}
		}
	}
	return ok(record{"periodTypes": list})
}

// createToken is POST /api/apiToken: the key is shown this once.
func (s *Server) createToken(r *request) answer {
	in, err := readRecord(r)
	if err != nil {
		return message(http.StatusBadRequest, err.Error())
	}
	t := &token{user: r.user.name, expires: time.UnixMilli(int64(number(in, "expire")))}
	if number(in, "expire") == 0 {
		s.mu.RLock()
		t.expires = s.now().AddDate(0, 0, 30)
		s.mu.RUnlock()
	}
	strs := func(a record, key string) (out []string) {
		for _, v := range list(a, key) {
			out = append(out, fmt.Sprint(v))
		}
		return out
	}
	for _, v := range list(in, "attributes") {
		a, _ := v.(record)
		t.ips = append(t.ips, strs(a, "allowedIps")...)
		t.methods = append(t.methods, strs(a, "allowedMethods")...)
		t.to = append(t.to, strs(a, "allowedReferrers")...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := s.newToken(1000 + len(s.tokens))
	s.tokens[key] = t
	return answer{status: http.StatusCreated, body: webMessage{HTTPStatus: "Created", Code: http.StatusCreated, Status: "OK",
		Response: record{"responseType": "ApiTokenCreationResponse", "key": key, "uid": s.uid(), "klass": "org.hisp.dhis.security.apikey.ApiToken", "errorReports": []any{}}}}
}

// mark is what an office does to data: POST or DELETE of an approval
// (/api/dataApprovals) or a lock exception (/api/lockExceptions), by ds, pe, ou.
func (s *Server) mark(r *request) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, _ := s.model.sets.find("", r.get("ds"))
	u, _ := s.model.units.find("", r.get("ou"))
	p := s.parsePeriod(r.get("pe"))
	if d == nil || u == nil || p == nil {
		return message(http.StatusConflict, "Illegal data set, period or organisation unit identifier")
	}
	key := completeKey{set: d.id, period: p.name, unit: u.id}
	into := s.data.exempted
	if strings.HasPrefix(r.path[0], "dataApprovals") {
		into, key.aoc = s.data.approved, s.model.fallback.id
	}
	if r.Method == http.MethodDelete {
		delete(into, key)
		return answer{status: http.StatusNoContent}
	}
	into[key] = true
	return message(http.StatusCreated, "Created")
}

// lockExceptions lists the periods that are open although they are locked, by
// the filters that clients use: dataSet.id and organisationUnit.id.
func (s *Server) lockExceptions(r *request) answer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	set, unit := "", ""
	for _, f := range r.query["filter"] {
		if id, ok := strings.CutPrefix(f, "dataSet.id:eq:"); ok {
			set = id
		}
		if id, ok := strings.CutPrefix(f, "organisationUnit.id:eq:"); ok {
			unit = id
		}
	}
	out := []record{}
	for k := range s.data.exempted {
		if (set == "" || set == k.set) && (unit == "" || unit == k.unit) {
			out = append(out, record{"dataSet": record{"id": k.set}, "organisationUnit": record{"id": k.unit}, "period": record{"id": k.period}})
		}
	}
	slices.SortFunc(out, func(a, b record) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return ok(record{"lockExceptions": out})
}
