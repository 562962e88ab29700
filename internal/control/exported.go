package control

import (
	"context"
	"net/http"

	"github.com/kiungo-health/kiungo/internal/ledger"
)

// Exports is what kiungo export needs besides reading.
type Exports interface {
	// Exported keeps in the audit trail that what a delivery would have written was
	// put into a file for upload by hand: who did it, and a note without data.
	Exported(ctx context.Context, e Export) error
}

// Export is one delivery's part in a file.
type Export struct {
	Delivery int64  `json:"delivery"`
	Who      string `json:"who"`
	Note     string `json:"note"`
}

// Exported keeps an export in the audit trail.
func (l Local) Exported(ctx context.Context, e Export) error {
	return l.Ledger.Audit(ctx, ledger.Audit{Who: e.Who, Act: "export", Delivery: e.Delivery, Note: e.Note})
}

func handleExported(mux *http.ServeMux, s Exports) {
	on(mux, "exported", func(ctx context.Context, e Export) (any, error) { return struct{}{}, s.Exported(ctx, e) })
}

// Exported keeps an export in the server's audit trail.
func (c Remote) Exported(ctx context.Context, e Export) error {
	return c.desk(ctx, "exported", e, &struct{}{})
}
