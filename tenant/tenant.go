// Package tenant knows who may call: tenants, their clients, the JWTs that clients are given and that calls present, and the keys that sign them.
//
// What decides about a call (tenant, client, signing keys) is read through the mirror, so a suspension or a revocation is obeyed within a second, and an outage of SQL is never taken for either.
package tenant

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/mirror"
	"wxplatform/internal/seal"
)

var (
	// ErrNoToken says that a call came without a bearer token.
	ErrNoToken = errors.New("no bearer token")
	// ErrInvalidToken says that a JWT is not one of ours, or no longer. Why is wrapped beside it, for the log alone.
	ErrInvalidToken = errors.New("invalid token")
	// ErrTokenExpired says that a JWT was ours and has expired.
	ErrTokenExpired = errors.New("token expired")
	// ErrInsufficientScope says that the caller's scopes do not hold the one that is needed.
	ErrInsufficientScope = errors.New("insufficient scope")
	// ErrSuspended says that the operator suspended the tenant.
	ErrSuspended = errors.New("tenant suspended")
	// ErrWrongSecret says that there is no such client with such a secret: unknown, revoked or mistaken.
	ErrWrongSecret = errors.New("client or secret is wrong")
	// ErrInvalidScope says that a client asked for a scope that it does not have.
	ErrInvalidScope = errors.New("invalid scope")

	// ErrUnknownTenant says that there is no such tenant.
	ErrUnknownTenant = errors.New("unknown tenant")
	// ErrUnknownClient says that the tenant has no such client.
	ErrUnknownClient = errors.New("unknown client")
	// ErrUnknownKey says that there is no such signing key.
	ErrUnknownKey = errors.New("unknown signing key")
	// ErrInvalid says that a value given by the operator is not acceptable; the error names its field.
	ErrInvalid = errors.New("invalid")
)

// ID names a tenant; at most 12 characters, like a ClientID, because both stand in every JWT.
type ID string

// Tenant is who owns authorizers and calls the API.
type Tenant struct {
	ID        ID
	Name      string
	Redirects []string // where merchants may be sent after they authorized; matched exactly
	Created   time.Time
	Suspended time.Time // zero while it may call
}

// Registry holds tenants, clients and signing keys. It is safe for concurrent use.
type Registry struct {
	// Now is the clock by which JWTs and keys live and end. Tests replace it before the first use.
	Now func() time.Time

	db       *db.DB
	ring     *seal.Ring
	issuer   string
	tenants  *mirror.Facts[Tenant]
	clients  *mirror.Facts[credential]
	keys     *keyring
	verified *mirror.Local[[32]byte, proof]
}

// How many of each a process keeps at hand.
const (
	tenantsKept = 10_000
	clientsKept = 20_000
	proofsKept  = 50_000
)

// New makes the registry of the platform at publicURL, which is the issuer and audience of its JWTs.
func New(d *db.DB, m *mirror.Mirror, ring *seal.Ring, publicURL string) *Registry {
	return &Registry{
		Now:      time.Now,
		db:       d,
		ring:     ring,
		issuer:   issuer(publicURL),
		tenants:  mirror.NewFacts[Tenant](m, "tenant", tenantsKept),
		clients:  mirror.NewFacts[credential](m, "client", clientsKept),
		keys:     newKeyring(m),
		verified: mirror.NewLocal[[32]byte, proof](proofsKept),
	}
}

// CreateTenant makes a tenant, or fails with ErrInvalid.
func (r *Registry) CreateTenant(ctx context.Context, by Actor, name string, redirects []string) (Tenant, error) {
	if err := errors.Join(validName(name), validRedirects(redirects)); err != nil {
		return Tenant{}, err
	}
	t := Tenant{ID: ID(newID("t", idLength)), Name: name, Redirects: redirects}
	err := r.db.Tx(ctx, func(tx *db.Tx) (err error) {
		if t.Created, err = tx.Now(ctx); err != nil {
			return err
		}
		tx.Changed()
		return insertTenant(ctx, tx, t)
	})
	if err != nil {
		return Tenant{}, fmt.Errorf("create tenant: %w", err)
	}
	return t, nil
}

// ListTenants returns at most limit tenants in the order of their ids, beginning after one ("" for the first).
func (r *Registry) ListTenants(ctx context.Context, after ID, limit int) ([]Tenant, error) {
	tenants, err := selectTenants(ctx, r.db, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	return tenants, nil
}

// ShowTenant reads a tenant from SQL, or fails with ErrUnknownTenant.
func (r *Registry) ShowTenant(ctx context.Context, id ID) (Tenant, error) {
	return selectTenant(ctx, r.db, id)
}

// Tenant is the tenant as the mirror knows it, or ErrUnknownTenant.
func (r *Registry) Tenant(ctx context.Context, id ID) (Tenant, error) {
	return r.tenants.Get(ctx, string(id), func(ctx context.Context) (Tenant, error) { return selectTenant(ctx, r.db, id) })
}

// AllowsRedirect reports whether url is exactly one of those that the tenant's merchants may be sent to, or fails with ErrUnknownTenant.
func (r *Registry) AllowsRedirect(ctx context.Context, id ID, url string) (bool, error) {
	t, err := r.Tenant(ctx, id)
	if err != nil {
		return false, err
	}
	for _, allowed := range t.Redirects {
		if allowed == url {
			return true, nil
		}
	}
	return false, nil
}

// Suspend keeps a tenant from calling until Resume, or fails with ErrUnknownTenant. One that is suspended already stays so since then.
func (r *Registry) Suspend(ctx context.Context, by Actor, id ID) error {
	return r.change(ctx, by, id, func(tx *db.Tx) error {
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		return suspendTenant(ctx, tx, id, now)
	})
}

// Resume lets a tenant call again, or fails with ErrUnknownTenant.
func (r *Registry) Resume(ctx context.Context, by Actor, id ID) error {
	return r.change(ctx, by, id, func(tx *db.Tx) error { return resumeTenant(ctx, tx, id) })
}

func (r *Registry) change(ctx context.Context, _ Actor, id ID, work func(*db.Tx) error) error {
	err := r.db.Tx(ctx, func(tx *db.Tx) error {
		tx.Changed()
		return work(tx)
	})
	if err != nil {
		return fmt.Errorf("change tenant %s: %w", id, err)
	}
	// Reading it writes it to Redis, where a replica that has lost SQL looks for it. SQL has it already, so a failure here undoes nothing.
	_, _ = r.Tenant(ctx, id)
	return nil
}

const (
	idLength    = 12
	keyIDLength = 8
	jtiLength   = 12
)

// newID is prefix and random lower-case letters and digits, length characters together.
func newID(prefix string, length int) string {
	return prefix + strings.ToLower(rand.Text()[:length-len(prefix)])
}
