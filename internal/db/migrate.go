package db

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// migrationPatience limits one file. It is longer than for other transactions: rewriting a million
// rows takes half a minute.
const migrationPatience = 10 * time.Minute

// Migrate runs the files *.sql that this database has not run yet, in the order of their names,
// each in a transaction of its own under a lock. A statement ends with ";" at the end of a line.
// Its errors name the file.
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
		if _, err := t.exec(ctx, statement, nil); err != nil { // not Exec, whose time limit is shorter
			return t.db.classify(err)
		}
	}
	return nil
}

// Pending returns the files that Migrate would run. It changes nothing.
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
