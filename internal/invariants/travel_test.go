package invariants

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestTheLedgerIsRestored puts a ledger back to any moment of a workload, half
// done deliveries and all, after the rest of it was carried on; the sources send
// again what the restored ledger does not know. The targets end as if nothing
// had happened (law 24): nothing is made twice, and nothing is lost.
func TestTheLedgerIsRestored(t *testing.T) {
	checks(t, 20, func(rt *rapid.T) func(w *world) {
		forms := workload(rt, 2, 3)
		at := rapid.IntRange(1, 120).Draw(rt, "moment")
		return func(w *world) {
			want := w.calmly(forms)
			w.submit(forms...)
			k := &killer{at: int64(at)}
			backup := filepath.Join(w.dir, "backup")
			known := w.copyAt(k, forms, backup)
			w.check(forms)
			if known < 0 {
				return // the workload had fewer moments
			}
			w.stop()
			folder := filepath.Join(w.dir, "ledger")
			w.must(os.RemoveAll(folder))
			w.must(os.CopyFS(folder, os.DirFS(backup)))
			time.Sleep(time.Hour)
			w.restarts++
			w.witness.forget()
			w.start()
			w.must(w.ledger.Raise(context.Background(), "restored", "test"))
			for _, f := range forms[known:] {
				if !w.push(f.Body()) {
					w.t.Fatal("intake did not take a form")
				}
			}
			w.mend(forms)
			got, err := unnamed(w.state())
			w.must(err)
			w.same("with the ledger put back", want, got)
		}
	})
}

// copyAt plays a workload, keeps the ledger as it was when the killer struck,
// and gives how many forms it knows, -1 if the killer never struck.
func (w *world) copyAt(k *killer, forms []form, to string) (known int) {
	w.t.Helper()
	known = -1
	i := 0
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	w.fault, k.stop = k.fault, cancel
	again := func() {
		w.stop()
		if known < 0 {
			known = i
			w.must(os.CopyFS(to, os.DirFS(filepath.Join(w.dir, "ledger"))))
		}
		w.restart()
	}
	if w.open() != nil {
		again()
	}
	for i < len(forms) {
		if !w.push(forms[i].Body()) {
			again()
			continue
		}
		i++
	}
	if err := w.rest(ctx); err != nil || ctx.Err() != nil || !w.alive() {
		again()
	}
	k.off.Store(true)
	w.settle()
	return known
}
