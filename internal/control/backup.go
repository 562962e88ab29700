package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/kiungo-health/kiungo/internal/ledger/store"
)

// Backups is what commands need to back a ledger up.
type Backups interface {
	// Backup makes a backup of the ledger, wherever it is open, and tells how far
	// it has come.
	Backup(ctx context.Context, r BackupRequest, progress func(store.Progress)) (*Made, error)
}

// BackupRequest orders a backup.
type BackupRequest struct {
	To      string `json:"to"` // absolute: the server has another working folder
	Keyring bool   `json:"keyring"`
	Who     string `json:"who"`
}

// Made is a backup that was made.
type Made struct {
	Folder   string          `json:"folder"`
	Manifest *store.Manifest `json:"manifest"`
}

// Backup makes a backup of a ledger of this process.
func (l Local) Backup(ctx context.Context, r BackupRequest, progress func(store.Progress)) (*Made, error) {
	b, ok := l.Ledger.(interface {
		Backup(ctx context.Context, to string, o store.BackupOptions) (string, *store.Manifest, error)
	})
	if !ok {
		return nil, errors.New("this ledger cannot be backed up while it is open")
	}
	folder, m, err := b.Backup(ctx, r.To, store.BackupOptions{Keyring: r.Keyring, Who: r.Who, Progress: progress})
	if err != nil {
		return nil, err
	}
	return &Made{folder, m}, nil
}

// said is one line of the server's answer: how far it is, or the end.
type said struct {
	Progress *store.Progress `json:"progress,omitempty"`
	Made     *Made           `json:"made,omitempty"`
	Error    string          `json:"error,omitempty"`
}

// handleBackup answers with a line of JSON for each step, so that who asked can
// show it. If they go away the backup is given up.
func handleBackup(mux *http.ServeMux, s Backups) {
	mux.HandleFunc("POST /backup", func(w http.ResponseWriter, r *http.Request) {
		var in BackupRequest
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			reply(w, nil, err)
			return
		}
		out, flush := json.NewEncoder(w), http.NewResponseController(w)
		tell := func(line said) {
			// One that cannot be written: they went away, and the context ends.
			_ = out.Encode(line)
			_ = flush.Flush()
		}
		last := ""
		made, err := s.Backup(r.Context(), in, func(p store.Progress) {
			if now := step(p); now != last {
				last = now
				tell(said{Progress: &p})
			}
		})
		if err != nil {
			tell(said{Error: err.Error()})
			return
		}
		tell(said{Made: made})
	})
}

// step changes when there is something to show: what is done, by the hundredth.
func step(p store.Progress) string {
	if p.Of > 0 {
		return fmt.Sprint(p.Doing, p.Done*100/p.Of)
	}
	return fmt.Sprint(p.Doing, p.Done/10_000)
}

// Backup has the running server make a backup.
func (c Remote) Backup(ctx context.Context, r BackupRequest, progress func(store.Progress)) (*Made, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://kiungo/backup", strings.NewReader(string(b)))
	if err != nil {
		return nil, err
	}
	patient := *c.client
	patient.Timeout = 0
	resp, err := patient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the running server: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return nil, errors.New(strings.TrimSpace(string(text)))
	}
	for lines := json.NewDecoder(resp.Body); ; {
		var line said
		if err := lines.Decode(&line); err != nil {
			return nil, fmt.Errorf("the running server stopped answering before the backup was made: %w", err)
		}
		switch {
		case line.Error != "":
			return nil, errors.New(line.Error)
		case line.Made != nil:
			return line.Made, nil
		case line.Progress != nil && progress != nil:
			progress(*line.Progress)
		}
	}
}
