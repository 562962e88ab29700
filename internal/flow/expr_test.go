package flow

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kiungo-health/kiungo/internal/record"
)

// bench is a place to evaluate expressions: form is a name with any fields.
type workbench struct {
	run   *Run
	scope *scope
}

func newWorkbench(t testing.TB) *workbench {
	t.Helper()
	site := writeSite(t, testSite)
	zone, err := time.LoadLocation("Africa/Nairobi")
	if err != nil {
		t.Fatal(err)
	}
	i := &Integration{ID: "i05-feed", Zone: zone, Tables: map[string]*Table{}, site: site, values: map[string]any{"visitType": "vt"}}
	r := &reader{}
	for name, text := range map[string]string{
		"gender":      "code,target\nm,M\nf,F\nu,\n",
		"any":         "code,target\na,1\n*,9\n",
		"pairs":       "status,business,target\nready,new,requested\nready,*,received\n",
		"obs":         "question,concept,unit,codes,type\nweight,C1,kg,,\nsigns,C2,,signs,choices\nsex,C3,,gender,\nborn,C4,,,day\nseen,C5,,,moment\nill,C6,,,yes or no\nnote,C7,,,\nkids/n,C8,,,number\n",
		"signs":       "code,target\nfever,S1\nfits,S2\nnone,\n",
		"texts":       "key,en,fr\nthanks,Thank you {1},Merci {1}\n",
		"supervisors": "place,owner\nkis-2,group-2\n",
	} {
		i.Tables[name] = r.parseTable([]byte(text), &source{path: "tables/" + name + ".csv"})
	}
	if len(r.problems) > 0 {
		t.Fatal(r.problems)
	}
	f := &Flow{Name: "i05/test", integ: i}
	form := map[string]any{
		"weight": "63.5", "comma": "68,5", "word": "abc", "blank": "", "zero": "0", "n": 5.0, "yes": "yes", "t": true,
		"signs": "fever no_cough", "list": []any{"a", "b", "c"}, "kids": []any{map[string]any{"n": "1"}, map[string]any{"n": "2"}, map[string]any{"n": ""}},
		"one": map[string]any{"n": "7"}, "none": []any{}, "day": "2026-01-31", "moment": "2026-03-04T21:30:00Z", "local": "2026-03-05T00:30:00", "phone": "0712345678",
		"attr": map[string]any{"@id": "x", "#text": "68"}, "sex": "f", "ill": "yes", "null": nil, "note": "Elsa  said",
	}
	run := &Run{flow: f, env: map[string]any{"form": form, "site": i.values, "later": record.Later{Call: "c", Output: "id"},
		"place": map[string]any{"id": "p", "parent": map[string]any{"site_code": "kis-2"}}, "row": map[string]any{}},
		state: state{integ: i, site: site, zone: zone, received: time.Date(2026, 3, 4, 22, 0, 0, 0, time.UTC), event: time.Date(2026, 3, 5, 22, 0, 0, 0, time.UTC)}}
	run.env[stateName] = &run.state
	run.env["received"] = run.state.received
	for _, q := range i.Tables["obs"].list {
		m, _ := q.(map[string]any)
		run.env["q_"+strings.ReplaceAll(m["question"].(string), "/", "_")] = q
	}
	sc := &scope{names: map[string]*binding{}, integ: i}
	for name := range run.env {
		if name != stateName {
			sc.names[name] = &binding{}
		}
	}
	sc.names["gone"] = &binding{}
	return &workbench{run, sc}
}

func (w *workbench) compile(text string) (*Expr, error) {
	r := &reader{}
	n := &node{kind: textNode, text: text, style: '\'', line: 1, col: 1, src: &source{path: "x.yaml", lines: []string{"'" + text + "'"}}}
	e := r.compile(n, text, 0, w.scope)
	if e == nil {
		return nil, errors.New(r.problems.String())
	}
	return e, nil
}

func (w *workbench) eval(text string) (any, error) {
	e, err := w.compile(text)
	if err != nil {
		return nil, err
	}
	return w.run.run(e)
}

func TestExpressionsFollowTheEightRules(t *testing.T) {
	w := newWorkbench(t)
	zone := w.run.state.zone
	for _, c := range []struct {
		expr string
		want any
	}{
		// 1 absent
		{`form.height`, nil}, {`form.vitals.weight.unit`, nil}, {`gone.a.b`, nil}, {`form.null`, nil}, {`form.weight.unit`, nil},
		{`form.height > 5`, false}, {`form.height < 5`, false}, {`form.height == "x"`, false}, {`form.height != "x"`, false}, {`5 > form.height`, false},
		{`form.height == form.girth`, false}, {`form.height + 5`, nil}, {`5 - form.height`, nil}, {`-form.height`, nil}, {`form.height * 0`, nil},
		{`not form.height`, true}, {`!form.height`, true}, {`len(form.height)`, 0.0}, {`split(form.height, " ")`, []any{}}, {`form.height and true`, false}, {`form.height or true`, true},
		{`form.height ? 1 : 2`, 2}, {`form.height contains "x" ? 1 : 2`, nil}, {`form.height startsWith "x"`, false}, {`form.height matches "x"`, false},
		{`form.height == nil`, true}, {`form.height != nil`, false}, {`nil == form.height`, true}, {`form.weight != nil`, true}, {`not (form.height == "x")`, true},
		{`upper(form.height)`, nil}, {`number(form.height)`, nil}, {`day(form.height)`, nil}, {`plus(form.height, "1 day")`, nil}, {`phone(form.height)`, nil},
		{`lookup("gender", form.height)`, nil}, {`round(form.height)`, nil}, {`convert(form.height, "g", "kg")`, nil}, {`first(form.height)`, nil}, {`form.height[1]`, nil},
		{`form.height + "x"`, nil}, {`"x" + form.height`, nil}, {`map(form.height, .n)`, []any{}}, {`all(form.height, .n == 1)`, true}, {`any(form.height, .n == 1)`, false},
		{`sum(form.height)`, nil}, {`max(form.height, 3)`, 3.0}, {`join(form.height, ",")`, ""}, {`cast(form.height, "number")`, nil},
		// 2 blank
		{`form.blank ?? "none"`, "none"}, {`form.height ?? "none"`, "none"}, {`form.weight ?? "none"`, "63.5"}, {`form.blank == nil`, true}, {`form.blank == ""`, true}, {`form.weight == ""`, false},
		{`form.blank > 5`, false}, {`form.blank + 1`, nil}, {`not form.blank`, true}, {`clear(form.blank)`, record.Clear{}}, {`clear(form.height)`, nil}, {`clear(form.weight)`, "63.5"},
		{`clear(phone(form.blank))`, record.Clear{}}, {`clear(lookup("gender", form.blank))`, record.Clear{}}, {`clear("")`, record.Clear{}}, {`upper(form.blank)`, ""},
		// 3 tables
		{`lookup("gender", form.sex)`, "F"}, {`lookup("gender", "u")`, nil}, {`lookup("any", "zzz")`, "9"}, {`lookup("pairs", "ready", "new")`, "requested"}, {`lookup("pairs", "ready", "old")`, "received"},
		{`lookup("pairs", "ready", form.height)`, "received"}, {`len(table("gender"))`, 3.0}, {`table("gender")[1].target`, "M"}, {`say("thanks", "E")`, "Thank you E"}, {`say("other")`, "other"},
		// 4 repeats and choices
		{`rows(form.one)[1].n`, "7"}, {`len(rows(form.one))`, 1.0}, {`len(rows(form.height))`, 0.0}, {`len(form.kids)`, 3.0}, {`form.kids[1].n`, "1"}, {`form.kids[-1].n`, ""}, {`form.kids[9].n`, nil},
		{`choices(form.signs)`, []any{"fever", "no_cough"}}, {`"fever" in choices(form.signs)`, true}, {`"cough" in choices(form.signs)`, false}, {`"cough" in form.signs`, false}, {`"fever" in form.signs`, true},
		{`"fever" in form.height`, false}, {`"fever" not in form.signs`, false}, {`form.sex in ["m", "f"]`, true}, {`form.height in ["m"]`, false}, {`form.n in [5]`, true}, {`"5" in [form.n]`, true}, {`"a" in form.one`, false}, {`"n" in form.one`, true},
		{`map(form.kids, .n)`, []any{"1", "2", ""}}, {`map(form.kids, #index)`, []any{1.0, 2.0, 3.0}}, {`sum(form.kids, .n)`, 3.0}, {`count(form.kids, .n > 1)`, 1}, {`filter(form.list, # != "b")`, []any{"a", "c"}}, {`find(form.kids, .n == "2").n`, "2"},
		{`one(form.kids, .n == 1)`, true}, {`none(form.kids, .n == 1)`, false}, {`last(form.list)`, "c"}, {`form.one | rows() | len()`, 1.0},
		// 5 numbers and codes
		{`form.weight > 60`, true}, {`form.weight > "7"`, true}, {`form.comma > 68.4`, true}, {`number(form.comma)`, 68.5}, {`form.weight == 63.5`, true}, {`"063" == 63`, true}, {`"01" == "1"`, false},
		{`form.word == 1`, false}, {`form.zero > -1`, true}, {`form.weight + form.n`, 68.5}, {`form.n + 1`, 6.0}, {`form.weight + " kg"`, "63.5 kg"}, {`form.n + " kg"`, "5 kg"}, {`7 / 2`, 3.5}, {`7 % 4`, 3.0}, {`2 ^ 3`, 8.0}, {`-form.n`, -5.0}, {`+form.weight`, 63.5},
		{`form.attr > 60`, true}, {`number(form.attr)`, 68.0}, {`form.attr == "68"`, true}, {`round(63.456, 1)`, 63.5}, {`min(form.kids[1].n, 5, form.height)`, 1.0},
		{`cast(form.ill, "yes or no")`, true}, {`cast(form.signs, "choices")`, []any{"fever", "no_cough"}}, {`text(form.n)`, "5"}, {`form.t`, true}, {`form.t ? 1 : 2`, 1}, {`form.yes == "yes" && form.t`, true},
		// 6 time
		{`day(form.day)`, Day("2026-01-31")}, {`day(form.moment)`, Day("2026-03-05")}, {`day(form.local)`, Day("2026-03-05")}, {`plus(form.day, "1 month")`, Day("2026-02-28")}, {`plus(form.day, "-1 day")`, Day("2026-01-30")},
		{`plus(day(form.day), "2 weeks")`, Day("2026-02-14")}, {`form.day < form.moment`, true}, {`form.day < "2026-02-01"`, true}, {`day(form.moment) == "2026-03-05"`, true}, {`form.day == day(form.day)`, true},
		{`endOfDay(form.moment)`, time.Date(2026, 3, 5, 23, 59, 59, 0, zone)}, {`startOfDay(form.day)`, time.Date(2026, 1, 31, 0, 0, 0, 0, zone)}, {`moment(form.day)`, time.Date(2026, 1, 31, 0, 0, 0, 0, zone)},
		{`plus(form.moment, "24 hours") > form.moment`, true}, {`received < plus(received, "1 minute")`, true}, {`max(1, 2) > 1`, true},
		// 7 units
		{`convert(3500, "g", "kg")`, 3.5}, {`convert("98.6", "F", "C")`, 37.0}, {`convert(1, "in", "cm")`, 2.54},
		// what table rows and sites say
		{`answer(form, q_weight)`, 63.5}, {`answer(form, q_signs)`, nil}, {`answer(form, q_sex)`, "F"}, {`answer(form, q_ill)`, true}, {`answer(form, q_note)`, "Elsa  said"}, {`answer(form, q_born)`, nil},
		{`serverFor(place, "openmrs")`, "openmrs-kisumu"}, {`serverFor("siaya", "openmrs")`, "openmrs-siaya"}, {`supervisorOf(place)`, "group-2"}, {`phone(form.phone)`, "+254712345678"}, {`phone("+250788123456")`, "+250788123456"},
		{`site.visitType`, "vt"}, {`trim("  a ")`, "a"}, {`replace("a-b", "-", "")`, "ab"}, {`join(form.list, ", ")`, "a, b, c"}, {`split("a b", " ")`, []any{"a", "b"}}, {`let x = form.n; x + x`, 10.0}, {`{"a": form.n}.a`, 5.0},
		{`later`, record.Later{Call: "c", Output: "id"}}, {`form["weight"]`, "63.5"}, {`form?.weight`, "63.5"}, {`form.weight matches "^6"`, true}, {`form.note startsWith "Elsa"`, true}, {`lower(form.note) contains "said"`, true},
	} {
		got, err := w.eval(c.expr)
		if c.expr == `form.height contains "x" ? 1 : 2` {
			if err == nil || !strings.Contains(err.Error(), "contains looks for parts of words") {
				t.Errorf("%s: %v", c.expr, err)
			}
			continue
		}
		if c.expr == `answer(form, q_signs)` {
			var u *Unmapped
			if !errors.As(err, &u) || u.Cause() != "form.signs = no_cough is not in signs.csv" {
				t.Errorf("%s: %v", c.expr, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.expr, err)
			continue
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.expr, d)
		}
	}
}

func TestWhatCannotBeWorkedOutIsAQuestionInWords(t *testing.T) {
	w := newWorkbench(t)
	for _, c := range []struct{ expr, kind, cause string }{
		{`number(form.word)`, "value", "form.word is not a number"},
		{`form.word > 5`, "value", "form.word is not a number, a day or a moment"},
		{`5 < form.word`, "value", "form.word is not a number"},
		{`form.word + 5`, "value", "form.word is not a number"},
		{`form.word + form.sex`, "value", "form.word is not a number"},
		{`form.n / 0`, "value", "form.n cannot be reckoned with 0 (a division by zero, or too large)"},
		{`day(form.word)`, "value", "form.word is not a day (YYYY-MM-DD)"},
		{`day("2026-02-30")`, "value", `"2026-02-30" is not a day (YYYY-MM-DD)`},
		{`moment(form.word)`, "value", "form.word is not a moment (YYYY-MM-DDThh:mm:ss)"},
		{`plus(form.day, "2 hours")`, "value", "form.day is a day; hours can be added to a moment only: plus(moment(…), …)"},
		{`plus(form.day, "100000 years")`, "value", "form.day moves out of the calendar"},
		{`phone(form.word)`, "value", "form.word is not a phone number in KE; write it as +, country code, number"},
		{`lookup("gender", form.word)`, "unmapped", "form.word = abc is not in gender.csv"},
		{`lookup("pairs", "x", "y")`, "unmapped", `"x" = x, y is not in pairs.csv`},
		{`lookup("gender", form.list)`, "value", "form.list is a list, not a code; for several use map(choices(…), lookup(…))"},
		{`form.kids.n`, "value", "form.kids.n is asked of a list; take one row, [1], or use each, map or filter"},
		{`form.kids[0]`, "value", "form.kids[0] is no row; lists are numbered from 1"},
		{`form.sex ? 1 : 2`, "value", `form.sex is text, not a condition; compare it: == "yes"`},
		{`form.n and true`, "value", `form.n is a number, not a condition; compare it: == "yes"`},
		{`upper(form.one)`, "value", "form.one is a group, not text"},
		{`cast(form.sex, form.word)`, "value", `form.sex is to be of type "abc"; types are text, number, day, moment, yes or no, choices`},
		{`serverFor("nowhere", "openmrs")`, "server", "no openmrs server serves place nowhere or a place above it; add it to places of one in site.yaml"},
		{`serverFor("bondo", "openmrs")`, "server", "place bondo is served by openmrs-off, which is switched off; switch it on, or skip"},
		{`serverFor(form.height, "openmrs")`, "server", "no place is known to choose the openmrs server by; give the worker or the case a location"},
		{`answer(form, q_kids_n)`, "value", "form.kids.n is in a repeat with several rows; give it a row list of its own with each"},
		{`upper(later)`, "flow", "x.yaml:1:2: later is chosen by the server and known only after the call; use it alone: '${later}'"},
		{`later + "x"`, "flow", `x.yaml:1:8: later + "x" is chosen by the server and known only after the call; use it alone: '${later + "x"}'`},
	} {
		v, err := w.eval(c.expr)
		if err == nil {
			t.Errorf("%s = %v, want an error", c.expr, v)
			continue
		}
		cause, kind := Cause(err)
		if cause != c.cause || kind != c.kind {
			t.Errorf("%s:\ngot  %s: %s\nwant %s: %s", c.expr, kind, cause, c.kind, c.cause)
		}
		var e *Error
		if !errors.As(err, &e) || e.File != "x.yaml" || e.Line != 1 || e.Col < 1 {
			t.Errorf("%s: no place in %v", c.expr, err)
		}
	}
}

func TestExpressionsAreLimited(t *testing.T) {
	w := newWorkbench(t)
	big := make([]any, 2000)
	for i := range big {
		big[i] = "x"
	}
	w.run.env["form"].(map[string]any)["big"] = big
	for _, expr := range []string{
		`all(form.big, all(form.big, true))`,
		`map(form.big, map(form.big, map(form.big, 1)))`,
		`let a = join(form.big, "xxxxxxxxxx"); let b = a + a + a + a + a; let c = b + b + b + b + b + b; let d = c + c + c + c + c + c + c; d + d + ""`,
	} {
		w.run.state.steps, w.run.state.bytes = 0, 0
		_, err := w.eval(expr)
		var much *TooMuch
		if !errors.As(err, &much) {
			t.Errorf("%s: %v", expr, err)
		}
	}
}

func TestTimesOfAClockThatIsAheadCountAsReceipt(t *testing.T) {
	w := newWorkbench(t) // received 22:00 on the 4th, the phone's "now" a day later
	for expr, want := range map[string]string{
		`moment("2026-03-05T10:00:00Z")`: "2026-03-04T22:00:00Z", // the phone's clock
		`moment("2026-03-04T10:00:00Z")`: "2026-03-04T10:00:00Z", // before receipt
		`moment("2026-04-01T08:00:00Z")`: "2026-04-01T08:00:00Z", // an appointment
	} {
		v, err := w.eval(expr)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := asText(v); got != want {
			t.Errorf("%s = %s, want %s", expr, got, want)
		}
	}
}

// anyValue draws what a message may hold.
func anyValue() *rapid.Generator[any] {
	leafs := rapid.OneOf(
		rapid.Just[any](nil), rapid.Just[any](""), rapid.Just[any]("  "), rapid.Just[any](true), rapid.Just[any]("2026-01-31"), rapid.Just[any]("2026-01-31T10:00:00Z"), rapid.Just[any]("63,5"), rapid.Just[any](math.MaxFloat64),
		rapid.Map(rapid.Float64Range(-1e9, 1e9), func(f float64) any { return f }), rapid.Map(rapid.String(), func(s string) any { return s }),
		rapid.Just[any](record.Clear{}), rapid.Just[any](record.Later{Call: "c"}))
	list := rapid.Map(rapid.SliceOfN(leafs, 0, 3), func(l []any) any { return l })
	object := rapid.Map(rapid.MapOfN(rapid.SampledFrom([]string{"n", "id", "#text", "parent", "ancestors", "question", "type", "codes"}), leafs, 0, 3), func(m map[string]any) any { return m })
	return rapid.OneOf(leafs, list, object)
}

func TestNoValueMakesAnOperatorOrFunctionPanic(t *testing.T) {
	w := newWorkbench(t)
	var exprs []*Expr
	add := func(text string) {
		e, err := w.compile(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		exprs = append(exprs, e)
	}
	for op := range operators {
		switch op {
		case "contains":
			add(`lower(form.a) contains form.b`)
		case "matches":
			add(`form.a matches "a|b"`)
		default:
			add(`form.a ` + op + ` form.b`)
		}
	}
	for name, f := range functions {
		args := []string{"form.a", "form.b", "form.c", "form.d", "form.e", "form.f", "form.g", "form.h", "form.i"}
		for n := f.min; n <= f.max; n++ {
			a := append([]string{}, args[:n]...)
			switch name {
			case "lookup":
				a[0] = `"pairs"`
			case "serverFor":
				a = []string{"form.a", `"openmrs"`}
			}
			add(name + "(" + strings.Join(a, ", ") + ")")
		}
	}
	for _, text := range []string{`not form.a`, `-form.a`, `form.a ?? form.b`, `form.a ? 1 : 2`, `form.a and form.b`, `form.a[form.b]`, `form.a.n.n`, `form.a[1]`, `map(form.a, .n)`, `filter(form.a, # == form.b)`,
		`all(form.a, .n > 1)`, `count(form.a, .n)`, `sum(form.a, .n)`, `form.a + "x"`, `form.a == nil`, `find(form.a, .n == 1).n`} {
		add(text)
	}
	rapid.Check(t, func(rt *rapid.T) {
		form := map[string]any{}
		for _, k := range []string{"a", "b", "c"} {
			form[k] = anyValue().Draw(rt, k)
		}
		w.run.env["form"] = form
		for _, e := range exprs {
			w.run.state.steps, w.run.state.bytes = 0, 0
			v, err := w.run.run(e)
			if err != nil {
				cause, _ := Cause(err)
				if strings.Contains(cause, "runtime error") || strings.Contains(cause, "interface conversion") || strings.Contains(cause, "reflect") || strings.Contains(cause, "cannot be worked out") {
					rt.Fatalf("%s with %#v: %v", e.Text, form, err)
				}
				continue
			}
			if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
				rt.Fatalf("%s with %#v is %v", e.Text, form, f)
			}
			outside(v)
		}
	})
}

func TestAbsentNeverBecomesAValue(t *testing.T) {
	w := newWorkbench(t)
	w.run.env["form"] = map[string]any{}
	for op := range operators {
		text := `form.a ` + op + ` form.b`
		if op == "matches" || op == "contains" {
			continue
		}
		v, err := w.eval(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if v != nil && v != false {
			t.Errorf("%s = %v", text, v)
		}
	}
}

func FuzzExpression(f *testing.F) {
	w := newWorkbench(f)
	for _, s := range []string{`form.a > 5`, `lookup("gender", form.sex)`, `map(form.kids, {.n + 1})`, `let x = 1; x`, `form?.a ?? "b"`, `"${`, `((((`, `form.a[1:2]`, `if form.a { 1 } else { 2 }`, "`raw`", `b"x"`, `$env`, `#`, `form | len()`, `::len(form)`, `{"a": 1, (form.a): 2}`, `reduce(form.list, #acc + #)`, `sortBy(form.list, #)`, `form.a.b.c()`, `not not form.a`, `1e999`, `form matches "["`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := w.compile(text)
		if err != nil {
			return
		}
		w.run.state.steps, w.run.state.bytes = 0, 0
		if _, err := w.run.run(e); err != nil && strings.Contains(err.Error(), "runtime error") {
			t.Errorf("%q: %v", text, err)
		}
	})
}
