package seal

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/s2"
)

// packed marks, in the key id that a sealed value begins with, that what is
// sealed was compressed first. Plans shrink to a fifth, and a page that is not
// written costs nothing.
const packed = 1 << 15

// packFrom is the size from which compressing is tried: below it there is
// nothing to gain.
const packFrom = 192

// packing are buffers to compress into; packKept is how large they may be.
var packing = sync.Pool{New: func() any { return new([]byte) }}

const packKept = 256 << 10

// pack compresses, into buf if that is large enough, or gives nil where that
// does not save an eighth.
func pack(buf *[]byte, plain []byte) []byte {
	if len(plain) < packFrom {
		return nil
	}
	if n := s2.MaxEncodedLen(len(plain)); n > len(*buf) && n <= packKept {
		*buf = make([]byte, n)
	}
	out := s2.Encode(*buf, plain)
	if len(out) > len(plain)-len(plain)/8 {
		return nil
	}
	return out
}

// packedAt is the place of a compressed value: the mark cannot be taken off it.
func packedAt(place []byte) []byte {
	return append(place[:len(place):len(place)], "|packed"...)
}

// maxPacked bounds what is unpacked: more than any message may have.
const maxPacked = 256 << 20

func unpack(b []byte) ([]byte, error) {
	n, err := s2.DecodedLen(b)
	if err != nil || n > maxPacked {
		return nil, fmt.Errorf("unpack: %w", ErrSealed)
	}
	plain, err := s2.Decode(nil, b)
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", ErrSealed)
	}
	return plain, nil
}
