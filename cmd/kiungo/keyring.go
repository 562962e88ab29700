package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/seal"
)

func (a *app) keyringCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keyring FILE",
		Short: "Make a keyring for a new ledger",
		Long: "Keyring makes the keys that a ledger is sealed with, readable by their owner only. Nodes that share a ledger share\n" +
			"one keyring: " + seal.EnvKeyFile + " says where it is. Without " + seal.EnvKeyFile + ", serve makes one in its data folder.\n" +
			"Keep a copy apart from the backups: without it the ledger cannot be read.",
		Example: "  kiungo keyring /etc/kiungo/keyring.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			_, err := seal.Create(args[0])
			if errors.Is(err, fs.ErrExist) {
				return usagef("%s is there already: a keyring is never replaced, what it sealed could not be read any more", args[0])
			}
			if err != nil {
				return err
			}
			fmt.Fprintln(a.out, "made", args[0])
			return nil
		},
	}
	return cmd
}
