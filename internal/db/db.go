// Package db runs SQL on PostgreSQL (through pgx) or on SQLite. All access to the database goes
// through it; statements are in each package's sql.go, in the dialect that both engines share. It
// owns the tables meta (the component that the database belongs to, and the change counter) and
// sealing_keys.
//
// Every function that needs the database fails with ErrUnavailable while it is unreachable, and
// waits for it at most 5 s for a statement and 10 s for a transaction. Callers decide what still
// works then.
package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"wxplatform/internal/seal"
)

// ErrUnavailable says that the database did not do it, or that nobody knows whether it did. It
// never means that a row does not exist.
var ErrUnavailable = errors.New("database unavailable")

// Causes of ErrUnavailable that an operator can put right. Each error that has one is an
// ErrUnavailable, too.
var (
	ErrReadOnly = errors.New("the database is read-only")
	ErrFull     = errors.New("the database's disk is full")
	ErrRights   = errors.New("the database denies its user a right, or the user itself")
)

// ErrNone says that there is no such row. Only One returns it.
var ErrNone = errors.New("no such row")

// ErrConflict says that a unique key exists already.
var ErrConflict = errors.New("already exists")

// ErrText says that a text has what PostgreSQL cannot store: U+0000, or invalid UTF-8. It was
// refused before it reached the database.
var ErrText = errors.New("a text that SQL cannot store")

// patience limits each statement, and transactionPatience each transaction.
const (
	patience            = 5 * time.Second
	transactionPatience = 10 * time.Second
)

// DB is a pool of connections to one database. It is safe for concurrent use.
type DB struct {
	// Clock replaces the database's clock, in tests only. Nil means the database's own.
	Clock func() time.Time
	// Own replaces this process's own clock, with which the database's is compared, in tests that
	// replace Clock. Nil means time.Now.
	Own func() time.Time
	// Noted is told of each migration of a database that is in use, by its file, and of a move into
	// this database, by "": both in their transaction. It is set before the first call. Nil means
	// nobody.
	Noted func(ctx context.Context, tx *Tx, migration string)
	// Gate decides what happens to each statement outside a transaction, and to each transaction,
	// for which text is "": in the simulation only. Nil means that everything is carried out.
	Gate func(ctx context.Context, text string, args []any) Fate

	pool       *sql.DB
	engine     engine
	losses     *losses       // when a connection was last found dead
	id         string        // made with the database; prefixes every key in Redis
	writing    chan struct{} // SQLite has one writer, so this process's writers queue here instead of polling the file's lock
	background chan struct{} // has an element per connection that background work uses
	changes    atomic.Int64  // see Changes
	refused    atomic.Pointer[refusal]
	jumps      jumps // finds out whether the database's clock was set
}

// Text is a statement that differs between the engines.
type Text struct{ SQLite, Postgres string }

// Querier runs statements: a *DB, or a *Tx.
type Querier interface {
	exec(ctx context.Context, text string, args []any) (sql.Result, error)
	query(ctx context.Context, text string, args []any) (*sql.Rows, error)
	database() *DB
}

// Scan copies the columns of a row into dest, like sql.Rows.Scan.
type Scan func(dest ...any) error

// Open connects to sqlite:FILE or postgres://…. It fails if the database is unreachable. Its
// errors never show the URL.
func Open(ctx context.Context, url seal.Secret) (*DB, error) {
	found := &losses{}
	engine, pool, err := openPool(url, found)
	if err != nil {
		return nil, err
	}
	d := &DB{pool: pool, engine: engine, losses: found, writing: make(chan struct{}, 1), background: make(chan struct{}, openMost/2)}
	if err := d.Ping(ctx); err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	return d, nil
}

// OpenExisting is Open, but fails if a SQLite file does not exist instead of creating it.
func OpenExisting(ctx context.Context, url seal.Secret) (*DB, error) {
	if file, ok := strings.CutPrefix(url.Reveal(), "sqlite:"); ok {
		if _, err := os.Stat(file); err != nil {
			return nil, fmt.Errorf("database file: %w", err)
		}
	}
	return Open(ctx, url)
}

// Close closes the connections.
func (d *DB) Close() error { return d.pool.Close() }

// Engine returns "sqlite" or "postgres".
func (d *DB) Engine() string { return string(d.engine) }

// Ping returns nil if the database answers, or ErrUnavailable.
func (d *DB) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return d.classify(d.pool.PingContext(ctx))
}

// Changes returns how many transactions of this process have raised the change counter, so that a
// process notices its own writes at once.
func (d *DB) Changes() int64 { return d.changes.Load() }

// For returns the text for this database's engine.
func (d *DB) For(t Text) string {
	if d.engine == sqlite {
		return t.SQLite
	}
	return t.Postgres
}

// Exec runs a statement and returns how many rows it changed. It is never repeated: if its
// connection ends, nobody knows whether it was carried out.
func Exec(ctx context.Context, q Querier, text string, args ...any) (int64, error) {
	if err := storable(args); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	leave, err := admit(ctx, q)
	if err != nil {
		return 0, err
	}
	defer leave()
	result, err := q.exec(ctx, text, args)
	if err != nil {
		return 0, q.database().classify(err)
	}
	rows, err := result.RowsAffected()
	return rows, q.database().classify(err)
}

// One reads one row with read, or fails with ErrNone.
func One[T any](ctx context.Context, q Querier, read func(Scan) (T, error), text string, args ...any) (T, error) {
	all, err := All(ctx, q, read, text, args...)
	if err == nil && len(all) == 0 {
		err = ErrNone
	}
	if err != nil {
		var none T
		return none, err
	}
	return all[0], nil
}

// All reads every row with read. The statement must limit their number. Outside a transaction it is
// repeated once if its connection ends.
func All[T any](ctx context.Context, q Querier, read func(Scan) (T, error), text string, args ...any) ([]T, error) {
	if err := storable(args); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	leave, err := admit(ctx, q)
	if err != nil {
		return nil, err
	}
	defer leave()
	all, err := readAll(ctx, q, read, text, args)
	if _, alone := q.(*DB); alone && lost(err) {
		all, err = readAll(ctx, q, read, text, args)
	}
	return all, err
}

// storable refuses what SQL cannot store before SQL sees it. PostgreSQL's error for such a text
// looks like an outage, and no request may cause one of those.
func storable(args []any) error {
	for _, arg := range args {
		v := reflect.Indirect(reflect.ValueOf(arg)) // a field of a row may be passed by its address
		if v.Kind() == reflect.String && (!utf8.ValidString(v.String()) || strings.IndexByte(v.String(), 0) >= 0) {
			return ErrText
		}
		if v.Kind() == reflect.Struct && v.Type() == reflect.TypeFor[Stamp]() {
			if _, err := v.Interface().(Stamp).Value(); err != nil {
				return err
			}
		}
	}
	return nil
}

func readAll[T any](ctx context.Context, q Querier, read func(Scan) (T, error), text string, args []any) ([]T, error) {
	rows, err := q.query(ctx, text, args)
	if err != nil {
		return nil, q.database().classify(err)
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := read(rows.Scan)
		if err != nil {
			return nil, fmt.Errorf("read a row: %w", err)
		}
		all = append(all, v)
	}
	return all, q.database().classify(rows.Err())
}

// Value reads a row's only column: the simplest read for One and All.
func Value[T any](scan Scan) (T, error) {
	var v T
	err := scan(&v)
	return v, err
}

func (d *DB) exec(ctx context.Context, text string, args []any) (result sql.Result, err error) {
	if d.Gate != nil {
		switch d.Gate(ctx, text, args) {
		case Refused, Undone:
			return nil, errSimulated
		case Unheard:
			defer func() { err = errors.Join(err, errSimulated) }()
		}
	}
	if d.engine == sqlite {
		select {
		case d.writing <- struct{}{}:
			defer func() { <-d.writing }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return d.pool.ExecContext(ctx, text, args...)
}

func (d *DB) query(ctx context.Context, text string, args []any) (*sql.Rows, error) {
	if d.Gate != nil && d.Gate(ctx, text, args) != Done {
		return nil, errSimulated
	}
	return d.pool.QueryContext(ctx, text, args...)
}

func (d *DB) database() *DB { return d }
