package token

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
	"wxplatform/wechat"
)

// change loads the row under a lock, has work change it, and saves it if it did, all in one transaction.
func (s *Store) change(ctx context.Context, id wechat.AppID, work func(*row, moment) error) error {
	return s.db.Tx(ctx, func(tx *db.Tx) error { return s.changeIn(ctx, tx, id, s.kind == Component, work) })
}

// changeIn is change in the caller's transaction. Where there is no row it is made, or it is ErrUnknown.
func (s *Store) changeIn(ctx context.Context, tx *db.Tx, id wechat.AppID, create bool, work func(*row, moment) error) error {
	r, err := s.lock(ctx, tx, id, create)
	if err != nil {
		return err
	}
	now, err := tx.Now(ctx)
	if err != nil {
		return err
	}
	m := s.moment(now)
	before := r
	r.mend(m)
	if err := work(&r, m); err != nil {
		return err
	}
	if r == before {
		return nil
	}
	return s.save(ctx, tx, id, r)
}

func (s *Store) lock(ctx context.Context, tx *db.Tx, id wechat.AppID, create bool) (row, error) {
	if create {
		if err := s.create(ctx, tx, id); err != nil {
			return row{}, err
		}
	}
	return s.one(ctx, tx, s.db.For(lockRow), id)
}

func (s *Store) create(ctx context.Context, tx *db.Tx, id wechat.AppID) error {
	_, err := db.Exec(ctx, tx, `
		INSERT INTO tokens (kind, id, access, refresh, spare)
		VALUES ($1, $2, $3, $3, $3)
		ON CONFLICT (kind, id) DO NOTHING`, s.kind, id, []byte{})
	return err
}

const selectRow = `
		SELECT fence, version, claimed_at, lease_until, unsettled_until, access, refresh, spare, spare_fence, expires_at,
			renew_early, renew_late, due, failures, retry_at, used_at, forced_at, forced_version, retired_at
		FROM tokens
		WHERE kind = $1 AND id = $2`

// SQLite's transaction holds the one write lock from its start.
var lockRow = db.Text{
	SQLite:   selectRow,
	Postgres: selectRow + ` FOR UPDATE`,
}

// load reads the row without a lock. Where there is none it is empty, or ErrUnknown.
func (s *Store) load(ctx context.Context, id wechat.AppID) (row, error) {
	r, err := s.one(ctx, s.db, selectRow, id)
	if errors.Is(err, ErrUnknown) && s.kind == Component {
		return row{}, nil
	}
	return r, err
}

func (s *Store) one(ctx context.Context, q db.Querier, text string, id wechat.AppID) (row, error) {
	r, err := db.One(ctx, q, func(scan db.Scan) (row, error) { return s.scan(scan, id) }, text, s.kind, id)
	if errors.Is(err, db.ErrNone) {
		return row{}, ErrUnknown
	}
	return r, err
}

func (s *Store) scan(scan db.Scan, id wechat.AppID) (row, error) {
	var r row
	var access, refresh, spare []byte
	var at [11]int64
	err := scan(&r.fence, &r.version, &at[0], &at[1], &at[2], &access, &refresh, &spare, &r.spareFence, &at[3],
		&at[4], &at[5], &at[6], &r.failures, &at[7], &at[8], &at[9], &r.forcedFor, &at[10])
	if err != nil {
		return row{}, err
	}
	for i, t := range r.times() {
		*t = db.Time(at[i])
	}
	for column, sealed := range map[string][]byte{"access": access, "refresh": refresh, "spare": spare} {
		opened, err := s.ring.Open(sealed, s.place(column, id)...)
		if err != nil {
			return row{}, fmt.Errorf("%s token: %w", column, err)
		}
		*r.secret(column) = opened
	}
	return r, nil
}

// times are r's times in the order of the columns.
func (r *row) times() [11]*time.Time {
	return [...]*time.Time{&r.claimed, &r.lease, &r.unsettled, &r.expires, &r.early, &r.late, &r.due, &r.retry, &r.used, &r.forced, &r.retired}
}

func (r *row) secret(column string) *seal.Secret {
	return map[string]*seal.Secret{"access": &r.access, "refresh": &r.refresh, "spare": &r.spare}[column]
}

func (s *Store) place(column string, id wechat.AppID) seal.Place {
	return seal.Place{"tokens", column, string(s.kind), string(id)}
}

func (s *Store) sealed(column string, secret seal.Secret, id wechat.AppID) []byte {
	return s.ring.Seal(secret, s.place(column, id)...)
}

func (s *Store) save(ctx context.Context, tx *db.Tx, id wechat.AppID, r row) error {
	_, err := db.Exec(ctx, tx, `
		UPDATE tokens
		SET fence = $3, version = $4, claimed_at = $5, lease_until = $6, unsettled_until = $7,
			access = $8, refresh = $9, spare = $10, spare_fence = $11, expires_at = $12,
			renew_early = $13, renew_late = $14, due = $15, failures = $16, retry_at = $17,
			used_at = $18, forced_at = $19, forced_version = $20, retired_at = $21
		WHERE kind = $1 AND id = $2`,
		s.kind, id,
		r.fence, r.version, db.Millis(r.claimed), db.Millis(r.lease), db.Millis(r.unsettled),
		s.sealed("access", r.access, id), s.sealed("refresh", r.refresh, id), s.sealed("spare", r.spare, id), r.spareFence, db.Millis(r.expires),
		db.Millis(r.early), db.Millis(r.late), db.Millis(r.due), r.failures, db.Millis(r.retry),
		db.Millis(r.used), db.Millis(r.forced), r.forcedFor, db.Millis(r.retired))
	return err
}

// listDue lists rows by urgency: the suspect ones, whose token may be dead, and then those that expire first.
func (s *Store) listDue(ctx context.Context, now time.Time, n int) ([]wechat.AppID, error) {
	return db.All(ctx, s.db, db.Value[wechat.AppID], `
		SELECT id FROM tokens
		WHERE kind = $1 AND due > 0 AND due <= $2
		ORDER BY CASE WHEN unsettled_until > 0 THEN 0 ELSE expires_at END, id
		LIMIT $3`, s.kind, db.Millis(now), n)
}

// A token that was thought to be out of use is due when its early time comes, which may have passed.
var touch = db.Text{
	SQLite: `
		UPDATE tokens
		SET used_at = $1,
			due = CASE WHEN lease_until = 0 AND unsettled_until = 0 AND failures = 0 AND renew_early > 0 AND (due = 0 OR due > renew_early)
				THEN renew_early ELSE due END
		WHERE kind = $2 AND retired_at = 0 AND id IN (SELECT value FROM json_each($3))`,
	Postgres: `
		UPDATE tokens
		SET used_at = $1,
			due = CASE WHEN lease_until = 0 AND unsettled_until = 0 AND failures = 0 AND renew_early > 0 AND (due = 0 OR due > renew_early)
				THEN renew_early ELSE due END
		WHERE kind = $2 AND retired_at = 0 AND id IN (SELECT json_array_elements_text(CAST($3 AS json)))`,
}

// noteUse writes down that ids were asked for.
func (s *Store) noteUse(ctx context.Context, now time.Time, ids []wechat.AppID) error {
	list, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	return s.db.Tx(ctx, func(tx *db.Tx) error { // which PostgreSQL runs again where two replicas lock these rows in another order
		_, err := db.Exec(ctx, tx, s.db.For(touch), db.Millis(now), s.kind, string(list))
		return err
	})
}

// Version is the version that is stored for id, 0 where there is none. It differs after each refresh, grant and retirement.
func (s *Store) Version(ctx context.Context, q db.Querier, id wechat.AppID) (Version, error) {
	v, err := db.One(ctx, q, db.Value[Version], `SELECT version FROM tokens WHERE kind = $1 AND id = $2`, s.kind, id)
	if errors.Is(err, db.ErrNone) {
		return 0, nil
	}
	return v, err
}
