package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) healthCmd() *cobra.Command {
	var listen string
	var ready bool
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a running server whether it lives, or is ready",
		Long: "Health asks a server of this machine whether its process lives; with --ready, whether it takes messages and\n" +
			"works on them. It exits with 0 for yes and 1 for no: for a container's health check.",
		Example: "  kiungo health\n  kiungo health --ready --listen 127.0.0.1:8282",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path := "/healthz"
			if ready {
				path = "/readyz"
			}
			return a.health(cmd.Context(), listen, path)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", env("KIUNGO_LISTEN", "127.0.0.1:8282"), "the server's address for messages")
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether it is ready")
	return cmd
}

// health asks the server at an address it listens to.
func (a *app) health(ctx context.Context, listen, path string) error {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return usagef("--listen %s: it looks like 127.0.0.1:8282", listen)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1" // it listens everywhere, also here
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+path, nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: &http.Transport{}}).Do(req)
	if err != nil {
		return fmt.Errorf("the server does not answer: %w", err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024)) // what is there of it
	says := strings.TrimSpace(string(text))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the server says %d: %s", resp.StatusCode, says)
	}
	fmt.Fprintln(a.out, says)
	return nil
}
