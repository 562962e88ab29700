package demo

import (
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"

	ccsim "github.com/kiungo-health/kiungo/connectors/commcare/sim"
	"github.com/kiungo-health/kiungo/internal/connector"
)

// Data is the folder of the world's ledger, as --data takes it.
func (w *World) Data() string { return filepath.Join(w.dir, "ledger") }

// Site is the world's site file, as --site takes it.
func (w *World) Site() string { return filepath.Join(w.dir, "site.yaml") }

// writeSite writes the world's site.yaml and its tables, with secrets in files,
// as a real site would have it.
func (w *World) writeSite(reg connector.Registry) (string, error) {
	systems := map[string]any{}
	for _, s := range w.systems {
		options := map[string]any{"url": s.url, "limit": "16", "timeout": "2s", "settle": "500ms"}
		for k, v := range s.sim.Settings() {
			options[k] = v
		}
		for k, v := range s.options {
			options[k] = v
		}
		for _, o := range reg[s.connector].Options {
			if v, ok := options[o.Name].(string); ok && o.Secret {
				path := filepath.Join(w.dir, s.name+"."+o.Name)
				if err := os.WriteFile(path, []byte(v), 0o600); err != nil {
					return "", err
				}
				options[o.Name] = "file:" + path
			}
		}
		systems[s.name] = map[string]any{"connector": s.connector, "options": options}
		if s.off {
			systems[s.name].(map[string]any)["active"] = false
		}
		if len(s.places) > 0 {
			systems[s.name].(map[string]any)["places"] = s.places
		}
	}
	text, err := yaml.Marshal(map[string]any{"zone": w.zone, "region": w.region, "systems": systems,
		"integrations": map[string]any{w.Folder: map[string]any{"site": w.values}}})
	if err != nil {
		return "", err
	}
	folder := filepath.Join(w.dir, "tables", w.Folder)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	for name, rows := range w.tables {
		if err := os.WriteFile(filepath.Join(folder, name+".csv"), []byte(rows), 0o600); err != nil {
			return "", err
		}
	}
	return w.Site(), os.WriteFile(w.Site(), text, 0o600)
}

// forward has CommCare send what the story wants sent.
func (w *World) forward(intake string) {
	if w.commcare == nil {
		return
	}
	f, ok := w.story.(interface{ forwarded() []ccsim.Repeater })
	if !ok {
		return
	}
	for _, r := range f.forwarded() {
		r.URL, r.Credentials = intake, w.commcare.Credentials()
		w.commcare.AddRepeater(&r)
	}
}
