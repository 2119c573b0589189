package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
)

// Form is how a value is sealed.
type Form int

const (
	// Form1 encrypts with the sealing key itself: key id, nonce, AES-256-GCM. Its nonces are random,
	// so a key should seal no more than 2^32 values.
	Form1 Form = 1
	// Form2 encrypts with a key of the value's place, which HKDF-SHA256 derives from the sealing key:
	// a mark, key id, nonce, AES-256-GCM. The limit of 2^32 values holds for each place, which no
	// place reaches. Releases before it cannot open its values.
	Form2 Form = 2
)

// form2Mark begins the values of Form2. Those of Form1 begin with the key's id, which is never
// this.
const form2Mark = 2

// ParseForm reads "1" or "2".
func ParseForm(text string) (Form, error) {
	n, err := strconv.Atoi(text)
	if f := Form(n); err == nil && (f == Form1 || f == Form2) {
		return f, nil
	}
	return 0, fmt.Errorf("%q is neither 1 nor 2", text)
}

// FormOf returns the form of a sealed value.
func FormOf(sealed []byte) Form {
	form, _ := formOf(sealed)
	return form
}

// formOf returns the form of a sealed value, and what follows its mark.
func formOf(sealed []byte) (Form, []byte) {
	if len(sealed) >= idBytes && binary.BigEndian.Uint32(sealed) == form2Mark {
		return Form2, sealed[idBytes:]
	}
	return Form1, sealed
}

// mark returns what values of the form begin with.
func (f Form) mark() []byte {
	if f == Form2 {
		return binary.BigEndian.AppendUint32(nil, form2Mark)
	}
	return nil
}

func (r *Ring) form() Form {
	if r.Form == Form2 {
		return Form2
	}
	return Form1
}

// key is a sealing key.
type key struct {
	secret []byte
	own    cipher.AEAD // for Form1
}

func newKey(secret []byte) (*key, error) {
	own, err := newAEAD(secret)
	return &key{secret, own}, err
}

// aead returns the cipher for values of a form at a place. The sealing key is random, so it needs
// no HKDF-Extract.
func (k *key) aead(form Form, place []byte) cipher.AEAD {
	if form == Form1 {
		return k.own
	}
	derived, err := hkdf.Expand(sha256.New, k.secret, "wxplatform sealed value 2\x00"+string(place), keyBytes)
	if err != nil {
		panic(err) // only for a length that is not ours
	}
	aead, err := newAEAD(derived)
	if err != nil {
		panic(err) // only for a length that is not ours
	}
	return aead
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
