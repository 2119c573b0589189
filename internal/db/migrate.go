package db

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// migrationPatience bounds one file. A million rows are written anew in half a minute, so it is longer than any other transaction's.
const migrationPatience = 10 * time.Minute

// Migrate runs the files *.sql of files that this database has not seen, in the order of their names, each in a transaction of its own under a lock. A statement ends with ";" at a line's end.
func (d *DB) Migrate(ctx context.Context, files fs.FS) error {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return err
	}
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		if err := d.within(ctx, migrationPatience, func(tx *Tx) error { return tx.migrate(ctx, name, string(text)) }); err != nil {
			return fmt.Errorf("migration %s: %w", name, err)
		}
	}
	return nil
}

func (t *Tx) migrate(ctx context.Context, name, text string) error {
	if err := t.lock(ctx); err != nil {
		return err
	}
	if _, err := Exec(ctx, t, `CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY)`); err != nil {
		return err
	}
	fresh, err := Exec(ctx, t, `INSERT INTO migrations (name) VALUES ($1) ON CONFLICT (name) DO NOTHING`, name)
	if err != nil || fresh == 0 {
		return err
	}
	for statement := range strings.SplitSeq(text, ";\n") {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		if _, err := t.exec(ctx, statement, nil); err != nil { // not Exec, whose patience is shorter
			return t.db.classify(err)
		}
	}
	return nil
}

// Pending are the files that Migrate would run. It changes nothing.
func (d *DB) Pending(ctx context.Context, files fs.FS) ([]string, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, err
	}
	there, err := One(ctx, d, Value[int64], d.For(hasMigrations))
	if err != nil || there == 0 {
		return names, err
	}
	done, err := All(ctx, d, Value[string], `SELECT name FROM migrations`)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(done, name) }), nil
}

var hasMigrations = Text{
	SQLite:   `SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name = 'migrations'`,
	Postgres: `SELECT COUNT(to_regclass('migrations'))`,
}
