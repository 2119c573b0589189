package db

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// migrationPatience limits one file. It is longer than for other transactions: rewriting a million
// rows takes half a minute.
const migrationPatience = 10 * time.Minute

// ErrTooNew says that a newer program migrated the database, and that this one cannot work with its
// tables.
var ErrTooNew = errors.New("the database's tables are too new for this program")

// Migrate runs the files *.sql that this database has not run yet, in the order of their names,
// each in a transaction of its own under a lock. A statement ends with ";" at the end of a line.
// One that begins with the line "-- only sqlite" or "-- only postgres" is for that engine alone.
// Migrate's errors name the file. It fails with ErrTooNew as Newer does, and then changes nothing.
//
// A file may begin with a line such as "-- oldest: 0010": programs that have the file 0010 can work
// with the tables that this one makes, so they may go on, or be started again. Without that line,
// only programs that have the file itself can.
func (d *DB) Migrate(ctx context.Context, files fs.FS) error {
	if _, err := d.Newer(ctx, files); err != nil {
		return err
	}
	pending, err := d.Pending(ctx, files)
	if err != nil {
		return err
	}
	for _, name := range pending {
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

// oldest is the name, or its beginning, of the newest file that the oldest program has that can
// work with the tables.
func oldest(name, text string) string {
	first, _, _ := strings.Cut(text, "\n")
	if said, is := strings.CutPrefix(first, "-- oldest: "); is {
		return strings.TrimSpace(said)
	}
	return name
}

func (t *Tx) migrate(ctx context.Context, name, text string) error {
	if err := t.lock(ctx); err != nil {
		return err
	}
	if err := t.makeMigrations(ctx); err != nil {
		return err
	}
	fresh, err := Exec(ctx, t, `
		INSERT INTO migrations (name, oldest, program)
		VALUES ($1, $2, $3)
		ON CONFLICT (name) DO NOTHING`, name, oldest(name, text), program())
	if err != nil || fresh == 0 {
		return err
	}
	for statement := range strings.SplitSeq(text, ";\n") {
		if strings.TrimSpace(statement) == "" || !t.db.engine.runs(statement) {
			continue
		}
		if _, err := t.exec(ctx, statement, nil); err != nil { // not Exec, whose time limit is shorter
			return t.db.classify(err)
		}
	}
	return t.note(ctx, name)
}

// note tells of a migration. A database that no platform has served from yet is not in use.
func (t *Tx) note(ctx context.Context, migration string) error {
	if t.db.Noted == nil {
		return nil
	}
	is, err := t.db.meta(ctx, t)
	if err == nil && is.id != "" {
		t.db.Noted(ctx, t, migration)
	}
	return err
}

// runs reports whether a statement of a migration is for this engine.
func (e engine) runs(statement string) bool {
	only, alone := strings.CutPrefix(statement, "-- only ")
	return !alone || strings.HasPrefix(only, string(e)+"\n")
}

// makeMigrations makes the table migrations, or adds the columns that it has today.
func (t *Tx) makeMigrations(ctx context.Context) error {
	if _, err := Exec(ctx, t, `CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY)`); err != nil {
		return err
	}
	whole, err := One(ctx, t, Value[int64], t.db.For(hasPrograms))
	if err != nil || whole > 0 {
		return err
	}
	_, err = Exec(ctx, t, `ALTER TABLE migrations ADD COLUMN oldest TEXT NOT NULL DEFAULT ''`)
	if err != nil {
		return err
	}
	_, err = Exec(ctx, t, `ALTER TABLE migrations ADD COLUMN program TEXT NOT NULL DEFAULT ''`)
	return err
}

// program is the version of this program, for people.
func program() string {
	info, known := debug.ReadBuildInfo()
	if !known || info.Main.Version == "" {
		return "an unknown version"
	}
	return info.Main.Version
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

// Newer returns the migrations that the database has run and that files does not have: a newer
// program ran them. It fails with ErrTooNew if this program cannot work with one of them. It
// changes nothing.
func (d *DB) Newer(ctx context.Context, files fs.FS) (newer []Migration, err error) {
	ours, err := fs.Glob(files, "*.sql")
	if err != nil || len(ours) == 0 {
		return nil, err
	}
	there, err := One(ctx, d, Value[int64], d.For(hasPrograms))
	if err != nil || there == 0 {
		return nil, err
	}
	run, err := All(ctx, d, readMigration, `SELECT name, oldest, program FROM migrations ORDER BY name`)
	if err != nil {
		return nil, err
	}
	newest := ours[len(ours)-1]
	for _, m := range run {
		if slices.Contains(ours, m.Name) {
			continue
		}
		if newest < m.oldest {
			return nil, fmt.Errorf("%w: migration %s, which version %s of the platform ran, needs a program that has migration %s; this program, version %s, has those up to %s", ErrTooNew, m.Name, m.Program, m.oldest, program(), newest)
		}
		newer = append(newer, m)
	}
	return newer, nil
}

// Migration is a file that was run on this database.
type Migration struct {
	Name    string
	Program string // the version of the program that ran it

	oldest string // see Migrate
}

// String returns the name and the version, for people.
func (m Migration) String() string { return m.Name + " by version " + cmp.Or(m.Program, "unknown") }

func readMigration(scan Scan) (Migration, error) {
	var m Migration
	err := scan(&m.Name, &m.oldest, &m.Program)
	return m, err
}

var hasMigrations = Text{
	SQLite:   `SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name = 'migrations'`,
	Postgres: `SELECT COUNT(to_regclass('migrations'))`,
}

// hasPrograms tells whether the table migrations says which programs can work with each.
var hasPrograms = Text{
	SQLite:   `SELECT COUNT(*) FROM pragma_table_info('migrations') WHERE name = 'program'`,
	Postgres: `SELECT COUNT(*) FROM pg_attribute WHERE attrelid = to_regclass('migrations') AND attname = 'program' AND NOT attisdropped`,
}
