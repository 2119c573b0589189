package db_test

import (
	"context"
	"errors"
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
