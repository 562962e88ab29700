package commcare

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"

	"github.com/kiungo-health/kiungo/connectors/commcare/xform"
	"github.com/kiungo-health/kiungo/internal/connector"
)

// inbound are the credentials that CommCare sends with data forwarding.
type inbound struct{ user, password, header, key string }

// Authorised checks the credentials of a forwarded request: basic
// authentication, or an API key in a header, whichever is configured. Without
// either, nobody may push.
func (s *System) Authorised(r *http.Request) bool {
	if s.inbound.user != "" {
		user, password, ok := r.BasicAuth()
		if ok && equal(user, s.inbound.user) && equal(password, s.inbound.password) {
			return true
		}
	}
	return s.inbound.key != "" && equal(r.Header.Get(s.inbound.header), s.inbound.key)
}

// equal compares without telling by its time how much was right.
func equal(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// Receive decodes one forwarded payload: a form (JSON or XML), a case (JSON or
// XML), a form stub, a user, a location or an app's id. It reads nothing from
// elsewhere: a stub names a form that is only at CommCare, and wakes the sweep.
func (s *System) Receive(r *http.Request, body []byte) ([]connector.Incoming, error) {
	in, err := s.receive(r, body)
	var b *xform.Bad
	if errors.As(err, &b) {
		return nil, &connector.BadInput{Text: b.Text}
	}
	if err != nil || in == nil {
		return nil, err
	}
	return []connector.Incoming{*in}, nil
}

func (s *System) receive(r *http.Request, body []byte) (*connector.Incoming, error) {
	body = bytes.TrimPrefix(bytes.TrimSpace(body), []byte("\xef\xbb\xbf"))
	switch {
	case len(body) == 0:
		return nil, &xform.Bad{Text: "the body is empty; set the forwarding format to JSON or XML"}
	case body[0] == '<':
		return s.receiveXML(r, body)
	case isAppID(r, body):
		return nil, nil
	}
	doc, err := xform.DecodeJSON(body)
	if err != nil {
		return nil, err
	}
	object, ok := doc.(map[string]any)
	if !ok {
		return nil, &xform.Bad{Text: "the body is not a form, a case or a form stub: it is not a JSON object"}
	}
	return s.receiveJSON(r, object)
}

func (s *System) receiveJSON(r *http.Request, doc map[string]any) (*connector.Incoming, error) {
	has := func(names ...string) bool {
		for _, n := range names {
			if _, ok := doc[n]; !ok {
				return false
			}
		}
		return true
	}
	switch {
	case has("form"):
		fill(doc, "received_on", r.Header.Get("received-on"))
		fill(doc, "app_id", appID(r))
		return formMessage(doc)
	case has("form_id", "case_ids"):
		return &connector.Incoming{Wake: streamForms}, nil
	case has("case_id"):
		return caseMessage(doc, r.Header.Get("server-modified-on"))
	case has("location_id", "site_code"):
		s.places.forget(xform.Text(doc["location_id"]))
		return nil, nil
	case has("id", "username"):
		s.users.forget(xform.Text(doc["id"]))
		return nil, nil
	}
	return nil, &xform.Bad{Text: "the body is none of what CommCare forwards: form, case, form stub, user, location"}
}

func (s *System) receiveXML(r *http.Request, body []byte) (*connector.Incoming, error) {
	root, err := xform.ParseXML(body)
	if err != nil {
		return nil, err
	}
	if root.Name == "case" && xform.IsBlock(root.JSON) {
		return caseBlockMessage(root.JSON, r.Header.Get("server-modified-on"))
	}
	if root.XMLNS == "" {
		return nil, &xform.Bad{Text: "the XML is not a form: its root has no xmlns"}
	}
	doc := map[string]any{"form": root.JSON}
	fill(doc, "received_on", r.Header.Get("received-on"))
	fill(doc, "app_id", appID(r))
	return formMessage(doc)
}

func appID(r *http.Request) string {
	if r.URL == nil {
		return ""
	}
	return r.URL.Query().Get("app_id")
}

func fill(doc map[string]any, name, value string) {
	if xform.Text(doc[name]) == "" && value != "" {
		doc[name] = value
	}
}

// isAppID tells app structure forwarding: the bare id of an app, sent as text/xml.
func isAppID(r *http.Request, body []byte) bool {
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "text/") || len(body) > 64 {
		return false
	}
	for _, c := range body {
		hex := c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c == '-'
		if !hex {
			return false
		}
	}
	return true
}
