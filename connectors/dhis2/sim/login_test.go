package sim

import (
	"encoding/csv"
	"net/http"
	"strings"
	"testing"
	"time"
)

func rows(t *testing.T, name string) [][]string {
	t.Helper()
	all, err := csv.NewReader(strings.NewReader(string(sample(t, name)))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return all[1:]
}

func TestTokensAreCheckedByPrefixLengthAndSum(t *testing.T) {
	for _, row := range rows(t, "auth/pat_vectors.csv") {
		if got := validToken(row[0]); got != (row[3] == "true") {
			t.Errorf("%s: valid %v, want %s", row[0], got, row[3])
		}
	}
	for version, prefix := range map[string]string{"2.40.1": tokenV1, "2.42.3": tokenV2} {
		s := newServer(t, `{"version":"`+version+`"}`)
		if k := s.Token(); !strings.HasPrefix(k, prefix) || !validToken(k) {
			t.Errorf("%s makes %s", version, k)
		}
	}
}

func TestRefusedLoginsAreWordedAsTheContract(t *testing.T) {
	const seed = `{"users":[{"username":"off","password":"p","disabled":true},{"username":"shut","password":"p","locked":true},{"username":"second","password":"p","twoFA":true}],
		"apiTokens":[{"n":2,"expires":"2020-01-01"},{"n":3,"allowedIps":["10.9.9.9"]},{"n":4,"allowedMethods":["POST"]},{"n":5,"username":"second"}]}`
	s := newServer(t, "", seed)
	basic := func(user, password string) string {
		r := http.Request{Header: http.Header{}}
		r.SetBasicAuth(user, password)
		return r.Header.Get("Authorization")
	}
	for _, c := range []struct {
		name, header string
		status       int
	}{
		{"basic_bad_password_401", basic("kiungo", "wrong"), 401},
		{"basic_account_disabled_401", basic("off", "p"), 401},
		{"basic_account_locked_401", basic("shut", "p"), 401},
		{"pat_malformed_400", "ApiToken d2p_with blank", 400},
		{"pat_checksum_400", "ApiToken FAKE_KEY", 400},
		{"pat_unknown_401", "ApiToken " + s.newToken(99), 401},
		{"pat_expired_401", "ApiToken " + s.newToken(2), 401},
		{"pat_ip_401", "ApiToken " + s.newToken(3), 401},
		{"pat_method_401", "ApiToken " + s.newToken(4), 401},
		{"pat_disabled_or_2fa_401", "ApiToken " + s.newToken(5), 401},
	} {
		w := bare(t, s, "GET", "/api/me", nil, "Authorization", c.header)
		same(t, w, c.status, "auth/"+c.name+".json")
		if strings.HasPrefix(c.header, "ApiToken") && w.Header().Get("WWW-Authenticate") != "ApiToken" {
			t.Errorf("%s: WWW-Authenticate %q", c.name, w.Header().Get("WWW-Authenticate"))
		}
	}
	if w := bare(t, s, "GET", "/api/me", nil, "Authorization", "ApiToken "+s.Token()); w.Code != 200 {
		t.Errorf("the good token: HTTP %d %s", w.Code, w.Body)
	}
	poor := newServer(t, `{"authorities":["M_dhis-web-dashboard"]}`)
	same(t, ask(t, poor, "POST", "/api/dataValueSets", `{}`), 403, "auth/no_authority_403.json")
}

func TestWithoutCredentialsTheLoginPageIsShown(t *testing.T) {
	s := newServer(t, "")
	w := bare(t, s, "GET", "/api/me", nil)
	if w.Code != 302 || w.Header().Get("Location") != "/dhis-web-login/" || w.Header().Get("Content-Type") != "text/html" {
		t.Errorf("HTTP %d %v", w.Code, w.Header())
	}
	if w := bare(t, s, "GET", "/dhis-web-login/", nil); w.Code != 200 || !strings.Contains(w.Body.String(), "<html>") {
		t.Errorf("the page: HTTP %d %s", w.Code, w.Body)
	}
	same(t, bare(t, s, "GET", "/api/me", nil, "X-Requested-With", "XMLHttpRequest"), 401, "auth/basic_bad_password_401.json")
}

func TestWrongPasswordsLockTheAccountForATime(t *testing.T) {
	s := newServer(t, "")
	at := time.Date(2024, 2, 3, 9, 0, 0, 0, time.UTC)
	s.SetClock(func() time.Time { return at })
	for range 5 {
		bare(t, s, "GET", "/api/me", nil, "Authorization", "Basic a2l1bmdvOndyb25n")
	}
	same(t, ask(t, s, "GET", "/api/me", nil), 401, "auth/basic_account_locked_401.json")
	at = at.Add(lockTime)
	if w := ask(t, s, "GET", "/api/me", nil); w.Code != 200 {
		t.Errorf("after the lock: HTTP %d %s", w.Code, w.Body)
	}
}

func TestASessionKeepsTheOrgUnitsOfItsLogin(t *testing.T) {
	s := newServer(t, `{"orgUnits":["OuFacYala01"]}`)
	first := ask(t, s, "GET", "/api/me?fields=organisationUnits[id,path]", nil)
	cookie := first.Header().Get("Set-Cookie")
	if err := s.Seed([]byte(`{"users":[{"username":"kiungo","organisationUnits":[{"id":"OuNation001"}]}]}`)); err != nil {
		t.Fatal(err)
	}
	unit := func(header ...string) any {
		return dig(must(t, bare(t, s, "GET", "/api/me?fields=organisationUnits[id]", nil, header...), 200), "organisationUnits", 0, "id")
	}
	if got := unit("Cookie", strings.Split(cookie, ";")[0]); got != "OuFacYala01" {
		t.Errorf("with the cookie: %v", got)
	}
	if got := unit("Authorization", "ApiToken "+s.Token()); got != "OuNation001" {
		t.Errorf("without: %v", got)
	}
}

func TestATokenIsMadeByItsOwner(t *testing.T) {
	s := newServer(t, `{"version":"2.40.1"}`)
	w := ask(t, s, "POST", "/api/apiToken", sample(t, "auth/apitoken_request.json"))
	key := dig(must(t, w, 201), "response", "key").(string)
	same(t, w, 201, "auth/apitoken_create_response.json", "response/key", "response/uid")
	same(t, bare(t, s, "GET", "/api/me", nil, "Authorization", "ApiToken "+key), 401, "auth/pat_ip_401.json")
}
