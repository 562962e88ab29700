package store

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/kiungo-health/kiungo/internal/connector"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/seal"
)

// workRow is a delivery with its message, as stored.
type workRow struct {
	d                ledger.Delivery
	planned, asked   bool
	sealed, maker    []byte
	salt, head, body []byte
	remarks          string
	seq, received    int64
	withdrawn        bool
}

// scanDelivery reads deliveryCols.
func scanDelivery(r row) workRow {
	w := workRow{planned: r.int(16) != 0, asked: r.int(22) != 0, remarks: r.text(23), sealed: r.blob(24), maker: r.blob(25), salt: r.blob(28), head: r.blob(29)}
	w.d = ledger.Delivery{ID: r.int(0), Message: r.int(1), Flow: r.text(2), Lane: r.int(3), Seq: r.int(4), State: ledger.State(r.text(5)),
		Reason: r.text(6), Code: r.text(7), Cause: r.text(8), BlockedOn: ledger.Block(r.text(9)), BlockedBy: r.text(10),
		Attempts: int(r.int(11)), Starts: int(r.int(12)), Calls: int(r.int(13)), FlowHash: r.text(14), PlanNo: int(r.int(15)),
		Generation: int(r.int(17)), Due: fromMicro(r.int(19)), Created: fromMicro(r.int(20)), Ended: fromMicro(r.int(21)),
		System: r.text(26), Kind: r.text(27)}
	if s := r.text(18); s != "" {
		w.d.Systems = strings.Split(s, "\n")
	}
	w.d.Replay = replayOf(r.int(30), r.text(31))
	return w
}

// scanWork reads deliveryCols and messageCols.
func scanWork(r row) workRow {
	w := scanDelivery(r)
	w.seq, w.received, w.withdrawn, w.body = r.int(32), r.int(33), r.int(34) != 0, r.blob(35)
	return w
}

func (w *workRow) openHead(box *seal.Box) (head, error) {
	return openHead(box, w.d.Message, w.head)
}

// openHead opens the head of a message. That of a wiped one is sealed with the
// ledger's own key, which is that of a Box without a salt.
func openHead(box *seal.Box, message int64, sealed []byte) (head, error) {
	var h head
	if sealed == nil {
		return h, nil
	}
	b, err := box.Open(seal.Row("message", message, "head"), sealed)
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal(b, &h); err != nil {
		return h, fmt.Errorf("decode head: %w", err)
	}
	return h, nil
}

func (w *workRow) delivery(box *seal.Box) (ledger.Delivery, error) {
	d := w.d
	if err := w.openWords(box, &d); err != nil {
		return d, err
	}
	h, err := w.openHead(box)
	if err != nil {
		return d, err
	}
	if w.head == nil {
		return d, nil // of an archived one it is known already
	}
	d.Doc, d.Version = h.Doc, h.Version
	each, err := box.Open(seal.Row("delivery", d.Message, d.Flow), w.sealed)
	d.Each = string(each)
	return d, err
}

// openWords opens what was written of a delivery in words.
func (w *workRow) openWords(box *seal.Box, d *ledger.Delivery) (err error) {
	if d.Reason, err = openText(box, w.salt, d.ID, "reason", w.d.Reason); err != nil {
		return err
	}
	remarks, err := openText(box, w.salt, d.ID, "remarks", w.remarks)
	if err != nil || remarks == "" {
		return err
	}
	if err := json.Unmarshal([]byte(remarks), &d.Remarks); err != nil {
		return fmt.Errorf("decode remarks: %w", err)
	}
	return nil
}

// sealedText marks a text column that holds a sealed text. Words may quote the
// message (an approval names who is to approve what): they are sealed in its
// box, and gone when it is wiped.
const sealedText = "~"

func sealText(box *seal.Box, delivery int64, column, text string) string {
	if text == "" {
		return ""
	}
	return sealedText + base64.RawStdEncoding.EncodeToString(box.Seal(seal.Row("delivery", delivery, column), []byte(text)))
}

func openText(box *seal.Box, salt []byte, delivery int64, column, text string) (string, error) {
	text, sealed := strings.CutPrefix(text, sealedText)
	if !sealed {
		return text, nil // fixed words
	}
	if salt == nil {
		return "", nil // wiped
	}
	b, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return "", fmt.Errorf("%s of delivery %d: %w", column, delivery, err)
	}
	b, err = box.Open(seal.Row("delivery", delivery, column), b)
	if err != nil {
		return "", fmt.Errorf("%s of delivery %d: %w", column, delivery, err)
	}
	return string(b), nil
}

func (w *workRow) message(s *Store, box *seal.Box) (connector.Message, error) {
	m := connector.Message{ID: w.d.Message, System: w.d.System, Received: fromMicro(w.received), Seq: w.seq, Wiped: w.salt == nil}
	m.Kind, m.Withdrawn = w.d.Kind, w.withdrawn
	if w.head == nil {
		m.Doc, m.Version = w.d.Doc, w.d.Version
		return m, nil
	}
	h, err := w.openHead(box)
	if err != nil {
		return m, err
	}
	m.Doc, m.Version, m.Event, m.Problem = h.Doc, h.Version, h.Event, h.Problem
	body, err := s.bodyOf(&m, w)
	if err != nil {
		return m, err
	}
	m.Content, err = box.Open(seal.Row("message", m.ID, "body"), body)
	return m, err
}

// sealedStep is a journal line as stored.
type sealedStep struct {
	ledger.Step
	body []byte
}

func scanStep(r row) sealedStep {
	return sealedStep{Step: ledger.Step{N: int(r.int(0)), Kind: ledger.StepKind(r.text(1)), Call: r.text(2), Intent: r.text(3), At: fromMicro(r.int(4)), Epoch: r.int(5)}, body: r.blob(6)}
}

func journalPlace(plan int64, n int) []byte {
	return seal.Row("journal", plan*1_000_003+int64(n), "body")
}

func (s *sealedStep) open(box *seal.Box, plan int64) (ledger.Step, error) {
	b, err := box.Open(journalPlace(plan, s.N), s.body)
	s.Data = b
	return s.Step, err
}

// sealedMade is a row of made.
type sealedMade struct {
	ledger.Made
	sealed []byte
}

func scanMade(r row) sealedMade {
	return sealedMade{Made: ledger.Made{Record: r.text(0)}, sealed: r.blob(1)}
}

func (m *sealedMade) open(ring *seal.Ring, maker []byte) (ledger.Made, error) {
	b, err := ring.Main().Open(seal.RowKey("made", maker, m.Record), m.sealed)
	if err != nil {
		return m.Made, err
	}
	var out ledger.Made
	if err := json.Unmarshal(b, &out); err != nil {
		return m.Made, fmt.Errorf("decode what was made: %w", err)
	}
	return out, nil
}

// sealedQuestion is a row of question.
type sealedQuestion struct {
	ledger.Question
	sealed, answer []byte
}

type questionBody struct {
	Key     string          `json:"key,omitempty"`
	Text    string          `json:"text"`
	Options json.RawMessage `json:"options,omitempty"`
}

func scanQuestion(r row) sealedQuestion {
	return sealedQuestion{Question: ledger.Question{ID: r.int(0), Delivery: r.int(1), Kind: r.text(2), Cause: r.text(3), State: r.text(4), By: r.text(5), Asked: fromMicro(r.int(6))},
		sealed: r.blob(8), answer: r.blob(9)}
}

func (q *sealedQuestion) open(ring *seal.Ring) (ledger.Question, error) {
	b, err := ring.Main().Open(seal.Row("question", q.ID, "text"), q.sealed)
	if err != nil {
		return q.Question, fmt.Errorf("question %d: %w", q.ID, err)
	}
	if b == nil {
		q.Text = "(the question was wiped with its message)"
		return q.Question, nil
	}
	var body questionBody
	if err := json.Unmarshal(b, &body); err != nil {
		return q.Question, fmt.Errorf("decode question %d: %w", q.ID, err)
	}
	q.Key, q.Text, q.Options = body.Key, body.Text, body.Options
	a, err := ring.Main().Open(seal.Row("question", q.ID, "answer"), q.answer)
	if err != nil {
		return q.Question, fmt.Errorf("answer to question %d: %w", q.ID, err)
	}
	q.Answer = string(a)
	return q.Question, nil
}
