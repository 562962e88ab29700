package runner_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kiungo-health/kiungo/internal/call"
	"github.com/kiungo-health/kiungo/internal/ledger"
)

const sms = `  sms:
    kind: reg/Text
    set: {person: '${person}', text: '${rec.text}'}
`

const said = "id=c1 nid=7 given=Elsa family=M phone=1 born=1990-01-01 sex=f place=a text=hello"

// texts counts the messages to phones that were sent.
func (g *register) texts() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(g.sent), func(s string) bool { return !strings.Contains(s, "/Text/") }))
}

// backup copies the ledger, and gives what puts the copy in its place.
func (b *bench) backup() (restore func()) {
	b.Helper()
	b.must(b.l.Close())
	copied := filepath.Join(b.TempDir(), "copy")
	b.must(os.CopyFS(copied, os.DirFS(b.dir)))
	b.open()
	return func() {
		b.must(b.l.Close())
		b.must(os.RemoveAll(b.dir))
		b.must(os.CopyFS(b.dir, os.DirFS(copied)))
		b.now = b.now.Add(time.Hour)
		b.open()
		b.must(b.l.Raise(b.Context(), "restored", "test"))
	}
}

// TestAfterARestoreWhatWasDoneIsNotDoneAgain: the delivery is open in the
// restored ledger, and in the target it is done.
func TestAfterARestoreWhatWasDoneIsNotDoneAgain(t *testing.T) {
	b := newBench(t, "", there+toReg+person+note)
	id := b.send("field", said)
	restore := b.backup()
	b.run()
	b.is(id, ledger.Done, "")
	sent := len(b.sys["reg-a"].sent)
	restore()
	b.run()
	b.is(id, ledger.Done, "")
	if again := b.sys["reg-a"].sent; len(again) != sent {
		t.Errorf("sent again: %v", again[sent:])
	}
}

// TestAfterARestoreABlindCallIsAskedAbout: neither done twice nor left out
// without anybody knowing.
func TestAfterARestoreABlindCallIsAskedAbout(t *testing.T) {
	for answer, want := range map[string]int{"happened": 1, "not": 2} {
		t.Run(answer, func(t *testing.T) {
			b := newBench(t, "", there+toReg+person+sms)
			id := b.send("field", said)
			restore := b.backup()
			b.run()
			b.is(id, ledger.Done, "")
			restore()
			b.run()
			b.is(id, ledger.Held, "unknown")
			if n := b.sys["reg-a"].texts(); n != 1 {
				t.Fatalf("%d messages to her phone", n)
			}
			b.answer("unknown", answer)
			b.run()
			b.is(id, ledger.Done, "")
			if n := b.sys["reg-a"].texts(); n != want {
				t.Errorf("%d messages to her phone, not %d", n, want)
			}
		})
	}
}

// TestWhatComesAfterARestoreIsNotAskedAbout: only what may have been carried on
// in the time that is lost.
func TestWhatComesAfterARestoreIsNotAskedAbout(t *testing.T) {
	b := newBench(t, "", there+toReg+person+sms)
	b.backup()()
	b.now = b.now.Add(time.Hour)
	id := b.send("field", said)
	b.run()
	b.is(id, ledger.Done, "")
}

// TestABlindCallWhoseAnswerWasLostIsAskedAboutEachTime: an answer is about one
// sending of it.
func TestABlindCallWhoseAnswerWasLostIsAskedAboutEachTime(t *testing.T) {
	b := newBench(t, "", there+toReg+person+sms)
	lose := 2
	b.sys["reg-a"].before = func(r call.Request) int {
		if strings.Contains(r.Path, "/Text/") && lose > 0 {
			lose--
			return http.StatusGatewayTimeout
		}
		return 0
	}
	b.sys["reg-a"].unclear = http.StatusGatewayTimeout
	id := b.send("field", said)
	for range 2 {
		b.run()
		b.is(id, ledger.Held, "unknown")
		b.answer("unknown", "not")
	}
	b.run()
	b.is(id, ledger.Done, "")
	if n := b.sys["reg-a"].texts(); n != 1 {
		t.Errorf("%d messages to her phone", n)
	}
}
