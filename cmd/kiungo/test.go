package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/scenario"
)

// scenarioRow is one scenario as --json prints it.
type scenarioRow struct {
	Integration string  `json:"integration"`
	Scenario    string  `json:"scenario"`
	Passed      bool    `json:"passed"`
	Seconds     float64 `json:"seconds"`
	Problem     string  `json:"problem,omitempty"`
}

func (a *app) testCmd() *cobra.Command {
	var update bool
	var only string
	cmd := &cobra.Command{
		Use:   "test [INTEGRATION...]",
		Short: "Run the scenarios of integrations against simulators",
		Long: "Test runs each scenarios/*.yaml of the named integrations (all, if none is named) as in production,\n" +
			"against simulators, and compares what happened with the .golden file beside it: answers, deliveries,\n" +
			"every request, and what changed in each system.",
		RunE: func(cmd *cobra.Command, args []string) error {
			folders, err := a.folders(args)
			if err != nil {
				return err
			}
			var rows []scenarioRow
			failed := 0
			for _, dir := range folders {
				list, err := scenario.Load(dir)
				if err != nil {
					return err
				}
				for _, s := range list {
					if only != "" && !strings.Contains(filepath.Base(s.File), only) {
						continue
					}
					row := a.runScenario(cmd, s, dir, update)
					rows = append(rows, row)
					if !row.Passed {
						failed++
					}
					if !a.asJSON {
						a.printScenario(row)
					}
				}
			}
			if a.asJSON {
				if err := a.printJSON(rows); err != nil {
					return err
				}
			} else {
				fmt.Fprintf(a.out, "%d passed, %d failed\n", len(rows)-failed, failed)
			}
			if failed > 0 {
				return &shownError{fmt.Errorf("%d scenarios failed", failed)}
			}
			if len(rows) == 0 {
				return usagef("no scenario was run")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&update, "update", false, "write what happened into the golden files; then read the difference")
	cmd.Flags().StringVar(&only, "only", "", "only scenarios whose file name holds this")
	return cmd
}

func (a *app) runScenario(cmd *cobra.Command, s *scenario.Scenario, dir string, update bool) scenarioRow {
	row := scenarioRow{Integration: filepath.Base(dir), Scenario: s.Name}
	began := time.Now()
	log := slog.New(slog.DiscardHandler)
	if a.verbose {
		log = a.log()
	}
	got, err := scenario.Run(cmd.Context(), s, dir, a.reg, log)
	row.Seconds = time.Since(began).Seconds()
	if err != nil {
		row.Problem = err.Error()
		return row
	}
	if update {
		if err := os.WriteFile(s.GoldenFile(), []byte(got), 0o644); err != nil {
			row.Problem = err.Error()
			return row
		}
	}
	want, err := os.ReadFile(s.GoldenFile())
	if err != nil {
		row.Problem = fmt.Sprintf("there is no golden file %s yet; look at what happened below, then run kiungo test --update\n%s", s.GoldenFile(), got)
		return row
	}
	row.Problem = scenario.Compare(string(want), got)
	row.Passed = row.Problem == ""
	return row
}

func (a *app) printScenario(row scenarioRow) {
	mark := "ok  "
	if !row.Passed {
		mark = "FAIL"
	}
	fmt.Fprintf(a.out, "%s %s: %s (%.2fs)\n", mark, row.Integration, row.Scenario, row.Seconds)
	if row.Problem != "" {
		fmt.Fprintln(a.out, row.Problem)
	}
}
