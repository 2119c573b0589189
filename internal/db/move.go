package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

var (
	// ErrMoved says that what was in this database lives in another one now. Two of one component would each refresh what the other has.
	ErrMoved = errors.New("database was moved to another one")
	// ErrInUse says that another process has the database open.
	ErrInUse = errors.New("another process has the database open")
	// ErrNotEmpty says that there is something in a database that was to be filled.
	ErrNotEmpty = errors.New("database is not empty")
)

const (
	movePatience = 2 * time.Hour
	moveAtOnce   = 100 // rows a statement
	movedAway    = "moved"
)

// Move copies all of a SQLite database into d, which is empty and perhaps has no tables yet, in one transaction: it is there whole or not at all. Then the old one is marked, so that no platform serves from it any more; nothing in
// it is deleted. progress is told how many rows of a table have been copied. Sealed values stay as they are, for what they are bound to is copied with them.
// It fails with ErrInUse, ErrMoved, ErrNotEmpty or ErrUnavailable; then the old one serves as before. If the mark alone fails, d is complete, and the error says so; if it is the end of d's commit that nobody knows, or the process dies before the mark, d may be complete and the old one unmarked: the next Move says ErrNotEmpty then.
func (d *DB) Move(ctx context.Context, from *DB, files fs.FS, progress func(table string, rows int)) error {
	ctx, cancel := context.WithTimeout(ctx, movePatience)
	defer cancel()
	if from.engine != sqlite {
		return errors.New("only a SQLite database is moved like this; PostgreSQL has pg_dump")
	}
	if err := from.alone(ctx); err != nil {
		return err
	}
	for _, each := range []*DB{from, d} {
		if err := each.Migrate(ctx, files); err != nil {
			return err
		}
	}
	source, err := from.pool.BeginTx(ctx, nil)
	if err != nil {
		return from.classify(err)
	}
	defer func() { _ = source.Rollback() }()
	m := mover{from: source, progress: progress}
	if err := d.within(ctx, movePatience, func(tx *Tx) error { return m.copy(ctx, tx) }); err != nil {
		return err
	}
	return from.leave(ctx, source)
}

// alone makes sure that no other process has the file open: only then does SQLite leave its write-ahead log.
func (d *DB) alone(ctx context.Context) error {
	d.pool.SetMaxOpenConns(1)
	var mode string
	if err := d.pool.QueryRowContext(ctx, `PRAGMA journal_mode = DELETE`).Scan(&mode); err != nil || mode != "delete" {
		return errors.Join(ErrInUse, err)
	}
	return nil
}

func (d *DB) leave(ctx context.Context, source *sql.Tx) error {
	_, err := source.ExecContext(ctx, `UPDATE meta SET component = $1 WHERE one = 1`, movedAway)
	if err == nil {
		err = source.Commit()
	}
	if err != nil {
		return fmt.Errorf("everything is copied, but the old database could not be marked, so see to it that nothing serves from it: %w", err)
	}
	return nil
}

type mover struct {
	from     *sql.Tx
	progress func(table string, rows int)
}

func (m mover) copy(ctx context.Context, to *Tx) error {
	if err := to.lock(ctx); err != nil {
		return err
	}
	tables, err := m.tables(ctx)
	if err != nil {
		return err
	}
	for _, table := range tables {
		if err := to.empty(ctx, table); err != nil {
			return err
		}
		if err := m.table(ctx, to, table); err != nil {
			return fmt.Errorf("copy %s: %w", table, err)
		}
	}
	return nil
}

// tables are those with something of ours, in the order in which they were made: none refers to a later one.
func (m mover) tables(ctx context.Context) ([]string, error) {
	var component sql.NullString
	if err := m.from.QueryRowContext(ctx, `SELECT MAX(component) FROM meta`).Scan(&component); err != nil {
		return nil, err
	}
	if component.String == movedAway {
		return nil, ErrMoved
	}
	return texts(m.from.QueryContext(ctx, `
		SELECT name FROM sqlite_schema
		WHERE type = 'table' AND name <> 'migrations' AND name NOT LIKE 'sqlite_%'
		ORDER BY rowid`))
}

func texts(rows *sql.Rows, err error) (all []string, _ error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, rows.Err()
}

func (t *Tx) empty(ctx context.Context, table string) error {
	n, err := One(ctx, t, Value[int], `SELECT COUNT(*) FROM (SELECT 1 FROM `+quoted(table)+` LIMIT 1) AS first`)
	if err == nil && n > 0 {
		err = fmt.Errorf("%w: there is something in %s already", ErrNotEmpty, table)
	}
	return err
}

func (m mover) table(ctx context.Context, to *Tx, table string) error {
	rows, err := m.from.QueryContext(ctx, `SELECT * FROM `+quoted(table))
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	in := inserter{to: to, table: table, columns: columns}
	for rows.Next() {
		if err := in.take(ctx, rows); err != nil {
			return err
		}
		if in.copied%(moveAtOnce*100) == 0 {
			m.progress(table, in.copied)
		}
	}
	if err := errors.Join(rows.Err(), in.flush(ctx)); err != nil {
		return err
	}
	m.progress(table, in.copied)
	return nil
}

// inserter gathers rows and writes many with one statement.
type inserter struct {
	to      *Tx
	table   string
	columns []string
	values  []any
	copied  int
}

func (in *inserter) take(ctx context.Context, rows *sql.Rows) error {
	row := make([]any, len(in.columns))
	into := make([]any, len(row))
	for i := range row {
		into[i] = &row[i]
	}
	if err := rows.Scan(into...); err != nil {
		return err
	}
	for i, value := range row {
		if b, is := value.([]byte); is {
			row[i] = append([]byte{}, b...) // an empty one is not NULL
		}
	}
	in.values = append(in.values, row...)
	if in.copied++; len(in.values) < moveAtOnce*len(in.columns) {
		return nil
	}
	return in.flush(ctx)
}

func (in *inserter) flush(ctx context.Context) error {
	if len(in.values) == 0 {
		return nil
	}
	_, err := in.to.exec(ctx, in.statement(), in.values)
	in.values = in.values[:0]
	return in.to.db.classify(err)
}

func (in *inserter) statement() string {
	var text strings.Builder
	names := make([]string, len(in.columns))
	for i, name := range in.columns {
		names[i] = quoted(name)
	}
	fmt.Fprintf(&text, `INSERT INTO %s (%s) VALUES `, quoted(in.table), strings.Join(names, ", "))
	for i := range in.values {
		separator := ", "
		if i%len(in.columns) == 0 {
			separator = "), ("
		}
		if i == 0 {
			separator = "("
		}
		fmt.Fprintf(&text, "%s$%d", separator, i+1)
	}
	return text.String() + ")"
}

// The names are those of our own migrations.
func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
