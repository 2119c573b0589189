package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"

	sqlitedriver "modernc.org/sqlite"
)

// Fate is what happens to a statement or a transaction in the simulation.
type Fate int

// Done: it is carried out. Refused: the database is unavailable before it. Undone: the commit
// fails. Unheard: the commit succeeds, and its answer is lost. Slow: the commit succeeds, and its
// answer is late. Again: the transaction is rolled back and then carried out, as after a deadlock.
// In the last two cases Gate is called once more, with the fate as the only argument and without a
// text: after a slow commit, and before the transaction is carried out again.
const (
	Done Fate = iota
	Refused
	Undone
	Unheard
	Slow
	Again
)

var errSimulated = fmt.Errorf("%w: simulated", ErrUnavailable)

// OpenMemory opens an empty database in this process, which lasts until Close. It is for the
// simulation, which runs one statement at a time, and keeps its many statements prepared.
func OpenMemory() (*DB, error) {
	options := url.Values{"_txlock": {"immediate"}, "_pragma": {"foreign_keys(1)"}}
	pool := sql.OpenDB(memory{"file::memory:?" + options.Encode()})
	pool.SetMaxOpenConns(1)
	return &DB{pool: pool, engine: sqlite, losses: &losses{}, writing: make(chan struct{}, 1)}, nil
}

// OtherProcess returns the same database as another process sees it, with a Gate and a Clock of its
// own. It is for the simulation, and need not be closed.
func (d *DB) OtherProcess() *DB {
	return &DB{pool: d.pool, engine: d.engine, losses: d.losses, id: d.id, writing: make(chan struct{}, 1)}
}

// tx carries out a transaction as its fate says.
func (f Fate) tx(ctx context.Context, d *DB, work func(*Tx) error) error {
	switch f {
	case Refused:
		return errSimulated
	case Undone:
		return d.within(ctx, transactionPatience, func(tx *Tx) error { return errors.Join(work(tx), errSimulated) })
	case Unheard:
		if err := d.within(ctx, transactionPatience, work); err != nil {
			return err
		}
		return errSimulated
	case Again:
		_ = Undone.tx(ctx, d, work)
		_ = d.Gate(ctx, "", []any{Again})
	}
	err := d.within(ctx, transactionPatience, work)
	if err == nil && f == Slow && d.Gate(ctx, "", []any{Slow}) != Done {
		return errSimulated
	}
	return err
}

type memory struct{ dsn string }

func (m memory) Driver() driver.Driver { return &sqlitedriver.Driver{} }

func (m memory) Connect(context.Context) (driver.Conn, error) {
	conn, err := m.Driver().Open(m.dsn)
	if err != nil {
		return nil, err
	}
	return &preparing{Conn: conn, kept: map[string]driver.Stmt{}}, nil
}

// preparing is a connection that prepares each statement once. It stays valid when a transaction on
// it is given up, because closing it would end the database.
type preparing struct {
	driver.Conn
	kept map[string]driver.Stmt
}

func (p *preparing) ResetSession(context.Context) error { return nil }
func (p *preparing) IsValid() bool                      { return true }

func (p *preparing) statement(text string) (driver.Stmt, error) {
	if kept, ok := p.kept[text]; ok {
		return kept, nil
	}
	fresh, err := p.Prepare(text)
	if err == nil {
		p.kept[text] = fresh
	}
	return fresh, err
}

func (p *preparing) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	kept, err := p.statement(text)
	if err != nil {
		return nil, err
	}
	return kept.(driver.StmtQueryContext).QueryContext(ctx, args)
}

func (p *preparing) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	kept, err := p.statement(text)
	if err != nil {
		return nil, err
	}
	return kept.(driver.StmtExecContext).ExecContext(ctx, args)
}

func (p *preparing) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	return p.Conn.(driver.ConnBeginTx).BeginTx(ctx, options)
}
