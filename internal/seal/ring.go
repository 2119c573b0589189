package seal

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrUnknownKey says that a value was sealed under a key that the ring does not hold.
var ErrUnknownKey = errors.New("sealed under a key that is not configured")

// ErrForged says that a value cannot be decrypted at its place: it was changed, or moved from
// another row or column.
var ErrForged = errors.New("sealed value does not belong here")

const (
	keyBytes = 32
	idBytes  = 4
)

// KeyID identifies a sealing key: the first bytes of its hash. It is the prefix of all that the key
// sealed.
type KeyID uint32

// String returns the id as operators read it.
func (id KeyID) String() string { return fmt.Sprintf("%08x", uint32(id)) }

// MarshalText is String.
func (id KeyID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// Bytes returns the id as the prefix of a sealed value.
func (id KeyID) Bytes() []byte { return binary.BigEndian.AppendUint32(nil, uint32(id)) }

// KeyOf returns the key that a value is sealed under, or false if it is empty or not a sealed
// value.
func KeyOf(sealed []byte) (KeyID, bool) {
	_, rest := formOf(sealed)
	if len(rest) < idBytes {
		return 0, false
	}
	return KeyID(binary.BigEndian.Uint32(rest)), true
}

// Unopenable reports whether err is Open's: the value was changed, moved, or sealed under a key
// that is not configured.
func Unopenable(err error) bool { return errors.Is(err, ErrForged) || errors.Is(err, ErrUnknownKey) }

// Ring holds the sealing keys, newest first. It is safe for concurrent use.
type Ring struct {
	// Unopened is called for each value that Open fails on, with its place and the error. It may be
	// nil. Set it before the ring is used; it must return quickly.
	Unopened func(place Place, err error)
	// Form is the form that values are sealed in; zero is Form1. All forms are opened. Set it before
	// the ring is used.
	Form Form

	ids  []KeyID
	keys map[KeyID]*key
}

// ForCallers returns the ring for values that callers keep. They have Form2, because there is no
// limit to how many are sealed. One that does not open is a caller's fault, so Unopened is not
// called.
func (r *Ring) ForCallers() *Ring {
	return &Ring{Form: Form2, ids: r.ids, keys: r.keys}
}

// Keys returns the ids of the ring's keys, newest first.
func (r *Ring) Keys() []KeyID { return slices.Clone(r.ids) }

// NewKey returns a new random key in the form that NewRing reads.
func NewKey() string {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // crypto/rand.Read never fails
	return base64.StdEncoding.EncodeToString(key)
}

// NewRing reads keys: 32 bytes each in base64, separated by commas, newest first. Its errors do not
// show them.
func NewRing(list Secret) (*Ring, error) {
	ring := &Ring{keys: map[KeyID]*key{}}
	for i, text := range strings.Split(list.Reveal(), ",") {
		key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
		if err != nil || len(key) != keyBytes {
			return nil, fmt.Errorf("sealing key %d is not base64 of %d bytes", i+1, keyBytes)
		}
		if err := ring.add(key); err != nil {
			return nil, err
		}
	}
	return ring, nil
}

func (r *Ring) add(secret []byte) error {
	sum := sha256.Sum256(append([]byte("wxplatform sealing key id\x00"), secret...))
	id := KeyID(binary.BigEndian.Uint32(sum[:]))
	if _, taken := r.keys[id]; taken {
		return errors.New("a sealing key is given twice")
	}
	if id == form2Mark {
		return errors.New("a sealing key cannot be used: generate another one")
	}
	k, err := newKey(secret)
	if err != nil {
		return err
	}
	r.ids, r.keys[id] = append(r.ids, id), k
	return nil
}

// Place is where a sealed value is stored: table or kind, column, and the parts of the primary key.
// It is the associated data of the encryption, so a value that was moved cannot be opened.
type Place []string

// bytes prefixes each part with its length, so that no two places have the same bytes.
func (p Place) bytes() []byte {
	var out []byte
	for _, part := range p {
		out = binary.BigEndian.AppendUint32(out, uint32(len(part)))
		out = append(out, part...)
	}
	return out
}

// Seal encrypts plain for its place with the newest key, in the ring's form. An empty value stays
// empty, so that a column can hold "none".
func (r *Ring) Seal(plain Secret, place ...string) []byte {
	if plain.IsZero() {
		return []byte{}
	}
	form, where := r.form(), Place(place).bytes()
	aead := r.keys[r.ids[0]].aead(form, where)
	out := binary.BigEndian.AppendUint32(form.mark(), uint32(r.ids[0]))
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce)
	return aead.Seal(append(out, nonce...), nonce, []byte(plain.value), where)
}

// Open decrypts what Seal returned for the same place. It fails with ErrUnknownKey or ErrForged.
func (r *Ring) Open(sealed []byte, place ...string) (Secret, error) {
	plain, err := r.open(sealed, place)
	if err != nil && r.Unopened != nil {
		r.Unopened(place, err)
	}
	return plain, err
}

func (r *Ring) open(sealed []byte, place Place) (Secret, error) {
	if len(sealed) == 0 {
		return Secret{}, nil
	}
	id, ok := KeyOf(sealed)
	if !ok {
		return Secret{}, ErrForged
	}
	k, ok := r.keys[id]
	if !ok {
		return Secret{}, fmt.Errorf("%w: %s", ErrUnknownKey, id)
	}
	form, rest := formOf(sealed)
	rest, where := rest[idBytes:], place.bytes()
	aead := k.aead(form, where)
	if len(rest) < aead.NonceSize() {
		return Secret{}, ErrForged
	}
	plain, err := aead.Open(nil, rest[:aead.NonceSize()], rest[aead.NonceSize():], where)
	if err != nil {
		return Secret{}, ErrForged
	}
	return Secret{string(plain)}, nil
}

// Newest reports whether resealing would change nothing: sealed is empty, or under the newest key
// and in the ring's form.
func (r *Ring) Newest(sealed []byte) bool {
	id, ok := KeyOf(sealed)
	return len(sealed) == 0 || ok && id == r.ids[0] && FormOf(sealed) == r.form()
}

// Reseal returns the value sealed with the newest key in the ring's form, for the same place. A
// value that already is stays as it is. It fails as Open does.
func (r *Ring) Reseal(sealed []byte, place ...string) ([]byte, error) {
	plain, err := r.Open(sealed, place...)
	if err != nil || r.Newest(sealed) {
		return sealed, err
	}
	return r.Seal(plain, place...), nil
}
