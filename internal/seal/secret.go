// Package seal protects secrets: Secret is a text that does not print, and a Ring encrypts secrets
// for SQL and Redis.
package seal

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret holds a ticket, a token, a key or the like. However it is printed, logged or marshalled,
// it shows "[redacted]". Only Reveal returns it.
type Secret struct{ value string }

// NewSecret wraps value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the secret. Callers may only send it, seal it or hash it.
func (s Secret) Reveal() string { return s.value }

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.value == "" }

// Equal compares in constant time.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.value), []byte(other.value)) == 1
}

// Hash returns the SHA-256 in hex that single-use secrets are stored and looked up by.
func (s Secret) Hash() string { return Hash(s.value) }

// Hash returns the SHA-256 of value in hex.
func Hash(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}

// String hides the value, as all methods below do.
func (s Secret) String() string { return redacted }

// Format hides the value under every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// GoString hides the value.
func (s Secret) GoString() string { return redacted }

// LogValue hides the value.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the value.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON hides the value.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
