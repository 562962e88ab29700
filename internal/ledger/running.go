package ledger

import "context"

type workKey struct{}

// Running marks what is done under a context as done for a delivery that this
// process runs: what it sends is bound to its lane.
func Running(ctx context.Context, w *Work) context.Context {
	return context.WithValue(ctx, workKey{}, w)
}

// RunningOf gives the delivery that a context is marked with, nil if none.
func RunningOf(ctx context.Context) *Work {
	w, _ := ctx.Value(workKey{}).(*Work)
	return w
}
