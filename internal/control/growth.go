package control

import (
	"context"
	"errors"
	"net/http"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// Growth is what commands need of the archive.
type Growth interface {
	// Keep wipes and archives what is no longer kept, now.
	Keep(ctx context.Context) (ledger.Kept, error)
	// Archives lists the month files; Archived the deliveries in them.
	Archives(ctx context.Context) ([]ledger.ArchiveFile, error)
	Archived(ctx context.Context, f ledger.Filter) ([]ledger.Delivery, error)
}

// archiver is a ledger with an archive.
type archiver interface {
	Archives(ctx context.Context) ([]ledger.ArchiveFile, error)
	Archived(ctx context.Context, f ledger.Filter) ([]ledger.Delivery, error)
}

var errNoArchive = errors.New("this ledger has no archive")

// Keep wipes and archives what is no longer kept, now.
func (l Local) Keep(ctx context.Context) (ledger.Kept, error) {
	if l.KeepNow == nil {
		return ledger.Kept{}, errNoArchive
	}
	return l.KeepNow(ctx)
}

// Archives lists the month files of this node's archive.
func (l Local) Archives(ctx context.Context) ([]ledger.ArchiveFile, error) {
	a, ok := l.Ledger.(archiver)
	if !ok {
		return nil, errNoArchive
	}
	return a.Archives(ctx)
}

// Archived lists deliveries in the archive, newest first.
func (l Local) Archived(ctx context.Context, f ledger.Filter) ([]ledger.Delivery, error) {
	a, ok := l.Ledger.(archiver)
	if !ok {
		return nil, errNoArchive
	}
	return a.Archived(ctx, f)
}

func handleGrowth(mux *http.ServeMux, s Growth) {
	on(mux, "keep", func(ctx context.Context, _ struct{}) (any, error) { return s.Keep(ctx) })
	on(mux, "archives", func(ctx context.Context, _ struct{}) (any, error) { return s.Archives(ctx) })
	on(mux, "archived", func(ctx context.Context, f ledger.Filter) (any, error) { return s.Archived(ctx, f) })
}

// Keep: see Local.Keep. It may take long; the server goes on if this ends.
func (c Remote) Keep(ctx context.Context) (out ledger.Kept, err error) {
	client := *c.client
	client.Timeout = 0
	err = Remote{&client}.desk(ctx, "keep", struct{}{}, &out)
	return out, err
}

// Archives lists the month files of the server's archive.
func (c Remote) Archives(ctx context.Context) (out []ledger.ArchiveFile, err error) {
	err = c.desk(ctx, "archives", struct{}{}, &out)
	return out, err
}

// Archived lists deliveries in the archive, newest first.
func (c Remote) Archived(ctx context.Context, f ledger.Filter) (out []ledger.Delivery, err error) {
	err = c.desk(ctx, "archived", f, &out)
	return out, err
}
