package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
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

// nextUUID gives where the next part of a path begins that is a UUID, -1 if none is.
func nextUUID(path string, from int) int {
	for ; from < len(path); from++ {
		end := strings.IndexByte(path[from:], '/')
		if end < 0 {
			end = len(path) - from
		}
		if end == 36 && path[from+8] == '-' && path[from+13] == '-' && path[from+18] == '-' && path[from+23] == '-' {
			return from
		}
		from += end
	}
	return -1
}

// stub answers at once, from a recording of one delivery against the
// simulator: the ids of the request at hand stand where the recorded ones did.
// It keeps no state, so that what is measured is Kiungo and not the target.
type stub struct {
	delay    time.Duration
	answers  map[string]reply
	keep     map[string]bool // ids that do not change: metadata
	seen     atomic.Int64
	listener net.Listener
	url      string
	rest     http.Handler // for what was not recorded: metadata
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
	out := append(make([]byte, 0, len(method)+len(uri)+2), method...)
	out = append(out, ' ')
	done := 0
	for at := nextUUID(path, 0); at >= 0; at = nextUUID(path, at+36) {
		if !s.keep[path[at:at+36]] {
			out = append(append(out, path[done:at]...), '*')
			done = at + 36
		}
	}
	out = append(append(out, path[done:]...), '?')
	// Of a query only the names matter: values are ids and moments.
	for part := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(part, "=")
		out = append(append(out, name...), '&')
	}
	return string(out)
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

// listen answers on loopback. It reads HTTP by itself: net/http's server would
// take a fifth of the two cores that are to show what Kiungo does with them.
func (s *stub) listen() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.listener, s.url = l, "http://"+l.Addr().String()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			go s.serve(c)
		}
	}()
	return nil
}

func (s *stub) close() { _ = s.listener.Close() }

// serve answers the requests of one connection, until it ends.
func (s *stub) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReaderSize(c, 16<<10)
	var head, body, out []byte
	for {
		var method, uri string
		length := 0
		head = head[:0]
		for n := 0; ; n++ {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return
			}
			head = append(head, line...)
			if n == 0 {
				method, uri, _ = strings.Cut(string(line), " ")
				uri, _, _ = strings.Cut(uri, " ")
				continue
			}
			if len(line) <= 2 {
				break
			}
			if name, value, _ := bytes.Cut(line, []byte(": ")); string(name) == "Content-Length" {
				length, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
			}
		}
		body = slices.Grow(body[:0], length)[:length]
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		a, ok := s.answers[s.key(method, uri)]
		if ok {
			s.seen.Add(1)
			time.Sleep(s.delay)
			out = s.answer(out[:0], &a, uri, body)
		} else {
			var err error
			if out, err = s.other(out[:0], append(head, body...)); err != nil {
				return
			}
		}
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

// answer makes a recorded answer with the ids of the request at hand.
func (s *stub) answer(out []byte, a *reply, uri string, body []byte) []byte {
	length := len(a.ids) * 36
	for _, part := range a.parts {
		length += len(part)
	}
	patient, own := s.patient(uri, body), bodyUUID(body)
	for _, id := range a.ids {
		if id == fromPatient && patient == "" || id == fromBody && own == "" {
			length -= 36
		}
	}
	out = fmt.Appendf(out, "HTTP/1.1 %d %s\r\nContent-Type: application/json;charset=UTF-8\r\nContent-Length: %d\r\n\r\n", a.status, http.StatusText(a.status), length)
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
	return out
}

// other has the simulator answer what was not recorded.
func (s *stub) other(out, request []byte) ([]byte, error) {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
	if err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	s.rest.ServeHTTP(w, r)
	buf := bytes.NewBuffer(out)
	answer := w.Result()
	answer.ContentLength = int64(w.Body.Len())
	err = answer.Write(buf)
	return buf.Bytes(), err
}

// patient finds the patient that a request is about: in the path, the query or the body.
func (s *stub) patient(uri string, body []byte) string {
	path, query, _ := strings.Cut(uri, "?")
	if at := nextUUID(path, 0); at >= 0 && !s.keep[path[at:at+36]] {
		return path[at : at+36]
	}
	if _, after, ok := strings.Cut("&"+query, "&patient="); ok && len(after) >= 36 {
		return after[:36]
	}
	if _, after, ok := bytes.Cut(body, []byte(`"patient":"`)); ok && len(after) >= 36 {
		return string(after[:36])
	}
	return ""
}
