package flow

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const head = "flow: a\nfrom: {commcare: form, sample: samples/visit.json}\n"
const rec = "records:\n  p: {kind: openmrs/Patient, find: {by: [{uuid: '${case.x}'}], none: ask}}\n"

// set makes a flow that sets one line of an encounter.
func set(line string) string {
	return head + "records:\n  p: {kind: openmrs/Patient, find: {by: [{uuid: '${case.x}'}], none: ask}}\n  e:\n    kind: openmrs/Encounter\n    set:\n      patient: '${p}'\n      type: T\n      at: '${form.meta.timeEnd}'\n      " + line + "\n"
}

func TestEveryProblemIsReportedAtItsPlace(t *testing.T) {
	for _, c := range []struct {
		name, flow string
		code       Code
		want       string // "line:col: text"
		more       []string
	}{
		{"unknown key", head + "wher: true\n" + rec, CodeUnknownKey, `3:1: a flow has no key "wher"; did you mean "where"?`, nil},
		{"on for from", "flow: a\non: {commcare: form}\n" + rec, CodeUnknownKey, `2:1: a flow has no key "on" (YAML reads on as true); write from:`, nil},
		{"true for from, as Python tools save it", "flow: a\ntrue: {commcare: form}\n" + rec, CodeLiteral, `2:1: YAML does not read the key true as text`, nil},
		{"missing key", head, CodeMissingKey, `1:1: a flow needs records:`, nil},
		{"unknown system", "flow: a\nfrom: {comcare: form}\n" + rec, CodeMessage, `2:8: there is no connector and no system "comcare"; did you mean "commcare"?`, nil},
		{"unknown message", "flow: a\nfrom: {commcare: from}\n" + rec, CodeMessage, `2:18: commcare sends no message "from"; did you mean "form"?`, nil},
		{"unknown filter", "flow: a\nfrom: {commcare: form, xmlsn: x, sample: samples/visit.json}\n" + rec, CodeUnknownKey, `2:24: commcare form cannot be filtered by "xmlsn"; did you mean "xmlns"?`, nil},
		{"unknown kind", head + "records:\n  p: {kind: openmrs/Patiant, set: {gender: M}}\n", CodeKind, `4:13: openmrs has no record kind "openmrs/Patiant"; did you mean "openmrs/Patient"?`, nil},
		{"unknown connector of a kind", head + "records:\n  p: {kind: opnmrs/Patient, set: {gender: M}}\n", CodeKind, `4:13: there is no record kind "opnmrs/Patient"; did you mean "openmrs/Patient"?`, nil},
		{"unknown field", set("visitt: x"), CodeField, `11:7: openmrs/Encounter has no field "visitt"; did you mean "visit"?`, nil},
		{"unknown field of a row", set("obs: [{concpt: x, value: '1'}]"), CodeField, `11:14: a row of obs has no field "concpt"; did you mean "concept"?`, nil},
		{"unknown criterion", head + "records:\n  p: {kind: openmrs/Patient, find: {by: [{uid: x}]}}\n", CodeField, `4:43: find of openmrs/Patient has no field "uid"; did you mean "uuid"?`, nil},
		{"missing field", head + "records:\n  p:\n    kind: openmrs/Patient\n    set: {name: {given: A}}\n", CodeRequired, `4:3: openmrs/Patient cannot be made without gender`, nil},
		{"missing field of a row", set("obs: [{concept: x}]"), CodeRequired, `11:13: a row of obs needs value`, nil},
		{"nothing to make it with", head + "records:\n  p: {kind: openmrs/Patient, find: {by: [{uuid: x}], none: create}}\n", CodeRequired, `4:36: none: create makes the record, but there is nothing to make it with`, nil},
		{"a name no sample has", set("weight: '${number(form.wieght)}'"), CodeUnknownName, `11:30: form has no "wieght" (the samples); did you mean "weight"?`, nil},
		{"a name of no message", set("weight: '${number(fom.weight)}'"), CodeUnknownName, `11:25: there is no name "fom" here; did you mean "form"?`, nil},
		{"a record's field", set("visit: '${p.uuuid}'"), CodeUnknownName, `11:19: p has no "uuuid" (openmrs/Patient); did you mean "uuid"?`, nil},
		{"a site value that is not declared", set("provider: '${site.visitTyp}'"), CodeUnknownName, `11:25: site has no "visitTyp" (integration.yaml, site); did you mean "visitType"?`, nil},
		{"unknown function", set("weight: '${numbr(form.weight)}'"), CodeUnknownFunc, `11:18: there is no function "numbr"; did you mean "number"?`, nil},
		{"wrong number of arguments", set(`weight: '${lookup("gender")}'`), CodeUnknownFunc, `lookup has 1 arguments here; write it like lookup("gender", case.sex)`, nil},
		{"wrong literal", set("weight: heavy"), CodeType, `11:15: weight is a number; "heavy" is none`, nil},
		{"wrong literal for yes or no", head + "records:\n  p: {kind: openmrs/Patient, set: {name: {given: A}, gender: M, dead: 'yes'}}\n", CodeType, `4:71: dead is yes or no; write true or false`, nil},
		{"a number for text", set("type2: 1\n      type: 3"), CodeDuplicate, `12:7: "type" is here twice, first in line 9; keep one`, nil},
		{"wrong type of expression", set("weight: '${day(form.meta.timeEnd)}'"), CodeType, `weight is number, but the value is day; use number(…)`, nil},
		{"reference of another kind", set("visit: '${p}'"), CodeType, `visit refers to openmrs/Visit; p is openmrs/Patient`, nil},
		{"a record inside text", set("obs: [{concept: 'x ${p}', value: '1'}]"), CodeType, `p is a record and cannot stand inside text; write a field of it: ${p.uuid}`, nil},
		{"a record compared", set(`weight: '${p == "x" ? 1 : 2}'`), CodeType, `p is a record and can only be passed on alone`, nil},
		{"reference loop", head + "records:\n  a: {kind: openmrs/Visit, set: {type: '${b.uuid}', start: '${received}'}}\n  b: {kind: openmrs/Visit, set: {type: '${a.uuid}', start: '${received}'}}\n", CodeLoop, `4:3: the records need each other: a -> b -> a`, nil},
		{"a record that needs itself", head + "records:\n  a: {kind: openmrs/Visit, set: {type: '${a.uuid}', start: '${received}'}}\n", CodeLoop, `the records need each other: a -> a`, nil},
		{"loop of named values", head + "let: {x: y, y: x}\n" + rec, CodeLoop, `3:10: the named values need each other: x -> y -> x`, nil},
		{"unknown table", set(`weight: '${lookup("gendr", form.weight)}'`), CodeTable, `11:25: there is no table "gendr" in tables/; did you mean "gender"?`, nil},
		{"unknown column", set(`obs: [{each: {q: 'table("visit-obs")'}, concept: '${q.concpt}', value: '1'}]`), CodeUnknownName, `q has no "concpt" (tables/visit-obs.csv); did you mean "concept"?`, nil},
		{"too few columns", set(`provider: '${lookup("gender", form.weight, form.note)}'`), CodeTable, `table "gender" needs 2 columns of codes and a target`, nil},
		{"a question in a table that no sample has", set(`obs: [{each: {q: 'table("visit-obs")'}, concept: '${q.concept}', value: '${answer(form, q)}'}]`), CodeUnknownName,
			`tables/visit-obs.csv, row of line 2: no sample has the question "wieght"; did you mean "weight"?`, []string{"tables/visit-obs.csv", "question,concept\nwieght,C1\n"}},
		{"a type in a table", set(`obs: [{each: {q: 'table("visit-obs")'}, concept: '${q.concept}', value: '${answer(form, q)}'}]`), CodeTable,
			`there is no type "numbr"; did you mean "number"?`, []string{"tables/visit-obs.csv", "question,concept,type\nweight,C1,numbr\n"}},
		{"a codes table in a table", set(`obs: [{each: {q: 'table("visit-obs")'}, concept: '${q.concept}', value: '${answer(form, q)}'}]`), CodeTable,
			`there is no table "gendr"`, []string{"tables/visit-obs.csv", "question,concept,codes\nweight,C1,gendr\n"}},
		{"a table that cannot be read", rec, CodeTableFile, `2:1: the row has 3 cells for 2 columns`, []string{"tables/bad.csv", "a,b\n1,2,3\n", "flows/a.yaml", head + rec}},
		{"remote name in where of from", "flow: a\nfrom: {commcare: form, where: 'case.type == \"x\"', sample: samples/visit.json}\n" + rec, CodeRemote, `2:32: where of from may use the message and tables only; case needs a read`, nil},
		{"remote name in each", head + "each: {x: worker.place}\n" + rec, CodeRemote, `3:11: each may use the message and tables only; worker needs a read`, nil},
		{"remote name in lane", head + "lane: {person: '${worker.id}'}\n" + rec, CodeRemote, `3:7: lane may use the message and tables only; worker needs a read`, nil},
		{"remote name in a let used by lane", head + "let: {w: worker.id}\nlane: {person: '${w}'}\n" + rec, CodeRemote, `4:7: lane may use the message and tables only; worker needs a read`, nil},
		{"remote name in let of from", "flow: a\nfrom: {commcare: form, let: {w: worker.id}, sample: samples/visit.json}\n" + rec, CodeRemote, `2:33: let of from may use`, nil},
		{"constant lane", head + "lane: {feed: '${site.visitType}'}\n" + rec, CodeConstantLane, `3:7: this lane is the same for every message`, nil},
		{"# in an unquoted expression", set("weight: ${form.weight # 5}"), CodeCut, "11:15: ${ is cut: YAML ends unquoted text at ` #`", nil},
		{"# in an unquoted condition", head + "where: filter(form.children, # != nil) == nil\n" + rec, CodeCut, "YAML ends unquoted text at ` #`", nil},
		{"comma in {}", head + "records: {p: {kind: openmrs/Patient, when: lookup(\"gender\", form.note) == \"c\", find: {by: [{uuid: x}]}}}\n", CodeCut, `3:44: YAML cuts the value of when at the comma; put the whole value in single quotes: when: 'lookup("gender", form.note) == "c"'`, nil},
		{"comma in a field", head + "records:\n  p: {kind: commcare/Case, set: {case_name: ${lookup(\"gender\", case.sex)}}}\n", CodeCut, `put the whole value in single quotes`, nil},
		{"braces in {}", head + "records:\n  p: {kind: commcare/Case, set: {case_name: ${case.name}}}\n", CodeCut, `YAML reads the braces of ${…} as its own here`, nil},
		{"? : unquoted", set("weight: form.weight ? 1 : 2"), CodeCut, "YAML cannot read `? :` without quotes", nil},
		{"unbalanced ${", set("type2: x\n      provider: '${form.weight'"), CodeUnbalanced, `12:18: ${ is not closed by }; write '${form.weight}'`, nil},
		{"contains on codes", head + "where: form.signs contains \"fever\"\n" + rec, CodeContains, `"fever" would be found in no_fever, too; write "fever" in choices(form.signs)`, nil},
		{"a repeat as one thing", set("provider: '${form.children.name}'"), CodeRepeat, `11:34: form.children is a repeat, always a list; take one row, form.children[1].name`, nil},
		{"numbered from 1", set("provider: '${form.children[0].name}'"), CodeRepeat, `lists are numbered from 1`, nil},
		{"leading zero", set("provider: 0123"), CodeLiteral, `11:17: YAML may read 0123 as a number written otherwise; write it quoted: '0123'`, nil},
		{"trailing zero", set("provider: 1.10"), CodeLiteral, `write it quoted: '1.10'`, nil},
		{"underscore", set("provider: 1_000"), CodeLiteral, `write it quoted: '1_000'`, nil},
		{"hexadecimal", set("provider: 0x1F"), CodeLiteral, `write it quoted: '0x1F'`, nil},
		{"exponent", set("provider: 1e3"), CodeLiteral, `write it quoted: '1e3'`, nil},
		{"plus sign", set("provider: +254712345678"), CodeLiteral, `write it quoted: '+254712345678'`, nil},
		{"yes", set("provider: yes"), CodeLiteral, `YAML may read yes as yes or no; write it quoted: 'yes'`, nil},
		{"off", set("provider: off"), CodeLiteral, `write it quoted: 'off'`, nil},
		{"True", set("provider: True"), CodeLiteral, `write it quoted: 'True'`, nil},
		{"date", set("at2: x\n      provider: 2024-01-31"), CodeLiteral, `write it quoted: '2024-01-31'`, nil},
		{"time", set("provider: 06:00"), CodeLiteral, `write it quoted: '06:00'`, nil},
		{"null", set("provider: ~"), CodeLiteral, `YAML reads ~ as nothing`, nil},
		{"no value", set("provider:"), CodeMissingKey, `11:7: provider has no value; write one, or leave the line out`, nil},
		{"not a number", set("provider: .inf"), CodeLiteral, `write it quoted: '.inf'`, nil},
		{"duplicate key", head + head, CodeDuplicate, `3:1: "flow" is here twice, first in line 1`, nil},
		{"duplicate flow", head + rec + "---\n" + head + rec, CodeDuplicateID, `6:7: the flow "a" is also in flows/a.yaml:1`, nil},
		{"anchor", head + "about: &x hello\n" + rec, CodeUnsupported, `anchors (&name) are not part of the flow language`, nil},
		{"alias", head + "about: *x\n" + rec, CodeUnsupported, ``, nil},
		{"tag", head + "about: !!str hello\n" + rec, CodeUnsupported, `tags (!name) are not part`, nil},
		{"tab", head + "records:\n\tp: {kind: x}\n", CodeSyntax, `a tab before the text`, nil},
		{"not YAML", head + "records: [\n", CodeSyntax, ``, nil},
		{"a list for an object", head + "records: [1]\n", CodeShape, `this is a list; it must be an object`, nil},
		{"braces around a bare expression", head + "where: ${form.weight > 5}\n" + rec, CodeBraces, `where is an expression by itself; take ${ } out: where: form.weight > 5`, nil},
		{"an expression that cannot be read", head + "where: form.weight >\n" + rec, CodeExpression, `the expression cannot be read`, nil},
		{"an operator that is none", head + "where: form.weight = 5\n" + rec, CodeExpression, `the expression cannot be read`, nil},
		{"expr's own functions", head + "where: now() != nil\n" + rec, CodeUnknownFunc, `there is no function "now"`, nil},
		{"ranges", head + "each: {x: 1..1000000}\n" + rec, CodeExpression, `the operator .. is not part of the flow language`, nil},
		{"bad pattern", head + "where: form.note matches \"(\"\n" + rec, CodeExpression, `the pattern cannot be read`, nil},
		{"a pattern from the message", head + "where: form.note matches form.signs\n" + rec, CodeExpression, `the pattern of matches must be written out`, nil},
		{"a span that is none", set(`provider: '${plus(received, "7 dogs")}'`), CodeExpression, `"7 dogs" is no span of time`, nil},
		{"a unit that is none", set(`weight: '${convert(form.weight, "g", "cm")}'`), CodeExpression, `cannot turn "g" into "cm"`, nil},
		{"server without a connector", head + "where: serverFor(worker.place) != nil\n" + rec, CodeUnknownFunc, `say which kind of server`, nil},
		{"not yet: expect", head + rec + "expect: {x: {key: y}}\n", CodeNotYet, `expect is not supported yet`, nil},
		{"not yet: fulfil", head + rec + "fulfil: {x: {key: y}}\n", CodeNotYet, `fulfil is not supported yet`, nil},
		{"approve without words", head + rec + "approve: true\n", CodeShape, `approve is true or false; it must be an object`, nil},
		{"not yet: reply", head + rec + "reply: {within: 8 seconds}\n", CodeNotYet, `reply is not supported yet`, nil},
		{"not yet: done", "flow: a\nfrom: {done: b}\n" + rec, CodeNotYet, `from: {done: …} is not supported yet`, nil},
		{"not yet: state()", head + "where: state(\"a\", form.note) == \"missed\"\n" + rec, CodeNotYet, `state() is not supported yet`, nil},
		{"a word that is not one", head + "refused: stop\n" + rec, CodeValue, `3:10: refused cannot be "stop"`, nil},
		{"none", head + "records:\n  p: {kind: openmrs/Patient, find: {by: [{uuid: x}], none: crate}}\n", CodeValue, `none cannot be "crate"; did you mean "create"?`, nil},
		{"wait without a span", head + "records:\n  p: {kind: openmrs/Patient, find: {by: [{uuid: x}], none: wait}}\n", CodeValue, `does not say how long to wait`, nil},
		{"wins", head + "records:\n  p: {kind: openmrs/Patient, find: {by: [{uuid: x}]}, wins: {gender: openmsr}}\n", CodeValue, `"openmsr" cannot win; did you mean "openmrs"?`, nil},
		{"furthest without a table", head + "records:\n  p: {kind: openmrs/Patient, find: {by: [{uuid: x}]}, wins: {gender: furthest nothing}}\n", CodeTable, `there is no table "nothing"`, nil},
		{"furthest without columns", head + "records:\n  p: {kind: openmrs/Patient, find: {by: [{uuid: x}]}, wins: {gender: furthest gender}}\n", CodeTable, `needs the columns from and to`, nil},
		{"name of a flow", "flow: A B\nfrom: {commcare: form, sample: samples/visit.json}\n" + rec, CodeValue, `1:7: "A B" is no name for a flow`, nil},
		{"name of a record", head + "records:\n  my-patient: {kind: openmrs/Patient, find: {by: [{uuid: x}]}}\n", CodeValue, `"my-patient" cannot be a name in expressions`, nil},
		{"a name that is taken", head + "let: {form: received}\nrecords:\n  received: {kind: openmrs/Patient, find: {by: [{uuid: x}]}}\n", CodeDuplicate, `the name "received" is taken already`, nil},
		{"a name that is a function", head + "let: {day: received}\n" + rec, CodeValue, `"day" is a word of expressions`, nil},
		{"set and new", head + "records:\n  p: {kind: commcare/Case, set: {case_name: A}, new: {case_name: B}}\n", CodeDuplicate, `case_name is under set: and under new:`, nil},
		{"a record that says nothing", head + "records:\n  p: {kind: commcare/Case}\n", CodeRequired, `record p has neither find: nor set: nor new:`, nil},
		{"an empty criterion", head + "records:\n  p: {kind: openmrs/Patient, find: {by: [{}]}}\n", CodeMissingKey, `an empty criterion would find anything`, nil},
		{"empty text", set("provider: ''"), CodeType, `provider is empty text, which counts as absent`, nil},
		{"missing sample", "flow: a\nfrom: {commcare: form, sample: samples/none.json}\n" + rec, CodeSample, `no file fits samples/none.json`, nil},
		{"a sample outside", "flow: a\nfrom: {commcare: form, sample: ../../x.json}\n" + rec, CodeSample, `a sample lies inside the folder`, nil},
		{"no sample", "flow: a\nfrom: {commcare: form}\n" + rec, CodeSample, `2:7: without sample: the names of questions cannot be checked`, nil},
		{"a sample that is not JSON", head + rec, CodeSample, `samples/visit.json is not JSON`, []string{"samples/visit.json", "{"}},
		{"a filter that no sample passes", "flow: a\nfrom: {commcare: form, xmlns: 'http://x/other', sample: samples/visit.json}\n" + rec, CodeSample, `2:31: no sample has form.xmlns = http://x/other; the flow may never run`, nil},
		{"an xmlns with spaces", "flow: a\nfrom: {commcare: form, xmlns: 'visit form', sample: samples/visit.json}\n" + rec, CodeValue, `an xmlns has no spaces`, nil},
		{"schedule", "flow: a\nfrom: {openmrs: report, every: sometimes, sample: samples/visit.json}\n" + rec, CodeValue, `"sometimes" is no schedule`, nil},
		{"a system that is not listed", head + rec, CodeSystem, `integration.yaml does not list openmrs under systems:`, []string{"integration.yaml", "title: T\nzone: UTC\nsystems: [commcare]\n"}},
		{"not UTF-8", "flow: \xff\n", CodeSyntax, `the file is not UTF-8 text`, nil},
		{"nested too deep", "flow: " + strings.Repeat("[", 200) + "\n", CodeTooLarge, `nested deeper than`, nil},
		{"too large", "flow: " + strings.Repeat("x", maxFile) + "\n", CodeTooLarge, `at most 256 kB`, nil},
		{"an expression too long", head + "where: '" + strings.Repeat("x+", 3000) + "x'\n" + rec, CodeTooLarge, `the expression has more than 4096 letters`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, problems := snippet(t, c.flow, c.more...)
			place := regexp.MustCompile(`^(\d+:\d+): `)
			for _, p := range problems {
				line := p.String()
				if p.Code != c.code {
					continue
				}
				if at := place.FindStringSubmatch(c.want); at != nil {
					if strings.Contains(line, ":"+at[1]+": ") && strings.Contains(line, strings.TrimPrefix(c.want, at[0])) {
						return
					}
				} else if strings.Contains(line, c.want) {
					return
				}
			}
			t.Errorf("no %s %q in\n%s", c.code, c.want, problems)
		})
	}
}

func TestASoundFlowHasNoProblems(t *testing.T) {
	if _, problems := snippet(t, set("weight: '${number(form.weight)}'")); len(problems) > 0 {
		t.Error(problems)
	}
}

func TestAllProblemsOfAllFilesAreReportedAtOnce(t *testing.T) {
	_, problems := snippet(t, head+"wher: x\nlane: {a: b}\nrecords:\n  p: {kind: openmrs/Patiant}\n  q: {kind: openmrs/Patient, set: {gendr: M}}\n",
		"flows/b.yaml", "flow: b\nfrom: {openmrs: report}\n", "tables/bad.csv", "", "integration.yaml", minimalIntegration+"winz: {}\n")
	want := []Code{CodeUnknownKey, CodeConstantLane, CodeKind, CodeRequired, CodeField, CodeTableFile}
	for _, code := range want {
		if !hasProblem(problems, code, "") {
			t.Errorf("no %s in\n%s", code, problems)
		}
	}
	for i := 1; i < len(problems); i++ {
		a, b := problems[i-1], problems[i]
		if a.File > b.File || a.File == b.File && a.Line > b.Line {
			t.Errorf("not sorted: %s before %s", a, b)
		}
	}
}

func TestProblemsOfIntegrationAndSite(t *testing.T) {
	for _, c := range []struct {
		name, integration, site string
		code                    Code
		want                    string
	}{
		{"no title", "systems: [commcare]\nzone: UTC\n", "", CodeMissingKey, "integration.yaml needs title"},
		{"empty", "# nothing\n", "", CodeMissingKey, "the file is empty"},
		{"no zone", "title: T\nsystems: [commcare]\n", "", CodeMissingKey, "UTC is used"},
		{"bad zone", "title: T\nsystems: [commcare]\nzone: Nairobi\n", "", CodeValue, `"Nairobi" is no time zone`},
		{"unknown system", "title: T\nsystems: [comcare]\nzone: UTC\n", "", CodeMessage, `did you mean "commcare"?`},
		{"near", "title: T\nsystems: [commcare]\nzone: UTC\npeople: {near: maybe}\n", "", CodeValue, `near cannot be "maybe"`},
		{"site value without about", "title: T\nsystems: [commcare]\nzone: UTC\nsite: {a: {}}\n", "", CodeMissingKey, "site value a needs about"},
		{"default of another type", "title: T\nsystems: [commcare]\nzone: UTC\nsite: {a: {about: x, type: number, default: many}}\n", "", CodeType, `a is a number; "many" is none`},
		{"site value missing", "title: T\nsystems: [commcare]\nzone: UTC\nsite: {a: {about: the form, example: f1}}\n", "integrations:\n  i05-test: {}\n", CodeSite, "integration i05-test needs the site value a: the form; write integrations: {i05-test: {site: {a: 'f1'}}}"},
		{"site value not asked for", "title: T\nsystems: [commcare]\nzone: UTC\nsite: {form: {about: x, default: d}}\n", "integrations: {i05-test: {site: {from: x}}}\n", CodeSite, `asks for no site value "from"; did you mean "form"?`},
		{"unknown connector", minimalIntegration, "systems: {a: {connector: opnmrs}}\n", CodeMessage, `there is no connector "opnmrs"; did you mean "openmrs"?`},
		{"unknown option", minimalIntegration, "systems: {a: {connector: openmrs, options: {url: u, passwrd: env:X}}}\n", CodeUnknownKey, `"passwrd" is not an option of openmrs; did you mean "password"?`},
		{"missing option", minimalIntegration, "systems: {a: {connector: openmrs}}\n", CodeMissingKey, `system a needs the option url`},
		{"secret in clear", minimalIntegration, "systems: {a: {connector: openmrs, options: {url: u, password: hunter2}}}\n", CodeSecret, `write env:NAME or file:PATH`},
		{"region", minimalIntegration, "region: Kenya\n", CodeValue, `is not a country of the phone network`},
		{"active is no text", minimalIntegration, "systems: {a: {connector: openmrs, active: 'no', options: {url: u}}}\n", CodeType, `write true or false`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t, "i05-test", map[string]string{"integration.yaml": c.integration, "flows/a.yaml": head + rec, "samples/visit.json": sampleForm})
			var site *Site
			var problems Problems
			if c.site != "" {
				path := filepath.Join(t.TempDir(), "site.yaml")
				if err := os.WriteFile(path, []byte(c.site), 0o600); err != nil {
					t.Fatal(err)
				}
				site, problems = LoadSite(path, fake())
			}
			_, more := Load(dir, fake(), site)
			problems = append(problems, more...)
			if !hasProblem(problems, c.code, c.want) {
				t.Errorf("no %s %q in\n%s", c.code, c.want, problems)
			}
			for _, p := range problems {
				if strings.Contains(p.String()+p.Excerpt(), "hunter2") {
					t.Error("a secret is shown")
				}
			}
		})
	}
}

func TestLoadAllFindsDuplicatesAndUnknownIntegrations(t *testing.T) {
	dir := t.TempDir()
	for _, id := range []string{"i05-one", "i05-two", "i06-off"} {
		src := folder(t, id, map[string]string{"integration.yaml": minimalIntegration, "flows/a.yaml": head + rec, "samples/visit.json": sampleForm})
		if err := os.Rename(src, filepath.Join(dir, id)); err != nil {
			t.Fatal(err)
		}
	}
	all, problems := LoadAll(dir, fake(), nil)
	if len(all) != 3 || !hasProblem(problems, CodeDuplicateID, "i05/a is also in i05-one") {
		t.Errorf("%d integrations, %s", len(all), problems)
	}
	site := writeSite(t, "integrations:\n  i05-one: {site: {visitForm: x, visitType: y}}\n  i06-off: {active: false}\n  i07-thre: {}\n")
	all, problems = LoadAll(dir, fake(), site)
	if len(all) != 1 || !hasProblem(problems, CodeFile, `there is no integration "i07-thre"`) {
		t.Errorf("%d integrations, %s", len(all), problems)
	}
}
