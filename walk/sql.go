package walk

import (
	"context"
	"errors"
	"time"

	"wxplatform/internal/db"
)

func readState(scan db.Scan) (s state, err error) {
	err = scan((*db.Stamp)(&s.begun), (*db.Stamp)(&s.ended), (*db.Stamp)(&s.lease), (*db.Stamp)(&s.reconciled))
	return s, err
}

const selectState = `
		SELECT begun_at, ended_at, lease_until, reconciled_at
		FROM walks
		WHERE one = 1`

var lockState = db.Text{
	SQLite:   selectState,
	Postgres: selectState + ` FOR UPDATE`,
}

// load reads the state without a lock. In a new database the first daily reconciliation is a day
// away.
func (s *Schedule) load(ctx context.Context, now time.Time) (state, error) {
	is, err := db.One(ctx, s.db, readState, selectState)
	if errors.Is(err, db.ErrNone) {
		return state{reconciled: now}, s.create(ctx, s.db, now)
	}
	return is, err
}

func (s *Schedule) create(ctx context.Context, q db.Querier, now time.Time) error {
	_, err := db.Exec(ctx, q, `
		INSERT INTO walks (one, reconciled_at)
		VALUES (1, $1)
		ON CONFLICT (one) DO NOTHING`, db.Stamp(now))
	return err
}

// lock reads the time again under the lock: a time read before the wait for the lock may be earlier
// than what the last holder wrote.
func (s *Schedule) lock(ctx context.Context, tx *db.Tx) (is state, now time.Time, err error) {
	if now, err = tx.Now(ctx); err != nil {
		return state{}, now, err
	}
	if err = s.create(ctx, tx, now); err != nil {
		return state{}, now, err
	}
	if is, err = db.One(ctx, tx, readState, s.db.For(lockState)); err != nil {
		return state{}, now, err
	}
	now, err = tx.Now(ctx)
	return is, now, err
}

func (s *Schedule) saveBegun(ctx context.Context, tx *db.Tx, begun, until time.Time) error {
	_, err := db.Exec(ctx, tx, `
		UPDATE walks
		SET begun_at = $1, lease_until = $2
		WHERE one = 1`, db.Stamp(begun), db.Stamp(until))
	return err
}

// renew returns false if another walk has begun.
func (s *Schedule) renew(ctx context.Context, begun, until time.Time) (bool, error) {
	rows, err := db.Exec(ctx, s.db, `
		UPDATE walks
		SET lease_until = $2
		WHERE one = 1 AND begun_at = $1`, db.Stamp(begun), db.Stamp(until))
	return rows > 0, err
}

// Drop gives the lease of a failed walk back.
func (s *Schedule) Drop(ctx context.Context, begun time.Time) error {
	_, err := db.Exec(ctx, s.db, `
		UPDATE walks
		SET lease_until = 0
		WHERE one = 1 AND begun_at = $1`, db.Stamp(begun))
	return err
}

// End ends a walk that came to its end.
func (s *Schedule) End(ctx context.Context, begun time.Time) error {
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return err
	}
	_, err = db.Exec(ctx, s.db, `
		UPDATE walks
		SET lease_until = 0, ended_at = $2
		WHERE one = 1 AND begun_at = $1`, db.Stamp(begun), db.Stamp(now))
	return err
}

// Reconciled notes that a walk compared the whole list.
func (s *Schedule) Reconciled(ctx context.Context, begun time.Time) error {
	_, err := db.Exec(ctx, s.db, `
		UPDATE walks
		SET reconciled_at = $1
		WHERE one = 1 AND begun_at = $1`, db.Stamp(begun))
	return err
}
