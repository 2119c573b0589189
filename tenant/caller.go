package tenant

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"wxplatform/audit"
)

// longestJWT is far longer than any of our JWTs. A longer text is not even hashed.
const longestJWT = 8 << 10

// Caller is the client that makes a call: what its JWT proves, and the current state of its client
// and tenant.
type Caller struct {
	Tenant     ID
	TenantName string
	Client     ClientID
	AppID      string // the only account that the JWT may be used for; "" means any of the tenant's
	Scopes     Scopes
	Suspended  bool
	limit      Limit
}

// Actor is the caller as the Actor of a change.
func (c Caller) Actor() audit.Actor { return audit.Client(audit.Owner(c.Tenant), string(c.Client)) }

// MayUse reports whether the JWT may be used for the account appid, if that is the tenant's.
func (c Caller) MayUse(appid string) bool { return c.AppID == "" || c.AppID == appid }

// May returns nil if the caller may do what needs scope s. It fails with ErrInsufficientScope, and
// after that with ErrSuspended.
func (c Caller) May(s Scope) error {
	switch {
	case !c.Scopes.Has(s):
		return fmt.Errorf("%w: %s is needed", ErrInsufficientScope, s)
	case c.Suspended:
		return ErrSuspended
	}
	return nil
}

// Authenticate finds the caller by the bearer token in an Authorization header. It fails with
// ErrNoToken, or like AuthenticateToken.
func (r *Registry) Authenticate(ctx context.Context, authorization string) (Caller, error) {
	token, err := bearer(authorization)
	if err != nil {
		return Caller{}, err
	}
	return r.AuthenticateToken(ctx, token)
}

// AuthenticateToken finds the caller by a JWT. It fails with ErrInvalidToken, ErrTokenExpired, or
// db.ErrUnavailable if that cannot be decided. It accepts a suspended tenant's caller, which May
// refuses, so that the first fault in the order of docs/design.md, "Admission" is answered first.
func (r *Registry) AuthenticateToken(ctx context.Context, token string) (Caller, error) {
	if len(token) > longestJWT {
		return Caller{}, fmt.Errorf("%w: too long", ErrInvalidToken)
	}
	var room [LongestComfortable]byte // so that a JWT of usual length is hashed without an allocation
	hash := sha256.Sum256(append(room[:0], token...))
	proven, hit := r.verified.Get(hash)
	if !hit {
		var err error
		if proven, err = r.verify(ctx, token); err != nil {
			return Caller{}, err
		}
	}
	caller, err := r.current(ctx, proven)
	if err == nil && !hit {
		r.verified.Set(hash, proven)
	}
	return caller, err
}

func bearer(authorization string) (string, error) {
	scheme, token, _ := strings.Cut(authorization, " ")
	token = strings.TrimLeft(token, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", ErrNoToken
	}
	return token, nil
}

// current checks what may have changed since the JWT was verified.
func (r *Registry) current(ctx context.Context, p proof) (Caller, error) {
	if !r.Now().Before(p.expires.Add(skew)) {
		return Caller{}, ErrTokenExpired
	}
	if _, err := r.Keys.verifying(ctx, p.kid); err != nil {
		return Caller{}, err
	}
	caller, err := r.caller(ctx, p.tenant, p.client)
	caller.AppID, caller.Scopes = p.appid, caller.Scopes&p.scopes
	return caller, err
}

// Recall returns the caller that a client of the tenant is now, with all its scopes, and counts the
// request against the tenant's limit. The client is known by something that was given to it
// earlier. It fails with ErrInvalidToken if the client is revoked or absent, with a *RateError, or
// with db.ErrUnavailable.
func (r *Registry) Recall(ctx context.Context, owner ID, id ClientID) (Caller, error) {
	caller, err := r.caller(ctx, owner, id)
	if err != nil {
		return Caller{}, err
	}
	return caller, r.spend(owner, caller.limit)
}

// caller reads what a client and its tenant are now.
func (r *Registry) caller(ctx context.Context, owner ID, id ClientID) (Caller, error) {
	c, err := r.credential(ctx, id)
	if err != nil {
		return Caller{}, noLonger(err, ErrUnknownClient)
	}
	switch {
	case c.Tenant != owner:
		return Caller{}, fmt.Errorf("%w: its client is another tenant's", ErrInvalidToken)
	case !c.Revoked.IsZero():
		return Caller{}, ErrClientRevoked
	}
	t, err := r.Tenant(ctx, owner)
	if err != nil {
		return Caller{}, noLonger(err, ErrUnknownTenant)
	}
	return Caller{
		Tenant: t.ID, TenantName: t.Name, Client: c.ID,
		Scopes: c.Scopes, Suspended: !t.Suspended.IsZero(), limit: t.Limit,
	}, nil
}

// noLonger makes an ErrInvalidToken of an absent client or tenant. A JWT may outlive them if SQL
// was restored from an older backup.
func noLonger(err, absent error) error {
	if errors.Is(err, absent) {
		return fmt.Errorf("%w: %w", ErrInvalidToken, err)
	}
	return err
}
