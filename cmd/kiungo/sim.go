package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) simCmd() *cobra.Command {
	var listen, seedFile, options string
	cmd := &cobra.Command{
		Use:     "sim CONNECTOR",
		Short:   "Run the simulator of a system, to try things on",
		Example: "  kiungo sim openmrs --listen 127.0.0.1:9001 --options '{\"version\":\"2.44\"}'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, ok := a.reg[args[0]]
			if !ok || c.Simulate == nil {
				var names []string
				for name, c := range a.reg {
					if c.Simulate != nil {
						names = append(names, name)
					}
				}
				slices.Sort(names)
				return usagef("there is no simulator of %q; there are: %s", args[0], strings.Join(names, ", "))
			}
			var opts []byte
			if options != "" {
				opts = []byte(options)
			}
			sim, err := c.Simulate(opts)
			if err != nil {
				return usagef("%w", err)
			}
			if seedFile != "" {
				doc, err := os.ReadFile(seedFile)
				if err != nil {
					return usagef("%w", err)
				}
				if err := sim.Seed(doc); err != nil {
					return usagef("%s: %w", seedFile, err)
				}
			}
			host, _, err := net.SplitHostPort(listen)
			if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
				return usagef("a simulator listens on this machine only: 127.0.0.1:PORT")
			}
			listener, err := net.Listen("tcp", listen)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "simulated %s at http://%s; stop with Ctrl-C\nsettings of a system that points at it:\n", c.Title, listener.Addr())
			for k, v := range sim.Settings() {
				fmt.Fprintf(a.out, "  %s: %s\n", k, v)
			}
			server := &http.Server{Handler: sim, ReadHeaderTimeout: 10 * time.Second}
			go func() {
				<-cmd.Context().Done()
				_ = server.Close()
			}()
			if err := server.Serve(listener); err != nil && cmd.Context().Err() == nil {
				return err
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:9000", "address on this machine")
	cmd.Flags().StringVar(&seedFile, "seed", "", "a JSON file with what the system holds at the start")
	cmd.Flags().StringVar(&options, "options", "", "the simulator's options as JSON")
	return cmd
}
