package store

import (
	"fmt"

	"modernc.org/libc"
	"modernc.org/libc/sys/types"
)

// arena is C memory for the arguments of statements. A statement that runs
// while the rows of another are read takes its memory behind the other's.
type arena struct {
	chunk   uintptr
	size    int
	top     int
	depth   int
	retired []uintptr // full chunks that an outer statement may still use
}

const arenaChunk = 64 << 10

type arenaMark struct {
	chunk uintptr
	top   int
}

func (a *arena) enter() arenaMark {
	a.depth++
	return arenaMark{a.chunk, a.top}
}

func (a *arena) leave(tls *libc.TLS, m arenaMark) {
	a.depth--
	if a.chunk == m.chunk {
		a.top = m.top
	}
	if a.depth > 0 {
		return
	}
	a.top = 0
	for _, p := range a.retired {
		libc.Xfree(tls, p)
	}
	a.retired = a.retired[:0]
}

// take gives size bytes that stay until leave.
func (a *arena) take(tls *libc.TLS, size int) (uintptr, error) {
	if a.top+size > a.size {
		n := max(2*size, arenaChunk)
		p := libc.Xmalloc(tls, types.Size_t(n))
		if p == 0 {
			return 0, fmt.Errorf("no memory for a statement's %d bytes", size)
		}
		if a.chunk != 0 {
			a.retired = append(a.retired, a.chunk)
		}
		a.chunk, a.size, a.top = p, n, 0
	}
	at := a.chunk + uintptr(a.top)
	a.top += size
	return at, nil
}

func (a *arena) free(tls *libc.TLS) {
	for _, p := range append(a.retired, a.chunk) {
		if p != 0 {
			libc.Xfree(tls, p)
		}
	}
	*a = arena{}
}
