package db_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/seal"
)

var ctx = context.Background()

func TestADatabaseBelongsToOneComponent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		id := d.ID()
		if err := d.Claim(ctx, dbtest.Component); err != nil || d.ID() != id || len(id) != 12 {
			t.Errorf("got %v and id %q, want the same id %q again", err, d.ID(), id)
		}
		if err := d.Claim(ctx, "wxffffffffffffffff"); !errors.Is(err, db.ErrOtherComponent) {
			t.Errorf("got %v, want ErrOtherComponent", err)
		}
	})
}

func TestOnlyChangedRaisesTheCounter(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		first := counter(t, d)
		if err := d.Tx(ctx, func(*db.Tx) error { return nil }); err != nil || counter(t, d) != first {
			t.Fatalf("got %v and another number, want it left alone", err)
		}
		raise(t, d)
		second := counter(t, d)
		if second <= first || d.Changes() != 1 {
			t.Errorf("got %d after %d and %d changes, want a higher number and 1", second, first, d.Changes())
		}
		boom := errors.New("boom")
		if err := d.Tx(ctx, func(tx *db.Tx) error { tx.Changed(); return boom }); !errors.Is(err, boom) || counter(t, d) != second || d.Changes() != 1 {
			t.Errorf("got %v, want a rollback to raise nothing", err)
		}
	})
}

func TestTheCounterIsNeverBehindTheClock(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		d.Clock = func() time.Time { return time.UnixMilli(1_000_000) }
		raise(t, d)
		if got := counter(t, d); got != 1_000_000 {
			t.Errorf("got %d, want the clock's 1000000", got)
		}
		raise(t, d)
		if got := counter(t, d); got != 1_000_001 {
			t.Errorf("got %d, want one more", got)
		}
	})
}

func TestNumbersAreSeenInOrder(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		before := counter(t, d)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { raise(t, d) })
		}
		all.Wait()
		if got := counter(t, d); got < before+8 {
			t.Errorf("got %d after 8 from %d, want each counted", got, before)
		}
	})
}

func TestTheDatabasesTimeIsRight(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		now, err := db.Now(ctx, d)
		if off := time.Since(now).Abs(); err != nil || off > 10*time.Second {
			t.Errorf("got %v off, %v", off, err)
		}
	})
}

func TestATakenKeyIsAConflictAndNothingElseIs(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		insert := func() error {
			_, err := db.Exec(ctx, d, `INSERT INTO tenants (id, name, redirects, created_at) VALUES ('t1', 'x', '[]', 1)`)
			return err
		}
		if err := insert(); err != nil {
			t.Fatal(err)
		}
		if err := insert(); !errors.Is(err, db.ErrConflict) || errors.Is(err, db.ErrUnavailable) {
			t.Errorf("got %v, want ErrConflict", err)
		}
		if _, err := db.Exec(ctx, d, `INSERT INTO nowhere (id) VALUES (1)`); !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
		if _, err := db.One(ctx, d, db.Value[string], `SELECT id FROM tenants WHERE id = $1`, "t2"); !errors.Is(err, db.ErrNone) {
			t.Errorf("got %v, want ErrNone", err)
		}
	})
}

func TestAClosedDatabaseIsUnavailableAndNeverEmpty(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		_, reading := db.One(ctx, d, db.Value[string], `SELECT id FROM tenants WHERE id = 't1'`)
		writing := d.Tx(ctx, func(*db.Tx) error { return nil })
		for _, err := range []error{reading, writing, d.Ping(ctx)} {
			if !errors.Is(err, db.ErrUnavailable) || errors.Is(err, db.ErrNone) {
				t.Errorf("got %v, want ErrUnavailable", err)
			}
		}
	})
}

func TestMigrationsRunOnceThoughManyStartAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		files := fstest.MapFS{"9001_x.sql": {Data: []byte("CREATE TABLE once (n BIGINT);\nINSERT INTO once (n) VALUES (1);\n")}}
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if err := d.Migrate(ctx, files); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n, err := db.One(ctx, d, db.Value[int], `SELECT COUNT(*) FROM once`); err != nil || n != 1 {
			t.Errorf("got %d rows, %v, want 1", n, err)
		}
	})
}

func TestAMigrationThatFailsLeavesNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		bad := fstest.MapFS{"9002_x.sql": {Data: []byte("CREATE TABLE half (n BIGINT);\nINSERT INTO nowhere (n) VALUES (1);\n")}}
		if err := d.Migrate(ctx, bad); err == nil || !strings.Contains(err.Error(), "9002_x.sql") {
			t.Fatalf("got %v, want a failure that names the file", err)
		}
		if _, err := db.Exec(ctx, d, `INSERT INTO half (n) VALUES (1)`); err == nil {
			t.Error("got the first half of a failed migration, want none")
		}
	})
}

func TestNoErrorShowsThePassword(t *testing.T) {
	for _, url := range []string{"postgres://u:canary-pw@127.0.0.1:1/x", "postgres://u:canary-pw@[bad/x", "mysql://u:canary-pw@h/x", "postgres://u:canary-pw@127.0.0.1:1/x?sslmode=bogus"} {
		_, err := db.Open(ctx, seal.NewSecret(url))
		if err == nil || strings.Contains(err.Error(), "canary-pw") {
			t.Errorf("got %v, want an error without the password", err)
		}
	}
}

func counter(t *testing.T, d *db.DB) int64 {
	t.Helper()
	n, err := d.Counter(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func raise(t *testing.T, d *db.DB) {
	t.Helper()
	if err := d.Tx(ctx, func(tx *db.Tx) error { tx.Changed(); return nil }); err != nil {
		t.Error(err)
	}
}

func TestATextThatSQLCannotStoreIsRefusedAndIsNotAnOutage(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		type id string
		byAddress := id("\xff")
		for _, bad := range []any{"a\x00", "\xff", id("\xff"), &byAddress} {
			_, reading := db.One(ctx, d, db.Value[string], `SELECT id FROM tenants WHERE id = $1`, bad)
			_, writing := db.Exec(ctx, d, `INSERT INTO tenants (id, name, redirects, created_at) VALUES ($1, 'x', '[]', 1)`, bad)
			for _, err := range []error{reading, writing} {
				if !errors.Is(err, db.ErrText) || errors.Is(err, db.ErrUnavailable) || errors.Is(err, db.ErrNone) {
					t.Errorf("%q: got %v, want ErrText", bad, err)
				}
			}
		}
	})
}

// An older program may go on with newer tables, and be started on them again, as far as the
// migrations that made them allow.
func TestAProgramThatIsTooOldForTheTablesDoesNotStart(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		newer := fstest.MapFS{
			"9001_a.sql": {Data: []byte("SELECT 1;\n")},
			"9002_b.sql": {Data: []byte("-- oldest: 9001\n-- It adds a column.\nSELECT 1;\n")},
			"9003_c.sql": {Data: []byte("SELECT 1;\n")},
		}
		older := func(names ...string) fstest.MapFS {
			files := fstest.MapFS{}
			for _, name := range names {
				files[name] = newer[name]
			}
			return files
		}
		if err := d.Migrate(ctx, older("9001_a.sql", "9002_b.sql")); err != nil {
			t.Fatal(err)
		}
		names, err := d.Newer(ctx, older("9001_a.sql"))
		if err != nil || !slices.ContainsFunc(names, func(m db.Migration) bool { return m.Name == "9002_b.sql" && m.Program != "" }) || d.Migrate(ctx, older("9001_a.sql")) != nil {
			t.Errorf("got %v, %v, want a program that has 9001 to work", names, err)
		}
		if err := d.Migrate(ctx, newer); err != nil {
			t.Fatal(err)
		}
		for _, tooOld := range []fstest.MapFS{older("9001_a.sql"), older("9001_a.sql", "9002_b.sql")} {
			err := d.Migrate(ctx, tooOld)
			if !errors.Is(err, db.ErrTooNew) || !strings.Contains(err.Error(), "9003_c.sql") || strings.Count(err.Error(), "version") != 2 {
				t.Errorf("got %v, want ErrTooNew, the migration and both versions named", err)
			}
		}
		if _, err := db.Exec(ctx, d, `UPDATE migrations SET oldest = '' WHERE name = '9003_c.sql'`); err != nil {
			t.Fatal(err)
		}
		if err := d.Migrate(ctx, older("9001_a.sql")); err != nil {
			t.Errorf("got %v, want one that an earlier release ran to forbid nothing", err)
		}
	})
}

// The tables of a release that did not record programs get the columns.
func TestMigrationsOfAnEarlierReleaseAreKept(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, text := range []string{`ALTER TABLE migrations DROP COLUMN oldest`, `ALTER TABLE migrations DROP COLUMN program`} {
			if _, err := db.Exec(ctx, d, text); err != nil {
				t.Fatal(err)
			}
		}
		if names, err := d.Newer(ctx, fstest.MapFS{"0001_x.sql": {}}); len(names) > 0 || err != nil {
			t.Errorf("got %v, %v, want nothing known", names, err)
		}
		if err := d.Migrate(ctx, fstest.MapFS{"9001_a.sql": {Data: []byte("SELECT 1;\n")}}); err != nil {
			t.Fatal(err)
		}
		if n, err := db.One(ctx, d, db.Value[int], `SELECT COUNT(*) FROM migrations WHERE program <> ''`); n != 1 || err != nil {
			t.Errorf("got %d migrations with a program, %v, want the new one", n, err)
		}
	})
}

func TestTheCauseOfAFailedWriteIsNamed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		want := map[string]error{"sqlite": db.ErrFull, "postgres": db.ErrReadOnly}[d.Engine()]
		err := d.Tx(ctx, func(tx *db.Tx) error {
			if _, err := db.All(ctx, tx, db.Value[any], d.For(db.Text{SQLite: `PRAGMA max_page_count = 1`, Postgres: `SELECT set_config('transaction_read_only', 'on', true)`})); err != nil {
				return err
			}
			_, err := db.Exec(ctx, tx, `INSERT INTO migrations (name) VALUES ($1)`, strings.Repeat("x", 1<<20))
			return err
		})
		if !errors.Is(err, want) || !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("got %v, want %v", err, want)
		}
	})
}

func TestARightThatTheUserLacksIsNamed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		if d.Engine() != "postgres" {
			return
		}
		err := d.Tx(ctx, func(tx *db.Tx) error {
			for _, text := range []string{`CREATE ROLE nobody_here`, `SET LOCAL ROLE nobody_here`} {
				if _, err := db.Exec(ctx, tx, text); err != nil {
					return err
				}
			}
			_, err := db.Exec(ctx, tx, `INSERT INTO migrations (name) VALUES ('x')`)
			return err
		})
		if !errors.Is(err, db.ErrRights) {
			t.Errorf("got %v, want ErrRights", err)
		}
	})
}

func TestWhatComesLastIsPartOfTheTransaction(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		var order []string
		insert := func(tx *db.Tx, id string) error {
			order = append(order, id)
			_, err := db.Exec(ctx, tx, `INSERT INTO tenants (id, name, redirects, created_at) VALUES ($1, 'x', '[]', 1)`, id)
			return err
		}
		boom := errors.New("boom")
		try := func(fails error) error {
			order = nil
			return d.Tx(ctx, func(tx *db.Tx) error {
				tx.Last(func(context.Context) error { return insert(tx, "second") })
				tx.Last(func(context.Context) error { return errors.Join(insert(tx, "third"), fails) })
				return insert(tx, "first")
			})
		}
		if err := try(boom); !errors.Is(err, boom) {
			t.Errorf("got %v, want boom", err)
		}
		if err := try(nil); err != nil || strings.Join(order, " ") != "first second third" { // nothing was left of the one before
			t.Errorf("got %v and %q, want all in their order", err, order)
		}
		if n, err := db.One(ctx, d, db.Value[int], `SELECT COUNT(*) FROM tenants`); err != nil || n != 3 {
			t.Errorf("got %d rows, %v, want 3", n, err)
		}
	})
}

func TestAStatementOfAMigrationMayBeForOneEngine(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		files := fstest.MapFS{"9003_x.sql": {Data: []byte("CREATE TABLE engine (name TEXT);\n-- only sqlite\nINSERT INTO engine (name) VALUES ('sqlite');\n-- only postgres\nINSERT INTO engine (name) VALUES ('postgres');\n")}}
		if err := d.Migrate(ctx, files); err != nil {
			t.Fatal(err)
		}
		if got, err := db.All(ctx, d, db.Value[string], `SELECT name FROM engine`); err != nil || len(got) != 1 || got[0] != d.Engine() {
			t.Errorf("got %q, %v, want %s alone", got, err, d.Engine())
		}
	})
}
