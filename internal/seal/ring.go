package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// ErrUnknownKey says that a value was sealed under a key that the ring does not hold.
var ErrUnknownKey = errors.New("sealed under a key that is not configured")

// ErrForged says that a value does not open where it stands: it was changed, or moved from another row or column.
var ErrForged = errors.New("sealed value does not belong here")

const (
	keyBytes = 32
	idBytes  = 4
)

// Ring holds the sealing keys, newest first. It is safe for concurrent use.
type Ring struct {
	newest uint32
	keys   map[uint32]cipher.AEAD
}

// NewKey makes a sealing key in the form that NewRing reads.
func NewKey() string {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // crypto/rand.Read never fails
	return base64.StdEncoding.EncodeToString(key)
}

// NewRing reads keys, base64 of 32 bytes each, comma-separated, newest first.
func NewRing(list Secret) (*Ring, error) {
	ring := &Ring{keys: map[uint32]cipher.AEAD{}}
	for i, text := range strings.Split(list.Reveal(), ",") {
		key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
		if err != nil || len(key) != keyBytes {
			return nil, fmt.Errorf("sealing key %d is not base64 of %d bytes", i+1, keyBytes)
		}
		id, err := ring.add(key)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			ring.newest = id
		}
	}
	return ring, nil
}

// A key's id is the start of its hash, so that nobody has to number keys.
func (r *Ring) add(key []byte) (uint32, error) {
	sum := sha256.Sum256(append([]byte("wxplatform sealing key id\x00"), key...))
	id := binary.BigEndian.Uint32(sum[:])
	if _, taken := r.keys[id]; taken {
		return 0, errors.New("a sealing key is given twice")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return 0, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return 0, err
	}
	r.keys[id] = aead
	return id, nil
}

// Place is where a sealed value stands: table or kind, column, and the parts of the primary key. It is the associated data, so a value that was moved fails to open.
type Place []string

// Length-prefixed, so that no two places spell the same bytes.
func (p Place) bytes() []byte {
	var out []byte
	for _, part := range p {
		out = binary.BigEndian.AppendUint32(out, uint32(len(part)))
		out = append(out, part...)
	}
	return out
}

// Seal encrypts plain for its place under the newest key. An empty value stays empty, so that a column can say "none".
func (r *Ring) Seal(plain Secret, place ...string) []byte {
	if plain.IsZero() {
		return []byte{}
	}
	aead := r.keys[r.newest]
	out := make([]byte, idBytes+aead.NonceSize(), idBytes+aead.NonceSize()+len(plain.value)+aead.Overhead())
	binary.BigEndian.PutUint32(out, r.newest)
	_, _ = rand.Read(out[idBytes:])
	return aead.Seal(out, out[idBytes:], []byte(plain.value), Place(place).bytes())
}

// Open decrypts what Seal made for the same place, or fails with ErrUnknownKey or ErrForged.
func (r *Ring) Open(sealed []byte, place ...string) (Secret, error) {
	if len(sealed) == 0 {
		return Secret{}, nil
	}
	if len(sealed) < idBytes {
		return Secret{}, ErrForged
	}
	aead, ok := r.keys[binary.BigEndian.Uint32(sealed)]
	if !ok {
		return Secret{}, ErrUnknownKey
	}
	rest := sealed[idBytes:]
	if len(rest) < aead.NonceSize() {
		return Secret{}, ErrForged
	}
	plain, err := aead.Open(nil, rest[:aead.NonceSize()], rest[aead.NonceSize():], Place(place).bytes())
	if err != nil {
		return Secret{}, ErrForged
	}
	return Secret{string(plain)}, nil
}

// Newest reports whether sealed is empty or under the newest key: whether resealing would change nothing.
func (r *Ring) Newest(sealed []byte) bool {
	return len(sealed) == 0 || len(sealed) >= idBytes && binary.BigEndian.Uint32(sealed) == r.newest
}
