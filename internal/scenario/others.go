package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/kiungo-health/kiungo/internal/simulate"
)

// byClerk stands in place of a call's id on requests that are not Kiungo's.
const byClerk = "clerk"

// clerk sends a request as somebody who works in the system would cause it.
func (b *bench) clerk(ctx context.Context, c *ClerkStep) error {
	sim, ok := b.sims[c.System]
	if !ok {
		return fmt.Errorf("clerk: no system %q", c.System)
	}
	var body []byte
	if c.Body != nil {
		var err error
		if body, err = json.Marshal(c.Body); err != nil {
			return err
		}
	}
	req := httptest.NewRequestWithContext(ctx, c.Method, "http://"+c.System+".sim"+c.Path, bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(simulate.CallHeader, byClerk)
	req.SetBasicAuth("clerk", "Clerk123")
	out := httptest.NewRecorder()
	sim.ServeHTTP(out, req)
	if out.Code >= http.StatusBadRequest {
		return fmt.Errorf("clerk: %s %s: HTTP %d %s", c.Method, c.Path, out.Code, strings.TrimSpace(out.Body.String()))
	}
	return nil
}

// table puts a table beside the site's configuration. The new rows count from
// the next start on, as in a site.
func (b *bench) table(ctx context.Context, t *TableStep) error {
	dir := filepath.Join(b.work, "tables", filepath.Base(b.dir))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, t.Name+".csv"), []byte(t.Rows), 0o600); err != nil {
		return err
	}
	if err := b.load(); err != nil {
		return err
	}
	return b.restart(ctx)
}

func (b *bench) restart(ctx context.Context) error {
	b.stop()
	return b.start(ctx)
}
