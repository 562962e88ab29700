//go:build unix

package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// diskSize is that of the disk that gets full; floor is what the ledger keeps free.
const (
	diskSize = 128 << 20 // the log alone may be 64 MB
	floor    = 2 << 20
)

// disks gives the ledger a slow disk, one on which writes fail, and a full one.
func disks(r *round) {
	w := r.world("", 1)
	w.slow()
	m := w.members[0]
	small := w.smallDisk(m.Data)
	if small {
		m.MinFree = floor
	} else {
		r.note = "no full disk: mounting a small one is not allowed here"
	}
	m.start()
	w.traffic()
	w.while(func() {
		w.pause(50*time.Millisecond, 300*time.Millisecond)
		k := w.rng.IntN(3)
		if k == 2 && !small {
			k = 1
		}
		w.tally.faults++
		switch k {
		case 0: // slow
			m.set(conditions{Delay: time.Duration(20+w.rng.IntN(200)) * time.Millisecond})
			w.pause(300*time.Millisecond, time.Second)
			m.set(conditions{})
		case 1: // the log cannot grow: the write fails, in the middle of a commit
			info, err := os.Stat(filepath.Join(m.Data, "ledger.db-wal"))
			w.must(err)
			m.set(conditions{FileLimit: uint64(info.Size()) + uint64(w.rng.IntN(20000))})
			w.pause(100*time.Millisecond, 800*time.Millisecond)
			m.set(conditions{})
		case 2: // full: first to the floor, then to the last byte
			ballast := filepath.Join(m.Data, "ballast")
			free := int64(w.rng.IntN(2)) * floor / 2
			w.fill(ballast, free)
			w.pause(200*time.Millisecond, 1500*time.Millisecond)
			w.must(os.Remove(ballast))
		}
	})
	w.settle(false)
}

// smallDisk puts a small disk at a folder; false where that is not allowed.
func (w *world) smallDisk(dir string) bool {
	w.must(os.MkdirAll(dir, 0o700))
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d,mode=0700", diskSize), "tmpfs", dir).CombinedOutput()
	if err != nil {
		w.Logf("no small disk: %v: %s", err, out)
		return false
	}
	w.Cleanup(func() {
		w.end() // whoever is on it must be gone
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			w.Logf("unmount %s: %v: %s", dir, err, out)
		}
	})
	return true
}

// fill writes a file until only so much is free, or nothing.
func (w *world) fill(path string, free int64) {
	w.Helper()
	f, err := os.Create(path)
	w.must(err)
	defer f.Close()
	block := make([]byte, 64<<10)
	for {
		if _, err := f.Write(block); err != nil {
			break // full
		}
	}
	if free == 0 {
		return
	}
	info, err := f.Stat()
	w.must(err)
	w.must(f.Truncate(max(0, info.Size()-free)))
}
