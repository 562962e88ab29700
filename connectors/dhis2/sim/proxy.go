package sim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// proxy is what stands before the server and changes requests on their way, as
// sites have it. What is answered then is the server's own.
type proxy struct {
	// Drops are header fields that do not come through. Without Authorization and
	// X-Requested-With the server sends to its login page.
	Drops []string `json:"drops"`
	// API is the number that it puts into addresses: /api becomes /api/37, which
	// answers 200 whatever happens, up to 2.41.
	API string `json:"api"`
	// Query are parameters that it sets, whatever the client asked for.
	Query map[string]string `json:"query"`
}

func (p *proxy) pass(r *http.Request) *http.Request {
	if p == nil {
		return r
	}
	r = r.Clone(r.Context())
	for _, name := range p.Drops {
		r.Header.Del(name)
	}
	if len(p.Query) > 0 {
		q := r.URL.Query()
		for k, v := range p.Query {
			q.Set(k, v)
		}
		r.URL.RawQuery = q.Encode()
	}
	if p.API != "" {
		r.URL.Path = strings.Replace(r.URL.Path, marker+"/", marker+"/"+p.API+"/", 1)
	}
	return r
}

// seedProxy puts a proxy before the server; {} takes it away. The lock must be held.
func (s *Server) seedProxy(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	p := &proxy{}
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(p); err != nil {
		return fmt.Errorf("seed proxy: %w", err)
	}
	s.proxy = p
	return nil
}

// dryRan plays what somebody at the office changes right after a dry run, before
// the import that follows it: the first document seeded under afterDryRun.
func (s *Server) dryRan() {
	s.mu.Lock()
	var doc record
	if len(s.later) > 0 {
		doc, s.later = s.later[0], s.later[1:]
	}
	s.mu.Unlock()
	if doc == nil {
		return
	}
	b, err := json.Marshal(doc)
	if err == nil {
		err = s.Seed(b)
	}
	if err != nil {
		panic("afterDryRun: " + err.Error()) // a scenario's own mistake
	}
}
