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

// Client is a credential of a tenant: its console, its back end, a partner. Its scopes are fixed for life.
type Client struct {
	ID      ClientID
	Tenant  ID
	Name    string
	Scopes  Scopes
	Created time.Time
	Revoked time.Time // zero while it is good
}

// credential is a client with the hash of its secret.
type credential struct {
	Client
	SecretHash string
}

// CreateClient makes a client and its secret, which is shown now and never again. It fails with ErrUnknownTenant or ErrInvalid.
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
		return fmt.Errorf("%w: scopes must name one at least", ErrInvalid)
	}
	return nil
}

// ListClients returns the tenant's clients, revoked ones too, or fails with ErrUnknownTenant.
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

// RevokeClient ends a client of the tenant for good, with all its JWTs, or fails with ErrUnknownClient. One that is revoked already stays so since then.
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
	// Reading it writes it to Redis, as for a tenant.
	_, _ = r.credential(ctx, id)
	return nil
}

// credential is the client as the mirror knows it, or ErrUnknownClient. Who asks does not know the tenant yet: it is what the client proves.
func (r *Registry) credential(ctx context.Context, id ClientID) (credential, error) {
	return r.clients.Get(ctx, string(id), func(ctx context.Context) (credential, error) { return selectClient(ctx, r.db, id) })
}
