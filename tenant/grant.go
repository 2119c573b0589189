package tenant

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"time"

	"wxplatform/internal/seal"
	"wxplatform/internal/trace"
)

// Grant is a JWT for a client, with what the client is told about it.
type Grant struct {
	Token  seal.Secret
	Tenant ID
	Scopes Scopes // those that it has now
}

// Token gives a client a JWT for the scopes named in asked, separated by spaces, or for all scopes
// of the client if asked is "". It fails with ErrWrongSecret, a *RateError, ErrSuspended,
// ErrInvalidScope, or db.ErrUnavailable if that cannot be decided.
func (r *Registry) Token(ctx context.Context, id ClientID, secret seal.Secret, asked string) (Grant, error) {
	c, err := r.admit(ctx, id, secret)
	if err != nil {
		return Grant{}, err
	}
	scopes, err := c.choose(asked)
	if err != nil {
		return Grant{}, err
	}
	return r.give(ctx, c, extent{scopes: scopes})
}

// BySecret finds a client by its secret alone, and counts the request against its tenant's limit.
// It fails like Token. Whoever has a secret knows no more with the client's id, so guesses are
// limited as those of Token are.
func (r *Registry) BySecret(ctx context.Context, secret seal.Secret) (Client, error) {
	return r.admit(ctx, namedBy(secret), secret)
}

// Bind gives a client that BySecret returned a JWT for one account. Which accounts are the tenant's
// is for the caller to know. The JWT has the client's scopes, and lives for boundLifetime, whatever
// JWTs the client gets later. It fails with ErrInvalid if appid is "", or with db.ErrUnavailable if
// no key is known to sign with.
func (r *Registry) Bind(ctx context.Context, c Client, appid string) (Grant, error) {
	if appid == "" {
		return Grant{}, fmt.Errorf("%w: appid is missing", ErrInvalid)
	}
	return r.give(ctx, c, extent{appid: appid})
}

// admit finds a client by its id and secret, and counts the request against its tenant's limit. It
// fails with ErrWrongSecret, a *RateError, ErrSuspended or db.ErrUnavailable.
func (r *Registry) admit(ctx context.Context, id ClientID, secret seal.Secret) (Client, error) {
	_, span := trace.Begin(ctx, trace.AdmitCaller)
	defer span.End(false)
	c, err := r.identify(ctx, id, secret)
	if err != nil {
		return Client{}, err
	}
	t, err := r.Tenant(ctx, c.Tenant)
	if err != nil {
		return Client{}, fmt.Errorf("token of client %s: %w", id, err)
	}
	if err := r.spend(t.ID, t.Limit); err != nil {
		return Client{}, err
	}
	if !t.Suspended.IsZero() {
		return Client{}, ErrSuspended
	}
	return c.Client, nil
}

func (r *Registry) give(ctx context.Context, c Client, e extent) (Grant, error) {
	token, err := r.issue(ctx, c, e)
	if err != nil {
		return Grant{}, fmt.Errorf("token of client %s: %w", c.ID, err)
	}
	scopes := c.Scopes
	if e.scopes != nil {
		scopes = *e.scopes
	}
	return Grant{seal.NewSecret(token), c.Tenant, scopes}, nil
}

// errMistyped is an ErrWrongSecret for a secret with a wrong checksum. Telling it apart reveals
// nothing, because anyone can compute the checksum.
var errMistyped = fmt.Errorf("%w: the secret is incomplete, mistyped or another client's", ErrWrongSecret)

// identify finds a client by its secret. It fails in the same way, and after the same work, if the
// client does not exist, is revoked or has another secret: it looks into SQL once and remembers for
// some seconds that it did. A client that this process knows is never kept waiting by strangers.
func (r *Registry) identify(ctx context.Context, id ClientID, secret seal.Secret) (credential, error) {
	if !wellFormed(id, secret) {
		return credential{}, errMistyped
	}
	hash := secret.Hash()
	known := r.clients.Known(string(id))
	if known || r.mirror.SQLUnavailable() {
		c, err := r.credential(ctx, id)
		if err != nil && !errors.Is(err, ErrUnknownClient) {
			return credential{}, fmt.Errorf("client %s: %w", id, err)
		}
		if c.accepts(hash, r.Now()) {
			return c, nil
		}
	}
	return r.lookUp(ctx, id, hash, known)
}

// lookUp is identify for a client that this process does not know, or does not know with this
// secret.
func (r *Registry) lookUp(ctx context.Context, id ClientID, hash string, known bool) (credential, error) {
	c, recent := r.tries.last(id)
	var err error
	if !recent {
		c, err = r.lookups.find(ctx, id)
	}
	unavailable := err != nil && !errors.Is(err, ErrUnknownClient)
	switch {
	case c.accepts(hash, r.Now()), unavailable && !known:
		return r.recognize(ctx, id, hash)
	case !recent && !unavailable:
		r.tries.remember(id, c)
	}
	return credential{}, ErrWrongSecret
}

// recognize reads a client through the mirror, which remembers it.
func (r *Registry) recognize(ctx context.Context, id ClientID, hash string) (credential, error) {
	c, err := r.credential(ctx, id)
	switch {
	case errors.Is(err, ErrUnknownClient), err == nil && !c.accepts(hash, r.Now()):
		return credential{}, ErrWrongSecret
	case err != nil:
		return credential{}, fmt.Errorf("client %s: %w", id, err)
	}
	return c, nil
}

// noSecret is compared with where there is no client, so that the comparison takes as long.
var noSecret = strings.Repeat("-", sha256.Size*2)

// accepts reports whether hash is that of the client's secret, or of its old one for as long as
// that counts, and the client is not revoked. The zero credential accepts nothing.
func (c credential) accepts(hash string, now time.Time) bool {
	newest, old := isHash(hash, c.SecretHash), isHash(hash, c.OldSecretHash)
	return (newest || old && now.Before(c.OldSecretUntil)) && c.Revoked.IsZero()
}

// isHash compares in the same time whatever is stored.
func isHash(hash, stored string) bool {
	if stored == "" {
		stored = noSecret
	}
	return subtle.ConstantTimeCompare([]byte(hash), []byte(stored)) == 1
}

// choose returns the scopes that a client asks for, or nil if it asks for none.
func (c Client) choose(asked string) (*Scopes, error) {
	if asked == "" {
		return nil, nil
	}
	scopes, err := ParseScopes(asked)
	if err != nil || scopes == 0 || scopes&^c.Scopes != 0 {
		return nil, ErrInvalidScope
	}
	return &scopes, nil
}
