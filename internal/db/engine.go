package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	sqlitedriver "modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"

	"wxplatform/internal/seal"
)

type engine string

const (
	sqlite       engine = "sqlite"
	postgres     engine = "postgres"
	openMost            = 16
	dialPatience        = 3 * time.Second
)

func openPool(url seal.Secret, found *losses) (engine, *sql.DB, error) {
	text := url.Reveal()
	if file, ok := strings.CutPrefix(text, "sqlite:"); ok && file != "" {
		pool, err := openSQLite(file)
		return sqlite, pool, err
	}
	if strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://") {
		pool, err := openPostgres(text, found)
		return postgres, pool, err
	}
	return "", nil, errors.New("database URL is neither sqlite:FILE nor postgres://…")
}

// openSQLite creates the file for its owner alone: it holds sealed secrets, and a file that others
// can read they can copy.
func openSQLite(file string) (*sql.DB, error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("database file: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("database file: %w", err)
	}
	options := url.Values{
		"_txlock": {"immediate"},
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"},
	}
	pool, err := sql.Open("sqlite", "file:"+(&url.URL{Path: file}).EscapedPath()+"?"+options.Encode())
	if err == nil {
		pool.SetMaxOpenConns(openMost)
		pool.SetMaxIdleConns(openMost)
	}
	return pool, err
}

func openPostgres(text string, found *losses) (*sql.DB, error) {
	config, err := pgx.ParseConfig(text)
	if err != nil {
		return nil, errors.New("database URL is not a valid postgres:// URL") // pgx's own error may hold the password
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = dialPatience
	}
	pool := stdlib.OpenDB(*config, stdlib.OptionShouldPing(found.doubts))
	pool.SetMaxOpenConns(openMost)
	pool.SetMaxIdleConns(openMost)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	return pool, nil
}

// classify says what a driver's error means to callers: ErrConflict or ErrUnavailable. It notes a
// lost connection.
func (d *DB) classify(err error) error {
	if ended(err) {
		d.losses.note()
	}
	switch {
	case err == nil, errors.Is(err, ErrUnavailable), errors.Is(err, ErrConflict):
		return err
	case taken(err):
		return fmt.Errorf("%w: %w", ErrConflict, err)
	default:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}

func taken(err error) bool {
	var lite *sqlitedriver.Error
	if errors.As(err, &lite) {
		return lite.Code() == sqlitelib.SQLITE_CONSTRAINT_UNIQUE || lite.Code() == sqlitelib.SQLITE_CONSTRAINT_PRIMARYKEY
	}
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "23505"
}

// again reports whether PostgreSQL undid a transaction only because of a concurrent one: a
// deadlock, or a serialization failure.
func again(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40P01" || pg.Code == "40001")
}

// lock keeps other processes from migrating until the transaction ends. SQLite's transaction is
// itself such a lock.
func (t *Tx) lock(ctx context.Context) error {
	if t.db.engine == sqlite {
		return nil
	}
	_, err := t.exec(ctx, `SELECT pg_advisory_xact_lock(7792301)`, nil) // not Exec: another process's migration may take long
	return t.db.classify(err)
}
