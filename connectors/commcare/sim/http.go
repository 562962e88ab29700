package sim

import (
	"crypto/subtle"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/kiungo-health/kiungo/connectors/commcare/xform"
)

func (s *Sim) routes() http.Handler {
	mux := http.NewServeMux()
	at := "/a/" + s.o.Domain
	api := func(pattern string, h http.HandlerFunc) { mux.Handle(pattern, s.allowed(h)) }
	api("GET "+at+"/api/case/v2/{$}", s.listCases)
	api("GET "+at+"/api/case/v2/{id}", s.getCase)
	api("GET "+at+"/api/case/v2/{id}/{$}", s.getCase)
	api("GET "+at+"/api/case/v2/ext/{id}/{$}", s.getExternal)
	api("POST "+at+"/api/case/v2/bulk-fetch/{$}", s.bulkFetch)
	api("POST "+at+"/api/case/v2/{$}", s.postCase)
	api("PUT "+at+"/api/case/v2/{$}", s.putCase)
	api("PUT "+at+"/api/case/v2/{id}", s.putCase)
	api("PUT "+at+"/api/case/v2/{id}/{$}", s.putCase)
	api("PUT "+at+"/api/case/v2/ext/{id}/{$}", s.upsertCase)
	for _, v := range []string{"/api/form/v1/", "/api/v0.5/form/"} {
		api("GET "+at+v+"{$}", s.listForms)
		api("GET "+at+v+"{id}/{$}", s.getForm)
	}
	api("GET "+at+"/api/v0.5/user/{id}/{$}", s.oneOf(func() map[string]map[string]any { return s.users }))
	api("GET "+at+"/api/v0.5/user/{$}", s.allOf(func() map[string]map[string]any { return s.users }))
	api("GET "+at+"/api/v0.5/web-user/{id}/{$}", s.oneOf(func() map[string]map[string]any { return s.webUsers }))
	api("GET "+at+"/api/location/v2/{id}/{$}", s.oneOf(func() map[string]map[string]any { return s.locations }))
	api("GET "+at+"/api/location/v2/{$}", s.allOf(func() map[string]map[string]any { return s.locations }))
	api("GET "+at+"/api/v0.5/simplereportconfiguration/{$}", s.listReports)
	api("GET "+at+"/api/v0.5/simplereportconfiguration/{id}/{$}", s.getReport)
	api("GET "+at+"/api/v0.5/configurablereportdata/{id}/{$}", s.reportData)
	mux.HandleFunc("POST "+at+"/receiver/", s.receive)
	return mux
}

// allowed asks for the API's credentials, and throttles.
func (s *Sim) allowed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		limited, wait := s.throttle > 0, s.wait
		if limited {
			s.throttle--
		}
		s.mu.Unlock()
		switch {
		case limited:
			w.Header().Set("Retry-After", wait)
			w.WriteHeader(http.StatusTooManyRequests)
		case !s.authorised(r):
			w.WriteHeader(http.StatusUnauthorized)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// A second web user, as in the simulator of OpenMRS: a person of the project.
const clerk, clerkPassword = "clerk", "Clerk123"

func (s *Sim) authorised(r *http.Request) bool {
	same := func(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
	if key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "ApiKey "); ok {
		return same(key, s.o.Username+":"+s.o.APIKey)
	}
	user, password, ok := r.BasicAuth()
	if ok && same(user, clerk) && same(password, clerkPassword) {
		return true
	}
	return ok && same(user, s.o.Username) && same(password, s.o.Password)
}

func answer(w http.ResponseWriter, status int, doc any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(encode(doc))
}

func problem(w http.ResponseWriter, status int, text string) {
	answer(w, status, map[string]any{"error": text})
}

// oneOf answers one document of a tastypie resource: an empty 404 without it.
func (s *Sim) oneOf(of func() map[string]map[string]any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		doc := of()[r.PathValue("id")]
		s.mu.Unlock()
		if doc == nil {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		s.asAsked(w, r, doc)
	}
}

func (s *Sim) allOf(of func() map[string]map[string]any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		objects := []any{}
		for _, id := range sorted(of()) {
			objects = append(objects, of()[id])
		}
		s.mu.Unlock()
		s.asAsked(w, r, map[string]any{"meta": map[string]any{"limit": len(objects), "next": nil, "offset": 0, "previous": nil,
			"total_count": len(objects)}, "objects": objects})
	}
}

// asAsked answers JSON if asked for it, else XML: the location API's default.
func (s *Sim) asAsked(w http.ResponseWriter, r *http.Request, doc map[string]any) {
	if r.URL.Query().Get("format") == "json" || strings.Contains(r.Header.Get("Accept"), "json") {
		answer(w, http.StatusOK, doc)
		return
	}
	doc = clone(doc)
	doc["#type"] = "object"
	w.Header().Set("Content-Type", "application/xml; charset=utf-8")
	_, _ = w.Write(xform.Render(doc))
}

// receive is the submission receiver: the body, or the file xml_submission_file
// of a multipart body. OpenRosa 2 answers 201 even to what it could not
// process; with X-OpenRosa-Version 3.0 that is 422.
func (s *Sim) receive(w http.ResponseWriter, r *http.Request) {
	secured := strings.Contains(r.URL.Path, "/secure/") || strings.HasSuffix(r.URL.Path, "/receiver/api/")
	if secured && !s.authorised(r) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	body, err := submitted(r)
	if err != nil {
		openRosa(w, http.StatusInternalServerError, "submit_error", "cannot read the submission")
		return
	}
	_, err = s.Submit(body)
	var index *InvalidCaseIndex
	switch {
	case err == nil, errors.Is(err, ErrDuplicate):
		openRosa(w, http.StatusCreated, "submit_success", "   √   ")
	case errors.Is(err, ErrIgnored):
		openRosa(w, http.StatusCreated, "submit_success", "√ (this submission was ignored)")
	case errors.As(err, &index) && r.Header.Get("X-OpenRosa-Version") == "3.0":
		openRosa(w, http.StatusUnprocessableEntity, "processing_failure", err.Error())
	case errors.As(err, &index):
		openRosa(w, http.StatusCreated, "submit_error", err.Error())
	default:
		openRosa(w, http.StatusInternalServerError, "submit_error", err.Error())
	}
}

func submitted(r *http.Request) ([]byte, error) {
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/") {
		return io.ReadAll(r.Body)
	}
	file, _, err := r.FormFile("xml_submission_file")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(file)
}

func openRosa(w http.ResponseWriter, status int, nature, text string) {
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `<OpenRosaResponse xmlns="http://openrosa.org/http/response"><message nature="`+nature+`">`)
	_ = xml.EscapeText(w, []byte(text))
	_, _ = io.WriteString(w, `</message></OpenRosaResponse>`)
}
