package store

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/postgrestest"
)

// What a ledger of ten million deliveries is asked must go by an index. These
// tests find every statement of the package in its source, so that none can be
// left out, and read the plan that the database makes of it.

// small are tables that stay small, with the reason.
var small = map[string]string{
	"clock": "one row", "node": "one row a start", "setting": "a few", "leader": "one a stream", "circuit": "one a system",
	"tally": "flows and states, times 64 on PostgreSQL", "poll_position": "one a stream", "lesson": "typed by people",
	"lane_merge": "merges that wait for a delivery in flight", "schema_version": "one a migration", "zone_name": "flows and states",
	"circuit_lane": "lanes that met a system down before its circuit opened", "gone_file": "files to be removed now",
	"pg_namespace": "PostgreSQL's own", "pragma_table_info": "columns", "sqlite_master": "the schema", "columns": "PostgreSQL's own", "led": "lanes of one person", "k": "what is asked for", "q": "a subquery, looked at by itself",
	"generate_series": "what is asked for", "const": "no table",
}

// excused are statements that may read many rows, sort, or walk a range, with
// the reason why that is bounded. The value ends in what they may do: scan,
// sort, range.
var excused = map[string]string{
	"qListAll":            "every row of the range is listed; LIMIT ends it: range",
	"qListBlock":          "both ends: at most 4,096 rows: range",
	"listFrom":            "only the beginning of others: range",
	"qMessages":           "every row of the range is listed; LIMIT ends it: range",
	"qMessagesFrom":       "both ends: at most 4,096 rows: range",
	"qAudits":             "every row of the range is listed; LIMIT ends it: range",
	"qAllQuestions":       "every row of the range is listed; LIMIT ends it: range",
	"qOpenQuestions":      "only open ones are in the index; LIMIT ends it: range",
	"qQuestions":          "those that are not open are many; LIMIT ends it: range",
	"qSince":              "both ends, a block at a time: range sort",
	"qBefore":             "both ends, a block at a time: range sort",
	"qEdges":              "the first and the last: scan range",
	"qDeadNodes":          "lanes in flight: scan",
	"qOpenCounts":         "one small index entry for each open delivery; sorted are the groups: scan sort",
	"qCauses":             "one small index entry for each held delivery, read in the order of the groups; sorted are the causes: scan sort",
	"qDue":                "lanes that sleep or are being run are not in the index; LIMIT ends it: range",
	"qDueBulk":            "as qDue, of lanes that came in bulk: range",
	"qNextBulk":           "as qNextDue: range",
	"qNextDue":            "as qDue; the first one is the answer: range",
	"qStatDue":            "lanes that are due, LIMIT ends it: range",
	"qStatFlow":           "the next group of open ones, LIMIT ends it: range",
	"qStatDueAt":          "the first of those that are due: range",
	"qUnlisted":           "those who left a list since an earlier run; sorted in the order in which they came: sort",
	"qMembersOf":          "members of one list, counted in the index",
	"qMembers":            "members of one list, counted in the index",
	"qLinks":              "what one person has: sort",
	"qDeliveriesOfDoc":    "the versions of one document: sort",
	"qRoutedDoc":          "flows and each-keys of one document: sort",
	"qVersions":           "the versions of one document: sort",
	"qAllVersions":        "the versions of the documents that are just accepted: sort",
	"qLockLanes":          "lanes of one batch: sort",
	"qLockByMac":          "lanes of one batch: sort",
	"qSurelyMine":         "lanes in flight: scan sort",
	"qOwned":              "lanes in flight: scan",
	"qMine":               "lanes in flight: scan",
	"qHeld":               "lanes in flight: scan sort",
	"qFenceAll":           "lanes in flight: scan",
	"qCountRecov":         "lanes in flight at a crash: scan",
	"qRecovering":         "lanes in flight at a crash: scan",
	"qRecoverBusy":        "lanes in flight at a crash: scan",
	"qDropRecov":          "lanes in flight at a crash: scan",
	"qLastNode":           "one row a start",
	"qStatStream":         "one a stream: sort",
	"qStatNodes":          "one row a start: sort",
	"qAnyoneWaits":        "the first row is the answer: scan",
	"qDeliveryIDs":        "deliveries of one message: sort",
	"qOlderOpen":          "deliveries of one document: sort",
	"qListMessage":        "deliveries of one message: sort",
	"qQuestionsOf":        "questions of one delivery: sort",
	"listed block":        "both ends: at most 4,096 rows: range",
	"listed message":      "deliveries of one message: sort",
	"bundle delivery":     "deliveries of one message: sort",
	"bundle plan":         "plans of one delivery: range",
	"bundle journal":      "lines of one delivery: range sort",
	"bundle question":     "questions of one delivery: sort",
	"bundle audit":        "lines about one delivery: sort",
	"qWipePlans":          "plans of one delivery: range",
	"qWipeJournal":        "lines of one delivery: range",
	"qCutPlans":           "plans of one delivery: range",
	"qCutJournal":         "lines of one delivery: range",
	"qArchivedDrop1":      "lines of one delivery: range",
	"qArchivedDrop2":      "plans of one delivery: range",
	"qNewest":             "the versions of one document: sort",
	"qOpenInLane":         "open deliveries of one lane, when it is merged: sort",
	"qStatAsked":          "LIMIT ends it: scan range",
	"qArchivedOf":         "deliveries of one message: sort",
	"qArchivedCount":      "a month, for people: scan",
	"qCandidates":         "every row of the range is looked at; LIMIT ends it: range",
	"qStill":              "deliveries of one message",
	"qLed":                "lanes of one person",
	"lanes of dead nodes": "lanes in flight: scan sort",
}

// whole are files whose work is to read or write whole tables, once: a move to
// another database, a backup.
var whole = []string{"carry.go", "backup_read.go", "backup_sqlite.go", "copy.go", "copy_sqlite.go", "copy_postgres.go", "move.go", "backup.go", "restore.go"}

// named are statements that are written where they are used.
var named = map[string]string{
	"SELECT l.id, l.running FROM lane l JOIN node n": "lanes of dead nodes",
}

// statement is a piece of SQL with its name in the source.
type statement struct{ name, sql string }

var begins = regexp.MustCompile(`^\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\s`)

// statements finds all SQL in the package's source. A text that is put
// together at run time must be one of those in built.
func statements(t *testing.T) []statement {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var parsed []*ast.File
	consts := map[string]ast.Expr{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || slices.Contains(whole, name) {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, f)
		ast.Inspect(f, func(n ast.Node) bool {
			if d, ok := n.(*ast.GenDecl); ok && d.Tok == token.CONST {
				for _, s := range d.Specs {
					v := s.(*ast.ValueSpec)
					for i := range v.Values {
						consts[v.Names[i].Name] = v.Values[i]
					}
				}
			}
			return true
		})
	}
	var out []statement
	for _, name := range slices.Sorted(maps.Keys(consts)) {
		if s, ok := textOf(consts, consts[name]); ok && begins.MatchString(s) {
			out = append(out, statement{name, s})
		}
	}
	for _, f := range parsed {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(fn, func(n ast.Node) bool {
				e, ok := n.(ast.Expr)
				if !ok {
					return true
				}
				switch e.(type) {
				case *ast.BinaryExpr, *ast.BasicLit:
				default:
					return true
				}
				s, whole := textOf(consts, e)
				if !begins.MatchString(s) {
					return true
				}
				if !whole {
					if !slices.ContainsFunc(built, func(b string) bool { return strings.HasPrefix(s, b) }) {
						t.Errorf("%s: %q is put together at run time; add what it begins with to built, and a sample to samples", fn.Name.Name, s)
					}
					return false
				}
				name := s
				for beginning, of := range named {
					if strings.HasPrefix(s, beginning) {
						name = of
					}
				}
				out = append(out, statement{name, s})
				return false
			})
		}
	}
	return append(out, samples()...)
}

// textOf gives a text made of literals and constants; of one that is not, what
// it begins with.
func textOf(consts map[string]ast.Expr, e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind != token.STRING {
			return "", false
		}
		s, err := strconv.Unquote(e.Value)
		return s, err == nil
	case *ast.ParenExpr:
		return textOf(consts, e.X)
	case *ast.Ident:
		if c, ok := consts[e.Name]; ok {
			return textOf(consts, c)
		}
	case *ast.BinaryExpr:
		if e.Op != token.ADD {
			return "", false
		}
		a, ok := textOf(consts, e.X)
		if !ok {
			return a, false
		}
		b, ok := textOf(consts, e.Y)
		return a + b, ok
	}
	return "", false
}

// built are beginnings of statements that are put together at run time.
var built = []string{
	`SELECT nextval('`, `SELECT setval('`, // sequences
	`SELECT `, `INSERT INTO `, // see samples; the archive's own
}

// samples are statements as they are put together at run time.
func samples() []statement {
	l := &listed{f: ledger.Filter{Flow: "f", System: "s", States: []ledger.State{ledger.Done, ledger.Held}}, limit: 1}
	var out []statement
	for name, q := range map[string]string{"listed open": qListOpen, "listed cause": qListCause, "listed block": qListBlock, "listed lane": qListLane, "listed message": qListMessage} {
		text, _ := l.statement(q, 1, make([]any, params(q)-2))
		out = append(out, statement{name, text})
	}
	for table, where := range map[string]string{"message": bundleMessage, "delivery": bundleDeliveries, "plan": bundlePlans, "journal": bundleJournal, "question": bundleQuestions, "audit": bundleAudits} {
		out = append(out, statement{"bundle " + table, "SELECT * FROM " + table + where})
	}
	return out
}

// params counts the parameters of a statement.
func params(sql string) int { return strings.Count(sql, "?") }

var (
	postgresOnly = regexp.MustCompile(`nextval|setval|pg_|ANY\(|FOR UPDATE|GREATEST|clock_timestamp|current_setting|information_schema|current_schema|generate_series|txid`)
	aliases2     = regexp.MustCompile(`(?i)\b(?:FROM|JOIN|INTO|UPDATE)\s+(\w+)(?:\s+AS)?(?:\s+(\w+))?`)
	allowed      = regexp.MustCompile(`: ((?:fullscan|scan|sort|range| )+)$`)
)

// postgresNames are statements that only PostgreSQL is asked.
var postgresNames = []string{"qSurelyMine", "lanes of dead nodes", "qDeadNodes", "qMine"}

// tablesIn tells which table each name in a statement means.
func tablesIn(sql string) map[string]string {
	out := map[string]string{}
	for _, m := range aliases2.FindAllStringSubmatch(sql, -1) {
		out[m[1]] = m[1]
		switch strings.ToUpper(m[2]) {
		case "", "WHERE", "SET", "ORDER", "GROUP", "LIMIT", "JOIN", "ON", "UNION", "VALUES":
		default:
			out[m[2]] = m[1]
		}
	}
	return out
}

// may tells whether a statement is excused for what it does.
func may(name, does string) bool {
	m := allowed.FindStringSubmatch(excused[name])
	return m != nil && slices.Contains(strings.Fields(m[1]), does)
}

func TestEveryStatementGoesByAnIndexOnSQLite(t *testing.T) {
	s := openAt(t, t.TempDir(), Options{})
	known := map[string]bool{}
	for _, st := range statements(t) {
		known[st.name] = true
		if postgresOnly.MatchString(st.sql) || slices.Contains(postgresNames, st.name) {
			continue
		}
		tables := tablesIn(st.sql)
		args := make([]any, params(st.sql))
		err := s.read(t.Context(), func(c conn) error {
			return c.each("EXPLAIN QUERY PLAN "+st.sql, func(r row) (bool, error) {
				checkSQLite(t, st, r.text(3), tables)
				return true, nil
			}, args...)
		})
		if err != nil {
			t.Errorf("%s: %v", st.name, err)
		}
	}
	for name := range excused {
		if !known[name] {
			t.Errorf("%s is excused, and there is no such statement", name)
		}
	}
}

var lineOf = regexp.MustCompile(`^(SCAN|SEARCH) (\w+)(.*)$`)

func checkSQLite(t *testing.T, st statement, line string, tables map[string]string) {
	t.Helper()
	if strings.HasPrefix(line, "USE TEMP B-TREE") {
		of := false
		for _, table := range tables {
			of = of || small[table] == ""
		}
		if of && !may(st.name, "sort") {
			t.Errorf("%s sorts: %s\n\t%s", st.name, line, st.sql)
		}
		return
	}
	m := lineOf.FindStringSubmatch(line)
	if m == nil || m[2] == "CONSTANT" {
		return
	}
	table := tables[m[2]]
	if table == "" {
		table = m[2]
	}
	if small[table] != "" {
		return
	}
	switch {
	case m[1] == "SCAN" && !(may(st.name, "scan") && strings.Contains(m[3], " USING ")) && !may(st.name, "fullscan"):
		t.Errorf("%s reads all of %s: %s\n\t%s", st.name, table, line, st.sql)
	case m[1] == "SEARCH" && !strings.Contains(m[3], "=?") && !may(st.name, "range"):
		t.Errorf("%s walks a range of %s: %s\n\t%s", st.name, table, line, st.sql)
	}
}

// TestEveryStatementGoesByAnIndexOnPostgres reads PostgreSQL's generic plans
// over tables as a server has them: full ones; full ones with nothing under way;
// those of a server that has met nothing but a system that is down; new ones. A
// plan is chosen by what was in the tables when they were last analysed, and lasts.
func TestEveryStatementGoesByAnIndexOnPostgres(t *testing.T) {
	const analysed = "VACUUM ANALYZE"
	for name, x := range map[string]struct {
		fill []string
		// others are statements whose plan is another one then, by the reason.
		others map[string][]string
	}{
		"full": {[]string{fillPostgres, analysed}, nil},
		"nothing under way": {
			[]string{fillPostgres, "DELETE FROM delivery_lane; DELETE FROM claim; DELETE FROM claim_wait; DELETE FROM passed; UPDATE lane SET due_at = NULL, owner = 0, alias = 0", analysed},
			map[string][]string{"asked by a person, of lanes that are aliases": {"qLed"}}},
		"much waits": {[]string{fillWaiting, analysed}, map[string][]string{
			"asked by a person, of lanes that are aliases":                                                       {"qLed"},
			"every delivery is of the flow and state that are asked for: the first is it":                        {"qListOpen", "qStatFirst", "listed open"},
			"nothing was made, and there are no questions and no archive: all is looked at, until it is a tenth": {"qBefore", "qSince", "qQuestionsOf", "qWithdraw", "bundle question", "qRoutedDoc", "qRoutedLane", "qRoutedNewer"},
		}},
		"new": {nil, map[string][]string{
			"a few rows are sorted, until there are more":        {"qApart", "qDue", "qDueBulk", "qJournal", "qJournalStates", "qMadeBy", "qMadeOf", "qMadeThere", "qMessagesFrom", "qStatDueAt", "qTies", "qWaiters", "bundle plan"},
			"a few rows are all looked at, until there are more": {"qOlderOpen", "qWithdraw"},
		}},
	} {
		others := slices.Concat(slices.Collect(maps.Values(x.others))...)
		t.Run(name, func(t *testing.T) { plansOnPostgres(t, x.fill, others) })
	}
}

func plansOnPostgres(t *testing.T, fill, others []string) {
	s := pgAt(t, postgrestest.URL(t), t.TempDir(), Options{})
	settings := planSettings()
	settings["plan_cache_mode"] = "force_generic_plan"
	c, err := openPg(t.Context(), s.pg.conf, settings)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for _, script := range fill {
		if err := c.script(script); err != nil {
			t.Fatal(err)
		}
	}
	for i, st := range statements(t) {
		if strings.Contains(st.sql, "RECURSIVE n(") || strings.HasPrefix(st.sql, "SELECT setval") || st.name == "listFrom" || st.name == "qColumnsSQLite" || slices.Contains(others, st.name) {
			continue
		}
		name := fmt.Sprintf("p%d", i)
		run := "EXPLAIN (FORMAT JSON) EXECUTE " + name
		if n := params(st.sql); n > 0 {
			run += "(" + strings.TrimSuffix(strings.Repeat("NULL, ", n), ", ") + ")"
		}
		if err := c.script("PREPARE " + name + " AS " + numbered(st.sql)); err != nil {
			t.Errorf("%s: %v", st.name, err)
			continue
		}
		plan, err := postgresPlan(c, run)
		if err != nil {
			t.Errorf("%s: %v", st.name, err)
			continue
		}
		plan.check(t, st)
	}
}

// fillPostgres makes tables of the shape that a server's have.
const fillPostgres = `
INSERT INTO lane (id, mac, name, due_at, gen, owner, epoch, running, alias, merging, recovering)
  SELECT i, decode(md5(i::text), 'hex'), NULL, CASE WHEN i % 500 = 0 THEN i END, 0, CASE WHEN i % 50 = 7 THEN 1 + i % 3 ELSE 0 END, 0, 0, CASE WHEN i % 4 = 1 THEN i - 1 ELSE 0 END, 0, 0 FROM generate_series(1, 20000) i;
INSERT INTO message (id, seq, system, kind, received, withdrawn) SELECT i, i, 'commcare' || i % 3, 'form', i, 0 FROM generate_series(1, 40000) i;
INSERT INTO version (doc, mac, message, seq) SELECT decode(md5('d' || i % 30000), 'hex'), decode(md5('v' || i), 'hex'), i, i FROM generate_series(1, 40000) i;
INSERT INTO delivery (id, message, flow, mac, maker, lane, lanes, seq, state, reason, code, cause, blocked_on, blocked_by, attempts, starts, calls, flow_hash, plan_no, planned, generation, systems, due, created, ended, asked, remarks)
  SELECT i, i, 'flow-' || i % 20, decode(md5('e' || i), 'hex'), decode(md5('m' || i), 'hex'), 1 + i % 20000, '', i,
    CASE i % 400 WHEN 0 THEN 'held' WHEN 1 THEN 'waiting' WHEN 2 THEN 'received' WHEN 3 THEN 'refused' ELSE 'done' END, '', CASE WHEN i % 400 = 0 THEN 'value' ELSE '' END,
    CASE WHEN i % 400 IN (0, 3) THEN 'cause ' || i % 7 ELSE '' END, CASE WHEN i % 400 = 1 THEN 'circuit' ELSE '' END, CASE WHEN i % 400 = 1 THEN 'openmrs' ELSE '' END,
    1, 0, 8, '', 1, 1, 1, 'openmrs', 0, i, CASE WHEN i % 400 < 3 THEN 0 ELSE i END, 0, '' FROM generate_series(1, 40000) i;
INSERT INTO delivery_lane SELECT lane, seq, id FROM delivery WHERE ended = 0;
INSERT INTO plan SELECT id * 1024 + 1, 'h', 'f', id, NULL FROM delivery;
INSERT INTO journal SELECT d.id * 1024 + 1, n, 'answer', 'c', '', 1, 1, NULL FROM delivery d, generate_series(1, 3) n;
INSERT INTO made SELECT maker, 'patient', 'openmrs', 'openmrs/Patient', mac, 1, 1, 0, NULL FROM delivery;
INSERT INTO link SELECT decode(md5('i' || i), 'hex'), decode(md5('p' || i % 15000), 'hex'), 'openmrs', 'openmrs/Patient', 'linked', 1, NULL FROM generate_series(1, 30000) i;
INSERT INTO snapshot SELECT decode(md5('s' || i), 'hex'), 'openmrs', 'openmrs/Patient', 1, NULL FROM generate_series(1, 20000) i;
INSERT INTO question SELECT i, i, 'match', 'c', CASE WHEN i % 50 = 0 THEN 'open' ELSE 'answered' END, '', 1, 1, NULL, NULL FROM generate_series(1, 20000) i;
INSERT INTO audit SELECT i, 1, 'who', 'act', CASE WHEN i % 2 = 0 THEN i ELSE 0 END, NULL FROM generate_series(1, 20000) i;
INSERT INTO tie SELECT i, decode(md5('p' || i), 'hex'), 1, 'linked', 'who', NULL FROM generate_series(1, 20000) i;
INSERT INTO apart SELECT decode(md5('p' || i), 'hex'), decode(md5('i' || i), 'hex'), NULL FROM generate_series(1, 20000) i;
INSERT INTO listed SELECT decode(md5('l' || i % 4), 'hex'), decode(md5('d' || i), 'hex'), 1 + i % 100 / 99 FROM generate_series(1, 30000) i;
INSERT INTO claim SELECT decode(md5('c' || i), 'hex'), i FROM generate_series(1, 20000) i;
INSERT INTO claim_wait SELECT decode(md5('c' || i), 'hex'), i, i FROM generate_series(1, 20000) i;
INSERT INTO zone SELECT 'end', 'flow-' || i % 20, 'done', i / 20 FROM generate_series(1, 20000) i;
INSERT INTO zone_name SELECT DISTINCT kind, flow, what FROM zone;
INSERT INTO routed SELECT decode(md5('r' || i), 'hex'), decode(md5('d' || i % 15000), 'hex'), i, i, 'commcare', 'form', 'flow', i % 5000, i, 'done', '', 8, 0, 1, 1, NULL FROM generate_series(1, 20000) i;
INSERT INTO passed SELECT 'wipe', i FROM generate_series(1, 20000) i;
`

// fillWaiting makes tables that have met nothing but a system that is down.
const fillWaiting = `
INSERT INTO lane (id, mac, name, due_at, gen, owner, epoch, running, alias, merging, recovering)
  SELECT i, decode(md5(i::text), 'hex'), NULL, NULL, 0, 0, 0, 0, 0, 0, 0 FROM generate_series(1, 40000) i;
INSERT INTO message (id, seq, system, kind, received, withdrawn) SELECT i, i, 'commcare', 'form', i, 0 FROM generate_series(1, 40000) i;
INSERT INTO version (doc, mac, message, seq) SELECT decode(md5('d' || i), 'hex'), decode(md5('v' || i), 'hex'), i, i FROM generate_series(1, 40000) i;
INSERT INTO delivery (id, message, flow, mac, maker, lane, lanes, seq, state, reason, code, cause, blocked_on, blocked_by, attempts, starts, calls, flow_hash, plan_no, planned, generation, systems, due, created, ended, asked, remarks)
  SELECT i, i, 'flow', decode(md5('e' || i), 'hex'), decode(md5('m' || i), 'hex'), i, '', i, 'waiting', '', '', '', 'circuit', 'openmrs', 1, 0, 0, '', 0, 0, 1, 'openmrs', 0, i, 0, 0, '' FROM generate_series(1, 40000) i;
INSERT INTO delivery_lane SELECT lane, seq, id FROM delivery;
`

// pgPlan is a node of a plan as EXPLAIN (FORMAT JSON) gives it.
type pgPlan struct {
	Node   string   `json:"Node Type"`
	Table  string   `json:"Relation Name"`
	Cond   string   `json:"Index Cond"`
	Filter string   `json:"Filter"`
	Below  []pgPlan `json:"Plans"`
}

func postgresPlan(c *pgConn, sql string) (*pgPlan, error) {
	results, err := c.c.Exec(c.ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	var out []struct{ Plan pgPlan }
	if err := json.Unmarshal(results[0].Rows[0][0], &out); err != nil {
		return nil, err
	}
	return &out[0].Plan, nil
}

func (p *pgPlan) check(t *testing.T, st statement) {
	t.Helper()
	big := p.Table != "" && small[p.Table] == "" && !strings.HasPrefix(p.Table, "pg_")
	equal := strings.Contains(p.Cond, " = ")
	switch {
	case p.Node == "Seq Scan" && big, strings.HasPrefix(p.Node, "Index") && big && p.Cond == "", p.Node == "Bitmap Index Scan" && p.Cond == "":
		if !may(st.name, "scan") && !may(st.name, "fullscan") {
			t.Errorf("%s reads all of %s: %s, filter %s\n\t%s", st.name, p.Table, p.Node, p.Filter, st.sql)
		}
	case strings.HasPrefix(p.Node, "Index") && big && !equal && !may(st.name, "range"):
		t.Errorf("%s walks a range of %s: %s, filter %s\n\t%s", st.name, p.Table, p.Cond, p.Filter, st.sql)
	case strings.Contains(p.Node, "Sort") && !p.onlySmall() && !may(st.name, "sort"):
		t.Errorf("%s sorts\n\t%s", st.name, st.sql)
	}
	for i := range p.Below {
		p.Below[i].check(t, st)
	}
}

// onlySmall tells whether nothing big is read below.
func (p *pgPlan) onlySmall() bool {
	if p.Table != "" && small[p.Table] == "" && !strings.HasPrefix(p.Table, "pg_") {
		return false
	}
	for i := range p.Below {
		if !p.Below[i].onlySmall() {
			return false
		}
	}
	return true
}
