package commcare

import (
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// sample decodes a form or a case, as CommCare forwards it, for check: a
// flow's sample files are real payloads.
func sample(kind string, raw []byte) ([][]byte, error) {
	s := &System{users: newCache(0, time.Now), places: newCache(0, time.Now)}
	messages, err := s.Receive(&http.Request{Method: http.MethodPost, URL: &url.URL{}, Header: http.Header{}}, raw)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for _, m := range messages {
		if m.Kind != kind {
			return nil, fmt.Errorf("it is a %s, not a %s", m.Kind, kind)
		}
		out = append(out, m.Content)
	}
	return out, nil
}
