package main

import (
	"fmt"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/flow"
)

// problemRow is one problem as --json prints it.
type problemRow struct {
	File     string `json:"file"`
	Line     int    `json:"line"`
	Col      int    `json:"col"`
	Severity string `json:"severity"`
	Code     string `json:"code"`
	Text     string `json:"text"`
}

func (a *app) checkCmd() *cobra.Command {
	var live bool
	cmd := &cobra.Command{
		Use:   "check [INTEGRATION...]",
		Short: "Check integrations and the site: every problem at once, each at its line",
		Long: "Check reads the folders of integrations (all of them, if none is named) and, if there is one,\n" +
			"the site's file, and prints every problem as FILE:LINE:COLUMN: what is wrong; what to write instead.\n" +
			"With --live it then asks the site's systems: that they are there and take our credentials, and that they have\n" +
			"and allow all that the active integrations say of them. Nothing is changed there.",
		Example: "  kiungo check\n  kiungo check --live",
		RunE: func(cmd *cobra.Command, args []string) error {
			folders, err := a.folders(args)
			if err != nil {
				return err
			}
			site, problems := a.optionalSite()
			var off []problemRow
			for _, dir := range folders {
				in, found := flow.Load(dir, a.reg, forFolder(site, dir))
				problems = append(problems, found...)
				if in != nil && len(in.Off) > 0 {
					off = append(off, problemRow{File: filepath.Base(a.siteFile), Severity: "note", Code: "off",
						Text: fmt.Sprintf("of %s the site has switched off: %s. They get no deliveries, and their lists are not asked for", in.ID, strings.Join(in.Off, ", "))})
				}
			}
			// One JSON document: with --live, what the systems say.
			if !live || !a.asJSON || problems.Errors() > 0 {
				if err := a.showProblems(problems, off, len(folders)); err != nil || !live {
					return err
				}
			}
			return a.checkLive(cmd.Context(), args)
		},
	}
	cmd.Flags().BoolVar(&live, "live", false, "also ask the live systems")
	return cmd
}

// forFolder gives the site to an integration that is active there; another is
// checked as it is shipped, with its examples.
func forFolder(site *flow.Site, dir string) *flow.Site {
	if site == nil {
		return nil
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return site
	}
	if use := site.Integrations[filepath.Base(abs)]; use == nil || !use.Active {
		return nil
	}
	return site
}

func (a *app) optionalSite() (*flow.Site, flow.Problems) {
	if !exists(a.siteFile) {
		return nil, nil
	}
	return flow.LoadSite(a.siteFile, a.reg)
}

func (a *app) showProblems(problems flow.Problems, notes []problemRow, folders int) error {
	if a.asJSON {
		rows := append([]problemRow{}, notes...)
		for _, p := range problems {
			rows = append(rows, problemRow{p.File, p.Line, p.Col, string(p.Severity), string(p.Code), p.Text})
		}
		if err := a.printJSON(rows); err != nil {
			return err
		}
	} else {
		for _, p := range problems {
			fmt.Fprintln(a.out, p)
		}
		for _, n := range notes {
			fmt.Fprintf(a.out, "%s: note: %s\n", n.File, n.Text)
		}
		fmt.Fprintf(a.out, "%d errors, %d warnings in %d integrations\n", problems.Errors(), len(problems)-problems.Errors(), folders)
	}
	if n := problems.Errors(); n > 0 {
		return &usageError{&shownError{fmt.Errorf("%d errors", n)}}
	}
	return nil
}

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := map[string]string{"version": version, "go": "", "commit": ""}
			if info, ok := debug.ReadBuildInfo(); ok {
				v["go"] = info.GoVersion
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						v["commit"] = s.Value
					}
				}
			}
			if a.asJSON {
				return a.printJSON(v)
			}
			fmt.Fprintf(a.out, "kiungo %s (%s)\n", v["version"], v["go"])
			return nil
		},
	}
}

const version = "0.1.0"
