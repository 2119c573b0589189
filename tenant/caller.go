package tenant

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
)

// A JWT of ours is much shorter; a longer one is not even hashed.
const longestJWT = 8 << 10

// Caller is who makes a call: what his JWT proves, and what tenant and client are now.
type Caller struct {
	Tenant     ID
	TenantName string
	Client     ClientID
	Scopes     Scopes
	Suspended  bool
}

// May fails with ErrInsufficientScope, else with ErrSuspended, where the caller must not do what takes scope s.
func (c Caller) May(s Scope) error {
	switch {
	case !c.Scopes.Has(s):
		return fmt.Errorf("%w: %s is needed", ErrInsufficientScope, s)
	case c.Suspended:
		return ErrSuspended
	}
	return nil
}

// Authenticate says who calls, from the Authorization header's value. It fails with ErrNoToken, ErrInvalidToken, ErrTokenExpired, or db.ErrUnavailable where nobody can tell.
// A suspended tenant's caller is known and told apart by May, so that what comes first in the order of faults is answered first.
func (r *Registry) Authenticate(ctx context.Context, authorization string) (Caller, error) {
	token, err := bearer(authorization)
	if err != nil {
		return Caller{}, err
	}
	var room [LongestComfortable]byte // spares the heap a copy of each token
	name := sha256.Sum256(append(room[:0], token...))
	proven, hit := r.verified.Get(name)
	if !hit {
		if proven, err = r.verify(ctx, token); err != nil {
			return Caller{}, err
		}
	}
	caller, err := r.current(ctx, proven)
	if err == nil && !hit {
		r.verified.Set(name, proven)
	}
	return caller, err
}

func bearer(authorization string) (string, error) {
	scheme, token, _ := strings.Cut(authorization, " ")
	token = strings.TrimLeft(token, " ")
	switch {
	case !strings.EqualFold(scheme, "Bearer") || token == "":
		return "", ErrNoToken
	case len(token) > longestJWT:
		return "", fmt.Errorf("%w: too long", ErrInvalidToken)
	}
	return token, nil
}

// current looks at everything that may have changed since the JWT was verified.
func (r *Registry) current(ctx context.Context, p proof) (Caller, error) {
	if !r.Now().Before(p.expires.Add(skew)) {
		return Caller{}, ErrTokenExpired
	}
	if _, err := r.key(ctx, p.kid); err != nil {
		return Caller{}, err
	}
	c, err := r.credential(ctx, p.client)
	if err != nil {
		return Caller{}, noLonger(err, ErrUnknownClient)
	}
	if c.Tenant != p.tenant || !c.Revoked.IsZero() {
		return Caller{}, fmt.Errorf("%w: client revoked, or another tenant's", ErrInvalidToken)
	}
	t, err := r.Tenant(ctx, p.tenant)
	if err != nil {
		return Caller{}, noLonger(err, ErrUnknownTenant)
	}
	return Caller{t.ID, t.Name, c.ID, p.scopes & c.Scopes, !t.Suspended.IsZero()}, nil
}

// A JWT may outlive its client or tenant where SQL was restored from an older dump.
func noLonger(err, absent error) error {
	if errors.Is(err, absent) {
		return fmt.Errorf("%w: %w", ErrInvalidToken, err)
	}
	return err
}
