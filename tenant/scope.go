package tenant

import (
	"fmt"
	"strings"
)

// Scope is an OAuth scope: a kind of call that a JWT allows.
type Scope string

// The scopes.
const (
	KFSessionWrite   Scope = "kfsession:write"
	KFSessionRead    Scope = "kfsession:read"
	AuthorizersRead  Scope = "authorizers:read"
	AuthorizersWrite Scope = "authorizers:write"
)

// allScopes lists every scope. A scope's place is its bit in Scopes.
var allScopes = [...]Scope{KFSessionWrite, KFSessionRead, AuthorizersRead, AuthorizersWrite}

// Scopes is a set of scopes. As text, it is their names separated by spaces.
type Scopes uint64

// Every is the set of all scopes, including those that do not exist yet.
const Every = ^Scopes(0)

// AllScopes returns the set of all scopes of this version.
func AllScopes() Scopes { return NewScopes(allScopes[:]...) }

// NewScopes returns a set of scopes.
func NewScopes(scopes ...Scope) Scopes {
	var set Scopes
	for _, s := range scopes {
		set |= bit(s)
	}
	return set
}

// ParseScopes reads names separated by spaces, or fails with ErrInvalid.
func ParseScopes(text string) (Scopes, error) {
	var set Scopes
	for _, name := range strings.Fields(text) {
		if bit(Scope(name)) == 0 {
			return 0, fmt.Errorf("%w: scopes: there is no %q", ErrInvalid, name)
		}
		set |= bit(Scope(name))
	}
	return set, nil
}

// Has reports whether s is in the set.
func (set Scopes) Has(s Scope) bool { return set&bit(s) != 0 }

// String returns the names separated by spaces.
func (set Scopes) String() string {
	var names []string
	for _, s := range allScopes {
		if set.Has(s) {
			names = append(names, string(s))
		}
	}
	return strings.Join(names, " ")
}

// MarshalText returns String.
func (set Scopes) MarshalText() ([]byte, error) { return []byte(set.String()), nil }

// UnmarshalText reads what MarshalText of this or a later version wrote.
func (set *Scopes) UnmarshalText(text []byte) error {
	*set = parseKnown(string(text))
	return nil
}

// parseKnown reads the scopes in text that this version knows. It ignores others: a later version
// may have written them, and no call of this version needs one.
func parseKnown(text string) Scopes {
	var set Scopes
	for _, name := range strings.Fields(text) {
		set |= bit(Scope(name))
	}
	return set
}

func bit(s Scope) Scopes {
	for i, each := range allScopes {
		if each == s {
			return 1 << i
		}
	}
	return 0
}
