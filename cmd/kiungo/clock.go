package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/control"
)

func (a *app) clockCmd() *cobra.Command {
	var confirm bool
	cmd := &cobra.Command{
		Use:   "clock",
		Short: "Show whether the running server believes its clock; --confirm that it is right",
		Long: "Reports, backups and whatever else goes by the calendar stand still when the machine's clock jumps by\n" +
			"more than 5 minutes, or is behind the ledger or 60 days ahead of it at the start: a machine that boots in\n" +
			"2031 would ask for five years of reports. Retries and what comes in are not touched. Once the clock is\n" +
			"right again they go on by themselves; --confirm says that it is right as it is. With several nodes,\n" +
			"confirm it on each.",
		Args: cobra.NoArgs,
		RunE: a.served(func(cmd *cobra.Command, s control.Service, _ []string) error {
			who := ""
			if confirm {
				who = whoAmI()
			}
			c, err := s.Clock(cmd.Context(), who)
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(c)
			}
			if c.Stopped != "" {
				fmt.Fprintf(a.out, "%s\nSet the clock right, or run: kiungo clock --confirm\n", c.Stopped)
				return nil
			}
			fmt.Fprintf(a.out, "schedules go by the clock: it is %s\n", c.Now.Local().Format("2006-01-02 15:04:05 MST"))
			return nil
		}),
	}
	cmd.Flags().BoolVar(&confirm, "confirm", false, "the clock is right as it is: go on")
	return cmd
}
