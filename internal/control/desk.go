package control

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/kiungo-health/kiungo/internal/desk"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

// Desk is what people decide, wherever the ledger is.
type Desk interface {
	Questions(ctx context.Context, after int64, limit int) ([]desk.Asked, error)
	Question(ctx context.Context, id int64) (desk.Asked, error)
	Answer(ctx context.Context, a desk.Answer) (int, error)
	Held(ctx context.Context) ([]desk.Held, error)
	Lessons(ctx context.Context) ([]ledger.Lesson, error)
	Unteach(ctx context.Context, l ledger.Lesson) error
	Person(ctx context.Context, id string, limit int) (*desk.Person, error)
	Decide(ctx context.Context, d Decision) error
	Split(ctx context.Context, d Decision) ([]desk.Redo, error)
	Ask(ctx context.Context, r ListRequest) (int, error)
}

// Decision is what a person decides on who is whom.
type Decision struct {
	Act    string      `json:"act"` // link, unlink, merge or split
	Person string      `json:"person"`
	Link   ledger.Link `json:"link"`
	// To is the right record, for a split; With the other person, for a merge.
	To   *ledger.Link `json:"to,omitempty"`
	With string       `json:"with,omitempty"`
	Who  string       `json:"who"`
	Note string       `json:"note,omitempty"`
}

// ListRequest asks for the lists of a flow before their time.
type ListRequest struct {
	Flow   string `json:"flow"`
	System string `json:"system,omitempty"`
	Period string `json:"period,omitempty"`
}

var (
	errNoEngine = errors.New("this needs the site's systems; run it where site.yaml is, or while kiungo serve runs")
	errNoAct    = errors.New("a decision is link, unlink, merge or split")
)

func (l Local) desk() *desk.Desk {
	return &desk.Desk{Ledger: l.Ledger, Ring: l.Ring, Learned: l.Learned}
}

// Questions lists the open questions, oldest first.
func (l Local) Questions(ctx context.Context, after int64, limit int) ([]desk.Asked, error) {
	return l.desk().Questions(ctx, after, limit)
}

// Question gives one question.
func (l Local) Question(ctx context.Context, id int64) (desk.Asked, error) {
	return l.desk().Question(ctx, id)
}

// Answer answers a question, and gives how many were answered.
func (l Local) Answer(ctx context.Context, a desk.Answer) (int, error) {
	return l.desk().Answer(ctx, a)
}

// Held groups what is held by cause.
func (l Local) Held(ctx context.Context) ([]desk.Held, error) { return l.desk().Held(ctx) }

// Lessons lists the rows that people gave as answers.
func (l Local) Lessons(ctx context.Context) ([]ledger.Lesson, error) { return l.Ledger.Lessons(ctx) }

// Unteach forgets one of them.
func (l Local) Unteach(ctx context.Context, t ledger.Lesson) error {
	if err := l.Ledger.Unteach(ctx, t.Integration, t.Table, t.Codes, t.Who); err != nil {
		return err
	}
	if l.Forgot != nil {
		l.Forgot(t)
	}
	return nil
}

// Person finds a person by an id in a system.
func (l Local) Person(ctx context.Context, id string, limit int) (*desk.Person, error) {
	return l.desk().Person(ctx, id, limit)
}

// Decide does what a person decided on who is whom.
func (l Local) Decide(ctx context.Context, d Decision) error {
	p, err := l.desk().Person(ctx, d.Person, 1)
	if err != nil {
		return err
	}
	d.Link.Person = p.Key
	switch d.Act {
	case "link":
		return l.desk().Link(ctx, d.Link, d.Who, d.Note)
	case "unlink":
		return l.desk().Unlink(ctx, d.Link, d.Who, d.Note)
	case "merge":
		other, err := l.desk().Person(ctx, d.With, 1)
		if err != nil {
			return err
		}
		return l.desk().Merge(ctx, other.Key, p.Key, d.Who, d.Note)
	case "split":
		if l.Plan == nil {
			return errNoEngine
		}
		redos, err := l.desk().Split(ctx, p, d.Link, l.Plan)
		if err != nil {
			return err
		}
		return l.desk().DoSplit(ctx, p, d.Link, redos, d.To, d.Who, d.Note)
	}
	return errNoAct
}

// Split shows what a split would take back and send again.
func (l Local) Split(ctx context.Context, d Decision) ([]desk.Redo, error) {
	if l.Plan == nil {
		return nil, errNoEngine
	}
	p, err := l.desk().Person(ctx, d.Person, 1)
	if err != nil {
		return nil, err
	}
	return l.desk().Split(ctx, p, d.Link, l.Plan)
}

// Ask asks for the lists of a flow before their time.
func (l Local) Ask(ctx context.Context, r ListRequest) (int, error) {
	if l.Lists == nil {
		return 0, errNoEngine
	}
	return l.Lists(ctx, r.Flow, r.System, r.Period)
}

type page struct {
	After int64 `json:"after"`
	Limit int   `json:"limit"`
}

type lookup struct {
	ID    string `json:"id"`
	Limit int    `json:"limit"`
}

// handleDesk adds the requests of Desk: each is a POST of its argument.
func handleDesk(mux *http.ServeMux, s Desk) {
	on(mux, "questions", func(ctx context.Context, p page) (any, error) { return s.Questions(ctx, p.After, p.Limit) })
	on(mux, "question", func(ctx context.Context, id int64) (any, error) { return s.Question(ctx, id) })
	on(mux, "answer", func(ctx context.Context, a desk.Answer) (any, error) { return s.Answer(ctx, a) })
	on(mux, "held", func(ctx context.Context, _ struct{}) (any, error) { return s.Held(ctx) })
	on(mux, "lessons", func(ctx context.Context, _ struct{}) (any, error) { return s.Lessons(ctx) })
	on(mux, "unteach", func(ctx context.Context, l ledger.Lesson) (any, error) { return struct{}{}, s.Unteach(ctx, l) })
	on(mux, "person", func(ctx context.Context, q lookup) (any, error) { return s.Person(ctx, q.ID, q.Limit) })
	on(mux, "decide", func(ctx context.Context, d Decision) (any, error) { return struct{}{}, s.Decide(ctx, d) })
	on(mux, "split", func(ctx context.Context, d Decision) (any, error) { return s.Split(ctx, d) })
	on(mux, "ask", func(ctx context.Context, r ListRequest) (any, error) { return s.Ask(ctx, r) })
}

func on[In any](mux *http.ServeMux, name string, do func(context.Context, In) (any, error)) {
	mux.HandleFunc("POST /desk/"+name, func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			reply(w, nil, err)
			return
		}
		out, err := do(r.Context(), in)
		reply(w, out, err)
	})
}

func (c Remote) desk(ctx context.Context, name string, in, out any) error {
	return c.do(ctx, http.MethodPost, "/desk/"+name, in, out)
}

// Questions lists the open questions, oldest first.
func (c Remote) Questions(ctx context.Context, after int64, limit int) (out []desk.Asked, err error) {
	err = c.desk(ctx, "questions", page{after, limit}, &out)
	return out, err
}

// Question gives one question.
func (c Remote) Question(ctx context.Context, id int64) (out desk.Asked, err error) {
	err = c.desk(ctx, "question", id, &out)
	return out, err
}

// Answer answers a question, and gives how many were answered.
func (c Remote) Answer(ctx context.Context, a desk.Answer) (n int, err error) {
	err = c.desk(ctx, "answer", a, &n)
	return n, err
}

// Held groups what is held by cause.
func (c Remote) Held(ctx context.Context) (out []desk.Held, err error) {
	err = c.desk(ctx, "held", struct{}{}, &out)
	return out, err
}

// Lessons lists the rows that people gave as answers.
func (c Remote) Lessons(ctx context.Context) (out []ledger.Lesson, err error) {
	err = c.desk(ctx, "lessons", struct{}{}, &out)
	return out, err
}

// Unteach forgets one of them.
func (c Remote) Unteach(ctx context.Context, l ledger.Lesson) error {
	return c.desk(ctx, "unteach", l, &struct{}{})
}

// Person finds a person by an id in a system.
func (c Remote) Person(ctx context.Context, id string, limit int) (out *desk.Person, err error) {
	err = c.desk(ctx, "person", lookup{id, limit}, &out)
	return out, err
}

// Decide does what a person decided on who is whom.
func (c Remote) Decide(ctx context.Context, d Decision) error {
	return c.desk(ctx, "decide", d, &struct{}{})
}

// Split shows what a split would take back and send again.
func (c Remote) Split(ctx context.Context, d Decision) (out []desk.Redo, err error) {
	err = c.desk(ctx, "split", d, &out)
	return out, err
}

// Ask asks for the lists of a flow before their time.
func (c Remote) Ask(ctx context.Context, r ListRequest) (n int, err error) {
	err = c.desk(ctx, "ask", r, &n)
	return n, err
}
