package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/flow"
)

// docsCmd writes the pages that are generated from the types, so that they
// never say something else than the code.
func (a *app) docsCmd() *cobra.Command {
	var dir string
	var check bool
	cmd := &cobra.Command{
		Use:    "docs",
		Short:  "Write the generated reference page and the editors' schemas",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			for name, content := range map[string][]byte{
				"flow-reference.md": flow.Reference(a.reg),
				"flow.schema.json":  flow.Schema(a.reg),
			} {
				path := filepath.Join(dir, name)
				if check {
					have, err := os.ReadFile(path)
					if err != nil || !bytes.Equal(have, content) {
						return fmt.Errorf("%s is not what the code generates; run: go run ./cmd/kiungo docs", path)
					}
					continue
				}
				if err := os.WriteFile(path, content, 0o644); err != nil {
					return err
				}
				fmt.Fprintln(a.out, "wrote", path)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "docs", "where the pages stand")
	cmd.Flags().BoolVar(&check, "check", false, "only tell whether they are up to date")
	return cmd
}
