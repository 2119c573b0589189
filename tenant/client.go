package tenant

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wxplatform/audit"
	"wxplatform/internal/db"
	"wxplatform/internal/seal"
)

// ClientID names a client.
type ClientID string

// Client is a program that calls the API for a tenant: its console, its back end, a partner's.
type Client struct {
	ID             ClientID
	Tenant         ID
	Name           string
	Scopes         Scopes
	Created        time.Time
	Revoked        time.Time // zero if it is not revoked
	OldSecretUntil time.Time // until when the secret before the last rotation is accepted too; zero if there is none
}

// credential is a client and the hashes of its secrets.
type credential struct {
	Client
	SecretHash    string
	OldSecretHash string // "" if there is none
}

// CreateClient creates a client and its secret, which is returned only here. It fails with
// ErrUnknownTenant or ErrInvalid.
func (r *Registry) CreateClient(ctx context.Context, by audit.Actor, owner ID, name string, scopes Scopes) (Client, seal.Secret, error) {
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
		audit.Record(ctx, tx, by, c.changed(audit.ClientCreate, audit.Values{}, c.asCreated()))
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
func (r *Registry) RevokeClient(ctx context.Context, by audit.Actor, owner ID, id ClientID) error {
	return r.changeClient(ctx, by, owner, id, audit.ClientRevoke, Client.revocation, func(tx *db.Tx, _ credential, now time.Time) error {
		return revokeClient(ctx, tx, owner, id, now)
	})
}

// SetScopes changes what a client of the tenant may do, with the JWTs too that it has already. It
// fails with ErrUnknownClient or ErrInvalid.
func (r *Registry) SetScopes(ctx context.Context, by audit.Actor, owner ID, id ClientID, scopes Scopes) error {
	if err := validScopes(scopes); err != nil {
		return err
	}
	return r.changeClient(ctx, by, owner, id, audit.ClientSet, Client.scopes, func(tx *db.Tx, _ credential, _ time.Time) error {
		return setScopes(ctx, tx, owner, id, scopes)
	})
}

// longestOverlap is for how long a client may have two secrets.
const longestOverlap = 90 * 24 * time.Hour

// RotateSecret gives a client of the tenant a new secret, which is returned only here. The one that
// it has is accepted for overlap more; JWTs are not affected. It fails with ErrUnknownClient, or
// with ErrInvalid if the client is revoked, or if an older secret is still accepted: a program that
// still uses that one would fail at once.
func (r *Registry) RotateSecret(ctx context.Context, by audit.Actor, owner ID, id ClientID, overlap time.Duration) (Client, seal.Secret, error) {
	if overlap < 0 || overlap > longestOverlap {
		return Client{}, seal.Secret{}, fmt.Errorf("%w: overlap must be 0 to %d hours", ErrInvalid, int(longestOverlap.Hours()))
	}
	var rotated Client
	secret := newSecret(id)
	err := r.changeClient(ctx, by, owner, id, audit.ClientRotate, Client.oldSecret, func(tx *db.Tx, c credential, now time.Time) error {
		if err := c.mayRotate(now); err != nil {
			return err
		}
		c.OldSecretUntil = now.Add(overlap)
		rotated = c.Client
		return rotateSecret(ctx, tx, c, secret.Hash())
	})
	if err != nil {
		return Client{}, seal.Secret{}, err
	}
	return rotated, secret, nil
}

func (c credential) mayRotate(now time.Time) error {
	switch {
	case !c.Revoked.IsZero():
		return fmt.Errorf("%w: the client is revoked", ErrInvalid)
	case now.Before(c.OldSecretUntil):
		return fmt.Errorf("%w: the client has two secrets until %s; end the old one first", ErrInvalid, c.OldSecretUntil.UTC().Format(time.RFC3339))
	}
	return nil
}

// EndOldSecret invalidates the secret that a client of the tenant had before its last rotation, or
// fails with ErrUnknownClient. Without such a secret it does nothing.
func (r *Registry) EndOldSecret(ctx context.Context, by audit.Actor, owner ID, id ClientID) error {
	return r.changeClient(ctx, by, owner, id, audit.ClientEndOldSecret, Client.oldSecret, func(tx *db.Tx, _ credential, _ time.Time) error {
		return endOldSecret(ctx, tx, owner, id)
	})
}

// changeClient runs work on a client of the tenant in a transaction, as change does for a tenant.
// It fails with ErrUnknownClient.
func (r *Registry) changeClient(
	ctx context.Context, by audit.Actor, owner ID, id ClientID, what audit.Action, values func(Client) audit.Values,
	work func(*db.Tx, credential, time.Time) error,
) error {
	err := r.db.Tx(ctx, func(tx *db.Tx) error {
		tx.Changed()
		before, err := lockClient(ctx, tx, owner, id)
		if err != nil {
			return err
		}
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		if err := work(tx, before, now); err != nil {
			return err
		}
		after, err := selectClient(ctx, tx, id)
		if after != before {
			audit.Record(ctx, tx, by, before.changed(what, values(before.Client), values(after.Client)))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: client %s of tenant %s: %w", what, id, owner, err)
	}
	_, _ = r.credential(ctx, id)
	return nil
}

func (c Client) changed(what audit.Action, before, after audit.Values) audit.Change {
	return audit.Change{Action: what, Owner: audit.Owner(c.Tenant), Subject: string(c.ID), Before: before, After: after}
}

func (c Client) asCreated() audit.Values {
	return audit.Of(audit.Is("name", c.Name), audit.Is("scopes", c.Scopes.String()))
}

func (c Client) scopes() audit.Values { return audit.Of(audit.Is("scopes", c.Scopes.String())) }

func (c Client) revocation() audit.Values { return audit.Of(audit.When("revoked_at", c.Revoked)) }

func (c Client) oldSecret() audit.Values {
	return audit.Of(audit.When("old_secret_ends_at", c.OldSecretUntil))
}

// credential reads a client through the mirror, or fails with ErrUnknownClient. It is not told the
// tenant, because the client's secret or JWT proves which tenant it is.
func (r *Registry) credential(ctx context.Context, id ClientID) (credential, error) {
	return r.clients.Get(ctx, string(id))
}
