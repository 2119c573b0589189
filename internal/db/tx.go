package db

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// Tx is a transaction. On SQLite it holds the only write lock from its start (BEGIN IMMEDIATE). On
// PostgreSQL it is READ COMMITTED, and rows are locked by FOR UPDATE.
type Tx struct {
	tx      *sql.Tx
	db      *DB
	changed bool
	last    []func(context.Context) error
}

// Tx runs work in a transaction, commits if it returns nil, and else rolls back. ErrUnavailable
// from the commit means that nobody knows whether it took place.
//
// work may run more than once: PostgreSQL's deadlocks and serialization failures are retried twice,
// and a connection that ended before the commit was sent once.
func (d *DB) Tx(ctx context.Context, work func(*Tx) error) error {
	if d.Gate != nil {
		return d.Gate(ctx, "", nil).tx(ctx, d, work)
	}
	return d.within(ctx, transactionPatience, work)
}

func (d *DB) within(ctx context.Context, patience time.Duration, work func(*Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	leave, err := admit(ctx, d)
	if err != nil {
		return err
	}
	defer leave()
	if d.engine == sqlite {
		select {
		case d.writing <- struct{}{}:
			defer func() { <-d.writing }()
		case <-ctx.Done():
			return d.classify(ctx.Err())
		}
	}
	for try := 1; ; try++ {
		err := d.once(ctx, work)
		if try == 3 || !again(err) && !(try == 1 && lost(err)) {
			return err
		}
	}
}

func (d *DB) once(ctx context.Context, work func(*Tx) error) error {
	tx, err := d.pool.BeginTx(ctx, nil)
	if err != nil {
		return d.classify(err)
	}
	t := &Tx{tx: tx, db: d}
	if err := t.run(ctx, work); err != nil {
		return errors.Join(err, d.ignoreDone(tx.Rollback()))
	}
	if err := d.classify(tx.Commit()); err != nil {
		return uncertain{err}
	}
	if t.changed {
		d.changes.Add(1)
	}
	return nil
}

func (t *Tx) run(ctx context.Context, work func(*Tx) error) error {
	if err := work(t); err != nil {
		return err
	}
	for _, f := range t.last {
		if err := f(ctx); err != nil {
			return err
		}
	}
	if !t.changed {
		return nil
	}
	return t.raise(ctx)
}

// ignoreDone drops the error of a rollback after the driver has rolled back already.
func (d *DB) ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return d.classify(err)
}

// Changed makes this transaction raise the change counter right before the commit.
func (t *Tx) Changed() { t.changed = true }

// Last makes this transaction run f after its work, right before the commit. It is for what takes a
// lock that many transactions need: they wait for each other only during their commits, and cannot
// wait in a circle. If f fails, the transaction is rolled back.
func (t *Tx) Last(f func(context.Context) error) { t.last = append(t.last, f) }

// Engine returns "sqlite" or "postgres".
func (t *Tx) Engine() string { return t.db.Engine() }

// For returns the text for this transaction's engine.
func (t *Tx) For(text Text) string { return t.db.For(text) }

// Now returns the database's time, in whole milliseconds.
func (t *Tx) Now(ctx context.Context) (time.Time, error) { return Now(ctx, t) }

func (t *Tx) exec(ctx context.Context, text string, args []any) (sql.Result, error) {
	return t.tx.ExecContext(ctx, text, args...)
}

func (t *Tx) query(ctx context.Context, text string, args []any) (*sql.Rows, error) {
	return t.tx.QueryContext(ctx, text, args...)
}

func (t *Tx) database() *DB { return t.db }
