package upgrade

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type counting struct{ n int }

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n++
	body := ""
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		body = string(b)
	}
	return &http.Response{StatusCode: 200 + c.n, Header: http.Header{"Date": {"now"}}, Body: io.NopCloser(strings.NewReader(fmt.Sprintf("%d %s %s", c.n, r.URL, body)))}, nil
}

// TestBothVersionsReadTheSame: what was answered once is answered so again, also
// to another process, though the system says something else by then.
func TestBothVersionsReadTheSame(t *testing.T) {
	file := filepath.Join(t.TempDir(), "reads")
	live := &counting{}
	ask := func(r *Recorded, method, url, body string) string {
		t.Helper()
		req, err := http.NewRequest(method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := r.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("Date"), " ", string(b))
	}
	for range 2 {
		r, err := OpenRecorded(file, live)
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range []struct{ method, url, body, want string }{
			{"GET", "http://a/x?q=1", "", "201 now 1 http://a/x?q=1 "},
			{"GET", "http://a/x?q=2", "", "202 now 2 http://a/x?q=2 "},
			{"POST", "http://a/search", "one", "203 now 3 http://a/search one"},
			{"POST", "http://a/search", "two", "204 now 4 http://a/search two"},
			{"GET", "http://a/x?q=1", "", "201 now 1 http://a/x?q=1 "},
		} {
			if got := ask(r, q.method, q.url, q.body); got != q.want {
				t.Errorf("%s %s %s: %q, want %q", q.method, q.url, q.body, got, q.want)
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if live.n != 4 {
		t.Errorf("%d requests were sent, want 4", live.n)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file holds patients' data, and may be read: %v %v", info, err)
	}
	if err := os.WriteFile(file, []byte("{\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenRecorded(file, live); err == nil {
		t.Error("a broken file was taken")
	}
}
