// Package integrations carries the shipped integrations inside the binary, for
// the demo and for a first look. A site runs from folders.
package integrations

import (
	"embed"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed i*/*.yaml i*/README.md i*/flows i*/tables i*/samples
var files embed.FS

// Unpack writes the integrations' folders below dir.
func Unpack(dir string) error {
	return fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(path))
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		content, err := files.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, content, 0o644)
	})
}

// Files gives the integrations' folders as they are inside the binary.
func Files() fs.FS { return files }
