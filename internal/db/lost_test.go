package db_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/testenv"
)

// onPostgres is for promises about connections, which SQLite does not have.
func onPostgres(t *testing.T) (d *db.DB, ok bool) {
	t.Helper()
	if testenv.Get("TEST_POSTGRES_URL") == "" {
		t.Log("without PostgreSQL: TEST_POSTGRES_URL is not set; make test brings one up")
		return nil, false
	}
	return dbtest.Postgres(t), true
}

// crowd runs act in as many goroutines as there are connections, all at once, and counts the
// failures.
func crowd(act func() error) int {
	var failed atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if act() != nil {
				failed.Add(1)
			}
		})
	}
	all.Wait()
	return int(failed.Load())
}

// cutAll returns a function that ends every connection of the pool. None was idle for as long as a
// second.
func cutAll(t *testing.T, d *db.DB) (cut func()) {
	t.Helper()
	other := dbtest.Postgres(t)
	name, err := db.One(ctx, d, db.Value[string], `SELECT current_database()`)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		for range 2 { // the first round opens them, one by one
			if failed := crowd(func() error { return exec(d, `SELECT pg_sleep(0.1)`) }); failed > 0 {
				t.Fatalf("%d of 16 connections could not be had", failed)
			}
		}
		for left := 16; left > 0; {
			if left, err = db.One(ctx, other, db.Value[int], `
				SELECT COUNT(pg_terminate_backend(pid))
				FROM pg_stat_activity
				WHERE datname = $1`, name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func exec(d *db.DB, text string) error {
	_, err := db.Exec(ctx, d, text)
	return err
}

func TestNoReadFailsWhenAllConnectionsWereCut(t *testing.T) {
	d, ok := onPostgres(t)
	if !ok {
		return
	}
	cut := cutAll(t, d)
	for range 3 {
		cut()
		failed := crowd(func() error {
			_, err := db.One(ctx, d, db.Value[int], `SELECT 1`)
			return err
		})
		if failed > 0 {
			t.Errorf("%d of 16 reads failed, want none", failed)
		}
	}
}

func TestNoTransactionFailsWhenAllConnectionsWereCut(t *testing.T) {
	d, ok := onPostgres(t)
	if !ok {
		return
	}
	before, cut := counter(t, d), cutAll(t, d)
	for range 3 {
		cut()
		failed := crowd(func() error { return d.Tx(ctx, func(tx *db.Tx) error { tx.Changed(); return nil }) })
		if failed > 0 {
			t.Errorf("%d of 16 transactions failed, want none", failed)
		}
	}
	if got := counter(t, d); got < before+48 {
		t.Errorf("the counter rose by %d, want each of 48 counted", got-before)
	}
}

// When connections were cut, only one statement fails: the other connections are tried before they
// are used.
func TestOnlyOneStatementFailsWhenConnectionsWereCut(t *testing.T) {
	d, ok := onPostgres(t)
	if !ok {
		return
	}
	cutAll(t, d)()
	failed := 0
	for range 20 {
		if exec(d, `SELECT 1`) != nil { // not repeated, because it might have written
			failed++
		}
	}
	if failed > 1 {
		t.Errorf("%d statements met a dead connection one after the other, want one at most", failed)
	}
}

// Each of these statements ends its own connection, and first counts itself in a way that no
// rollback undoes.
var suicide = []string{
	`CREATE SEQUENCE tries`,
	`CREATE FUNCTION die() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('tries'), pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(1); RETURN 1; END $$`,
	`CREATE FUNCTION die_then() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM die(); RETURN NULL; END $$`,
	`CREATE TABLE deadly (n int)`,
	`CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON deadly DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die_then()`,
}

func tries(t *testing.T, d *db.DB) int {
	t.Helper()
	n, err := db.One(ctx, d, db.Value[int], `SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM tries`)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWhatIsRepeatedWhenAConnectionEnds(t *testing.T) {
	for name, c := range map[string]struct {
		act  func(d *db.DB) error
		want int
	}{
		"a read, once": {func(d *db.DB) error {
			_, err := db.One(ctx, d, db.Value[int], `SELECT die()`)
			return err
		}, 2},
		"no lone statement, for it might have written": {func(d *db.DB) error { return exec(d, `SELECT die()`) }, 1},
		"a transaction before its commit, once": {func(d *db.DB) error {
			return d.Tx(ctx, func(tx *db.Tx) error { _, err := db.Exec(ctx, tx, `SELECT die()`); return err })
		}, 2},
		"no read within a transaction but the whole": {func(d *db.DB) error {
			return d.Tx(ctx, func(tx *db.Tx) error { _, err := db.One(ctx, tx, db.Value[int], `SELECT die()`); return err })
		}, 2},
		"no transaction whose commit was sent": {func(d *db.DB) error {
			return d.Tx(ctx, func(tx *db.Tx) error { _, err := db.Exec(ctx, tx, `INSERT INTO deadly (n) VALUES (1)`); return err })
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			d, ok := onPostgres(t)
			if !ok {
				return
			}
			for _, text := range suicide {
				if err := exec(d, text); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.act(d); !errors.Is(err, db.ErrUnavailable) {
				t.Errorf("got %v, want ErrUnavailable", err)
			}
			if got := tries(t, d); got != c.want {
				t.Errorf("it was tried %d times, want %d", got, c.want)
			}
		})
	}
}

func TestATransactionWhoseConnectionEndedTakesPlaceOnce(t *testing.T) {
	d, ok := onPostgres(t)
	if !ok {
		return
	}
	before := counter(t, d)
	runs := 0
	err := d.Tx(ctx, func(tx *db.Tx) error {
		tx.Changed()
		if runs++; runs == 1 {
			_, err := db.Exec(ctx, tx, `SELECT pg_terminate_backend(pg_backend_pid())`)
			return err
		}
		return nil
	})
	if err != nil || runs != 2 || counter(t, d) == before || d.Changes() != 1 {
		t.Errorf("got %v after %d runs and %d changes, want success after 2 and 1", err, runs, d.Changes())
	}
}
