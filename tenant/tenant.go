// Package tenant stores tenants and their clients, gives clients JWTs, and authenticates the calls
// that present one. It also keeps the keys that sign the JWTs.
//
// Tenants, clients and signing keys are read through package mirror, which caches them in the
// process and in Redis. So every replica obeys a suspension or revocation within a second. While
// SQL is unavailable, what was read before is used; what was not fails with db.ErrUnavailable,
// never as unknown or revoked.
package tenant

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"wxplatform/audit"
	"wxplatform/internal/db"
	"wxplatform/internal/mirror"
	"wxplatform/internal/seal"
)

var (
	// ErrNoToken says that a call came without a bearer token.
	ErrNoToken = errors.New("no bearer token")
	// ErrInvalidToken says that a JWT is not ours, or is no longer valid. The reason is wrapped with
	// it, for the log only, unless it is one of the four that follow.
	ErrInvalidToken = errors.New("invalid token")
	// ErrKeyEnded says that a key of ours signed a JWT that no longer counts: it was revoked, or has
	// been replaced for long.
	ErrKeyEnded = fmt.Errorf("%w: its signing key was revoked or has ended", ErrInvalidToken)
	// ErrForeignKey says that no key that this platform knows signed a JWT.
	ErrForeignKey = fmt.Errorf("%w: no key of this platform signed it", ErrInvalidToken)
	// ErrOtherIssuer says that a JWT of ours was issued under another public URL.
	ErrOtherIssuer = fmt.Errorf("%w: it was issued under another public URL", ErrInvalidToken)
	// ErrClientRevoked says that the client of a JWT of ours was revoked.
	ErrClientRevoked = fmt.Errorf("%w: its client was revoked", ErrInvalidToken)
	// ErrTokenExpired says that a JWT was ours and has expired.
	ErrTokenExpired = errors.New("token expired")
	// ErrInsufficientScope says that the caller lacks the scope that is needed.
	ErrInsufficientScope = errors.New("insufficient scope")
	// ErrSuspended says that the operator suspended the tenant.
	ErrSuspended = errors.New("tenant suspended")
	// ErrWrongSecret says that no client has this id and secret. The client may be unknown or revoked.
	ErrWrongSecret = errors.New("client or secret is wrong")
	// ErrInvalidScope says that a client asked for a scope that it does not have.
	ErrInvalidScope = errors.New("invalid scope")

	// ErrUnknownTenant says that there is no such tenant.
	ErrUnknownTenant = errors.New("unknown tenant")
	// ErrUnknownClient says that the tenant has no such client.
	ErrUnknownClient = errors.New("unknown client")
	// ErrUnknownKey says that there is no such signing key.
	ErrUnknownKey = errors.New("unknown signing key")
	// ErrInvalid says that a value given by the operator is not acceptable. The error names its field.
	ErrInvalid = errors.New("invalid")
)

// ID names a tenant. It has 12 characters, like a ClientID, because both are in every JWT.
type ID string

// Tenant is a customer of the platform's operator: it owns authorizers, and its clients call the
// API.
type Tenant struct {
	ID        ID
	Name      string
	Redirects []string // where merchants' browsers may be sent after authorizing; matched exactly
	Created   time.Time
	Suspended time.Time // zero if it may call
	Limit     Limit
}

// Registry holds tenants, their clients and the signing keys. It is safe for concurrent use.
type Registry struct {
	// Now is the clock for JWTs and keys. Tests replace it before the first use.
	Now func() time.Time
	// DefaultLimit is the limit of the tenants that have none of their own. Zero means none. It is set
	// before the first use.
	DefaultLimit Limit
	// Keys sign the JWTs.
	Keys *Keys

	limits   limits
	db       *db.DB
	ring     *seal.Ring
	issuer   string
	tenants  *mirror.Facts[Tenant]
	clients  *mirror.Facts[credential]
	verified *mirror.Hashed[proof] // JWTs whose signature was checked, by their hash
	mirror   *mirror.Mirror
	lookups  *lookups
	tries    *tries
}

// How many of each a process caches. CacheJWTs changes the last.
const (
	tenantsCached = 10_000
	clientsCached = 20_000
	proofsCached  = 200_000
)

// New makes the registry of the platform at publicURL, which is the issuer and the audience of its
// JWTs.
func New(d *db.DB, m *mirror.Mirror, ring *seal.Ring, publicURL string) *Registry {
	r := &Registry{
		Now:    time.Now,
		db:     d,
		ring:   ring,
		issuer: issuer(publicURL),
		tenants: mirror.NewFacts(m, "tenant", tenantsCached, func(ctx context.Context, id string) (Tenant, error) {
			return selectTenant(ctx, d, ID(id))
		}),
		clients: mirror.NewFacts(m, "client", clientsCached, func(ctx context.Context, id string) (credential, error) {
			return selectClient(ctx, d, ClientID(id))
		}),
		verified: mirror.NewHashed[proof](proofsCached),
		mirror:   m,
		lookups:  newLookups(d),
	}
	now := func() time.Time { return r.Now() }
	r.Keys, r.tries = newKeys(d, m, ring, now), newTries(now)
	return r
}

// CacheJWTs has the process cache about n verified JWTs.
func (r *Registry) CacheJWTs(n int) { r.verified.Resize(n) }

// CreateTenant creates a tenant, or fails with ErrInvalid.
func (r *Registry) CreateTenant(ctx context.Context, by audit.Actor, name string, redirects []string) (Tenant, error) {
	if err := errors.Join(validName(name), validRedirects(redirects)); err != nil {
		return Tenant{}, err
	}
	t := Tenant{ID: ID(newID("t", idLength)), Name: name, Redirects: redirects}
	err := r.db.Tx(ctx, func(tx *db.Tx) (err error) {
		if t.Created, err = tx.Now(ctx); err != nil {
			return err
		}
		tx.Changed()
		audit.Record(ctx, tx, by, t.changed(audit.TenantCreate, audit.Values{}, t.asCreated()))
		return insertTenant(ctx, tx, t)
	})
	if err != nil {
		return Tenant{}, fmt.Errorf("create tenant: %w", err)
	}
	return t, nil
}

// ListTenants returns up to limit tenants with ids after the given one, in the order of ids.
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

// IsSuspended reads from SQL whether a tenant is suspended, in the caller's transaction if q is
// one. It fails with ErrUnknownTenant.
func (r *Registry) IsSuspended(ctx context.Context, q db.Querier, id ID) (bool, error) {
	t, err := selectTenant(ctx, q, id)
	return !t.Suspended.IsZero(), err
}

// Tenant returns a tenant from the cache, or from SQL if something changed. It fails with
// ErrUnknownTenant, or with db.ErrUnavailable if neither knows it.
func (r *Registry) Tenant(ctx context.Context, id ID) (Tenant, error) {
	return r.tenants.Get(ctx, string(id))
}

// Suspend has every call of a tenant refused until Resume, or fails with ErrUnknownTenant. A tenant
// that is already suspended keeps its time of suspension.
func (r *Registry) Suspend(ctx context.Context, by audit.Actor, id ID) error {
	return r.change(ctx, by, id, audit.TenantSuspend, Tenant.suspension, func(tx *db.Tx) error {
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		return suspendTenant(ctx, tx, id, now)
	})
}

// Resume ends a suspension, or fails with ErrUnknownTenant.
func (r *Registry) Resume(ctx context.Context, by audit.Actor, id ID) error {
	return r.change(ctx, by, id, audit.TenantResume, Tenant.suspension, func(tx *db.Tx) error { return resumeTenant(ctx, tx, id) })
}

// change runs work in a transaction that records how the tenant's values differ afterwards. Then it
// reads the tenant, which writes it to Redis. It fails with ErrUnknownTenant.
func (r *Registry) change(ctx context.Context, by audit.Actor, id ID, what audit.Action, values func(Tenant) audit.Values, work func(*db.Tx) error) error {
	err := r.db.Tx(ctx, func(tx *db.Tx) error {
		tx.Changed()
		before, err := lockTenant(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := work(tx); err != nil {
			return err
		}
		after, err := selectTenant(ctx, tx, id)
		if was, is := values(before), values(after); was != is {
			audit.Record(ctx, tx, by, before.changed(what, was, is))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("change tenant %s: %w", id, err)
	}
	// Redis has it for replicas that cannot reach SQL. The change is committed, so a failure here
	// undoes nothing.
	_, _ = r.Tenant(ctx, id)
	return nil
}

func (t Tenant) changed(what audit.Action, before, after audit.Values) audit.Change {
	return audit.Change{Action: what, Owner: audit.Owner(t.ID), Subject: string(t.ID), Before: before, After: after}
}

func (t Tenant) asCreated() audit.Values {
	return audit.Of(audit.Is("name", t.Name), audit.Is("redirects", append([]string{}, t.Redirects...)))
}

func (t Tenant) suspension() audit.Values { return audit.Of(audit.When("suspended_at", t.Suspended)) }

const (
	idLength    = 12
	keyIDLength = 8
	jtiLength   = 12
)

// newID returns prefix followed by random lower-case letters and digits, length characters in all.
func newID(prefix string, length int) string {
	return prefix + strings.ToLower(rand.Text()[:length-len(prefix)])
}
