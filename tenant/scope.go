package tenant

import (
	"fmt"
	"strings"
)

// Scope is an OAuth scope: a kind of call that a JWT allows.
type Scope string

// The scopes that are not those of a family of WeChat's APIs.
const (
	AuthorizersRead  Scope = "authorizers:read"
	AuthorizersWrite Scope = "authorizers:write"
	AuditRead        Scope = "audit:read" // who changed what, of all that is the tenant's
	WeChatAny        Scope = "wechat:any" // APIs of WeChat's that the catalogue does not list
	OperatorAPIs     Scope = "operator"   // APIs that affect other callers; for the operator's own clients
)

// The scopes of the families of WeChat's APIs that code names.
const (
	KFSessionWrite Scope = "kfsession:write"
	KFSessionRead  Scope = "kfsession:read"
	UsersRead      Scope = "users:read"
)

// allScopes lists every scope. A scope's place is its bit in Scopes, in this process only. Each
// family of WeChat's APIs has a scope for calls that read and one for those that write.
var allScopes = [...]Scope{
	KFSessionWrite, KFSessionRead, AuthorizersRead, AuthorizersWrite, WeChatAny, OperatorAPIs, AuditRead,
	"account:read", "account:write", // the account itself: name, avatar, categories, open platform
	"ads:read", "ads:write",
	"analytics:read", "analytics:write",
	"cards:read", "cards:write", // cards and invoices
	"cloud:read", "cloud:write",
	"code:read", "code:write", // code of mini programs: commit, audit, release, domains, testers
	"comments:read", "comments:write",
	"delivery:read", "delivery:write",
	"devices:read", "devices:write",
	"kfaccount:read", "kfaccount:write",
	"links:read", "links:write", // QR codes, short links, URL schemes
	"live:read", "live:write",
	"media:read", "media:write", // media, material, drafts, publishing
	"menu:read", "menu:write",
	"messages:read", "messages:write", // customer-service, mass, template and subscription messages
	"orders:read", "orders:write", // orders, payments and shops
	"security:read", "security:write", // content checks and user risk
	"services:read", "services:write", // all others
	UsersRead, "users:write", // users, tags, blacklist
	"vision:read", "vision:write", // images, OCR and speech
}

// Scopes is a set of scopes. As text, it is their names separated by spaces.
type Scopes uint64

// Every is the set of all scopes, including those that do not exist yet.
const Every = ^Scopes(0)

// AllScopes returns the scopes that a client has unless it is given others: all of this version,
// except wechat:any and operator.
func AllScopes() Scopes {
	return NewScopes(allScopes[:]...) &^ NewScopes(WeChatAny, OperatorAPIs)
}

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
