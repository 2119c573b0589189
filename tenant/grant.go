package tenant

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"

	"wxplatform/internal/seal"
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
	c, err := r.identify(ctx, id, secret)
	if err != nil {
		return Grant{}, err
	}
	t, err := r.Tenant(ctx, c.Tenant)
	if err != nil {
		return Grant{}, fmt.Errorf("token of client %s: %w", id, err)
	}
	if err := r.spend(t.ID, t.Limit); err != nil {
		return Grant{}, err
	}
	if !t.Suspended.IsZero() {
		return Grant{}, ErrSuspended
	}
	scopes, err := c.choose(asked)
	if err != nil {
		return Grant{}, err
	}
	token, err := r.issue(ctx, c.Client, scopes)
	if err != nil {
		return Grant{}, fmt.Errorf("token of client %s: %w", id, err)
	}
	if scopes == nil {
		scopes = &c.Scopes
	}
	return Grant{seal.NewSecret(token), c.Tenant, *scopes}, nil
}

// errMistyped is an ErrWrongSecret for a secret with a wrong checksum. Telling it apart reveals
// nothing, because anyone can compute the checksum.
var errMistyped = fmt.Errorf("%w: the secret is incomplete, mistyped or another client's", ErrWrongSecret)

// identify finds a client by its secret. It fails in the same way if the client does not exist, is
// revoked or has another secret.
func (r *Registry) identify(ctx context.Context, id ClientID, secret seal.Secret) (credential, error) {
	if !wellFormed(id, secret) {
		return credential{}, errMistyped
	}
	c, err := r.credential(ctx, id)
	if err != nil && !errors.Is(err, ErrUnknownClient) {
		return credential{}, fmt.Errorf("client %s: %w", id, err)
	}
	same := subtle.ConstantTimeCompare([]byte(secret.Hash()), []byte(c.SecretHash)) == 1
	if !same || !c.Revoked.IsZero() {
		return credential{}, ErrWrongSecret
	}
	return c, nil
}

// choose returns the scopes that a client asks for, or nil if it asks for none.
func (c credential) choose(asked string) (*Scopes, error) {
	if asked == "" {
		return nil, nil
	}
	scopes, err := ParseScopes(asked)
	if err != nil || scopes == 0 || scopes&^c.Scopes != 0 {
		return nil, ErrInvalidScope
	}
	return &scopes, nil
}
