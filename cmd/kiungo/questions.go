package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kiungo-health/kiungo/internal/control"
	"github.com/kiungo-health/kiungo/internal/desk"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

func (a *app) questionsCmd() *cobra.Command {
	var after int64
	var limit int
	cmd := &cobra.Command{
		Use:   "questions [ID]",
		Short: "List what only a person can decide; show one; answer it",
		Example: "  kiungo questions\n  kiungo questions 12\n" +
			"  kiungo questions answer 12 2 --note \"asked her mother\"\n  kiungo questions taught",
		Args: cobra.MaximumNArgs(1),
		RunE: a.served(func(cmd *cobra.Command, s control.Service, args []string) error {
			if len(args) == 1 {
				return a.showQuestion(cmd.Context(), s, args[0])
			}
			list, err := s.Questions(cmd.Context(), after, limit)
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(questionRows(list))
			}
			return a.printQuestions(list, limit)
		}),
	}
	cmd.Flags().Int64Var(&after, "after", 0, "only those asked after this one (for paging)")
	cmd.Flags().IntVar(&limit, "limit", 50, "how many at the most")
	cmd.AddCommand(a.answerCmd(), a.taughtCmd(), a.unteachCmd())
	return cmd
}

// questionRow is a question as --json prints it.
type questionRow struct {
	ID       int64  `json:"id"`
	Delivery int64  `json:"delivery"`
	Kind     string `json:"kind"`
	Job      string `json:"job"`
	State    string `json:"state"`
	Text     string `json:"text"`
	Cause    string `json:"cause"`
	Alike    int    `json:"alike"`
	Offer    any    `json:"offer"`
	Answer   string `json:"answer,omitempty"`
	By       string `json:"by,omitempty"`
}

func questionRowOf(q desk.Asked) questionRow {
	return questionRow{q.ID, q.Delivery, q.Kind, q.Job, q.State, q.Text, q.Cause, q.Alike, q.Offer, q.Question.Answer, q.By}
}

func questionRows(list []desk.Asked) []questionRow {
	rows := make([]questionRow, 0, len(list))
	for _, q := range list {
		rows = append(rows, questionRowOf(q))
	}
	return rows
}

func (a *app) printQuestions(list []desk.Asked, limit int) error {
	if len(list) == 0 {
		fmt.Fprintln(a.out, "no questions are open")
		return nil
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tASKED\tFOR THE\tABOUT\tALIKE\tQUESTION")
	for _, q := range list {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%s\n", q.ID, q.Asked.Local().Format("2006-01-02 15:04"), q.Job, q.Kind, q.Alike, short(q.Text, 100))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(a.out, "kiungo questions ID shows one with what can be answered")
	if len(list) == limit {
		fmt.Fprintf(a.out, "there may be more: --after %d\n", list[len(list)-1].ID)
	}
	return nil
}

func questionID(arg string) (int64, error) {
	id, err := strconv.ParseInt(arg, 10, 64)
	if err != nil {
		return 0, usagef("%q is not the number of a question; kiungo questions lists them", arg)
	}
	return id, nil
}

func (a *app) showQuestion(ctx context.Context, s control.Service, arg string) error {
	id, err := questionID(arg)
	if err != nil {
		return err
	}
	q, err := s.Question(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return fmt.Errorf("there is no question %d; kiungo questions lists them", id)
	}
	if err != nil {
		return err
	}
	if a.asJSON {
		return a.printJSON(questionRowOf(q))
	}
	return printQuestion(a.out, q)
}

func printQuestion(out io.Writer, q desk.Asked) error {
	fmt.Fprintf(out, "question %d of delivery %d, for the %s\n%s\n", q.ID, q.Delivery, q.Job, q.Text)
	if q.State != "open" {
		fmt.Fprintf(out, "%s", q.State)
		if q.By != "" {
			fmt.Fprintf(out, " by %s: %s", q.By, q.Question.Answer)
		}
		fmt.Fprintln(out)
	}
	if len(q.Offer.Sides) > 0 {
		fmt.Fprintln(out)
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, side := range q.Offer.Sides {
			fmt.Fprintf(w, "\t%s", side.Name)
		}
		fmt.Fprintln(w)
		for i, f := range q.Offer.Sides[0].Fields {
			fmt.Fprint(w, f.Name)
			for _, side := range q.Offer.Sides {
				value := ""
				if i < len(side.Fields) {
					value = side.Fields[i].Value
				}
				fmt.Fprintf(w, "\t%s", value)
			}
			fmt.Fprintln(w)
		}
		if err := w.Flush(); err != nil {
			return err
		}
		for _, side := range q.Offer.Sides {
			if len(side.Why) > 0 {
				fmt.Fprintf(out, "%s: %s\n", side.Name, strings.Join(side.Why, "; "))
			}
		}
	}
	if len(q.Offer.Plan) > 0 {
		fmt.Fprintln(out, "\nit would do")
		for _, line := range q.Offer.Plan {
			fmt.Fprintln(out, "  "+line)
		}
	}
	if q.State != "open" {
		return nil
	}
	fmt.Fprintln(out, "\nanswer with")
	for i, c := range q.Offer.Choices {
		fmt.Fprintf(out, "  %d  %s: %s\n", i+1, c.Value, c.Text)
	}
	if q.Offer.Other != "" {
		fmt.Fprintf(out, "  or %s\n", q.Offer.Other)
	}
	if q.Offer.Teach != nil {
		fmt.Fprintf(out, "The answer is kept in %s.csv for all; kiungo questions taught lists what was.\n", q.Offer.Teach.Table)
	}
	fmt.Fprintf(out, "kiungo questions answer %d ANSWER\n", q.ID)
	return nil
}

func (a *app) answerCmd() *cobra.Command {
	var note string
	var all bool
	cmd := &cobra.Command{
		Use:     "answer ID ANSWER",
		Short:   "Answer a question: by a choice, its number, or what it allows besides",
		Example: "  kiungo questions answer 12 new\n  kiungo questions answer 31 U --note \"agreed with the ministry\"\n  kiungo questions answer 40 retry --all",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := questionID(args[0])
			if err != nil {
				return err
			}
			s, done, err := a.service(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			n, err := s.Answer(cmd.Context(), desk.Answer{Question: id, Answer: args[1], Who: whoAmI(), Note: note, All: all})
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(map[string]int{"answered": n})
			}
			fmt.Fprintf(a.out, "%s answered; what waited for it goes on\n", counted(n, "question"))
			return nil
		},
	}
	cmd.Flags().StringVar(&note, "note", "", "why, for the audit trail")
	cmd.Flags().BoolVar(&all, "all", false, "also the open questions with the same cause")
	return cmd
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if stem, ok := strings.CutSuffix(what, "y"); ok {
		what = stem + "ie"
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (a *app) taughtCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "taught",
		Short: "List the rows that answers have added to tables, ready to be copied into them",
		Args:  cobra.NoArgs,
		RunE: a.served(func(cmd *cobra.Command, s control.Service, _ []string) error {
			list, err := s.Lessons(cmd.Context())
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(list)
			}
			if len(list) == 0 {
				fmt.Fprintln(a.out, "nothing was taught")
				return nil
			}
			w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "INTEGRATION\tTABLE\tROW\tBY\tAT")
			for _, l := range list {
				fmt.Fprintf(w, "%s\t%s\t%s,%s\t%s\t%s\n", l.Integration, l.Table, strings.Join(l.Codes, ","), l.Value, l.Who, l.At.Local().Format("2006-01-02 15:04"))
			}
			return w.Flush()
		}),
	}
}

func (a *app) unteachCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "unteach INTEGRATION TABLE CODE [CODE]",
		Short:   "Forget a row that an answer has added; from the next start on it is asked about again",
		Example: "  kiungo questions unteach i05-commcare-openmrs-feed gender other",
		Args:    cobra.RangeArgs(3, 4),
		RunE: a.served(func(cmd *cobra.Command, s control.Service, args []string) error {
			if err := s.Unteach(cmd.Context(), ledger.Lesson{Integration: args[0], Table: args[1], Codes: args[2:], Who: whoAmI()}); err != nil {
				return err
			}
			fmt.Fprintln(a.out, "forgotten")
			return nil
		}),
	}
}

func (a *app) heldCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "held",
		Short: "Show what waits for a person, by cause and by whose job it is",
		Long:  "Held lists the causes for which deliveries wait, the most frequent first. One answer, retry or skip serves all of a cause:\nkiungo questions answer ID ANSWER --all, kiungo retry --cause CAUSE, kiungo skip --cause CAUSE.",
		Args:  cobra.NoArgs,
		RunE: a.served(func(cmd *cobra.Command, s control.Service, _ []string) error {
			stops, err := s.Stops(cmd.Context())
			if err != nil {
				return err
			}
			list, err := s.Held(cmd.Context())
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(list)
			}
			for _, stop := range stops {
				fmt.Fprintf(a.out, "stopped since %s: %s\n", stop.Since.Local().Format("2006-01-02 15:04"), stop.Reason)
			}
			if len(list) == 0 && len(stops) == 0 {
				fmt.Fprintln(a.out, "nothing waits for a person")
				return nil
			}
			for _, h := range list {
				fmt.Fprintf(a.out, "%s, one cause, for the %s: %s\n    since %s, e.g. delivery %d: %s\n", counted(int(h.N), "delivery"), h.Job, h.Cause.Cause,
					h.Oldest.Local().Format("2006-01-02 15:04"), h.Delivery, short(h.Reason, 160))
			}
			return nil
		}),
	}
}

func (a *app) askCmd() *cobra.Command {
	var r control.ListRequest
	cmd := &cobra.Command{
		Use:     "ask FLOW",
		Short:   "Ask for a flow's list now, before its time",
		Long:    "A list (a report, the totals of a month) is asked for on its flow's schedule. Ask asks now: for who is on the list today, or for a period.",
		Example: "  kiungo ask i04/participants-to-cases\n  kiungo ask i03/monthly-activity --period 202610",
		Args:    cobra.ExactArgs(1),
		RunE: a.served(func(cmd *cobra.Command, s control.Service, args []string) error {
			r.Flow = args[0]
			n, err := s.Ask(cmd.Context(), r)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "asked for %s; the rows come in as messages\n", counted(n, "list"))
			return nil
		}),
	}
	cmd.Flags().StringVar(&r.System, "system", "", "only this system")
	cmd.Flags().StringVar(&r.Period, "period", "", "this period, by its name: 202610, 2026W44, 2026Q3")
	return cmd
}
