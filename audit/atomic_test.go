package audit

import (
	"context"
	"errors"
	"slices"
	"testing"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/testenv"
)

// onPostgres is for promises about connections and commits, of which SQLite has one at a time.
func onPostgres(t *testing.T) (d *db.DB, ok bool) {
	t.Helper()
	t.Parallel()
	if testenv.Get("TEST_POSTGRES_URL") == "" {
		t.Log("without PostgreSQL: TEST_POSTGRES_URL is not set; make test brings one up")
		return nil, false
	}
	return dbtest.Postgres(t), true
}

// open makes a tenant and its entry, and calls last before the commit.
func open(d *db.DB, name string, last func(context.Context, *db.Tx) error) error {
	return d.Tx(ctx, func(tx *db.Tx) error {
		Record(ctx, tx, alice, of(Owner(name), name))
		tx.Last(func(ctx context.Context) error { return last(ctx, tx) })
		_, err := db.Exec(ctx, tx, `INSERT INTO tenants (id, name, redirects, created_at) VALUES ($1, 'Tea', '[]', 1)`, name)
		return err
	})
}

func nothing(context.Context, *db.Tx) error { return nil }

// leaves fails unless there are exactly these tenants, and an entry for each, in this order.
func leaves(t *testing.T, d *db.DB, want ...string) {
	t.Helper()
	tenants, err := db.All(ctx, d, db.Value[string], `SELECT id FROM tenants`)
	if err != nil {
		t.Fatal(err)
	}
	var entries []string
	for _, e := range all(t, d) {
		entries = append(entries, e.Subject)
	}
	if slices.Sort(tenants); !slices.Equal(tenants, slices.Sorted(slices.Values(want))) || !slices.Equal(entries, want) {
		t.Errorf("got the tenants %q and the entries %q, want %q of both", tenants, entries, want)
	}
}

func TestAnOutageLeavesTheChangeAndItsEntryOrNeither(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		fate := db.Done
		d.Gate = func(_ context.Context, text string, _ []any) db.Fate {
			if text == "" { // a transaction
				return fate
			}
			return db.Done
		}
		for _, c := range []struct {
			fate db.Fate
			id   string
			want []string
		}{{db.Refused, "a", nil}, {db.Undone, "a", nil}, {db.Unheard, "a", []string{"a"}}, {db.Undone, "b", []string{"a"}}, {db.Unheard, "b", []string{"a", "b"}}} {
			fate = c.fate
			if err := open(d, c.id, nothing); !errors.Is(err, db.ErrUnavailable) {
				t.Errorf("fate %v: got %v, want ErrUnavailable", c.fate, err)
			}
			leaves(t, d, c.want...)
		}
	})
}

func TestAConnectionThatBreaksBeforeTheCommitDoublesNoEntry(t *testing.T) {
	d, ok := onPostgres(t)
	if !ok {
		return
	}
	for _, c := range []struct {
		id     string
		breaks int // so many attempts
		want   []string
		err    error
	}{{"a", 1, []string{"a"}, nil}, {"b", 5, []string{"a"}, db.ErrUnavailable}} {
		left := c.breaks
		err := open(d, c.id, func(ctx context.Context, tx *db.Tx) error {
			if left--; left < 0 {
				return nil
			}
			_, err := db.Exec(ctx, tx, `SELECT pg_terminate_backend(pg_backend_pid())`)
			return err
		})
		if left >= c.breaks || !errors.Is(err, c.err) {
			t.Errorf("%d breaks: got %v, want %v", c.breaks, err, c.err)
		}
		leaves(t, d, c.want...)
	}
}

// A transaction that takes its ID second never commits first: a follower would pass over the ID of
// the first.
func TestAnEntryIsNeverSeenBeforeOneWithASmallerID(t *testing.T) {
	d, ok := onPostgres(t)
	if !ok {
		return
	}
	numbered, release, first, second := make(chan struct{}), make(chan struct{}), make(chan error, 1), make(chan error, 1)
	go func() {
		first <- open(d, "a", func(context.Context, *db.Tx) error { close(numbered); <-release; return nil })
	}()
	<-numbered
	go func() { second <- open(d, "b", nothing) }()
	for waiting := 0; waiting == 0 && len(second) == 0; {
		var err error
		if waiting, err = db.One(ctx, d, db.Value[int], `
			SELECT COUNT(*)
			FROM pg_locks
			WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`); err != nil {
			t.Fatal(err)
		}
	}
	if seen := all(t, d); len(seen) > 0 {
		t.Errorf("got %+v, want nothing before the first commit", seen)
	}
	close(release)
	if err := errors.Join(<-first, <-second); err != nil {
		t.Fatal(err)
	}
	leaves(t, d, "a", "b")
}
