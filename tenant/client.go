package tenant

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
)

// ClientID names a client.
type ClientID string

// Client is a program that calls the API for a tenant: its console, its back end, a partner's. Its
// scopes never change.
type Client struct {
	ID      ClientID
	Tenant  ID
	Name    string
	Scopes  Scopes
	Created time.Time
	Revoked time.Time // zero if it is not revoked
}

// credential is a client and the hash of its secret.
type credential struct {
	Client
	SecretHash string
}

// CreateClient creates a client and its secret, which is returned only here. It fails with
// ErrUnknownTenant or ErrInvalid.
func (r *Registry) CreateClient(ctx context.Context, by Actor, owner ID, name string, scopes Scopes) (Client, seal.Secret, error) {
	if err := errors.Join(validName(name), validScopes(scopes)); err != nil {
		return Client{}, seal.Secret{}, err
	}
	c := Client{ID: ClientID(newID("c", idLength)), Tenant: owner, Name: name, Scopes: scopes}
	secret := newSecret(c.ID)
	err := r.db.Tx(ctx, func(tx *db.Tx) error {
		_, err := selectTenant(ctx, tx, owner)
		if err != nil {
			return err
		}
		if c.Created, err = tx.Now(ctx); err != nil {
			return err
		}
		tx.Changed()
		return insertClient(ctx, tx, credential{Client: c, SecretHash: secret.Hash()})
	})
	if err != nil {
		return Client{}, seal.Secret{}, fmt.Errorf("create client of tenant %s: %w", owner, err)
	}
	return c, secret, nil
}

func validScopes(scopes Scopes) error {
	if scopes.String() == "" {
		return fmt.Errorf("%w: scopes must name at least one", ErrInvalid)
	}
	return nil
}

// ListClients returns the tenant's clients, including revoked ones, or fails with ErrUnknownTenant.
func (r *Registry) ListClients(ctx context.Context, owner ID) ([]Client, error) {
	if _, err := selectTenant(ctx, r.db, owner); err != nil {
		return nil, err
	}
	clients, err := selectClients(ctx, r.db, owner)
	if err != nil {
		return nil, fmt.Errorf("clients of tenant %s: %w", owner, err)
	}
	return clients, nil
}

// RevokeClient permanently invalidates a client of the tenant and all its JWTs, or fails with
// ErrUnknownClient. A client that is already revoked keeps its time of revocation.
func (r *Registry) RevokeClient(ctx context.Context, by Actor, owner ID, id ClientID) error {
	err := r.db.Tx(ctx, func(tx *db.Tx) error {
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		tx.Changed()
		return revokeClient(ctx, tx, owner, id, now)
	})
	if err != nil {
		return fmt.Errorf("revoke client %s of tenant %s: %w", id, owner, err)
	}
	// Reading it writes it to Redis, as Registry.change does for a tenant.
	_, _ = r.credential(ctx, id)
	return nil
}

// credential reads a client through the mirror, or fails with ErrUnknownClient. It is not told the
// tenant, because the client's secret or JWT proves which tenant it is.
func (r *Registry) credential(ctx context.Context, id ClientID) (credential, error) {
	return r.clients.Get(ctx, string(id), func(ctx context.Context) (credential, error) { return selectClient(ctx, r.db, id) })
}
