package openmrs

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

// readUpTo makes a rig that has read a feed of n entries.
func readUpTo(t *testing.T, n int, settings ...string) *feedRig {
	t.Helper()
	r := newFeedRig(t, bahmniFeed, "", append([]string{"feeds=patient", "feed_from=start"}, settings...)...)
	r.announce("patient", 1, n, 1000)
	if got := versions(r.quietly("patient")); got != numbers(1, n) {
		t.Fatalf("given %s", got)
	}
	r.requests("")
	return r
}

// gave tells whether all of from..to are among the messages.
func gave(t *testing.T, got string, from, to int) {
	t.Helper()
	for n := from; n <= to; n++ {
		if !strings.Contains(" "+got+" ", fmt.Sprintf(" %d ", n)) {
			t.Errorf("%d was not given, only %s", n, got)
		}
	}
}

func TestAFeedThatWasResetIsReadFromItsBeginning(t *testing.T) {
	r := readUpTo(t, 40)
	r.change("patient", `"reset":true`)
	r.announce("patient", 101, 108, 1000)
	if got := versions(r.alarming("patient", "it was reset")); got != numbers(101, 108) {
		t.Errorf("given %s", got)
	}
	r.announce("patient", 109, 109, 1000)
	if got := versions(r.quietly("patient")); got != "109" {
		t.Errorf("given %s", got)
	}
}

func TestAFeedThatWasResetAndGrewBeyondOurPageIsReadFromItsBeginning(t *testing.T) {
	r := readUpTo(t, 12)
	r.change("patient", `"reset":true`)
	r.announce("patient", 101, 140, 1000)
	if got := versions(r.alarming("patient", "it was reset")); got != numbers(101, 140) {
		t.Errorf("given %s", got)
	}
}

func TestAFeedThatWasEmptiedIsReadAgainWhenItFills(t *testing.T) {
	r := readUpTo(t, 12)
	r.change("patient", `"reset":true`)
	r.alarming("patient", "is empty now")
	r.quietly("patient")
	r.announce("patient", 101, 112, 1000)
	if got := versions(r.quietly("patient")); got != numbers(101, 112) {
		t.Errorf("given %s", got)
	}
}

// A restored backup has lost the newest entries; the archive is not read again
// as a whole.
func TestARestoredFeedIsReadAgainFromWhatItStillHas(t *testing.T) {
	r := readUpTo(t, 400)
	r.change("patient", `"dropNewest":23`)
	r.announce("patient", 501, 509, 1000)
	got := versions(r.alarming("patient", "was a backup restored"))
	gave(t, got, 501, 509)
	if n := r.requests("/ws/atomfeed/"); n > 40 {
		t.Errorf("%d requests for 9 entries", n)
	}
	r.announce("patient", 510, 510, 1000)
	if got := versions(r.quietly("patient")); got != "510" {
		t.Errorf("given %s", got)
	}
}

func TestARestoredFeedThatCaughtUpWithOurPageIsNoticed(t *testing.T) {
	r := readUpTo(t, 40)
	r.change("patient", `"dropNewest":5`)
	r.announce("patient", 501, 530, 1000) // page 8 is there again, with others on it
	gave(t, versions(r.alarming("patient", "was a backup restored")), 501, 530)
}

func TestAPurgedFeedIsReadOnWhereItIsNow(t *testing.T) {
	for _, purged := range []int{1, 3, 5, 12, 30} {
		r := readUpTo(t, 40)
		r.change("patient", fmt.Sprintf(`"dropOldest":%d`, purged))
		r.announce("patient", 41, 48, 1000)
		got := versions(r.alarming("patient", "it changed under us"))
		gave(t, got, 41, 48)
		if n := len(strings.Fields(got)); n > 8+25 {
			t.Errorf("%d entries were given for 8 new ones", n)
		}
		r.announce("patient", 49, 49, 1000)
		if got := versions(r.quietly("patient")); got != "49" {
			t.Errorf("given %s", got)
		}
	}
}

func TestAGapInTheNumberingIsReported(t *testing.T) {
	r := readUpTo(t, 7)
	r.announce("patient", 8, 23, 1000)
	r.change("patient", `"hidePage":3`) // 11 to 15
	got := versions(r.alarming("patient", "jumps from page 2 to page 4"))
	if want := numbers(8, 10) + " " + numbers(16, 23); got != want {
		t.Errorf("given %s, want %s", got, want)
	}
	r.quietly("patient")
}

func TestTheBeginningOfAnArchiveMayBeMissing(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=patient", "feed_from=start")
	r.announce("patient", 1, 23, 50)
	r.change("patient", `"hidePage":1`)
	r.change("patient", `"hidePage":2`)
	if got := versions(r.alarming("patient", "its archive begins with page 3")); got != numbers(11, 23) {
		t.Errorf("given %s", got)
	}
}

func TestAnEntryThatIsTwiceInAFeedIsGivenOnceAPoll(t *testing.T) {
	r := readUpTo(t, 7)
	r.announce("patient", 8, 8, 1000)
	r.change("patient", `"repeatLast":true`)
	r.announce("patient", 9, 9, 1000)
	r.change("patient", `"repeatLast":true`)
	if got := versions(r.quietly("patient")); got != "8 9" {
		t.Errorf("given %s", got)
	}
	r.announce("patient", 10, 12, 1000)
	if got := versions(r.quietly("patient")); got != "10 11 12" {
		t.Errorf("given %s", got)
	}
}

// pages answers for a feed from fixed pages.
type pages map[string][]string // number -> entry ids

func (p pages) answer(newest int) func(call.Request) (call.Answer, bool) {
	return func(r call.Request) (call.Answer, bool) {
		name := r.Path[strings.LastIndexByte(r.Path, '/')+1:]
		if name == "recent" {
			name = fmt.Sprint(newest)
		}
		ids, ok := p[name]
		if !ok || len(ids) == 1 && ids[0] == "500" {
			return call.Answer{Status: http.StatusInternalServerError, Body: []byte("<html><body>An internal error has occurred</body></html>")}, true
		}
		var n int
		_, _ = fmt.Sscan(name, &n)
		body := fmt.Sprintf(`<feed xmlns="http://www.w3.org/2005/Atom"><link rel="via" href="http://x/ws/atomfeed/patient/%d"/>`, n)
		if n < newest {
			body += fmt.Sprintf(`<link rel="next-archive" href="http://x/ws/atomfeed/patient/%d"/>`, n+1)
		}
		if n > 1 {
			body += fmt.Sprintf(`<link rel="prev-archive" href="http://x/ws/atomfeed/patient/%d"/>`, n-1)
		}
		for _, id := range ids {
			body += "<entry><id>" + id + "</id><content>/openmrs/ws/rest/v1/patient/" + personID(1) + "?v=full</content></entry>"
		}
		return call.Answer{Status: http.StatusOK, Body: []byte(body + "</feed>")}, true
	}
}

// A server that does not show why: only the newest page tells whether a page is
// gone or broken.
func TestA500WithoutWordsBeyondTheEndIsAShorterFeed(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=patient", "feed_from=start")
	r.answer = pages{"1": {"a", "b"}, "2": {"c", "d"}, "3": {"e"}}.answer(3)
	if got := versions(r.quietly("patient")); got != "a b c d e" {
		t.Fatal(got)
	}
	r.answer = pages{"1": {"a", "b"}, "2": {"c", "x"}}.answer(2)
	if got := versions(r.alarming("patient", "was a backup restored")); !strings.HasSuffix(got, "c x") {
		t.Errorf("given %s", got)
	}
}

func TestAPageThatTheServerCannotMakeIsLeftOutAfterSomePolls(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=patient", "feed_from=start")
	r.answer = pages{"1": {"a", "b"}, "2": {"500"}, "3": {"e"}}.answer(3)
	if got := versions(r.alarming("patient", "OpenMRS fails on page 2")); got != "a b" {
		t.Errorf("given %s", got)
	}
	r.alarming("patient", "asked again")
	if got := versions(r.alarming("patient", "goes on without it")); got != "e" {
		t.Errorf("given %s", got)
	}
	r.quietly("patient")
}

func TestAPageThatComesBackIsRead(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=patient", "feed_from=start")
	r.answer = pages{"1": {"a", "b"}, "2": {"500"}, "3": {"e"}}.answer(3)
	r.poll("patient")
	r.answer = pages{"1": {"a", "b"}, "2": {"c", "d"}, "3": {"e"}}.answer(3)
	if got := versions(r.quietly("patient")); got != "c d e" {
		t.Errorf("given %s", got)
	}
}

// Old versions of the module numbered events when a transaction wrote them, not
// when it was committed: a late one stands before those that were read (law 35).
func TestAnEntryThatWasCommittedLateIsGiven(t *testing.T) {
	for name, later := range map[string]pages{
		"same page":       {"1": {"a", "b"}, "2": {"c", "late", "d"}, "3": {"e"}},
		"page before":     {"1": {"a", "late"}, "2": {"b", "c"}, "3": {"d", "e"}},
		"before the last": {"1": {"a", "b"}, "2": {"c", "late"}, "3": {"d", "e"}},
	} {
		r := newFeedRig(t, bahmniFeed, "", "feeds=patient", "feed_from=start")
		r.answer = pages{"1": {"a", "b"}, "2": {"c", "d"}}.answer(2)
		r.quietly("patient")
		r.quietly("patient")
		r.answer = later.answer(3)
		got := versions(r.alarming("patient", "it changed under us"))
		if !strings.Contains(got, "late") || !strings.HasSuffix(got, "e") {
			t.Errorf("%s: given %s", name, got)
		}
	}
}

func TestAPageThatNamesItselfAsTheNextDoesNotLoop(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=patient", "feed_from=start")
	good := pages{"1": {"a"}}.answer(1)
	r.answer = func(req call.Request) (call.Answer, bool) {
		a, _ := good(req)
		a.Body = []byte(strings.Replace(string(a.Body), "<entry>", `<link rel="next-archive" href="http://x/1"/><entry>`, 1))
		return a, true
	}
	if got := versions(r.alarming("patient", "names page 1 as the next")); got != "a" {
		t.Errorf("given %s", got)
	}
}

// Whatever happens between polls, no entry that is in the feed at a poll is
// never given, and nothing is given over and over.
func TestNoEntryIsLost(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.IntRange(1, 7).Draw(rt, "page size")
		r := newFeedRig(t, fmt.Sprintf(`{"feed":"bahmni","feedPage":%d}`, size), "", "feeds=patient", "feed_from=start")
		var live []int // entries in the feed
		given := map[string]int{}
		last := 0
		publish := func(n int) {
			r.announce("patient", last+1, last+n, 1000)
			for range n {
				last++
				live = append(live, last)
			}
		}
		poll := func(rt *rapid.T) {
			for range 1000 {
				b, err := r.chunk("patient")
				if err != nil {
					rt.Fatal(err)
				}
				for _, m := range b.Messages {
					given[m.Version]++
				}
				if !b.More {
					return
				}
			}
			rt.Fatal("the poll never ends")
		}
		publish(1)
		poll(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"publish": func(rt *rapid.T) { publish(rapid.IntRange(1, 20).Draw(rt, "entries")) },
			"poll":    poll,
			"restart": func(*rapid.T) { r.open("feeds=patient", "feed_from=start") },
			"fault": func(rt *rapid.T) {
				r.sim.Traffic().Switch(simulate.Fault{Kind: rapid.SampledFrom([]simulate.Kind{simulate.HTMLPage, simulate.Down}).Draw(rt, "kind"), Match: "*", Call: rapid.IntRange(1, 4).Draw(rt, "request")})
				for range 5 {
					if b, err := r.sys.Poll(t.Context(), r, "patient", r.position["patient"]); err == nil {
						for _, m := range b.Messages {
							given[m.Version]++
						}
						r.position["patient"] = b.Position
					}
				}
				r.sim.Traffic().Calm()
			},
			"purge": func(rt *rapid.T) {
				n := rapid.IntRange(1, 30).Draw(rt, "entries")
				r.change("patient", fmt.Sprintf(`"dropOldest":%d`, n))
				live = live[min(n, len(live)):]
			},
			"restore": func(rt *rapid.T) {
				n := rapid.IntRange(1, 30).Draw(rt, "entries")
				r.change("patient", fmt.Sprintf(`"dropNewest":%d`, n))
				live = live[:max(0, len(live)-n)]
			},
			"reset": func(*rapid.T) { r.change("patient", `"reset":true`); live = nil },
			"": func(rt *rapid.T) {
				if len(r.position["patient"]) > 4096 {
					rt.Fatalf("the position has %d bytes", len(r.position["patient"]))
				}
			},
		})
		poll(rt)
		for _, n := range live {
			if given[eventID(n)] == 0 {
				rt.Fatalf("entry %d is in the feed and was never given", n)
			}
		}
	})
}

func TestThePositionStaysSmall(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=patient", "feed_from=start")
	r.announce("patient", 1, 5000, 1000)
	r.quietly("patient")
	if n := len(r.position["patient"]); n > 2048 {
		t.Errorf("%d bytes after 1000 pages", n)
	}
	var p feedPosition
	if err := json.Unmarshal(r.position["patient"], &p); err != nil || p.Page != 1000 || p.Last != eventID(5000) {
		t.Errorf("%+v %v", p, err)
	}
}

func TestAPositionThatCannotBeReadIsAnError(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=patient", "sweep=patient")
	for _, stream := range []string{"patient", "sweep"} {
		if _, err := r.sys.Poll(t.Context(), r, stream, []byte(`{"page":`)); err == nil {
			t.Errorf("%s: no error", stream)
		}
	}
}
