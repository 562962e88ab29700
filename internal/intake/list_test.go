package intake_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/flow"
	"github.com/kiungo-health/kiungo/internal/intake"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
	"github.com/kiungo-health/kiungo/internal/seal"
	"github.com/kiungo-health/kiungo/internal/system"
)

// registers is a system that has lists, and nothing else.
type registers struct {
	connector.System
	asked []connector.Run
	// pages answers a run; the cursor is the number of the page.
	pages func(run connector.Run, page int) (connector.Page, error)
}

func (r *registers) Name() string { return "books" }

func (r *registers) List(_ context.Context, _ call.Doer, run connector.Run, cursor []byte) (connector.Page, error) {
	r.asked = append(r.asked, run)
	page := 0
	if cursor != nil {
		page = int(cursor[0] - '0')
	}
	p, err := r.pages(run, page)
	if err == nil && !p.Done && p.Cursor == nil {
		p.Cursor = []byte{byte('1' + page)}
	}
	return p, err
}

// rowOf is a row of the list: ID, or ID=NAME.
func rowOf(text string) connector.Incoming {
	id, name, _ := strings.Cut(text, "=")
	content, _ := json.Marshal(map[string]any{"row": map[string]any{"id": id, "name": name}})
	return connector.Incoming{Kind: "report", Doc: "r1/" + id, Version: "v " + name, Content: content}
}

func page(done bool, rows ...string) connector.Page {
	p := connector.Page{Done: done}
	for _, r := range rows {
		p.Messages = append(p.Messages, rowOf(r))
	}
	return p
}

// always answers each run with the same pages.
func always(pages ...connector.Page) func(connector.Run, int) (connector.Page, error) {
	return func(_ connector.Run, n int) (connector.Page, error) { return pages[n], nil }
}

var listRing = seal.Temporary()

var zone = time.FixedZone("EAT", 3*3600)

// desk is one list under test, with a clock that only the test moves.
type desk struct {
	*testing.T
	list   *intake.List
	ledger ledger.Ledger
	source *registers
	now    time.Time
	dir    string
	seen   int64
}

const weekly = `{books: report, report: r1, every: 'Monday 04:00', leavers: 20, sample: samples/row.json}`

func newDesk(t *testing.T, from string) *desk {
	t.Helper()
	d := &desk{T: t, source: &registers{}, now: time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC), dir: t.TempDir()} // a Wednesday
	text := func(name string) connector.FieldSpec { return connector.FieldSpec{Name: name, Type: connector.Text} }
	reg := connector.Registry{"books": {Name: "books", Title: "Books",
		Messages: []connector.MessageSpec{{Name: "report", List: "row", About: "a row", From: map[string]string{"report": "report"},
			Names: []connector.NameSpec{{Name: "row", Sampled: true, Fields: []string{"change"}}, {Name: "period"}}}},
		Kinds: []connector.KindSpec{{Name: "Entry", ByDefault: "by id", Finds: []connector.FieldSpec{text("id")}, Fields: []connector.FieldSpec{text("name"), text("change")}}}}}
	dir := filepath.Join(t.TempDir(), "i99-lists")
	for name, body := range map[string]string{
		"integration.yaml": "title: Lists\nsystems: [books]\nzone: Africa/Nairobi\n",
		"samples/row.json": `{"row": {"id": "a", "name": "x"}, "period": "202602"}`,
		"flows/rows.yaml": "flow: rows\nabout: rows become entries\nfrom: " + from + "\nlane: {person: '${row.id}'}\nrecords:\n" +
			"  entry: {kind: books/Entry, find: {by: [{id: '${row.id}'}], none: create}, set: {name: '${row.name}', change: '${row.change}'}}\n"} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	in, problems := flow.Load(dir, reg, nil)
	if in == nil || len(in.Flows) != 1 || problems.Errors() > 0 {
		t.Fatal(problems)
	}
	d.open()
	t.Cleanup(func() { _ = d.ledger.Close() })
	f := in.Flows[0]
	d.list = &intake.List{System: system.New(d.source, "books", system.Limits{}), Flow: f, Source: f.From[0], Now: make(chan struct{}, 1),
		In: &intake.Intake{Ledger: d.ledger, Flows: in.Flows, Registry: reg, Systems: map[string]*system.Port{}}}
	d.list.In.Systems["books"] = d.list.System
	return d
}

func (d *desk) open() {
	d.Helper()
	l, err := store.OpenSQLite(context.Background(), d.dir, store.Options{Ring: listRing, Clock: func() time.Time { return d.now }, MinFree: -1})
	if err != nil {
		d.Fatal(err)
	}
	d.ledger = l
	if d.list != nil {
		d.list.In.Ledger = l
	}
}

// restart ends the process and starts it again.
func (d *desk) restart() {
	d.Helper()
	_ = d.ledger.Close()
	d.open()
}

func (d *desk) once() time.Duration {
	d.Helper()
	wait, err := d.list.Once(d.Context())
	if err != nil {
		d.Fatal(err)
	}
	return wait
}

// to moves the clock, by the programme's wall clock.
func (d *desk) to(day, clock string) {
	d.Helper()
	at, err := time.ParseInLocation("2006-01-02 15:04", day+" "+clock, zone)
	if err != nil {
		d.Fatal(err)
	}
	d.now = at.UTC()
}

// came lists what came since the last look, oldest first: id, name, what became
// of it, and ! for a problem.
func (d *desk) came() []string {
	d.Helper()
	list, err := d.ledger.Messages(d.Context(), "", 0, 1000)
	if err != nil {
		d.Fatal(err)
	}
	slices.Reverse(list)
	var out []string
	for _, m := range list {
		if m.ID <= d.seen {
			continue
		}
		d.seen = m.ID
		whole, err := d.ledger.Message(d.Context(), m.ID)
		if err != nil {
			d.Fatal(err)
		}
		var doc struct {
			Row struct{ ID, Name, Change string }
		}
		if err := json.Unmarshal(whole.Content, &doc); err != nil {
			d.Fatal(err)
		}
		text := doc.Row.ID + " " + doc.Row.Name + " " + doc.Row.Change
		if whole.Problem != "" {
			text += "!"
		}
		out = append(out, text)
	}
	return out
}

func (d *desk) cameAre(want ...string) {
	d.Helper()
	if diff := cmp.Diff(want, d.came()); diff != "" {
		d.Errorf("what came (-want +got):\n%s", diff)
	}
}

func (d *desk) askedAre(want ...string) {
	d.Helper()
	var got []string
	for _, r := range d.source.asked {
		text := r.At.Format("2006-01-02 15:04")
		if r.Period != "" {
			text = r.Period + " " + r.Start.Format("01-02") + " " + r.End.Format("01-02")
		}
		got = append(got, text)
	}
	d.source.asked = nil
	if diff := cmp.Diff(want, got); diff != "" {
		d.Errorf("what was asked for (-want +got):\n%s", diff)
	}
}

func TestTheFirstStartAsksForNothing(t *testing.T) {
	for name, from := range map[string]string{"weekly": weekly,
		"monthly": `{books: report, report: r1, every: month, day: 3, at: '06:00', again: 2, sample: samples/row.json}`,
		"often":   `{books: report, report: r1, every: 15 minutes, sample: samples/row.json}`} {
		d := newDesk(t, from)
		wait := d.once()
		d.askedAre()
		d.cameAre()
		if name == "weekly" && wait != 4*24*time.Hour+13*time.Hour { // Wednesday 15:00 to Monday 04:00
			t.Errorf("%s: waits %s", name, wait)
		}
		if again := d.once(); again != wait {
			t.Errorf("%s: waits %s, then %s", name, wait, again)
		}
	}
}

func TestAWeeklyListThatWasMissedIsAskedForOnce(t *testing.T) {
	d := newDesk(t, weekly)
	d.source.pages = always(page(true, "a=x", "b=y"))
	d.once()
	d.to("2026-03-25", "10:00") // three Mondays later
	d.once()
	d.askedAre("2026-03-23 04:00")
	d.cameAre("a x new", "b y new")
	d.once()
	d.askedAre()
	d.to("2026-03-30", "04:00")
	d.once()
	d.askedAre("2026-03-30 04:00")
	d.cameAre() // the same rows say nothing new
}

func TestEachMissedMonthIsAskedForOldestFirst(t *testing.T) {
	d := newDesk(t, `{books: report, report: r1, every: month, day: 3, at: '06:00', sample: samples/row.json}`)
	d.source.pages = func(run connector.Run, _ int) (connector.Page, error) {
		return page(true, run.Period+"="+run.Period), nil
	}
	d.once()
	d.to("2026-06-03", "05:59")
	d.once()
	d.askedAre("202603 03-01 03-31", "202604 04-01 04-30")
	d.to("2026-06-03", "06:00")
	d.once()
	d.askedAre("202605 05-01 05-31")
	d.cameAre("202603 202603 new", "202604 202604 new", "202605 202605 new")
}

func TestEarlierPeriodsAreAskedForAgain(t *testing.T) {
	d := newDesk(t, `{books: report, report: r1, every: month, again: 2, sample: samples/row.json}`)
	d.source.pages = always(page(true, "a=x"))
	d.once()
	d.to("2026-04-01", "00:00")
	d.once()
	d.askedAre("202601 01-01 01-31", "202602 02-01 02-28", "202603 03-01 03-31")
	d.to("2026-06-02", "00:00") // two months at once: what is asked again is asked once
	d.once()
	d.askedAre("202602 02-01 02-28", "202603 03-01 03-31", "202604 04-01 04-30", "202605 05-01 05-31")
}

func TestARowIsNewThenChangedThenLeft(t *testing.T) {
	d := newDesk(t, weekly)
	d.once()
	weeks := []struct {
		rows []string
		came []string
	}{
		{[]string{"a=x", "b=y"}, []string{"a x new", "b y new"}},
		{[]string{"a=x", "b=z"}, []string{"b z changed"}},
		{[]string{"a=x"}, []string{"b z left"}},
		{[]string{"a=x"}, nil},
		{[]string{"a=x", "b=z"}, []string{"b z new"}}, // back, as before
		{[]string{"a=x"}, []string{"b z left"}},
	}
	for i, w := range weeks {
		d.source.pages = always(page(true, w.rows...))
		d.to(time.Date(2026, 3, 9+7*i, 0, 0, 0, 0, zone).Format(time.DateOnly), "05:00")
		d.once()
		d.Log("week", i)
		d.cameAre(w.came...)
	}
}

func TestARunGoesOnWhereItWasAfterARestart(t *testing.T) {
	d := newDesk(t, weekly)
	d.once()
	down := true
	d.source.pages = func(_ connector.Run, n int) (connector.Page, error) {
		switch {
		case n == 0:
			return page(false, "a=x"), nil
		case n == 1 && down:
			return connector.Page{}, errors.New("not now")
		case n == 1:
			return page(false, "b=y"), nil
		}
		return page(true, "c=z"), nil
	}
	d.to("2026-03-09", "05:00")
	if _, err := d.list.Once(t.Context()); err == nil {
		t.Fatal("a page that cannot be read is passed over")
	}
	d.cameAre("a x new")
	d.restart()
	down = false
	d.to("2026-03-17", "05:00") // the next Monday has passed too
	d.once()
	d.askedAre("2026-03-09 04:00", "2026-03-09 04:00", "2026-03-09 04:00", "2026-03-09 04:00", "2026-03-16 04:00", "2026-03-16 04:00", "2026-03-16 04:00")
	d.cameAre("b y new", "c z new")
}

func TestWhoHasNotComeYetHasNotLeftAnUnfinishedList(t *testing.T) {
	d := newDesk(t, weekly)
	d.once()
	d.source.pages = always(page(true, "a=x", "b=y"))
	d.to("2026-03-09", "05:00")
	d.once()
	d.came()
	d.source.pages = func(_ connector.Run, n int) (connector.Page, error) {
		if n == 0 {
			return page(false, "a=x"), nil
		}
		return connector.Page{}, errors.New("it was cut short")
	}
	d.to("2026-03-16", "05:00")
	for range 3 {
		if _, err := d.list.Once(t.Context()); err == nil {
			t.Fatal("no error")
		}
		d.restart()
	}
	d.cameAre()
}

func TestAListThatIsNotReadyIsWaitedFor(t *testing.T) {
	d := newDesk(t, weekly)
	d.once()
	n := 0
	d.source.pages = func(_ connector.Run, at int) (connector.Page, error) {
		if n++; n < 3 {
			return connector.Page{Wait: 5 * time.Minute, Cursor: []byte{byte('0' + n)}}, nil
		}
		if at != 2 {
			t.Errorf("asked with cursor %d", at)
		}
		return page(true, "a=x"), nil
	}
	d.to("2026-03-09", "05:00")
	for range 2 {
		if wait := d.once(); wait != 5*time.Minute {
			t.Fatalf("waits %s", wait)
		}
		d.cameAre()
		d.restart()
	}
	d.once()
	d.cameAre("a x new")
}

func TestARowThatIsThereTwice(t *testing.T) {
	for name, c := range map[string]struct {
		pages []connector.Page
		came  []string
	}{
		"differing, on one page":    {[]connector.Page{page(true, "a=x", "b=y", "a=z")}, []string{"a x new!", "b y new", "a z new!"}},
		"alike, on one page":        {[]connector.Page{page(true, "a=x", "a=x")}, []string{"a x new"}},
		"differing, on two pages":   {[]connector.Page{page(false, "a=x", "b=y"), page(true, "a=z")}, []string{"a x new", "b y new", "a z changed!"}},
		"alike, on two pages":       {[]connector.Page{page(false, "a=x", "b=y"), page(true, "a=x")}, []string{"a x new", "b y new"}},
		"three times, one differs":  {[]connector.Page{page(true, "a=x", "a=x", "a=z")}, []string{"a x new!", "a z new!"}},
		"alike next to a third one": {[]connector.Page{page(true, "a=x", "a=z", "a=x")}, []string{"a x new!", "a z new!", "a x new!"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, weekly)
			d.once()
			d.source.pages = always(c.pages...)
			d.to("2026-03-09", "05:00")
			d.once()
			d.cameAre(c.came...)
		})
	}
}

// crowd is so many rows.
func crowd(from, to int) (rows []string) {
	for i := from; i < to; i++ {
		rows = append(rows, fmt.Sprintf("p%03d=x", i))
	}
	return rows
}

func TestMoreLeaversThanTheFlowLetsPassAreAskedAbout(t *testing.T) {
	for name, c := range map[string]struct {
		before, after int
		asked         bool
	}{
		"a few of a short list":         {6, 1, false},
		"one in five":                   {50, 40, false},
		"more than one in five":         {50, 39, true},
		"all of a short list":           {5, 0, false},
		"all: the list came back empty": {50, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, weekly)
			d.once()
			d.source.pages = always(page(true, crowd(0, c.before)...))
			d.to("2026-03-09", "05:00")
			d.once()
			d.came()
			d.source.pages = always(page(true, crowd(0, c.after)...))
			d.to("2026-03-16", "05:00")
			d.once()
			came := d.came()
			if len(came) != c.before-c.after {
				t.Errorf("%d left, not %d", len(came), c.before-c.after)
			}
			for _, m := range came {
				if strings.HasSuffix(m, " left!") != c.asked || !strings.Contains(m, " left") {
					t.Fatalf("%q", m)
				}
			}
		})
	}
}

// failing cannot store leavers at its n-th try, as if the process ended then.
type failing struct {
	ledger.Ledger
	after int
}

func (f *failing) Accept(ctx context.Context, a []ledger.Arrival, adv *ledger.Advance) ([]ledger.Accepted, error) {
	if adv != nil && adv.List != nil && adv.List.Left {
		if f.after--; f.after < 0 {
			return nil, ledger.ErrClosed
		}
	}
	return f.Ledger.Accept(ctx, a, adv)
}

func TestLeaversAreOneQuestionAlikeAlsoAfterARestart(t *testing.T) {
	d := newDesk(t, weekly)
	d.once()
	d.source.pages = always(page(true, crowd(0, 700)...))
	d.to("2026-03-09", "05:00")
	d.once()
	d.came()
	d.seenAll()
	d.source.pages = always(page(true, crowd(0, 50)...))
	d.to("2026-03-16", "05:00")
	d.list.In.Ledger = &failing{Ledger: d.ledger, after: 1}
	if _, err := d.list.Once(t.Context()); !errors.Is(err, ledger.ErrClosed) {
		t.Fatal(err)
	}
	first := d.came()
	d.restart()
	d.once()
	second := d.came()
	if len(first) != 500 || len(second) != 150 {
		t.Fatalf("%d left, then %d", len(first), len(second))
	}
	for _, m := range append(first, second...) {
		if !strings.HasSuffix(m, " left!") {
			t.Fatalf("%q", m) // 150 of the 200 that were left are counted with the 500 before
		}
	}
	if len(d.source.asked) != 2 {
		t.Errorf("the list was asked for %d times", len(d.source.asked))
	}
}

// seenAll notes the newest message.
func (d *desk) seenAll() {
	d.Helper()
	list, err := d.ledger.Messages(d.Context(), "", 0, 1)
	if err != nil || len(list) == 0 {
		d.Fatal(err)
	}
	d.seen = list[0].ID
}

// wiped has forgotten what one message said.
type wiped struct {
	ledger.Ledger
	doc string
}

func (w wiped) Message(ctx context.Context, id int64) (*connector.Message, error) {
	m, err := w.Ledger.Message(ctx, id)
	if err == nil && m.Doc == w.doc {
		m.Content = nil
	}
	return m, err
}

func TestALeaverWhoseContentWasWipedIsTakenOffTheListInSilence(t *testing.T) {
	d := newDesk(t, weekly)
	d.once()
	d.source.pages = always(page(true, "a=x", "b=y", "c=z"))
	d.to("2026-03-09", "05:00")
	d.once()
	d.came()
	d.source.pages = always(page(true, "c=z"))
	d.to("2026-03-16", "05:00")
	d.list.In.Ledger = wiped{d.ledger, "r1/a"}
	d.once()
	d.cameAre("b y left")
	d.list.In.Ledger = d.ledger
	d.to("2026-03-23", "05:00")
	d.once()
	d.cameAre()
}

func TestTheMembersOfAPeriodAreAListOfTheirOwn(t *testing.T) {
	d := newDesk(t, `{books: report, report: r1, every: month, again: 1, sample: samples/row.json}`)
	n := 0
	d.source.pages = func(run connector.Run, _ int) (connector.Page, error) {
		if n++; run.Period == "202603" && n > 2 {
			return page(true, "mar-a=x"), nil
		}
		if run.Period == "202603" {
			return page(true, "mar-a=x", "mar-b=x"), nil
		}
		return page(true, run.Period+"=x"), nil
	}
	d.once()
	d.to("2026-04-01", "00:00")
	d.once()
	d.cameAre("202602 x new", "mar-a x new", "mar-b x new")
	d.to("2026-05-01", "00:00")
	d.once()
	d.cameAre("mar-b x left", "202604 x new") // nobody of February left
}

func TestAListIsAskedForNowByAPerson(t *testing.T) {
	d := newDesk(t, weekly)
	d.source.pages = always(page(true, "a=x"))
	if err := d.list.Ask(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	d.once()
	d.askedAre("2026-03-04 15:00")
	d.cameAre("a x new")
	if err := d.list.Ask(t.Context(), "202602"); err == nil {
		t.Error("a period was asked of a list that has none")
	}
	d.to("2026-03-09", "04:00")
	d.once()
	d.askedAre("2026-03-09 04:00") // the schedule goes on
}

func TestAPeriodIsAskedForByItsName(t *testing.T) {
	d := newDesk(t, `{books: report, report: r1, every: month, sample: samples/row.json}`)
	d.source.pages = always(page(true, "a=x"))
	for _, name := range []string{"202511", ""} {
		if err := d.list.Ask(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	d.once()
	d.askedAre("202511 11-01 11-30", "202602 02-01 02-28")
	for _, bad := range []string{"2025W11", "November", "202513"} {
		if err := d.list.Ask(t.Context(), bad); err == nil {
			t.Errorf("%s was asked for", bad)
		}
	}
}

// busy moves the position once, as another worker would, before the first save.
type busy struct {
	ledger.Ledger
	once func()
}

func (b *busy) Accept(ctx context.Context, a []ledger.Arrival, adv *ledger.Advance) ([]ledger.Accepted, error) {
	if f := b.once; f != nil {
		b.once = nil
		f()
	}
	return b.Ledger.Accept(ctx, a, adv)
}

func TestWhatIsAskedForWhileAListIsReadIsNotLost(t *testing.T) {
	d := newDesk(t, weekly)
	d.source.pages = always(page(true, "a=x"))
	d.once()
	other := *d.list
	in := &intake.Intake{Flows: d.list.In.Flows, Systems: d.list.In.Systems, Registry: d.list.In.Registry, Log: d.list.In.Log}
	in.Ledger = &busy{d.ledger, func() {
		if err := d.list.Ask(t.Context(), ""); err != nil {
			t.Error(err)
		}
	}}
	other.In = in
	if err := other.Ask(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	d.once()
	d.askedAre("2026-03-04 15:00", "2026-03-04 15:00")
}

func TestTwoWorkersReadAChunkOnce(t *testing.T) {
	d := newDesk(t, weekly)
	d.once()
	d.to("2026-03-09", "05:00")
	d.source.pages = always(page(false, "a=x"), page(true, "b=y"))
	in := &intake.Intake{Flows: d.list.In.Flows, Systems: d.list.In.Systems, Registry: d.list.In.Registry, Log: d.list.In.Log}
	in.Ledger = &busy{d.ledger, func() { d.once() }}
	other := *d.list
	other.In = in
	if _, err := other.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.cameAre("a x new", "b y new")
}

func TestAFailingPageIsAskedForAgainAfterAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, weekly)
		_ = d.ledger.Close()
		l, err := store.OpenSQLite(t.Context(), t.TempDir(), store.Options{Ring: listRing, MinFree: -1})
		if err != nil {
			t.Fatal(err)
		}
		d.ledger, d.list.In.Ledger = l, l
		var at []time.Time
		d.source.pages = func(connector.Run, int) (connector.Page, error) {
			if at = append(at, time.Now()); len(at) < 3 {
				return connector.Page{}, errors.New("down")
			}
			return page(true, "a=x"), nil
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { d.list.Run(ctx); close(done) }()
		time.Sleep(8 * 24 * time.Hour)
		stop()
		<-done
		if len(at) != 4 { // three tries of the first Monday, and perhaps the second one
			at = at[:min(len(at), 3)]
		}
		if len(at) < 3 || at[1].Sub(at[0]) != time.Minute || at[2].Sub(at[1]) != time.Minute {
			t.Errorf("asked at %v", at)
		}
		if first := at[0].In(zone); first.Weekday() != time.Monday || first.Hour() != 4 || first.Minute() != 0 {
			t.Errorf("first asked at %v", first)
		}
		if came := d.came(); len(came) != 1 {
			t.Errorf("%v came", came)
		}
		_ = l.Close()
	})
}

func TestAListAskedForByAPersonIsReadAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, weekly)
		_ = d.ledger.Close()
		l, err := store.OpenSQLite(t.Context(), t.TempDir(), store.Options{Ring: listRing, MinFree: -1})
		if err != nil {
			t.Fatal(err)
		}
		d.ledger, d.list.In.Ledger = l, l
		d.source.pages = always(page(true, "a=x"))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { d.list.Run(ctx); close(done) }()
		time.Sleep(time.Minute)
		before := time.Now()
		if err := d.list.Ask(ctx, ""); err != nil {
			t.Fatal(err)
		}
		d.list.Now <- struct{}{}
		time.Sleep(time.Second)
		if len(d.source.asked) != 1 || !d.source.asked[0].At.Equal(before.Truncate(time.Microsecond)) {
			t.Errorf("%+v", d.source.asked)
		}
		stop()
		<-done
		_ = l.Close()
	})
}
