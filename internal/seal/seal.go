// Package seal encrypts what the ledger stores and makes the keyed hashes by
// which it looks things up.
//
// Everything that came from a message or an answer is sealed with AES-256-GCM
// under a random nonce, bound to its row and column by the additional data.
// What must be unique or indexed is stored as an HMAC under a key of its own,
// because sealed values of one text all differ.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"sync"
)

// MacSize is the length in bytes of what Mac gives: HMAC-SHA256 cut to 128 bits.
const MacSize = 16

// SaltSize is the length in bytes of a Box's salt.
const SaltSize = 16

// keyIDSize is the length of the key id that every sealed value begins with.
const keyIDSize = 2

// ErrSealed is given for a value that cannot be opened: it was changed, moved
// to another row, or its key is not in the keyring. Retrying does not help.
var ErrSealed = errors.New("the sealed value cannot be opened: wrong keyring, or the row was changed")

// Ring is a keyring: sealing keys by id, of which the newest seals, and the
// hashing key. It may be used from many goroutines.
type Ring struct {
	current uint16
	keys    map[uint16][]byte
	main    *Box
	macs    sync.Pool // of *mac
}

func newRing(f *file) (*Ring, error) {
	r := &Ring{current: f.Current, keys: map[uint16][]byte{}}
	for _, k := range f.Keys {
		r.keys[k.ID] = k.Key
	}
	if _, ok := r.keys[r.current]; !ok {
		return nil, fmt.Errorf("the keyring's current key %d is not among its keys", r.current)
	}
	macKey := f.Mac
	r.macs.New = func() any { return &mac{hash: hmac.New(sha256.New, macKey)} }
	r.main = r.Box(nil)
	return r, nil
}

// Main is the Box for what outlives its message: lanes, crosswalk, snapshots.
func (r *Ring) Main() *Box { return r.main }

// NewSalt gives a fresh salt for a Box.
func NewSalt() []byte {
	b := make([]byte, SaltSize)
	rand.Read(b) // never fails (crypto/rand, Go 1.24)
	return b
}

// Box gives the Box whose key is derived from the current key and a salt.
// Destroying the salt destroys the key, and so everything sealed in the Box,
// also in free pages, logs and backups.
func (r *Ring) Box(salt []byte) *Box {
	b := &Box{ring: r, salt: salt}
	b.aead = b.derive(r.current)
	return b
}

// Mac gives the look-up hash of parts. what names the use, so that one text
// used for two things has two hashes; parts are separated by their lengths.
func (r *Ring) Mac(what string, parts ...string) []byte {
	m := r.macs.Get().(*mac)
	defer r.macs.Put(m)
	m.hash.Reset()
	buf := binary.AppendUvarint(m.buf[:0], uint64(len(what)))
	buf = append(buf, what...)
	for _, p := range parts {
		buf = binary.AppendUvarint(buf, uint64(len(p)))
		buf = append(buf, p...)
	}
	m.hash.Write(buf)
	m.buf = m.hash.Sum(buf[:0])
	return append(make([]byte, 0, MacSize), m.buf[:MacSize]...)
}

// mac is what a look-up hash is made with.
type mac struct {
	hash hash.Hash
	buf  []byte
}

// Box seals and opens under one key. It may be used from many goroutines.
type Box struct {
	ring *Ring
	salt []byte
	aead cipher.AEAD
}

// derive makes the cipher of a key of the ring, nil if the ring has no such key.
func (b *Box) derive(id uint16) cipher.AEAD {
	key, ok := b.ring.keys[id]
	if !ok {
		return nil
	}
	if b.salt != nil {
		h := hmac.New(sha256.New, key)
		h.Write([]byte("kiungo box"))
		h.Write(b.salt)
		key = h.Sum(nil)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("a keyring key is not 32 bytes: " + err.Error()) // lengths are checked when the file is read
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // impossible for AES
	}
	return aead
}

// Seal encrypts plain, bound to where it is stored. nil stays nil.
func (b *Box) Seal(place, plain []byte) []byte {
	if plain == nil {
		return nil
	}
	id := b.ring.current
	buf := packing.Get().(*[]byte)
	defer packing.Put(buf)
	if p := pack(buf, plain); p != nil {
		plain, id, place = p, id|packed, packedAt(place)
	}
	out := make([]byte, keyIDSize, keyIDSize+len(plain)+b.aead.Overhead())
	binary.BigEndian.PutUint16(out, id)
	return b.aead.Seal(out, nil, plain, place)
}

// Open decrypts what Seal made for the same place, under any key of the ring.
func (b *Box) Open(place, sealed []byte) ([]byte, error) {
	if sealed == nil {
		return nil, nil
	}
	if len(sealed) < keyIDSize {
		return nil, ErrSealed
	}
	aead := b.aead
	flagged := binary.BigEndian.Uint16(sealed)
	if id := flagged &^ packed; id != b.ring.current {
		if aead = b.derive(id); aead == nil {
			return nil, fmt.Errorf("key %d: %w", id, ErrSealed)
		}
	}
	if flagged&packed != 0 {
		place = packedAt(place)
	}
	plain, err := aead.Open(nil, nil, sealed[keyIDSize:], place)
	if err != nil {
		return nil, ErrSealed
	}
	if flagged&packed != 0 {
		return unpack(plain)
	}
	if plain == nil {
		plain = []byte{}
	}
	return plain, nil
}

// Row is the place of a column of a row with a number.
func Row(table string, id int64, column string) []byte {
	b := make([]byte, 0, len(table)+len(column)+10)
	b = append(b, table...)
	b = append(b, '|')
	b = binary.BigEndian.AppendUint64(b, uint64(id))
	b = append(b, '|')
	return append(b, column...)
}

// RowKey is the place of a column of a row with a look-up hash as its key.
func RowKey(table string, key []byte, column string) []byte {
	b := make([]byte, 0, len(table)+len(column)+len(key)+2)
	b = append(b, table...)
	b = append(b, '|')
	b = append(b, key...)
	b = append(b, '|')
	return append(b, column...)
}
