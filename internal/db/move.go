package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"wxplatform/internal/failpoint"
)

var (
	// ErrMoved says that the contents of this database were moved to another one. If both served
	// the same component, each would replace the other's tokens.
	ErrMoved = errors.New("database was moved to another one")
	// ErrMoving says that a move from or to this database was interrupted, so that the other one
	// may be the one that serves.
	ErrMoving = errors.New("a move between this database and another one was interrupted: run the same `platform migrate --from` again to complete it, or with --cancel to undo it")
	// ErrInUse says that another process has the database open.
	ErrInUse = errors.New("another process has the database open")
	// ErrNotEmpty says that the database to be filled is not empty.
	ErrNotEmpty = errors.New("database is not empty")
)

const (
	movePatience = 2 * time.Hour
	moveAtOnce   = 100       // rows per statement
	movedAway    = "moved"   // in the column component of a database that was moved
	moving       = "moving:" // before the component, while a move is not complete
)

// Move copies a SQLite database into d, which must be empty and need not have tables, in one
// transaction. The two never serve at the same time: Move marks both as moving, the copy removes
// the mark from d, and then the old one is marked as moved. Nothing in it is deleted. progress is
// told how many rows of a table were copied. Sealed values are copied unchanged, and stay valid
// because their places are the same.
//
// It fails with ErrInUse, ErrMoved, ErrNotEmpty or ErrUnavailable, and then the old database serves
// as before. If the process dies, or nobody knows whether d has committed (ErrMoving), neither
// serves until Move into the same d, which copies only what is missing, or CancelMove completes.
func (d *DB) Move(ctx context.Context, from *DB, files fs.FS, progress func(table string, rows int)) error {
	ctx, cancel := context.WithTimeout(ctx, movePatience)
	defer cancel()
	was, err := d.meet(ctx, from, files)
	if err != nil {
		return err
	}
	if err := d.expect(ctx, was); err != nil {
		return err
	}
	if err := from.become(ctx, moving+was.owner()); err != nil {
		return err
	}
	failpoint.Hit("move", "marked")
	err = d.copyAll(ctx, from, was, progress)
	failpoint.Hit("move", "copied")
	var unknown uncertain
	if err != nil && !errors.As(err, &unknown) {
		ctx := context.WithoutCancel(ctx)
		return errors.Join(err, from.become(ctx, was.owner()), d.forget(ctx, was))
	}
	if err == nil {
		err = from.become(ctx, movedAway)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMoving, err)
	}
	return nil
}

// CancelMove makes a SQLite database serve again if the move into d was interrupted before d was
// complete. It fails with ErrInUse, with ErrMoved if d is complete, or with ErrUnavailable, and
// then changes nothing.
func (d *DB) CancelMove(ctx context.Context, from *DB, files fs.FS) error {
	was, err := d.meet(ctx, from, files)
	if err != nil {
		return err
	}
	return d.Tx(ctx, func(tx *Tx) error {
		is, err := tx.locked(ctx)
		switch {
		case err != nil:
			return err
		case is.id != was.id:
			return errNotHere
		case !is.moving():
			return ErrMoved
		}
		return errors.Join(from.become(ctx, was.owner()), tx.forget(ctx, was))
	})
}

var errNotHere = errors.New("the move was not begun into this database")

// meet checks that no other process has the old database open and that both have the same tables,
// and returns the old one's meta.
func (d *DB) meet(ctx context.Context, from *DB, files fs.FS) (was meta, err error) {
	if from.engine != sqlite {
		return was, errors.New("only a SQLite database can be moved; for PostgreSQL use pg_dump")
	}
	if err := from.alone(ctx); err != nil {
		return was, err
	}
	if err := errors.Join(from.Migrate(ctx, files), d.Migrate(ctx, files)); err != nil {
		return was, err
	}
	was, err = from.meta(ctx, from)
	switch {
	case err == nil && was.id == "":
		err = errors.New("the old database is empty")
	case err == nil && was.component == movedAway:
		err = ErrMoved
	}
	return was, err
}

// expect marks d as the target of the move, or finds that mark. It refuses a database whose move
// into another one was begun.
func (d *DB) expect(ctx context.Context, was meta) error {
	return d.Tx(ctx, func(tx *Tx) error {
		is, err := tx.locked(ctx)
		switch {
		case err != nil:
			return err
		case is.id == was.id && (is.moving() || was.moving()):
			return nil
		case was.moving():
			return errNotHere
		case is.id != "":
			return fmt.Errorf("%w: a platform has served from it", ErrNotEmpty)
		}
		_, err = Exec(ctx, tx, `INSERT INTO meta (one, component, database_id, changes) VALUES (1, $1, $2, 0)`, moving+was.component, was.id)
		return err
	})
}

// copyAll copies the old database, unless that was done before. It checks again that no other
// process has it open: a process that opened it since it was marked has seen the mark, and one that
// had it open before is found now.
func (d *DB) copyAll(ctx context.Context, from *DB, was meta, progress func(table string, rows int)) error {
	if err := from.alone(ctx); err != nil {
		return err
	}
	source, err := from.pool.BeginTx(ctx, nil)
	if err != nil {
		return from.classify(err)
	}
	defer func() { _ = source.Rollback() }()
	m := mover{from: source, was: was, progress: progress}
	return d.within(ctx, movePatience, func(tx *Tx) error { return m.copy(ctx, tx) })
}

func (m meta) moving() bool  { return strings.HasPrefix(m.component, moving) }
func (m meta) owner() string { return strings.TrimPrefix(m.component, moving) }

// meta returns the row of meta, empty if the database was never claimed.
func (d *DB) meta(ctx context.Context, q Querier) (meta, error) {
	is, err := One(ctx, q, readMeta, `SELECT component, database_id FROM meta WHERE one = 1`)
	if errors.Is(err, ErrNone) {
		return meta{}, nil
	}
	return is, err
}

// locked reads meta and keeps it from changing until the transaction ends.
func (t *Tx) locked(ctx context.Context) (meta, error) {
	if err := t.lock(ctx); err != nil {
		return meta{}, err
	}
	return t.db.meta(ctx, t)
}

func (d *DB) become(ctx context.Context, component string) error {
	_, err := Exec(ctx, d, `UPDATE meta SET component = $1 WHERE one = 1`, component)
	return err
}

// forget removes the mark of a failed move from the database that was to be filled.
func (d *DB) forget(ctx context.Context, was meta) error {
	return d.Tx(ctx, func(tx *Tx) error { return tx.forget(ctx, was) })
}

func (t *Tx) forget(ctx context.Context, was meta) error {
	_, err := Exec(ctx, t, `DELETE FROM meta WHERE component = $1 AND database_id = $2`, moving+was.owner(), was.id)
	return err
}

// alone checks that no other process has the file open: only then can SQLite leave its write-ahead
// log.
func (d *DB) alone(ctx context.Context) error {
	d.pool.SetMaxOpenConns(1)
	var mode string
	if err := d.pool.QueryRowContext(ctx, `PRAGMA journal_mode = DELETE`).Scan(&mode); err != nil || mode != "delete" {
		return errors.Join(ErrInUse, err)
	}
	return nil
}

type mover struct {
	from     *sql.Tx
	was      meta
	progress func(table string, rows int)
}

func (m mover) copy(ctx context.Context, to *Tx) error {
	is, err := to.locked(ctx)
	if err != nil || is.id == m.was.id && !is.moving() {
		return err
	}
	if err := to.forget(ctx, m.was); err != nil {
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
	if _, err = Exec(ctx, to, `UPDATE meta SET component = $1 WHERE one = 1`, m.was.owner()); err != nil {
		return err
	}
	return to.note(ctx, "")
}

// tables returns our tables in the order of their creation: none refers to a later one.
func (m mover) tables(ctx context.Context) ([]string, error) {
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
		err = fmt.Errorf("%w: %s has rows", ErrNotEmpty, table)
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

// inserter collects rows and inserts many with one statement.
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
			row[i] = append([]byte{}, b...) // an empty value is not NULL
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

// quoted quotes a name from our own migrations.
func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
