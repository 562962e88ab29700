package sim

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"time"
)

//go:embed seed/national.json
var national []byte

func readRecord(r *request) (record, error) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	return decodeRecord(b)
}

func decodeRecord(b []byte) (record, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var out record
	if err := dec.Decode(&out); err != nil {
		return nil, err
	}
	return out, nil
}

// The scenarios' clerk: a person of the health office, who may do everything.
const (
	clerkName     = "clerk"
	clerkPassword = "Clerk123"
)

// begin makes the accounts and the content that a new server has.
func (s *Server) begin() error {
	own := &user{id: "KiungoUser1", name: s.opt.Username, password: s.opt.Password, first: "Kiungo", last: "Integration", authorities: s.opt.Authorities, scopes: [][]string{s.opt.OrgUnits}, everywhere: s.opt.OrgUnits == nil}
	if own.authorities == nil {
		own.authorities = []string{"F_DATAVALUE_ADD", "F_DATAVALUE_DELETE", "M_dhis-web-dataentry", "F_TRACKED_ENTITY_INSTANCE_SEARCH_IN_ALL_ORGUNITS"}
	}
	clerk := &user{id: "ClerkUser01", name: clerkName, password: clerkPassword, first: "Health", last: "Office", authorities: []string{"ALL"}, scopes: [][]string{nil}, everywhere: true}
	s.users[clerk.name], s.users[own.name] = clerk, own
	s.tokens[s.Token()] = &token{user: own.name}
	s.rebuild()
	if s.opt.Empty {
		return nil
	}
	if err := s.Seed(national); err != nil {
		return fmt.Errorf("the national set-up: %w", err)
	}
	if s.opt.Facilities > 0 || s.opt.Programs > 0 {
		s.generate()
		s.rebuild()
	}
	return nil
}

// Seed adds content. A document is a DHIS2 metadata bundle (an object of lists
// of objects, each with its id; what is there already is overlaid), and may
// also hold:
//
//	users            {username, id, password, disabled, locked, twoFA, authorities, organisationUnits, userGroups}
//	apiTokens        {key or n, username, expires, allowedIps, allowedMethods}
//	settings         system settings by name
//	dataValues       as they would be posted, by the clerk, who forces locked periods
//	events           as they would be posted to the tracker, by the clerk
//	completeDataSetRegistrations
//	dataApprovals, lockExceptions   {dataSet, period, organisationUnit}
//	proxy            what stands before the server: {drops: [Authorization], api: "37", query: {}}
//	afterDryRun      a list of such documents: each is seeded after one dry run of data values
//	jobs             []: the server was started again, and knows no job any more
func (s *Server) Seed(doc []byte) error {
	in, err := decodeRecord(doc)
	if err != nil {
		return fmt.Errorf("read the seed: %w", err)
	}
	if err := s.seedMetadata(in); err != nil {
		return err
	}
	for _, part := range []struct{ key, path string }{{"dataValues", "dataValueSets?force=true"},
		{"events", "tracker?async=false&importStrategy=CREATE_AND_UPDATE"}, {"completeDataSetRegistrations", "completeDataSetRegistrations"}} {
		if in[part.key] == nil {
			continue
		}
		body, err := json.Marshal(record{part.key: in[part.key]})
		if err != nil {
			return fmt.Errorf("seed %s: %w", part.key, err)
		}
		r := httptest.NewRequest(http.MethodPost, marker+"/"+part.path, bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.SetBasicAuth(clerkName, clerkPassword)
		w := httptest.NewRecorder()
		s.answer(w, r)
		if w.Code >= http.StatusBadRequest {
			return fmt.Errorf("seed %s: HTTP %d: %s", part.key, w.Code, strings.TrimSpace(w.Body.String()))
		}
	}
	return nil
}

// widen gives whoever works everywhere the roots of the tree as it is now.
func (s *Server) widen() {
	roots := []string{}
	s.meta.each("organisationUnits", func(id string, r record) {
		if s.meta.get("organisationUnits", idOf(r["parent"])) == nil {
			roots = append(roots, id)
		}
	})
	for name, old := range s.users {
		if !old.everywhere || slices.Equal(old.scopes[len(old.scopes)-1], roots) {
			continue
		}
		u := *old
		u.scopes = append(slices.Clone(u.scopes), roots)
		s.users[name] = &u
	}
}

// ownKeys are the parts of a seed that are no metadata.
var ownKeys = []string{"users", "apiTokens", "settings", "dataValues", "events", "completeDataSetRegistrations", "dataApprovals", "lockExceptions", "system", "date", "proxy", "afterDryRun", "jobs"}

func (s *Server) seedMetadata(in record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := false
	for _, name := range sorted(in) {
		if slices.Contains(ownKeys, name) {
			continue
		}
		objects, isList := in[name].([]any)
		if !isList {
			return fmt.Errorf("seed: %s is no list of metadata objects", name)
		}
		for n, v := range objects {
			r, _ := v.(record)
			if id := text(r, "id"); !uidPattern.MatchString(id) {
				return fmt.Errorf("seed %s %d: %q is no uid", name, n+1, id)
			}
			s.meta.put(name, r)
			changed = true
		}
	}
	if changed {
		s.rebuild()
		s.widen()
	}
	for k, v := range inner(in, "settings") {
		s.settings[k] = v
	}
	if in["proxy"] != nil {
		if err := s.seedProxy(in["proxy"]); err != nil {
			return err
		}
	}
	for _, v := range list(in, "afterDryRun") {
		doc, isDoc := v.(record)
		if !isDoc {
			return fmt.Errorf("seed afterDryRun: each is a document to seed")
		}
		s.later = append(s.later, doc)
	}
	if in["jobs"] != nil {
		s.jobs = map[string]*job{}
	}
	for _, v := range list(in, "users") {
		if err := s.seedUser(v); err != nil {
			return err
		}
	}
	for _, v := range list(in, "apiTokens") {
		if err := s.seedToken(v); err != nil {
			return err
		}
	}
	for key, into := range map[string]map[completeKey]bool{"dataApprovals": s.data.approved, "lockExceptions": s.data.exempted} {
		for _, v := range list(in, key) {
			r, _ := v.(record)
			p := s.parsePeriod(text(r, "period"))
			if p == nil {
				return fmt.Errorf("seed %s: %q is no period", key, text(r, "period"))
			}
			k := completeKey{set: text(r, "dataSet"), period: p.name, unit: text(r, "organisationUnit")}
			if key == "dataApprovals" {
				k.aoc = s.model.fallback.id
			}
			into[k] = true
		}
	}
	return nil
}

func inner(r record, key string) record {
	v, _ := r[key].(record)
	return v
}

// seedUser adds an account or changes one. Requests under way keep the account
// as it was.
func (s *Server) seedUser(v any) error {
	r, _ := v.(record)
	name := text(r, "username")
	if name == "" {
		name = text(inner(r, "userCredentials"), "username")
	}
	if name == "" {
		return fmt.Errorf("seed users: one has no username")
	}
	u := &user{id: derivedUID("user", name), name: name, scopes: [][]string{nil}}
	if old := s.users[name]; old != nil {
		c := *old
		u = &c
	}
	if id := text(r, "id"); id != "" {
		u.id = id
	}
	for key, into := range map[string]*string{"password": &u.password, "firstName": &u.first, "surname": &u.last} {
		if t := text(r, key); t != "" {
			*into = t
		}
	}
	for key, into := range map[string]*bool{"disabled": &u.disabled, "locked": &u.locked, "twoFA": &u.twoFA} {
		if b, given := r[key].(bool); given {
			*into = b
		}
	}
	var authorities []string
	for _, a := range list(r, "authorities") {
		authorities = append(authorities, fmt.Sprint(a))
	}
	for _, role := range idsOf(r, "userRoles") {
		for _, a := range list(s.meta.get("userRoles", role), "authorities") {
			authorities = append(authorities, fmt.Sprint(a))
		}
	}
	if r["authorities"] != nil || authorities != nil {
		u.authorities = authorities
	}
	if r["userGroups"] != nil {
		u.groups = idsOf(r, "userGroups")
	}
	if r["organisationUnits"] != nil {
		u.scopes, u.everywhere = append(slices.Clone(u.scopes), idsOf(r, "organisationUnits")), false
	}
	s.users[name] = u
	return nil
}

func (s *Server) seedToken(v any) error {
	r, _ := v.(record)
	key := text(r, "key")
	if key == "" {
		key = s.newToken(int(number(r, "n")))
	}
	t := &token{user: text(r, "username")}
	if t.user == "" {
		t.user = s.opt.Username
	}
	if e := text(r, "expires"); e != "" {
		at, err := time.ParseInLocation("2006-01-02", e, s.zone)
		if err != nil {
			return fmt.Errorf("seed apiTokens: expires: %w", err)
		}
		t.expires = at
	}
	for _, x := range list(r, "allowedIps") {
		t.ips = append(t.ips, fmt.Sprint(x))
	}
	for _, x := range list(r, "allowedMethods") {
		t.methods = append(t.methods, fmt.Sprint(x))
	}
	s.tokens[key] = t
	return nil
}
