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
		VALUES ($1, $2, $3, $4)`, string(t.ID), t.Name, string(redirects), db.Stamp(t.Created))
	return err
}

const selectOneTenant = `
		SELECT ` + tenantColumns + `
		FROM tenants
		WHERE id = $1`

func selectTenant(ctx context.Context, q db.Querier, id ID) (Tenant, error) {
	t, err := db.One(ctx, q, scanTenant, selectOneTenant, string(id))
	return t, unknown(err, ErrUnknownTenant, string(id))
}

var lockOneTenant = db.Text{SQLite: selectOneTenant, Postgres: selectOneTenant + ` FOR UPDATE`}

// lockTenant locks the row until the transaction ends.
func lockTenant(ctx context.Context, tx *db.Tx, id ID) (Tenant, error) {
	t, err := db.One(ctx, tx, scanTenant, tx.For(lockOneTenant), string(id))
	return t, unknown(err, ErrUnknownTenant, string(id))
}

func selectTenants(ctx context.Context, q db.Querier, after ID, limit int) ([]Tenant, error) {
	return db.All(ctx, q, scanTenant, `
		SELECT `+tenantColumns+`
		FROM tenants
		WHERE id > $1
		ORDER BY id
		LIMIT $2`, string(after), limit)
}

// suspendTenant keeps the time of an earlier suspension.
func suspendTenant(ctx context.Context, q db.Querier, id ID, at time.Time) error {
	rows, err := db.Exec(ctx, q, `
		UPDATE tenants
		SET suspended_at = CASE WHEN suspended_at = 0 THEN $2 ELSE suspended_at END
		WHERE id = $1`, string(id), db.Stamp(at))
	return found(rows, err, ErrUnknownTenant)
}

func limitTenant(ctx context.Context, q db.Querier, id ID, l Limit) error {
	rows, err := db.Exec(ctx, q, `
		UPDATE tenants
		SET rate = $2, burst = $3
		WHERE id = $1`, string(id), l.PerSecond, l.Burst)
	return found(rows, err, ErrUnknownTenant)
}

func resumeTenant(ctx context.Context, q db.Querier, id ID) error {
	rows, err := db.Exec(ctx, q, `
		UPDATE tenants
		SET suspended_at = 0
		WHERE id = $1`, string(id))
	return found(rows, err, ErrUnknownTenant)
}

const tenantColumns = `id, name, redirects, created_at, suspended_at, rate, burst`

func scanTenant(scan db.Scan) (Tenant, error) {
	var t Tenant
	var redirects []byte
	err := scan(&t.ID, &t.Name, &redirects, (*db.Stamp)(&t.Created), (*db.Stamp)(&t.Suspended), &t.Limit.PerSecond, &t.Limit.Burst)
	if err != nil {
		return Tenant{}, err
	}
	return t, json.Unmarshal(redirects, &t.Redirects)
}

func insertClient(ctx context.Context, q db.Querier, c credential) error {
	_, err := db.Exec(ctx, q, `
		INSERT INTO clients (id, tenant, name, scopes, secret_hash, created_at)
		VALUES ($1, $2, $3, $4, $5, $6)`,
		string(c.ID), string(c.Tenant), c.Name, c.Scopes.String(), c.SecretHash, db.Stamp(c.Created))
	return err
}

// selectClient is not told the tenant, because the client's secret or JWT proves which it is.
func selectClient(ctx context.Context, q db.Querier, id ClientID) (credential, error) {
	c, err := db.One(ctx, q, scanCredential, selectAnyClient+`WHERE id = $1`, string(id))
	return c, unknown(err, ErrUnknownClient, string(id))
}

const selectTenantsClient = selectAnyClient + `WHERE tenant = $1 AND id = $2`

var lockTenantsClient = db.Text{SQLite: selectTenantsClient, Postgres: selectTenantsClient + ` FOR UPDATE`}

// lockClient locks the row until the transaction ends.
func lockClient(ctx context.Context, tx *db.Tx, owner ID, id ClientID) (credential, error) {
	c, err := db.One(ctx, tx, scanCredential, tx.For(lockTenantsClient), string(owner), string(id))
	return c, unknown(err, ErrUnknownClient, string(id))
}

var selectByID = db.Text{
	SQLite:   selectAnyClient + `WHERE id IN (SELECT value FROM json_each($1))`,
	Postgres: selectAnyClient + `WHERE id IN (SELECT json_array_elements_text(CAST($1 AS json)))`,
}

const selectAnyClient = `
		SELECT ` + clientColumns + `
		FROM clients
		`

// selectClientsByID reads those clients of any tenants that exist.
func selectClientsByID(ctx context.Context, d *db.DB, ids []ClientID) (map[ClientID]credential, error) {
	list, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	all, err := db.All(ctx, d, scanCredential, d.For(selectByID), string(list))
	found := make(map[ClientID]credential, len(all))
	for _, c := range all {
		found[c.ID] = c
	}
	return found, err
}

// selectClients reads all clients of a tenant. There are few, because the operator creates each.
func selectClients(ctx context.Context, q db.Querier, owner ID) ([]Client, error) {
	return db.All(ctx, q, scanClient, `
		SELECT `+clientColumns+`
		FROM clients
		WHERE tenant = $1
		ORDER BY id`, string(owner))
}

// revokeClient keeps the time of an earlier revocation.
func revokeClient(ctx context.Context, q db.Querier, owner ID, id ClientID, at time.Time) error {
	rows, err := db.Exec(ctx, q, `
		UPDATE clients
		SET revoked_at = CASE WHEN revoked_at = 0 THEN $3 ELSE revoked_at END
		WHERE tenant = $1 AND id = $2`, string(owner), string(id), db.Stamp(at))
	return found(rows, err, ErrUnknownClient)
}

func setScopes(ctx context.Context, q db.Querier, owner ID, id ClientID, scopes Scopes) error {
	rows, err := db.Exec(ctx, q, `
		UPDATE clients
		SET scopes = $3
		WHERE tenant = $1 AND id = $2`, string(owner), string(id), scopes.String())
	return found(rows, err, ErrUnknownClient)
}

// rotateSecret stores the hash of a new secret and keeps that of c as the old one, which counts
// until c.OldSecretUntil. It fails with ErrInvalid if the secret was rotated since c was read.
func rotateSecret(ctx context.Context, q db.Querier, c credential, hash string) error {
	rows, err := db.Exec(ctx, q, `
		UPDATE clients
		SET secret_hash = $4, old_secret_hash = secret_hash, old_secret_until = $5
		WHERE tenant = $1 AND id = $2 AND secret_hash = $3`,
		string(c.Tenant), string(c.ID), c.SecretHash, hash, db.Stamp(c.OldSecretUntil))
	return found(rows, err, fmt.Errorf("%w: the secret was rotated meanwhile", ErrInvalid))
}

func endOldSecret(ctx context.Context, q db.Querier, owner ID, id ClientID) error {
	rows, err := db.Exec(ctx, q, `
		UPDATE clients
		SET old_secret_hash = '', old_secret_until = 0
		WHERE tenant = $1 AND id = $2`, string(owner), string(id))
	return found(rows, err, ErrUnknownClient)
}

const clientColumns = `id, tenant, name, scopes, secret_hash, created_at, revoked_at, old_secret_hash, old_secret_until`

func scanCredential(scan db.Scan) (credential, error) {
	var c credential
	var scopes string
	err := scan(&c.ID, &c.Tenant, &c.Name, &scopes, &c.SecretHash,
		(*db.Stamp)(&c.Created), (*db.Stamp)(&c.Revoked), &c.OldSecretHash, (*db.Stamp)(&c.OldSecretUntil))
	c.Scopes = parseKnown(scopes)
	return c, err
}

func scanClient(scan db.Scan) (Client, error) {
	c, err := scanCredential(scan)
	return c.Client, err
}

// lockKeys has changes of keys wait for each other, so that two replicas that start at once do not
// both make a first key. A transaction of SQLite locks everything already.
var lockKeys = db.Text{
	SQLite:   `SELECT 1`,
	Postgres: `LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE`,
}

func lockSigningKeys(ctx context.Context, d *db.DB, tx *db.Tx) error {
	_, err := db.Exec(ctx, tx, d.For(lockKeys))
	return err
}

// selectSigningKeys reads all keys. There are few, because Keys.Rotate and Keys.Revoke delete ended
// ones.
func selectSigningKeys(ctx context.Context, q db.Querier) ([]storedKey, error) {
	return db.All(ctx, q, scanKey, `
		SELECT `+keyColumns+`
		FROM signing_keys
		ORDER BY signs_from, kid`)
}

func insertSigningKey(ctx context.Context, q db.Querier, k storedKey) error {
	_, err := db.Exec(ctx, q, `
		INSERT INTO signing_keys (kid, public, private, published_at, signs_from)
		VALUES ($1, $2, $3, $4, $5)`,
		string(k.ID), k.Public, k.Private, db.Stamp(k.Published), db.Stamp(k.SignsFrom))
	return err
}

// revokeSigningKey deletes the private half of the key.
func revokeSigningKey(ctx context.Context, q db.Querier, id KeyID, at time.Time) error {
	_, err := db.Exec(ctx, q, `
		UPDATE signing_keys
		SET revoked_at = $2, private = $3
		WHERE kid = $1`, string(id), db.Stamp(at), []byte{})
	return err
}

var sealedTable = db.SealedTable{Name: "signing_keys", Key: "kid", Columns: []string{"private"}, Cached: true}

func deleteSigningKey(ctx context.Context, q db.Querier, id KeyID) error {
	_, err := db.Exec(ctx, q, `
		DELETE FROM signing_keys
		WHERE kid = $1`, string(id))
	return err
}

const keyColumns = `kid, public, private, published_at, signs_from, revoked_at`

func scanKey(scan db.Scan) (storedKey, error) {
	var k storedKey
	err := scan(&k.ID, &k.Public, &k.Private,
		(*db.Stamp)(&k.Published), (*db.Stamp)(&k.SignsFrom), (*db.Stamp)(&k.Revoked))
	return k, err
}

// found fails with sentinel if a statement changed no row.
func found(rows int64, err, sentinel error) error {
	if err == nil && rows == 0 {
		return sentinel
	}
	return err
}

// unknown turns db.ErrNone into sentinel, which names what is missing.
func unknown(err, sentinel error, id string) error {
	if errors.Is(err, db.ErrNone) {
		return fmt.Errorf("%w: %s", sentinel, id)
	}
	return err
}
