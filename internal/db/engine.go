package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
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

// CheckURL returns what is wrong with the URL of a database, which it never quotes, or nil. It
// connects to nothing.
func CheckURL(url seal.Secret) error {
	text := url.Reveal()
	if isPostgres(text) {
		_, err := parsePostgres(text)
		return err
	}
	if file, ok := strings.CutPrefix(text, "sqlite:"); !ok || file == "" {
		return errors.New("the URL is neither sqlite:FILE nor postgres://…")
	}
	return nil
}

func isPostgres(text string) bool {
	return strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://")
}

func openPool(url seal.Secret, found *losses) (engine, *sql.DB, error) {
	if err := CheckURL(url); err != nil {
		return "", nil, err
	}
	if text := url.Reveal(); isPostgres(text) {
		pool, err := openPostgres(text, found)
		return postgres, pool, err
	}
	pool, err := openSQLite(strings.TrimPrefix(url.Reveal(), "sqlite:"))
	return sqlite, pool, err
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

func parsePostgres(text string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(text)
	if err != nil {
		return nil, errors.New("the URL is not a valid postgres:// URL; special characters in a password must be percent-encoded") // pgx's own error may hold the password
	}
	return config, nil
}

func openPostgres(text string, found *losses) (*sql.DB, error) {
	config, err := parsePostgres(text)
	if err != nil {
		return nil, err
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
// lost connection, and a refusal for Refused.
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
		return d.noteRefusal(fmt.Errorf("%w: %w", ErrUnavailable, withCause(err)))
	}
}

// withCause adds ErrReadOnly, ErrFull or ErrRights to a driver's error that means it.
func withCause(err error) error {
	for _, c := range []struct {
		is       error
		sqlite   []int
		postgres []string
	}{
		{ErrReadOnly, []int{sqlitelib.SQLITE_READONLY}, []string{"25006"}},
		{ErrFull, []int{sqlitelib.SQLITE_FULL}, []string{"53100"}},
		{ErrRights, []int{sqlitelib.SQLITE_AUTH, sqlitelib.SQLITE_PERM}, []string{"42501", "28000", "28P01"}},
	} {
		if slices.Contains(c.sqlite, liteCode(err)) || slices.Contains(c.postgres, postgresCode(err)) {
			return fmt.Errorf("%w: %w", c.is, err)
		}
	}
	return err
}

// liteCode is SQLite's primary result code, or -1 if the error is not SQLite's.
func liteCode(err error) int {
	var lite *sqlitedriver.Error
	if errors.As(err, &lite) {
		return lite.Code() & 0xff
	}
	return -1
}

// postgresCode is PostgreSQL's SQLSTATE, or "" if the error is not PostgreSQL's.
func postgresCode(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

func taken(err error) bool {
	var lite *sqlitedriver.Error
	if errors.As(err, &lite) {
		return lite.Code() == sqlitelib.SQLITE_CONSTRAINT_UNIQUE || lite.Code() == sqlitelib.SQLITE_CONSTRAINT_PRIMARYKEY
	}
	return postgresCode(err) == "23505"
}

// again reports whether PostgreSQL undid a transaction only because of a concurrent one: a
// deadlock, or a serialization failure.
func again(err error) bool {
	code := postgresCode(err)
	return code == "40P01" || code == "40001"
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
