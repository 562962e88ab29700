package store

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/internal/postgrestest"
)

// TestWhereALedgerIsIsComparedWhereItIsKnown: what a service does not tell is
// not compared.
func TestWhereALedgerIsIsComparedWhereItIsKnown(t *testing.T) {
	const here = "cluster 7, timeline 00000001, database 5, table 16390"
	for _, c := range []struct{ before, now, want string }{
		{here, here, ""},
		{"", here, ""},
		{here, "cluster 7, timeline 00000002, database 5, table 16390", "timeline 00000002, before timeline 00000001"},
		{here, "cluster 8, timeline 00000001, database 5, table 16390", "cluster 8, before cluster 7"},
		{here, "cluster ?, timeline ?, database 5, table 16390", ""},
		{"cluster ?, timeline ?, database 5, table 16390", here, ""},
		{here, "cluster ?, timeline ?, database 6, table 16390", "database 6, before database 5"},
	} {
		if got := elsewhere(c.before, c.now); got != c.want {
			t.Errorf("from %q to %q: %q, not %q", c.before, c.now, got, c.want)
		}
	}
}

// TestADatabaseThatMayLoseCommitsIsWarnedOf opens one whose setting says so.
func TestADatabaseThatMayLoseCommitsIsWarnedOf(t *testing.T) {
	var logged []string
	s, err := OpenPostgres(t.Context(), postgrestest.URL(t)+"&synchronous_commit=off", t.TempDir(), Options{Ring: testRing, Log: func(l string) { logged = append(logged, l) }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !strings.Contains(fmt.Sprint(logged), "fsync = off") {
		t.Errorf("no word of fsync: %q", logged)
	}
	logged = nil
	c, err := openPg(t.Context(), s.pg.conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	warnOfLoss(c, "off", s.log)
	if len(logged) != 1 || !strings.Contains(logged[0], "synchronous_commit = off") {
		t.Errorf("%q", logged)
	}
}
