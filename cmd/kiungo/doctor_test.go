package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
)

func sound() *store.PostgresFacts {
	return &store.PostgresFacts{Version: 160002, Most: 97, Used: 20, Timeline: "00000001", Opened: "cluster 7, timeline 00000001, database 5",
		Settings: map[string]string{"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "autovacuum": "on", "synchronous_standby_names": "b"},
		Standbys: []store.Standby{{Name: "b", State: "streaming", Sync: "sync"}}}
}

func TestDoctorFindsNothingWrongWithASoundDatabase(t *testing.T) {
	var e examination
	examineServer(&e, sound())
	examineStandbys(&e, sound())
	examineTables(&e, sound())
	for _, f := range e {
		if f.Level != fine {
			t.Errorf("%+v", f)
		}
	}
}

// Each ailment is found once, at its level, with what to do.
func TestDoctorNamesEachAilment(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*store.PostgresFacts)
		level string
		text  string
	}{
		"old":         {func(p *store.PostgresFacts) { p.Version = 120000 }, wrong, "too old"},
		"fsync":       {func(p *store.PostgresFacts) { p.Settings["fsync"] = "off" }, wrong, "fsync is off"},
		"pages":       {func(p *store.PostgresFacts) { p.Settings["full_page_writes"] = "off" }, wrong, "full_page_writes is off"},
		"commit":      {func(p *store.PostgresFacts) { p.Settings["synchronous_commit"] = "off" }, wrong, "synchronous_commit is off"},
		"local":       {func(p *store.PostgresFacts) { p.Settings["synchronous_commit"] = "local" }, warning, "not waited for"},
		"vacuum":      {func(p *store.PostgresFacts) { p.Settings["autovacuum"] = "off" }, wrong, "autovacuum is off"},
		"standby":     {func(p *store.PostgresFacts) { p.InRecovery = true }, wrong, "nothing can be written"},
		"no standby":  {func(p *store.PostgresFacts) { p.Standbys = nil }, wrong, "none follows"},
		"alone":       {func(p *store.PostgresFacts) { p.Standbys, p.Settings["synchronous_standby_names"] = nil, "" }, warning, "one disk"},
		"not awaited": {func(p *store.PostgresFacts) { p.Settings["synchronous_standby_names"] = "" }, warning, "loses the last commits"},
		"behind":      {func(p *store.PostgresFacts) { p.Standbys[0].Behind = 1 << 30 }, warning, "1024 MB behind"},
		"full":        {func(p *store.PostgresFacts) { p.Used = 98 }, wrong, "98 of 97"},
		"nearly full": {func(p *store.PostgresFacts) { p.Used = 90 }, warning, "90 of 97"},
		"clock":       {func(p *store.PostgresFacts) { p.Ahead = -time.Hour }, wrong, "behind ours"},
		"clock a bit": {func(p *store.PostgresFacts) { p.Ahead = 10 * time.Second }, warning, "10s ahead"},
		"long":        {func(p *store.PostgresFacts) { p.Longest, p.LongestBy = time.Hour, "psql" }, warning, `"psql" is open for 1h`},
		"dead rows":   {func(p *store.PostgresFacts) { p.Tables = []store.TableFacts{{Name: "lane", Live: 10, Dead: 1e6}} }, warning, "1000000 dead rows"},
		"timeline":    {func(p *store.PostgresFacts) { p.Timeline = "00000002" }, warning, "timeline 00000002"},
		"blind":       {func(p *store.PostgresFacts) { p.Blind = []string{"its standbys"} }, warning, "may not see its standbys"},
	} {
		p := sound()
		c.spoil(p)
		var e, bad examination
		examineServer(&e, p)
		examineStandbys(&e, p)
		examineTables(&e, p)
		for _, f := range e {
			if f.Level != fine {
				bad = append(bad, f)
			}
		}
		if len(bad) != 1 || bad[0].Level != c.level || !strings.Contains(bad[0].Text, c.text) || bad[0].Do == "" {
			t.Errorf("%s: %+v", name, bad)
		}
	}
}

func TestDoctorListsTheNodes(t *testing.T) {
	now := time.Now()
	node := func(id int64, heard time.Duration, version string) ledger.Node {
		return ledger.Node{ID: id, Host: "a", PID: 7, Version: version, Heard: now.Add(-heard), Until: now.Add(35*time.Second - heard), Lanes: 1}
	}
	var e examination
	examineNodes(&e, &store.Facts{Exists: true, Postgres: &store.PostgresFacts{}, Nodes: []ledger.Node{node(1, time.Second, "x"), node(2, time.Hour, "y")}})
	var levels []string
	for _, f := range e {
		levels = append(levels, f.Level)
	}
	if strings.Join(levels, " ") != "ok warning warning" || !strings.Contains(e[0].Text, "heard 1s ago, runs 1 lane") {
		t.Errorf("%+v", e)
	}
}

func TestDoctorSeesAKeyringThatOthersCanRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "keys.json"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	a := &app{dataDir: dir, out: &out}
	var e examination
	a.examineFolder(&e)
	if err := a.showExamination(e); err == nil || exitCode(err) != 1 {
		t.Errorf("exit code of %v", err)
	}
	if text := out.String(); !strings.Contains(text, "chmod 600") || !strings.Contains(text, "chmod 700") || !strings.Contains(text, "2 wrong") {
		t.Error(text)
	}
}
