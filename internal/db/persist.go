package db

import (
	"context"
	"errors"
	"time"
)

// Long work goes on through a slow or unavailable database: it is done in short transactions, which
// are repeated.
const (
	persistFor = 5 * time.Minute
	pauseFirst = 500 * time.Millisecond
	pauseMost  = 15 * time.Second
	biteMost   = 100             // rows a transaction
	biteFor    = 2 * time.Second // after which a transaction takes no more rows: far less than it may last
)

// Persist repeats do while the database is unavailable, for some minutes. do must be harmless when
// done twice, because the answer to a commit may have been lost. It fails with do's last error.
func Persist(ctx context.Context, do func() error) error {
	pause := pauseFirst
	for began := time.Now(); ; pause = min(2*pause, pauseMost) {
		err := do()
		if !errors.Is(err, ErrUnavailable) || time.Since(began) > persistFor {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// InBatches works off all, in order, in transactions that each take as many as fit into a short
// time. prepare begins each transaction, do works one off, and done is told after each commit what
// was worked off. A transaction is repeated while the database is unavailable, for some minutes.
func InBatches[T any](ctx context.Context, d *DB, all []T, prepare func(*Tx) error, do func(*Tx, T) error, done func([]T)) error {
	for len(all) > 0 {
		n := 0
		err := Persist(ctx, func() error {
			return d.Tx(ctx, func(tx *Tx) (err error) {
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

func bite[T any](tx *Tx, all []T, do func(*Tx, T) error) (n int, err error) {
	for began := time.Now(); n < min(len(all), biteMost) && (n == 0 || time.Since(began) < biteFor); n++ {
		if err := do(tx, all[n]); err != nil {
			return n, err
		}
	}
	return n, nil
}
