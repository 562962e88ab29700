package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/flow"
)

// finding is one thing that doctor looked at, as --json prints it.
type finding struct {
	About string `json:"about"` // what was looked at: "openmrs", "database", "keyring"
	Level string `json:"level"` // ok, warning or wrong
	Text  string `json:"text"`
	Do    string `json:"do,omitempty"` // what to do about it
}

// Levels of a finding.
const (
	fine    = "ok"
	warning = "warning"
	wrong   = "wrong"
)

// examination gathers findings.
type examination []finding

func (e *examination) ok(about, format string, args ...any) {
	*e = append(*e, finding{about, fine, fmt.Sprintf(format, args...), ""})
}

func (e *examination) warn(about, do, format string, args ...any) {
	*e = append(*e, finding{about, warning, fmt.Sprintf(format, args...), do})
}

func (e *examination) bad(about, do, format string, args ...any) {
	*e = append(*e, finding{about, wrong, fmt.Sprintf(format, args...), do})
}

func (a *app) doctorCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Look at all that Kiungo stands on, and say what is wrong and what to do",
		Long: "Doctor asks each active system of the site whether it is there, takes our credentials and allows what the flows\n" +
			"need, and compares clocks; looks at the data folder, its disk and the keyring; and at the ledger: the version of its\n" +
			"tables, and on PostgreSQL what decides whether anything can be lost (synchronous_commit, fsync, standbys), connections,\n" +
			"long transactions, autovacuum, clocks, and the other nodes. It changes nothing and can be run beside a server.\n" +
			"It prints a line for each: ok, warning or wrong, and what to do; the exit code is 1 if something is wrong.",
		Example: "  kiungo doctor\n  kiungo doctor --json --database postgres://kiungo@db.example/kiungo",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Minute)
			defer cancel()
			e := a.examine(ctx)
			return a.showExamination(e)
		},
	}
}

// examine looks at everything.
func (a *app) examine(ctx context.Context) examination {
	var e examination
	a.examineFolder(&e)
	a.examineLedger(ctx, &e)
	a.examineSystems(ctx, &e)
	return e
}

func (a *app) showExamination(e examination) error {
	n := map[string]int{}
	for _, f := range e {
		n[f.Level]++
	}
	if a.asJSON {
		if err := a.printJSON(e); err != nil {
			return err
		}
	} else {
		for _, f := range e {
			fmt.Fprintf(a.out, "%-8s %s: %s\n", f.Level, f.About, f.Text)
			if f.Do != "" {
				fmt.Fprintf(a.out, "%-8s   %s\n", "", f.Do)
			}
		}
		fmt.Fprintf(a.out, "%d ok, %s, %d wrong\n", n[fine], counted(n[warning], "warning"), n[wrong])
	}
	if n[wrong] > 0 {
		return &shownError{fmt.Errorf("%d things are wrong", n[wrong])}
	}
	return nil
}

// examineSystems asks each live system, and compares its clock and zone.
func (a *app) examineSystems(ctx context.Context, e *examination) {
	site, integrations, err := a.load()
	if err != nil {
		e.bad("site", "correct what kiungo check says, then ask again", "%v", err)
		return
	}
	if len(integrations) == 0 {
		e.warn("site", "switch one on under integrations: in "+a.siteFile, "no integration is active")
	}
	systems, done, err := a.systemsToAsk(site, integrations)
	if err != nil {
		e.bad("site", "correct the systems' options in "+a.siteFile, "%v", err)
		return
	}
	defer done()
	silence(systems)
	uses := usesBySystem(systems, nil)
	zone := time.Local
	if site.Zone != nil {
		zone = site.Zone
	}
	for name := range site.Systems {
		if port := systems.Systems[name]; port == nil && site.Systems[name].Active {
			e.bad(name, "see kiungo check", "it cannot be opened")
		}
	}
	names := make([]string, 0, len(systems.Systems))
	for name := range systems.Systems {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		port := systems.Systems[name]
		examineClock(ctx, e, name, port)
		for _, r := range liveSystem(ctx, port, name, uses[name]) {
			about := name
			if r.Where != "" && r.Where != name {
				about += ": " + r.Where
			}
			switch r.Severity {
			case string(flow.SeverityError):
				e.bad(about, "kiungo check --live says the same; mend it there or in the integration", "%s", r.Text)
			case string(flow.SeverityWarning):
				e.warn(about, "", "%s", r.Text)
			default:
				e.ok(about, "%s", r.Text)
			}
		}
		examineZone(e, name, site.Systems[name], zone)
	}
	if site.Zone == nil {
		e.warn("site", "write zone: in "+a.siteFile+", such as Africa/Nairobi", "it has no time zone: days are meant in this machine's (%s)", zone)
	} else {
		e.ok("site", "days are meant in %s; it is %s there", zone, time.Now().In(zone).Format("2006-01-02 15:04"))
	}
}

// examineZone says where a system's days are others than the site's.
func examineZone(e *examination, name string, s *flow.System, site *time.Location) {
	if s == nil || s.Zone == nil {
		return
	}
	_, theirs := time.Now().In(s.Zone).Zone()
	_, ours := time.Now().In(site).Zone()
	if theirs != ours {
		e.warn(name, "see that this is so there; a day that is meant in another zone lands on the day before or after", "its zone is %s, the site's is %s: %s apart today",
			s.Zone, site, time.Duration(max(theirs-ours, ours-theirs))*time.Second)
		return
	}
	e.ok(name, "its zone %s has the site's time today", s.Zone)
}

// plainList joins words.
func plainList(words []string) string { return strings.Join(words, ", ") }
