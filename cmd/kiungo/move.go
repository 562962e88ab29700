package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/control"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
)

func (a *app) moveCmd() *cobra.Command {
	var to string
	var undo bool
	cmd := &cobra.Command{
		Use:   "move --to postgres://… | folder:PATH",
		Short: "Carry the ledger to another database, verified, and seal the one it came from",
		Long: "Move copies the whole ledger: from the data folder to PostgreSQL, or with --database from PostgreSQL to\n" +
			"another database or into a data folder. No server may run meanwhile. All is read back and compared at the\n" +
			"end; a move that was interrupted goes on with the same command. The old ledger is sealed: it is not opened\n" +
			"again, and says where it went. --undo takes a move back as long as nothing ran at the new place.",
		Example: "  kiungo move --to postgres://kiungo@db.example/kiungo?sslmode=verify-full\n" +
			"  kiungo move --undo --to postgres://kiungo@db.example/kiungo?sslmode=verify-full\n" +
			"  kiungo move --database postgres://kiungo@db.example/kiungo --to folder:/var/lib/kiungo",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if to == "" && !undo {
				return usagef("move to what? Give --to postgres://user@host/database, or --to folder:PATH")
			}
			if _, ok := control.Dial(a.dataDir); ok {
				return errors.New("a server runs with this data folder: stop it first; what is sent meanwhile is refused and comes again, or is read by the polls")
			}
			show := newShown(a)
			o := store.MoveOptions{Options: a.storeOptions(), Who: whoAmI(), Progress: show.tell}
			if undo {
				back, err := store.UndoMove(cmd.Context(), a.databaseURL(), a.dataDir, to, o)
				if err != nil {
					return err
				}
				fmt.Fprintf(a.out, "the ledger is %s again\n", back)
				return nil
			}
			m, err := store.Move(cmd.Context(), a.databaseURL(), a.dataDir, to, o)
			show.end()
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(m)
			}
			fmt.Fprintf(a.out, "moved %s in %s, read back and found equal\n  from %s: sealed\n  to   %s: incarnation %d\n",
				counted(int(m.Rows), "row"), counted(m.Tables, "table"), m.From, m.To, m.Incarnation)
			if store.IsPostgres(to) {
				fmt.Fprintf(a.out, "Serve with --database (or KIUNGO_DATABASE) from now on; the keyring and the archive stay in %s.\n", a.dataDir)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "postgres://user@host/database, or folder:PATH; both must be empty")
	cmd.Flags().BoolVar(&undo, "undo", false, "take a move back, if nothing ran at the new place")
	return cmd
}
