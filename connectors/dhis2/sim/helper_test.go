package sim

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// The samples are copies of contracts/dhis2, whose README names the source of each.
func sample(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(t testing.TB, b []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	return v
}

func newServer(t testing.TB, options string, seeds ...string) *Server {
	t.Helper()
	s, err := New([]byte(options))
	if err != nil {
		t.Fatal(err)
	}
	for _, seed := range seeds {
		if err := s.Seed([]byte(seed)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// bare is a request without credentials.
func bare(t testing.TB, s *Server, method, path string, body any, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	var b []byte
	switch v := body.(type) {
	case nil:
	case []byte:
		b = v
	case string:
		b = []byte(v)
	default:
		var err error
		if b, err = json.Marshal(v); err != nil {
			t.Fatal(err)
		}
	}
	var in io.Reader = bytes.NewReader(b)
	r := httptest.NewRequest(method, "http://dhis2.example.org"+path, in)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// ask is a request of the integration's user.
func ask(t testing.TB, s *Server, method, path string, body any, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(s.opt.Username, s.opt.Password)
	return bare(t, s, method, path, body, append([]string{"Authorization", r.Header.Get("Authorization")}, header...)...)
}

// asClerk is a request of the health office.
func asClerk(t testing.TB, s *Server, method, path string, body any) *httptest.ResponseRecorder {
	t.Helper()
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(clerkName, clerkPassword)
	return bare(t, s, method, path, body, "Authorization", r.Header.Get("Authorization"))
}

// must parses an answer of a status.
func must(t testing.TB, w *httptest.ResponseRecorder, status int) map[string]any {
	t.Helper()
	if w.Code != status {
		t.Fatalf("HTTP %d, want %d: %s", w.Code, status, w.Body)
	}
	if w.Body.Len() == 0 {
		return nil
	}
	v, _ := parse(t, w.Body.Bytes()).(map[string]any)
	return v
}

// dig follows keys and list positions.
func dig(v any, path ...any) any {
	for _, p := range path {
		switch k := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[k]
		case int:
			l, _ := v.([]any)
			if k >= len(l) {
				return nil
			}
			v = l[k]
		}
	}
	return v
}
