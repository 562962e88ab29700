package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/demo"
	"github.com/kiungo-health/kiungo/internal/pgcluster"
)

// demoNodes settles what a demo of several nodes needs, a PostgreSQL first.
func (a *app) demoNodes(cmd *cobra.Command, o *demo.Options) (stop func(), err error) {
	stop = func() {}
	if o.Nodes == 0 {
		if a.database != "" || cmd.Flags().Changed("lease") {
			return nil, usagef("--database and --lease are for a demo of several nodes: add --nodes 2")
		}
		return stop, nil
	}
	if o.Nodes < 2 {
		return nil, usagef("--nodes %d: one node has nobody to take over from it; let there be two or more", o.Nodes)
	}
	if o.Lease < time.Second {
		return nil, usagef("--lease %s is too short: a heartbeat takes a moment; a second is the least", o.Lease)
	}
	if len(o.Only) == 0 {
		o.Only = []string{"i05"} // each world needs its own connections
	}
	if !cmd.Flags().Changed("rate") {
		o.Rate = 20 // so that there is work left to take over
	}
	if !a.asJSON {
		o.Say = func(text string) { fmt.Fprintf(a.out, "%s  %s\n", time.Now().Format("15:04:05.0"), text) }
	}
	if o.Database = a.databaseURL(); o.Database != "" {
		return stop, nil
	}
	c, err := pgcluster.Start()
	if err != nil {
		return nil, usagef("no PostgreSQL is named, and none can be started here (%v): give one with --database postgres://…, or install it (Debian: apt install postgresql)", err)
	}
	o.Database = c.Database()
	if o.Say != nil {
		o.Say("a PostgreSQL was started on port " + strconv.Itoa(c.Port()) + "; it is thrown away at the end")
	}
	return c.Stop, nil
}

// demoNodeCmd is one node of a demo: the demo starts it.
func (a *app) demoNodeCmd() *cobra.Command {
	return &cobra.Command{
		Use:    "node FILE NUMBER",
		Short:  "Run a node of a demo: started by the demo",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			number, err := strconv.Atoi(args[1])
			if err != nil {
				return usagef("%q is no number of a node", args[1])
			}
			return demo.RunNode(cmd.Context(), a.reg, a.log(), args[0], number, os.Stdin, a.out)
		},
	}
}

// showKilled ends the account of the nodes.
func (a *app) showKilled(d *demo.Demo) {
	if d.Killed != nil && !a.asJSON {
		fmt.Fprintf(a.out, "\nNode %d was killed in the middle of %d lanes; the others had them after %.1f s and had done them after %.1f s.\n\n",
			d.Killed.Node, d.Killed.Lanes, d.Killed.Freed, d.Killed.Ended)
	}
}
