package tenant

import (
	"fmt"
	"strings"
)

// Scope is an OAuth scope: what a JWT lets its bearer do.
type Scope string

// The scopes there are. Their place in the list is a bit of Scopes.
const (
	KFSessionWrite   Scope = "kfsession:write"
	KFSessionRead    Scope = "kfsession:read"
	AuthorizersRead  Scope = "authorizers:read"
	AuthorizersWrite Scope = "authorizers:write"
)

var allScopes = [...]Scope{KFSessionWrite, KFSessionRead, AuthorizersRead, AuthorizersWrite}

// Scopes is a set of scopes. In text it is their names with spaces between.
type Scopes uint64

// Every is the set of all scopes, those included that do not exist yet.
const Every = ^Scopes(0)

// NewScopes is the set of scopes.
func NewScopes(scopes ...Scope) Scopes {
	var set Scopes
	for _, s := range scopes {
		set |= bit(s)
	}
	return set
}

// ParseScopes reads names with spaces between, or fails with ErrInvalid.
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

// String is the names with spaces between.
func (set Scopes) String() string {
	var names []string
	for _, s := range allScopes {
		if set.Has(s) {
			names = append(names, string(s))
		}
	}
	return strings.Join(names, " ")
}

// MarshalText is String.
func (set Scopes) MarshalText() ([]byte, error) { return []byte(set.String()), nil }

// UnmarshalText reads what MarshalText of this version or a later one wrote.
func (set *Scopes) UnmarshalText(text []byte) error {
	*set = known(string(text))
	return nil
}

// known is the scopes in text that this version knows. A later version's are left out: what nobody here can ask for need not be granted.
func known(text string) Scopes {
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
