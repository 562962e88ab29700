package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/connectors"
	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/flow"
)

// app holds what all commands share.
type app struct {
	siteFile     string
	integrations string
	dataDir      string
	database     string
	archive      string
	asJSON       bool
	verbose      bool
	logs         logOptions
	reg          connector.Registry
	out          io.Writer
}

func root() *cobra.Command {
	a := &app{reg: connectors.All()}
	cmd := &cobra.Command{
		Use:   "kiungo",
		Short: "Link community health systems with the clinic, the ministry and the trial",
		Long: "Kiungo carries what a health worker records to the systems that need it:\n" +
			"once, on the right record, in order, or undone and shown to someone.",
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.out = cmd.OutOrStdout()
			_, err := newLog(io.Discard, a.logs, a.verbose)
			return err
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	f := cmd.PersistentFlags()
	f.StringVar(&a.siteFile, "site", env("KIUNGO_SITE", "site.yaml"), "the site's file: its systems, active integrations and values")
	f.StringVar(&a.integrations, "integrations", env("KIUNGO_INTEGRATIONS", "integrations"), "the folder of the integrations")
	f.StringVar(&a.dataDir, "data", env("KIUNGO_DATA", "kiungo-data"), "the folder of the ledger, or of this node's keyring if --database is given")
	f.StringVar(&a.database, "database", "", "the ledger's PostgreSQL, as postgres://user@host/database?sslmode=verify-full; else KIUNGO_DATABASE, else SQLite in the data folder")
	f.StringVar(&a.archive, "archive", env("KIUNGO_ARCHIVE", ""), "the folder of the archive; left out, the folder archive in the data folder")
	f.BoolVar(&a.asJSON, "json", false, "print JSON")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "log what is done, to standard error")
	f.StringVar(&a.logs.format, "log", env("KIUNGO_LOG", "text"), "how to log: text or json")
	f.StringVar(&a.logs.level, "log-level", env("KIUNGO_LOG_LEVEL", ""), "what to log: debug, info, warn or error; left out, warn, or info with --verbose")
	cmd.AddCommand(a.demoCmd(), a.serveCmd(), a.doctorCmd(), a.healthCmd(), a.keyringCmd(), a.checkCmd(), a.metadataCmd(), a.testCmd(), a.planCmd(), a.sendCmd(), a.simCmd(),
		a.deliveriesCmd(), a.archiveCmd(), a.heldCmd(), a.questionsCmd(), a.peopleCmd(), a.askCmd(), a.exportCmd(), a.retryCmd(), a.skipCmd(), a.replayCmd(), a.upgradeCmd(), a.plansCmd(), a.backupCmd(), a.restoreCmd(), a.moveCmd(), a.clockCmd(), a.benchCmd(), a.docsCmd(), a.versionCmd())
	return cmd
}

func env(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

// printJSON prints a value as indented JSON.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// load reads the site and its active integrations, and reports every problem
// of every file at once.
func (a *app) load() (*flow.Site, []*flow.Integration, error) {
	if _, err := os.Stat(a.siteFile); err != nil {
		return nil, nil, usagef("there is no site file %s; name one with --site, or begin with a copy of docs/site.example.yaml", a.siteFile)
	}
	site, problems := flow.LoadSite(a.siteFile, a.reg)
	var all []*flow.Integration
	if problems.Errors() == 0 {
		var more flow.Problems
		all, more = flow.LoadAll(a.integrations, a.reg, site)
		problems = append(problems, more...)
	}
	if len(problems) > 0 {
		fmt.Fprintln(os.Stderr, problems)
	}
	if n := problems.Errors(); n > 0 {
		return nil, nil, &usageError{&shownError{fmt.Errorf("%d problems", n)}}
	}
	return site, all, nil
}

// folders lists the integration folders that args name, or all.
func (a *app) folders(args []string) ([]string, error) {
	if len(args) == 0 {
		found, err := filepath.Glob(filepath.Join(a.integrations, "*", "integration.yaml"))
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, usagef("there is no integration under %s; name a folder, or use --integrations", a.integrations)
		}
		for i := range found {
			found[i] = filepath.Dir(found[i])
		}
		return found, nil
	}
	for _, dir := range args {
		if _, err := os.Stat(filepath.Join(dir, "integration.yaml")); err != nil {
			return nil, usagef("%s is not the folder of an integration: it has no integration.yaml", dir)
		}
	}
	return args, nil
}
