package openmrs

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/simulate"
)

const bahmniFeed = `{"feed":"bahmni"}`

func TestFeedsAreOffByDefault(t *testing.T) {
	r := newFeedRig(t, "", "")
	if got := r.sys.Streams(); len(got) != 0 {
		t.Errorf("streams %v", got)
	}
	if _, err := r.chunk("patient"); err == nil {
		t.Error("a stream that is off was polled")
	}
}

func TestStreamsAreChosenByOptions(t *testing.T) {
	r := newFeedRig(t, "", "", "feeds=patient, encounter=OpenSRP_Encounter", "feed_every=2m", "sweep=patient", "sweep_pause=1m", "feed_path=/ws/atomfeed/{category}/{page}.form")
	want := []connector.Stream{{Name: "patient", Every: 2 * time.Minute}, {Name: "encounter", Every: 2 * time.Minute}, {Name: "sweep", Every: time.Minute}}
	got := r.sys.Streams()
	if len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("streams %v, want %v", got, want)
	}
	if p := r.sys.feedRequest(r.sys.feeds.category("encounter"), "recent").Path; p != "/ws/atomfeed/OpenSRP_Encounter/recent.form" {
		t.Error(p)
	}
}

func TestAWrongFeedOptionIsNamed(t *testing.T) {
	for _, c := range [][2]string{
		{"feeds=patients", "option feeds"}, {"feeds=patient=../x", "option feeds"}, {"feeds=patient,patient", "twice"},
		{"feed_every=often", "option feed_every"}, {"feed_every=0s", "option feed_every"}, {"feed_from=1970", "option feed_from"},
		{"feed_path=/atomfeed", "option feed_path"}, {"feed_path=/ws/{category}/{page}?x", "option feed_path"}, {"sweep=visits", "option sweep"}, {"sweep=patient", "patient feed"}, {"sweep_every=-1h", "option sweep_every"},
	} {
		name, v, _ := strings.Cut(c[0], "=")
		_, err := Open(connector.Config{Name: "emr", Values: map[string]string{"url": "https://emr.example.org/openmrs", "username": "u", "password": "p", name: v}})
		if err == nil || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("%s: %v", c[0], err)
		}
	}
}

func TestTheFirstPollBeginsNow(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=patient")
	r.announce("patient", 1, 12, 50)
	if got := r.quietly("patient"); len(got) != 0 {
		t.Errorf("history was sent: %s", versions(got))
	}
	r.announce("patient", 13, 14, 50)
	if got := versions(r.quietly("patient")); got != "13 14" {
		t.Errorf("given %s", got)
	}
	if got := r.quietly("patient"); len(got) != 0 {
		t.Errorf("given again: %s", versions(got))
	}
}

func TestTheFirstPollBeginsAtTheStartOfTheArchive(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=patient", "feed_from=start")
	r.announce("patient", 1, 12, 50)
	if got := versions(r.quietly("patient")); got != numbers(1, 12) {
		t.Errorf("given %s", got)
	}
}

func TestAMessageNamesItsPatient(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=patient", "feed_from=start")
	r.announce("patient", 7, 7, 50)
	m := r.quietly("patient")[0]
	doc := contentOf(t, m)
	if m.Kind != "patient" || m.Doc != "patient/"+personID(7) || m.Version != eventID(7) || m.Problem != "" || m.Withdrawn || m.Event.IsZero() {
		t.Errorf("%+v", m)
	}
	if doc.Subject["id"] != personID(7) || doc.Server != "emr" || doc.Entry["feed"] != "patient" || doc.Entry["resource"] != "patient" || doc.Entry["uuid"] != personID(7) {
		t.Errorf("%s", m.Content)
	}
	if n := r.requests("/patient/" + personID(7)); n != 0 {
		t.Errorf("the patient was read %d times although her uuid says all", n)
	}
}

func TestWhatMessagesHoldIsDeclared(t *testing.T) {
	declared := map[string]map[string]bool{}
	for _, spec := range feedMessages() {
		for _, n := range spec.Names {
			for _, f := range n.Fields {
				if declared[n.Name] == nil {
					declared[n.Name] = map[string]bool{}
				}
				declared[n.Name][f] = true
			}
		}
	}
	r := newFeedRig(t, bahmniFeed, "", "feeds=patient", "feed_from=start")
	r.announce("patient", 1, 1, 5)
	for name := range contentOf(t, r.quietly("patient")[0]).Entry {
		if !declared["entry"][name] {
			t.Errorf("entry has %s, which is not declared", name)
		}
	}
}

// Weak point 1 of MOTECH's reader: its position was the time of the poll's end.
func TestAnEntryPublishedWhileAPollGoesOnIsGivenLater(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=patient", "feed_from=start")
	r.announce("patient", 1, 7, 50)
	n := 7
	r.sim.WhilePaging(func(string) {
		if n < 30 {
			n++
			r.announce("patient", n, n, 50)
		}
	})
	var got []connector.Incoming
	for range 40 {
		got = append(got, r.quietly("patient")...)
	}
	if v := versions(got); v != numbers(1, 30) {
		t.Errorf("given %s", v)
	}
}

func TestAPageThatGrowsAndIsClosedIsReadOn(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=patient")
	r.announce("patient", 1, 3, 50)
	r.quietly("patient")
	for n := 4; n <= 23; n++ { // one by one over four pages
		r.announce("patient", n, n, 50)
		if got := versions(r.quietly("patient")); got != numbers(n, n) {
			t.Fatalf("given %q instead of %d", got, n)
		}
	}
	r.requests("")
	r.quietly("patient")
	if n := r.requests("/ws/atomfeed/"); n != 1 {
		t.Errorf("a poll that finds nothing makes %d requests", n)
	}
}

func TestTheSamePatientManyTimesIsOneDocumentInManyVersions(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=patient", "feed_from=start")
	r.announce("patient", 1, 9, 1)
	docs, seen := map[string]bool{}, map[string]bool{}
	for _, m := range r.quietly("patient") {
		docs[m.Doc], seen[m.Version] = true, true
	}
	if len(docs) != 1 || len(seen) != 9 {
		t.Errorf("%d documents in %d versions", len(docs), len(seen))
	}
}

func TestABatchHasAtMost500Messages(t *testing.T) {
	r := newFeedRig(t, `{"feed":"bahmni","feedPage":20}`, "", "feeds=patient", "feed_from=start")
	r.announce("patient", 1, 1234, 50)
	if _, err := r.chunk("patient"); err != nil { // finds the start
		t.Fatal(err)
	}
	b, err := r.chunk("patient")
	if err != nil || len(b.Messages) != 500 || !b.More {
		t.Fatalf("%d messages, more %v, %v", len(b.Messages), b.More, err)
	}
	if rest := r.quietly("patient"); versions(append(b.Messages, rest...)) != numbers(1, 1234) {
		t.Errorf("%d messages in all", len(b.Messages)+len(rest))
	}
}

func TestAFeedWithoutEntriesIsReportedOnceAndReadLater(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=patient")
	r.alarming("patient", `is the category "patient" right`)
	r.quietly("patient")
	r.announce("patient", 1, 2, 50)
	if got := versions(r.quietly("patient")); got != "1 2" {
		t.Errorf("given %q", got)
	}
	r.announce("patient", 3, 12, 50)
	if got := versions(r.quietly("patient")); got != numbers(3, 12) {
		t.Errorf("given %q", got)
	}
}

func TestAFeedThatBeganEmptyMayHaveSeveralPagesAtOnce(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=patient")
	r.poll("patient")
	r.announce("patient", 1, 12, 50)
	if got := versions(r.quietly("patient")); got != numbers(1, 12) {
		t.Errorf("given %q", got)
	}
}

func TestALongSilenceIsReportedOnce(t *testing.T) {
	r := newFeedRig(t, bahmniFeed, "", "feeds=patient", "feed_quiet=24h")
	r.announce("patient", 1, 3, 50)
	r.quietly("patient")
	later := time.Duration(0)
	r.sys.now = func() time.Time { return time.Now().Add(later) }
	later = 23 * time.Hour
	r.quietly("patient")
	later = 25 * time.Hour
	r.alarming("patient", "nothing came for 24h")
	r.quietly("patient")
	r.announce("patient", 4, 4, 50)
	r.quietly("patient")
	later = 50 * time.Hour
	r.alarming("patient", "nothing came")
}

// A proxy's inner host in the links must not matter.
func TestOnlyTheNumberOfALinkIsUsed(t *testing.T) {
	r := newFeedRig(t, `{"feed":"bahmni","inner":"http://tomcat.internal:8081/bahmni"}`, "", "feeds=patient", "feed_from=start")
	r.announce("patient", 1, 23, 50)
	if got := versions(r.quietly("patient")); got != numbers(1, 23) {
		t.Errorf("given %q", got)
	}
}

func TestASystemThatIsDownFailsThePollAndKeepsThePosition(t *testing.T) {
	for _, f := range []simulate.Fault{
		{Kind: simulate.HTMLPage, Match: "*"}, {Kind: simulate.Down, Match: "*"}, {Kind: simulate.Error503, Match: "*"}, {Kind: simulate.TooMany, Match: "*"},
		{Kind: simulate.Unauthorised, Match: "*"}, {Kind: simulate.Error500, Match: "*"},
		{Kind: simulate.Down, Match: "GET /openmrs/ws/rest/v1/encounter/*"}, {Kind: simulate.Error503, Match: "GET /openmrs/ws/rest/v1/encounter/*", Call: 2, Times: 5},
	} {
		r := newFeedRig(t, bahmniFeed, "", "feeds=encounter")
		r.announceEncounter(1, 1)
		r.quietly("encounter")
		r.announceEncounter(2, 9)
		was := string(r.position["encounter"])
		r.sim.Traffic().Switch(f)
		if b, err := r.chunk("encounter"); err == nil {
			t.Errorf("%s: no error, %d messages", f.Kind, len(b.Messages))
		} else if strings.Contains(err.Error(), personID(1)) {
			t.Errorf("%s: the error names a patient", f.Kind)
		}
		if string(r.position["encounter"]) != was {
			t.Errorf("%s: the position moved", f.Kind)
		}
		r.sim.Traffic().Calm()
		if got := r.quietly("encounter"); len(got) != 8 {
			t.Errorf("%s: %d messages afterwards", f.Kind, len(got))
		}
	}
}

func TestAPageThatIsNoFeedIsNotUsed(t *testing.T) {
	for name, body := range map[string]string{
		"login page": "<!doctype html><html><body>Log in to use the feed</body></html>", "html with status 200": "<html><head><title><feed</title></head></html>",
		"empty": "", "cut off": `<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom"><entry><id>x</id>`, "json": `{"feed":[]}`, "other xml": "<rss></rss>",
	} {
		r := newFeedRig(t, bahmniFeed, "", "feeds=patient")
		r.announce("patient", 1, 2, 50)
		r.answer = func(call.Request) (call.Answer, bool) {
			return call.Answer{Status: http.StatusOK, Body: []byte(body), At: time.Now()}, true
		}
		if _, err := r.chunk("patient"); err == nil {
			t.Errorf("%s: taken for a feed", name)
		}
	}
}

func TestAServerWithoutTheModuleSaysSo(t *testing.T) {
	r := newFeedRig(t, "", "", "feeds=patient")
	if _, err := r.chunk("patient"); err == nil || !strings.Contains(err.Error(), "module") {
		t.Errorf("%v", err)
	}
}
