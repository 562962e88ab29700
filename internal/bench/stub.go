package bench

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"time"
)

// exchange is one recorded request of a delivery and its answer.
type exchange struct {
	method, path string // path with the query
	body         []byte
	status       int
	answer       []byte
}

var uuidPattern = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// stub answers at once, from a recording of one delivery against the
// simulator: the ids of the request at hand stand where the recorded ones did.
// It keeps no state, so that what is measured is Kiungo and not the target.
type stub struct {
	delay   time.Duration
	answers map[string]reply
	keep    map[string]bool // ids that do not change: metadata
	seen    atomic.Int64
	server  *http.Server
	url     string
	rest    http.Handler // for what was not recorded: metadata
}

// reply is a recorded answer, cut where the ids of a request belong.
type reply struct {
	status int
	parts  [][]byte
	ids    []slot // between parts
}

// slot says which id of the request stands there: the one in the path
// (patient), or the one that the body chose (uuid).
type slot int

const (
	fromPatient slot = iota
	fromBody
)

func newStub(exchanges []exchange, patient string, keep map[string]bool, rest http.Handler, delay time.Duration) *stub {
	s := &stub{delay: delay, answers: map[string]reply{}, keep: keep, rest: rest}
	for _, x := range exchanges {
		key := s.key(x.method, x.path)
		if _, again := s.answers[key]; again {
			continue // a second reading of the same: the stub has no state, and nothing depends on it
		}
		s.answers[key] = cut(x.status, x.answer, patient, bodyUUID(x.body))
	}
	return s
}

func (s *stub) key(method, uri string) string {
	path, query, _ := strings.Cut(uri, "?")
	path = uuidPattern.ReplaceAllStringFunc(path, func(id string) string {
		if s.keep[id] {
			return id
		}
		return "*"
	})
	// Of a query only the names matter: values are ids and moments.
	var names []string
	for part := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(part, "=")
		names = append(names, name)
	}
	return method + " " + path + "?" + strings.Join(names, "&")
}

func bodyUUID(body []byte) string {
	_, after, ok := bytes.Cut(body, []byte(`"uuid":"`))
	if !ok || len(after) < 36 {
		return ""
	}
	return string(after[:36])
}

func cut(status int, answer []byte, patient, own string) reply {
	r := reply{status: status}
	for {
		p, o := index(answer, patient), index(answer, own)
		switch {
		case p < 0 && o < 0:
			r.parts = append(r.parts, answer)
			return r
		case o < 0 || p >= 0 && p < o:
			r.parts, r.ids = append(r.parts, answer[:p]), append(r.ids, fromPatient)
			answer = answer[p+36:]
		default:
			r.parts, r.ids = append(r.parts, answer[:o]), append(r.ids, fromBody)
			answer = answer[o+36:]
		}
	}
}

func index(b []byte, id string) int {
	if id == "" {
		return -1
	}
	return bytes.Index(b, []byte(id))
}

func (s *stub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, ok := s.answers[s.key(r.Method, r.URL.RequestURI())]
	if !ok {
		s.rest.ServeHTTP(w, r)
		return
	}
	s.seen.Add(1)
	var body []byte
	if r.Method != http.MethodGet {
		body, _ = io.ReadAll(r.Body)
	}
	if s.delay > 0 {
		time.Sleep(s.delay)
	}
	patient, own := s.patient(r, body), bodyUUID(body)
	out := make([]byte, 0, 2048)
	for i, part := range a.parts {
		out = append(out, part...)
		if i < len(a.ids) {
			if a.ids[i] == fromPatient {
				out = append(out, patient...)
			} else {
				out = append(out, own...)
			}
		}
	}
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.WriteHeader(a.status)
	_, _ = w.Write(out)
}

// patient finds the patient that a request is about: in the path, the query or the body.
func (s *stub) patient(r *http.Request, body []byte) string {
	if id := uuidPattern.FindString(r.URL.Path); id != "" && !s.keep[id] {
		return id
	}
	if id := r.URL.Query().Get("patient"); id != "" {
		return id
	}
	if _, after, ok := bytes.Cut(body, []byte(`"patient":"`)); ok && len(after) >= 36 {
		return string(after[:36])
	}
	return ""
}

func (s *stub) listen() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.url = "http://" + l.Addr().String()
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.server.Serve(l) }()
	return nil
}

func (s *stub) close() { _ = s.server.Shutdown(context.Background()) }
