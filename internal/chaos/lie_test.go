//go:build unix

package chaos

import (
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/google/uuid"
)

// lie is a system that does not do what it says, or something between it and us.
type lie struct {
	kind   string
	system string // "" for any
	share  float64
}

// Kinds of lies.
const (
	loginPage  = "a login page with 200, nothing done"
	emptyOK    = "200 with {}, nothing done"
	emptyMade  = "201 without a body, nothing done"
	otherMade  = "201 that names another record, done"
	brokenMade = "201 with half a body, done"
	noAnswer   = "200 without a body, done"
)

var lies = []string{loginPage, emptyOK, emptyMade, otherMade, brokenMade, noAnswer}

func (g *gate) liar(system string, r *http.Request) *lie {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.lies {
		if (l.system == "" || l.system == system) && rand.Float64() < l.share {
			g.told++
			return l
		}
	}
	return nil
}

func (g *gate) lie(l ...*lie) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lies = l
}

func (l *lie) tell(w http.ResponseWriter, r *http.Request, next http.Handler) {
	switch l.kind {
	case loginPage:
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html><body><form>Please log in to the network</form></body></html>")
		return
	case emptyOK:
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
		return
	case emptyMade:
		w.WriteHeader(http.StatusCreated)
		return
	}
	out := httptest.NewRecorder()
	next.ServeHTTP(out, r)
	body := out.Body.String()
	status := out.Code
	if status < 300 {
		switch l.kind {
		case otherMade:
			// The first uuid is that of what was made.
			if i := strings.Index(body, `"uuid":"`); i >= 0 && len(body) > i+44 {
				body = body[:i+8] + uuid.NewString() + body[i+44:]
			}
		case brokenMade:
			body = body[:len(body)/2]
		case noAnswer:
			body = ""
		}
	}
	for k, v := range out.Header() {
		if k != "Content-Length" {
			w.Header()[k] = v
		}
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}
