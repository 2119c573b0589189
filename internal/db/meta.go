package db

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
)

// ErrOtherComponent says that the database belongs to another component.
var ErrOtherComponent = errors.New("database belongs to another component")

// Claim makes the database the component's, or fails with ErrOtherComponent, ErrMoved or ErrMoving.
// It gives the database an id if it has none.
func (d *DB) Claim(ctx context.Context, component string) error {
	row, err := One(ctx, d, readMeta, selectMeta)
	if errors.Is(err, ErrNone) {
		row, err = d.claimEmpty(ctx, component)
	}
	if err != nil {
		return err
	}
	if row.component == movedAway {
		return ErrMoved
	}
	if row.moving() {
		return ErrMoving
	}
	if row.component != component {
		return fmt.Errorf("%w: it was made for %s, not for %s", ErrOtherComponent, row.component, component)
	}
	d.id = row.id
	return nil
}

// claimEmpty makes a database the component's that is nobody's yet, unless another process does so
// first.
func (d *DB) claimEmpty(ctx context.Context, component string) (meta, error) {
	id := strings.ToLower(rand.Text()[:12])
	_, err := Exec(ctx, d, `
		INSERT INTO meta (one, component, database_id, changes)
		VALUES (1, $1, $2, 0)
		ON CONFLICT (one) DO NOTHING`, component, id)
	if err != nil {
		return meta{}, err
	}
	return One(ctx, d, readMeta, selectMeta)
}

const selectMeta = `SELECT component, database_id FROM meta WHERE one = 1`

// ID returns the database's unique id, which prefixes every key in Redis. It is known after Claim.
func (d *DB) ID() string { return d.id }

type meta struct{ component, id string }

func readMeta(scan Scan) (meta, error) {
	var m meta
	err := scan(&m.component, &m.id)
	return m, err
}

// Counter reads the change counter. If it differs from the value read before, whether higher or
// lower, then tenants, clients, keys or authorizers have changed.
func (d *DB) Counter(ctx context.Context) (int64, error) {
	return One(ctx, d, Value[int64], `SELECT changes FROM meta WHERE one = 1`)
}

// raise raises the change counter. The row stays locked until the commit, so that a reader sees the
// numbers in order.
func (t *Tx) raise(ctx context.Context) error {
	at, err := t.Now(ctx)
	if err != nil {
		return err
	}
	_, err = Exec(ctx, t, `
		UPDATE meta
		SET changes = CASE WHEN changes + 1 > $1 THEN changes + 1 ELSE $1 END
		WHERE one = 1`, Stamp(at))
	return err
}
