package audit

import (
	"context"
	"encoding/json"
	"math"
	"time"

	"wxplatform/internal/db"
)

// lockEntries makes transactions that write entries wait for each other's commits. On SQLite each
// transaction locks the whole database anyway.
var lockEntries = db.Text{
	SQLite:   `SELECT 1`,
	Postgres: `SELECT pg_advisory_xact_lock(7792302)`,
}

// lock takes the lock of lockEntries, and then reads the last ID and the time.
func lock(ctx context.Context, tx *db.Tx) (ID, time.Time, error) {
	if _, err := db.Exec(ctx, tx, tx.For(lockEntries)); err != nil {
		return 0, time.Time{}, err
	}
	now, err := tx.Now(ctx)
	if err != nil {
		return 0, now, err
	}
	id, err := last(ctx, tx)
	return id, now, err
}

func last(ctx context.Context, q db.Querier) (ID, error) {
	return db.One(ctx, q, db.Value[ID], `
		SELECT COALESCE(MAX(id), 0)
		FROM audit`)
}

func insert(ctx context.Context, tx *db.Tx, e Entry) error {
	_, err := db.Exec(ctx, tx, `
		INSERT INTO audit (id, made_at, actor, request_id, action, tenant, subject, old_values, new_values)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		int64(e.ID), db.Stamp(e.At), string(e.By), e.RequestID,
		string(e.Action), string(e.Owner), e.Subject, e.Before.String(), e.After.String())
	return err
}

// selectEntries and scanEntry name the columns in the same order.
const selectEntries = `
		SELECT id, made_at, actor, request_id, action, tenant, subject, old_values, new_values
		FROM audit`

func scanEntry(scan db.Scan) (Entry, error) {
	var e Entry
	err := scan(&e.ID, (*db.Stamp)(&e.At), &e.By, &e.RequestID,
		&e.Action, &e.Owner, &e.Subject, &e.Before.object, &e.After.object)
	return e, err
}

func (t *Trail) list(ctx context.Context, owner Owner, after ID, limit int) ([]Entry, error) {
	return db.All(ctx, t.db, scanEntry, selectEntries+`
		WHERE tenant = $1 AND tenant <> '' AND id > $2
		ORDER BY id
		LIMIT $3`, string(owner), int64(after), limit)
}

const filtered = `
		WHERE ($1 = '' OR tenant = $1) AND ($2 = '' OR action = $2) AND made_at >= $3`

func (t *Trail) newest(ctx context.Context, f Filter, before ID, limit int) ([]Entry, error) {
	if before == 0 {
		before = math.MaxInt64
	}
	return db.All(ctx, t.db, scanEntry, selectEntries+filtered+` AND id < $4
		ORDER BY id DESC
		LIMIT $5`, string(f.Owner), string(f.Action), db.Stamp(f.Since), int64(before), limit)
}

func (t *Trail) following(ctx context.Context, f Filter, after ID, limit int) ([]Entry, error) {
	return db.All(ctx, t.db, scanEntry, selectEntries+filtered+` AND id > $4
		ORDER BY id
		LIMIT $5`, string(f.Owner), string(f.Action), db.Stamp(f.Since), int64(after), limit)
}

// afterJump is for how long nothing is deleted after the database's clock was set.
const afterJump = 24 * time.Hour

// Sweep deletes the entries that are older than Keep. It fails with db.ErrUnavailable. It compares
// IDs, so it needs no index on the time. An ID is never smaller than its entry's time, so no
// younger entry is deleted. If this process noticed within a day that the database's clock was set,
// Sweep deletes nothing: a clock that is wrong may make all entries look old.
func (t *Trail) Sweep(ctx context.Context) error {
	now, err := db.Now(ctx, t.db)
	if err != nil || t.db.Jumped(afterJump) {
		return err
	}
	_, err = db.Trim(ctx, t.db, `
		DELETE FROM audit
		WHERE id IN (
		  SELECT id
		  FROM audit
		  WHERE id < $1
		  ORDER BY id
		  LIMIT $2)`, db.Stamp(now.Add(-t.Keep)))
	return err
}

const selectSettings = `
		SELECT known
		FROM recorded_settings
		WHERE one = 1`

var lockKnownSettings = db.Text{SQLite: selectSettings, Postgres: selectSettings + ` FOR UPDATE`}

// lockSettings reads the settings that were recorded last, which may be none, and locks them until
// the transaction ends.
func lockSettings(ctx context.Context, tx *db.Tx) (map[string]string, error) {
	_, err := db.Exec(ctx, tx, `
		INSERT INTO recorded_settings (one, known)
		VALUES (1, '{}')
		ON CONFLICT (one) DO NOTHING`)
	if err != nil {
		return nil, err
	}
	known, err := db.One(ctx, tx, db.Value[string], tx.For(lockKnownSettings))
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	return all, json.Unmarshal([]byte(known), &all)
}

func saveSettings(ctx context.Context, tx *db.Tx, now map[string]string) error {
	_, err := db.Exec(ctx, tx, `
		UPDATE recorded_settings
		SET known = $1
		WHERE one = 1`, text(now))
	return err
}
