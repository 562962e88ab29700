package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/control"
)

func serverOf(dataDir string) (control.Remote, bool) { return control.Dial(dataDir) }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (a *app) sendCmd() *cobra.Command {
	var to, system, user, passwordFrom string
	cmd := &cobra.Command{
		Use:     "send FILE...",
		Short:   "Send messages from files to a running Kiungo, as their system would",
		Example: "  kiungo send --system commcare --user forwarder --password env:FORWARD_PASSWORD visit.json",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if system == "" {
				return usagef("say which system the messages are from with --system")
			}
			password, err := secret(passwordFrom)
			if err != nil {
				return err
			}
			client := &http.Client{Timeout: time.Minute}
			failed := 0
			type row struct {
				File   string          `json:"file"`
				Status int             `json:"status"`
				Answer json.RawMessage `json:"answer"`
			}
			var rows []row
			for _, file := range args {
				body, err := os.ReadFile(file)
				if err != nil {
					return usagef("%w", err)
				}
				req, err := http.NewRequestWithContext(cmd.Context(), http.MethodPost, strings.TrimSuffix(to, "/")+"/in/"+system, bytes.NewReader(body))
				if err != nil {
					return usagef("%w", err)
				}
				req.Header.Set("Content-Type", contentType(file))
				if user != "" {
					req.SetBasicAuth(user, password)
				}
				resp, err := client.Do(req)
				if err != nil {
					return fmt.Errorf("is kiungo serve running at %s? %w", to, err)
				}
				text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
				_ = resp.Body.Close()
				if err != nil {
					return err
				}
				if resp.StatusCode != http.StatusAccepted {
					failed++
				}
				if !json.Valid(text) {
					text, _ = json.Marshal(string(text))
				}
				rows = append(rows, row{file, resp.StatusCode, text})
				if !a.asJSON {
					fmt.Fprintf(a.out, "%s: %d %s\n", file, resp.StatusCode, bytes.TrimSpace(text))
				}
			}
			if a.asJSON {
				if err := a.printJSON(rows); err != nil {
					return err
				}
			}
			if failed > 0 {
				return &shownError{fmt.Errorf("%d messages were not taken", failed)}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&to, "to", "http://127.0.0.1:8282", "where Kiungo listens")
	cmd.Flags().StringVar(&system, "system", "", "the system that the messages are from")
	cmd.Flags().StringVar(&user, "user", "", "user name for that system's messages")
	cmd.Flags().StringVar(&passwordFrom, "password", "", "its password, as env:NAME or file:PATH")
	return cmd
}

// secret reads a secret from where it is kept; it is never given in clear.
func secret(from string) (string, error) {
	kind, where, _ := strings.Cut(from, ":")
	switch {
	case from == "":
		return "", nil
	case kind == "env":
		return os.Getenv(where), nil
	case kind == "file":
		b, err := os.ReadFile(where)
		if err != nil {
			return "", usagef("%w", err)
		}
		return strings.TrimSpace(string(b)), nil
	}
	return "", usagef("give the password as env:NAME or file:PATH, so that it is in no command history")
}
