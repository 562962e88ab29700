package store

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
)

// lockFolder takes the data folder for this process. Windows refuses to remove
// a file that is open, so a file left by a dead process can be taken.
func lockFolder(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("the data folder %s is in use by another process: %w", dir, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data folder: %w", err)
	}
	return f, nil
}

// freeSpace is not asked on Windows; SQLITE_FULL is met when it comes.
func freeSpace(string) (int64, error) { return math.MaxInt64, nil }
