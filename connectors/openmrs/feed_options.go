package openmrs

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/kiungo-health/kiungo/internal/connector"
)

// feedNames are the feeds that can be read, and what their entries are about
// where an entry does not say. The first of each kind is the one that both
// modules have; the others are openmrs-module-atomfeed's, which announces the
// parts of a person one by one (defaultAtomfeedConfig.json @2adcccb6).
var feedNames = map[string]string{
	"patient": kindPatient, "person": kindPatient, "person_name": kindPatient, "person_address": kindPatient,
	"person_attribute": kindPatient, "patient_identifier": kindPatient,
	"encounter": kindEncounter, "observation": kindObservation, "visit": kindOther, "programenrollment": kindOther,
}

const (
	sweepStream = "sweep"
	defaultPath = "/ws/atomfeed/{category}/{page}"
)

var feedOptions = []connector.Option{
	{Name: "feeds", About: "Atom feeds to read, with commas: patient,encounter. From openmrs-module-atomfeed also observation, person, person_name, person_address, " +
		"person_attribute, patient_identifier, visit. A feed of another category is named as in patient=OpenSRP_Patient. Empty: none."},
	{Name: "feed_every", Default: "30s", About: "How often each feed is looked at."},
	{Name: "feed_from", Default: "now", About: "Where a feed is begun: now, or start for all that its archive holds."},
	{Name: "feed_path", Default: defaultPath, About: "Where the pages of a feed are, below url; OpenSRP's end with .form."},
	{Name: "feed_quiet", Default: "168h", About: "After how long without any entry a feed is reported: the module's publishing task stops without a word. 0: never."},
	{Name: "sweep", About: "What is looked for besides, because no feed announces it: patient,encounter. It reads again the people whom the patient feed names. Empty: nothing."},
	{Name: "sweep_every", Default: "24h", About: "How often a round of the sweep begins; 0s: one after the other."},
	{Name: "sweep_pause", Default: "10s", About: "How long the sweep rests between two portions of at most 25 people."},
}

// feedConfig is what the options say about feeds and the sweep.
type feedConfig struct {
	streams    []feedStream
	path       string
	every      time.Duration
	quiet      time.Duration
	fromStart  bool
	sweep      []string
	sweepEvery time.Duration
	sweepPause time.Duration
}

type feedStream struct{ name, category string }

// kind is what an entry of the stream is about if it does not say.
func (f feedStream) kind() string { return feedNames[f.name] }

var categoryName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func openFeeds(c connector.Config) (feedConfig, error) {
	f := feedConfig{path: cmp.Or(c.Values["feed_path"], defaultPath)}
	bad := func(option, format string, args ...any) (feedConfig, error) {
		return feedConfig{}, fmt.Errorf("system %s: option %s %s", c.Name, option, fmt.Sprintf(format, args...))
	}
	for _, item := range listed(c.Values["feeds"]) {
		name, category, ok := strings.Cut(item, "=")
		if name, category = strings.TrimSpace(name), strings.TrimSpace(category); !ok {
			category = name
		}
		if feedNames[name] == "" {
			return bad("feeds", "names %q: the feeds are %s", name, strings.Join(keysOf(feedNames), ", "))
		}
		if !categoryName.MatchString(category) {
			return bad("feeds", "gives feed %s a category that cannot stand in an address", name)
		}
		if slices.ContainsFunc(f.streams, func(s feedStream) bool { return s.name == name }) {
			return bad("feeds", "names %s twice", name)
		}
		f.streams = append(f.streams, feedStream{name, category})
	}
	if !strings.HasPrefix(f.path, "/ws/") || strings.Count(f.path, "{category}") != 1 || strings.Count(f.path, "{page}") != 1 || strings.ContainsAny(f.path, "?# ") {
		return bad("feed_path", "must be like %s", defaultPath)
	}
	for _, d := range []struct {
		option, standard string
		least            time.Duration
		into             *time.Duration
	}{{"feed_every", "30s", time.Second, &f.every}, {"feed_quiet", "168h", 0, &f.quiet}, {"sweep_every", "24h", 0, &f.sweepEvery}, {"sweep_pause", "10s", time.Second, &f.sweepPause}} {
		v, err := time.ParseDuration(cmp.Or(c.Values[d.option], d.standard))
		if err != nil || v < d.least {
			return bad(d.option, "must be a duration of at least %s, such as %s", d.least, d.standard)
		}
		*d.into = v
	}
	switch cmp.Or(c.Values["feed_from"], "now") {
	case "now":
	case "start":
		f.fromStart = true
	default:
		return bad("feed_from", "must be now or start")
	}
	for _, what := range listed(c.Values["sweep"]) {
		if what != kindPatient && what != kindEncounter {
			return bad("sweep", "names %q: it can look for patient and encounter", what)
		}
		f.sweep = append(f.sweep, what)
	}
	if len(f.sweep) > 0 && f.category("patient") == "" {
		return bad("sweep", "needs the patient feed: it reads again the people whom that names")
	}
	return f, nil
}

func listed(text string) []string {
	var out []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

// category gives the category of a stream, "" if it is not read.
func (f *feedConfig) category(stream string) string {
	for _, s := range f.streams {
		if s.name == stream {
			return s.category
		}
	}
	return ""
}
