package openmrs

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"
	"time"
)

// The server gives a report whole, in one answer, and evaluates it anew for each
// asking, which may take an hour: it cannot be asked for again for every page.
// So the rows of one answer are kept while they are paged out, in a spool: a
// temporary file that has no name any more, written with a key that only this
// process's memory has. Memory holds one row at a time, and of rows that repeat
// a key their numbers.
const (
	// maxReport is the largest report that is kept, in bytes of rows.
	maxReport = 1 << 30
	// maxReportRows is how many rows a report may have.
	maxReportRows = 250_000
	// maxRow is how large a single row may be.
	maxRow = 4 << 20
	// maxSpools is how many reports are kept at a time; the one that was longest
	// not asked for goes first, and is fetched again if need be.
	maxSpools = 4
	// spoolAge is how long a report is kept that nobody pages.
	spoolAge = time.Hour
)

// spool keeps the rows of one answer, one line each.
type spool struct {
	file     *os.File
	block    cipher.Block
	iv       [aes.BlockSize]byte
	out      *bufio.Writer
	size     int64
	sections []*section
	name     string // of the report
	used     time.Time
	mu       sync.Mutex // of the marks
	marks    map[string]*marks
}

// section is one data set of a report.
type section struct {
	name, uuid string
	columns    []column
	from       int64 // where its first line is
	rows       int
	sum        hash.Hash
}

type column struct {
	Name     string `json:"name"`
	Label    string `json:"label"`
	Datatype string `json:"datatype"`
}

// hash names the rows of a section, in their order.
func (x *section) hash() string { return hex.EncodeToString(x.sum.Sum(nil)[:16]) }

func newSpool() (*spool, error) {
	f, err := os.CreateTemp("", "kiungo-report-")
	if err != nil {
		return nil, fmt.Errorf("keep a report: %w", err)
	}
	_ = os.Remove(f.Name()) // it stays readable through the open file only
	p := &spool{file: f, marks: map[string]*marks{}}
	var key [32]byte
	_, _ = rand.Read(key[:])
	_, _ = rand.Read(p.iv[:])
	if p.block, err = aes.NewCipher(key[:]); err != nil {
		return nil, fmt.Errorf("keep a report: %w", err)
	}
	p.out = bufio.NewWriterSize(cipher.StreamWriter{S: cipher.NewCTR(p.block, p.iv[:]), W: f}, 1<<16)
	return p, nil
}

func (p *spool) close() { _ = p.file.Close() }

// begin starts the next section.
func (p *spool) begin() *section {
	x := &section{from: p.size, sum: sha256.New()}
	p.sections = append(p.sections, x)
	return x
}

// add writes one line, which holds no line feed.
func (p *spool) add(x *section, line []byte) error {
	if x.rows++; x.rows > maxReportRows {
		return tooLarge("the report has more than %d rows: narrow it by a parameter", maxReportRows)
	}
	if p.size += int64(len(line)) + 1; p.size > maxReport {
		return tooLarge("the report is larger than %d MB: narrow it by a parameter", maxReport>>20)
	}
	x.sum.Write(line)
	x.sum.Write([]byte{'\n'})
	if _, err := p.out.Write(line); err != nil {
		return fmt.Errorf("keep a report: %w", err)
	}
	return p.out.WriteByte('\n')
}

// at reads from a place on: CTR can begin at any block.
func (p *spool) at(offset int64) *bufio.Reader {
	iv, skip := p.iv, offset%aes.BlockSize
	add := uint64(offset / aes.BlockSize)
	low := binary.BigEndian.Uint64(iv[8:])
	binary.BigEndian.PutUint64(iv[8:], low+add)
	if low+add < low {
		binary.BigEndian.PutUint64(iv[:8], binary.BigEndian.Uint64(iv[:8])+1)
	}
	stream := cipher.NewCTR(p.block, iv[:])
	var waste [aes.BlockSize]byte
	stream.XORKeyStream(waste[:skip], waste[:skip])
	return bufio.NewReaderSize(cipher.StreamReader{S: stream, R: io.NewSectionReader(p.file, offset, p.size-offset)}, 1<<16)
}

// spoolLine reads one line; it is valid until the next.
func spoolLine(r *bufio.Reader) ([]byte, error) {
	b, err := r.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("read a report that was kept: %w", err)
	}
	return b[:len(b)-1], nil
}

// spools are the reports that a system keeps, by run, and those just fetched, by
// a number of their own.
type spools struct {
	mu   sync.Mutex
	kept map[string]*spool
	next int
}

// put keeps a report.
func (k *spools) put(id string, p *spool, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.kept == nil {
		k.kept = map[string]*spool{}
	}
	p.used = now
	if old := k.kept[id]; old != nil && old != p {
		old.close()
	}
	k.kept[id] = p
	for name, x := range k.kept {
		if x != p && now.Sub(x.used) > spoolAge {
			k.drop(name)
		}
	}
	for len(k.kept) > maxSpools {
		oldest := ""
		for name, x := range k.kept {
			if x != p && (oldest == "" || x.used.Before(k.kept[oldest].used)) {
				oldest = name
			}
		}
		k.drop(oldest)
	}
}

// number names a report just fetched.
func (k *spools) number() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.next++
	return fmt.Sprintf("fetched %d", k.next)
}

// get gives a report that is kept, or nil.
func (k *spools) get(id string, now time.Time) *spool {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.kept[id]
	if p != nil {
		p.used = now
	}
	return p
}

// take gives a report and no longer keeps it.
func (k *spools) take(id string) *spool {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.kept[id]
	delete(k.kept, id)
	return p
}

// end drops a report.
func (k *spools) end(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drop(id)
}

func (k *spools) drop(id string) {
	if p := k.kept[id]; p != nil {
		p.close()
		delete(k.kept, id)
	}
}
