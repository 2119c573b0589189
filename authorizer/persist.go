package authorizer

import (
	"context"
	"errors"
	"time"

	"wxplatform/internal/db"
)

// Long work on a database that is slow, or away for a while, is not given up: it is done in short
// transactions, and what the database did not do is tried again.
const (
	persistFor = 5 * time.Minute
	pauseFirst = 500 * time.Millisecond
	pauseMost  = 15 * time.Second
	biteMost   = 100             // rows a transaction
	biteFor    = 2 * time.Second // after which a transaction takes no more rows: far less than it may last
)

// persist does what the database may fail to do until it is done, for some minutes. It must do no harm
// to do it twice, for the answer to a commit may have been lost.
func persist(ctx context.Context, do func() error) error {
	pause := pauseFirst
	for began := time.Now(); ; pause = min(2*pause, pauseMost) {
		err := do()
		if !errors.Is(err, db.ErrUnavailable) || time.Since(began) > persistFor {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// bites has do work off all, in order, in transactions of as many as fit into a short time, each of
// which is tried again where the database did not do it. prepare begins each transaction, and done is
// told what one has worked off once it is committed.
func bites[T any](ctx context.Context, d *db.DB, all []T, prepare func(*db.Tx) error, do func(*db.Tx, T) error, done func([]T)) error {
	for len(all) > 0 {
		n := 0
		err := persist(ctx, func() error {
			return d.Tx(ctx, func(tx *db.Tx) (err error) {
				if err := prepare(tx); err != nil {
					return err
				}
				n, err = bite(tx, all, do)
				return err
			})
		})
		if err != nil {
			return err
		}
		done(all[:n])
		all = all[n:]
	}
	return nil
}

func bite[T any](tx *db.Tx, all []T, do func(*db.Tx, T) error) (n int, err error) {
	for began := time.Now(); n < min(len(all), biteMost) && (n == 0 || time.Since(began) < biteFor); n++ {
		if err := do(tx, all[n]); err != nil {
			return n, err
		}
	}
	return n, nil
}
