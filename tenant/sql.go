package tenant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"wxplatform/internal/db"
)

func insertTenant(ctx context.Context, q db.Querier, t Tenant) error {
	redirects, err := json.Marshal(t.Redirects)
	if err != nil {
		return err
	}
	_, err = db.Exec(ctx, q, `
		INSERT INTO tenants (id, name, redirects, created_at)
		VALUES ($1, $2, $3, $4)`, string(t.ID), t.Name, string(redirects), db.Millis(t.Created))
	return err
}

func selectTenant(ctx context.Context, q db.Querier, id ID) (Tenant, error) {
	t, err := db.One(ctx, q, readTenant, `
		SELECT id, name, redirects, created_at, suspended_at
		FROM tenants
		WHERE id = $1`, string(id))
	return t, unknown(err, ErrUnknownTenant, string(id))
}

func selectTenants(ctx context.Context, q db.Querier, after ID, limit int) ([]Tenant, error) {
	return db.All(ctx, q, readTenant, `
		SELECT id, name, redirects, created_at, suspended_at
		FROM tenants
		WHERE id > $1
		ORDER BY id
		LIMIT $2`, string(after), limit)
}

// A tenant that is suspended already keeps the time when it was.
func suspendTenant(ctx context.Context, q db.Querier, id ID, at time.Time) error {
	rows, err := db.Exec(ctx, q, `
		UPDATE tenants
		SET suspended_at = CASE WHEN suspended_at = 0 THEN $2 ELSE suspended_at END
		WHERE id = $1`, string(id), db.Millis(at))
	return touched(rows, err, ErrUnknownTenant)
}

func resumeTenant(ctx context.Context, q db.Querier, id ID) error {
	rows, err := db.Exec(ctx, q, `
		UPDATE tenants
		SET suspended_at = 0
		WHERE id = $1`, string(id))
	return touched(rows, err, ErrUnknownTenant)
}

func readTenant(scan db.Scan) (Tenant, error) {
	var t Tenant
	var redirects []byte
	var created, suspended int64
	if err := scan(&t.ID, &t.Name, &redirects, &created, &suspended); err != nil {
		return Tenant{}, err
	}
	t.Created, t.Suspended = db.Time(created), db.Time(suspended)
	return t, json.Unmarshal(redirects, &t.Redirects)
}

func insertClient(ctx context.Context, q db.Querier, c credential) error {
	_, err := db.Exec(ctx, q, `
		INSERT INTO clients (id, tenant, name, scopes, secret_hash, created_at)
		VALUES ($1, $2, $3, $4, $5, $6)`, string(c.ID), string(c.Tenant), c.Name, c.Scopes.String(), c.SecretHash, db.Millis(c.Created))
	return err
}

// The one statement without a tenant: whoever presents the client's secret or JWT proves the tenant by it.
func selectClient(ctx context.Context, q db.Querier, id ClientID) (credential, error) {
	c, err := db.One(ctx, q, readCredential, `
		SELECT id, tenant, name, scopes, secret_hash, created_at, revoked_at
		FROM clients
		WHERE id = $1`, string(id))
	return c, unknown(err, ErrUnknownClient, string(id))
}

// A tenant's clients are made by hand, one by one, so all of them fit.
func selectClients(ctx context.Context, q db.Querier, owner ID) ([]Client, error) {
	return db.All(ctx, q, readClient, `
		SELECT id, tenant, name, scopes, secret_hash, created_at, revoked_at
		FROM clients
		WHERE tenant = $1
		ORDER BY id`, string(owner))
}

// A client that is revoked already keeps the time when it was.
func revokeClient(ctx context.Context, q db.Querier, owner ID, id ClientID, at time.Time) error {
	rows, err := db.Exec(ctx, q, `
		UPDATE clients
		SET revoked_at = CASE WHEN revoked_at = 0 THEN $3 ELSE revoked_at END
		WHERE tenant = $1 AND id = $2`, string(owner), string(id), db.Millis(at))
	return touched(rows, err, ErrUnknownClient)
}

func readClient(scan db.Scan) (Client, error) {
	c, err := readCredential(scan)
	return c.Client, err
}

func readCredential(scan db.Scan) (credential, error) {
	var c credential
	var scopes string
	var created, revoked int64
	err := scan(&c.ID, &c.Tenant, &c.Name, &scopes, &c.SecretHash, &created, &revoked)
	c.Scopes, c.Created, c.Revoked = known(scopes), db.Time(created), db.Time(revoked)
	return c, err
}

// Whoever changes the keys holds all of them until his commit, so that two replicas starting at once do not each make a first key. SQLite's transaction holds everything already.
var lockKeys = db.Text{
	SQLite:   `SELECT 1`,
	Postgres: `LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE`,
}

func lockSigningKeys(ctx context.Context, d *db.DB, tx *db.Tx) error {
	_, err := db.Exec(ctx, tx, d.For(lockKeys))
	return err
}

// Rotate and RevokeKey delete those that have ended, so that all of them fit.
func selectSigningKeys(ctx context.Context, q db.Querier) ([]storedKey, error) {
	return db.All(ctx, q, readSigningKey, `
		SELECT kid, public, private, published_at, signs_from, revoked_at
		FROM signing_keys
		ORDER BY signs_from, kid`)
}

func insertSigningKey(ctx context.Context, q db.Querier, k storedKey) error {
	_, err := db.Exec(ctx, q, `
		INSERT INTO signing_keys (kid, public, private, published_at, signs_from)
		VALUES ($1, $2, $3, $4, $5)`, string(k.ID), k.Public, k.Private, db.Millis(k.Published), db.Millis(k.SignsFrom))
	return err
}

// A revoked key's private half is destroyed.
func revokeSigningKey(ctx context.Context, q db.Querier, id KeyID, at time.Time) error {
	_, err := db.Exec(ctx, q, `
		UPDATE signing_keys
		SET revoked_at = $2, private = $3
		WHERE kid = $1`, string(id), db.Millis(at), []byte{})
	return err
}

var sealedTable = db.SealedTable{Name: "signing_keys", Key: "kid", Columns: []string{"private"}, Cached: true}

func deleteSigningKey(ctx context.Context, q db.Querier, id KeyID) error {
	_, err := db.Exec(ctx, q, `
		DELETE FROM signing_keys
		WHERE kid = $1`, string(id))
	return err
}

func readSigningKey(scan db.Scan) (storedKey, error) {
	var k storedKey
	var published, signs, revoked int64
	err := scan(&k.ID, &k.Public, &k.Private, &published, &signs, &revoked)
	k.Published, k.SignsFrom, k.Revoked = db.Time(published), db.Time(signs), db.Time(revoked)
	return k, err
}

// touched fails with sentinel where a statement found no row.
func touched(rows int64, err, sentinel error) error {
	if err == nil && rows == 0 {
		return sentinel
	}
	return err
}

// unknown says ErrNone in the words of this package.
func unknown(err, sentinel error, id string) error {
	if errors.Is(err, db.ErrNone) {
		return fmt.Errorf("%w: %s", sentinel, id)
	}
	return err
}
