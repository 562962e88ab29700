package main

import (
	"errors"
	"fmt"
	"io/fs"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/seal"
)

func (a *app) keyringCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keyring FILE",
		Short: "Make a keyring for a new ledger; add keys to it, change to a new one",
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
	cmd.AddCommand(a.keyringShowCmd(), a.keyringAddCmd(), a.keyringUseCmd())
	return cmd
}

func (a *app) keyringShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "show FILE",
		Short: "List the keys of a keyring, without the keys themselves",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			keys, err := seal.Keys(args[0])
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(keys)
			}
			w := tabwriter.NewWriter(a.out, 0, 0, 3, ' ', 0)
			fmt.Fprintln(w, "KEY\tMADE\t")
			for _, k := range keys {
				used := ""
				if k.Used {
					used = "seals what is written"
				}
				fmt.Fprintf(w, "%d\t%s\t%s\n", k.ID, k.Made.Format("2006-01-02"), used)
			}
			return w.Flush()
		},
	}
}

func (a *app) keyringAddCmd() *cobra.Command {
	return a.keyringChangeCmd("add", "Put a new key into a keyring, to be used later",
		"Add puts a new key into a keyring. It seals nothing yet: first every node that shares the ledger is to know it, for a\n"+
			"node cannot read what a key that it does not have has sealed. Then: kiungo keyring use.",
		seal.Add, "added key %[1]d; it is not used yet. Copy %[2]s to every node, and to where its copy is kept; start each node again;\nthen run: kiungo keyring use %[2]s\n")
}

func (a *app) keyringUseCmd() *cobra.Command {
	return a.keyringChangeCmd("use", "Seal with the newest key of a keyring from the next start on",
		"Use has the newest key of a keyring seal what is written from the next start of a node on. Older keys stay in the\n"+
			"keyring: what they sealed is read with them.",
		seal.Use, "key %[1]d seals what is written from the next start on. Copy %[2]s to every node, and to where its copy is kept, and start each\nnode again, one after the other.\n")
}

// keyringChangeCmd changes a keyring, and says what is done, and to do, with the
// key's number and the file.
func (a *app) keyringChangeCmd(verb, short, long string, change func(path string) (int, error), said string) *cobra.Command {
	return &cobra.Command{
		Use:     verb + " FILE",
		Short:   short,
		Long:    long,
		Example: "  kiungo keyring " + verb + " /etc/kiungo/keyring.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			id, err := change(args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, said, id, args[0])
			return nil
		},
	}
}
