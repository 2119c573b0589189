// Package dbtest gives tests real databases: SQLite in a temporary directory, and PostgreSQL and
// Redis if TEST_POSTGRES_URL and TEST_REDIS_URL are set (make test starts both).
package dbtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // names the driver "pgx"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
	"wxplatform/internal/testenv"
	"wxplatform/migrations"
)

// Component is the appid that test databases belong to.
const Component = "wx0123456789abcdef"

// Each runs test on each engine, in parallel with other tests: on SQLite always, on PostgreSQL if
// there is one.
func Each(t *testing.T, test func(t *testing.T, d *db.DB)) {
	t.Helper()
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) { t.Parallel(); test(t, SQLite(t)) })
	if server := testenv.Get("TEST_POSTGRES_URL"); server != "" {
		t.Run("postgres", func(t *testing.T) { t.Parallel(); test(t, Postgres(t)) })
	} else {
		t.Log("without PostgreSQL: TEST_POSTGRES_URL is not set; make test brings one up")
	}
}

// SQLite returns an empty, migrated database of Component.
func SQLite(t testing.TB) *db.DB { return Open(t, SQLiteURL(t)) }

// SQLiteURL returns the URL of a database that does not exist yet.
func SQLiteURL(t testing.TB) string { return "sqlite:" + filepath.Join(t.TempDir(), "platform.db") }

// Postgres returns an empty, migrated database of Component, which is dropped when the test ends.
func Postgres(t testing.TB) *db.DB { return Open(t, PostgresURL(t)) }

// PostgresURL creates an empty database on the test's server and returns its URL.
func PostgresURL(t testing.TB) string {
	t.Helper()
	server := testenv.Get("TEST_POSTGRES_URL")
	admin, err := sql.Open("pgx", server)
	if err != nil {
		t.Fatalf("PostgreSQL at TEST_POSTGRES_URL: %v", err)
	}
	name := "test_" + strings.ToLower(rand.Text()[:12])
	if _, err := admin.Exec("CREATE DATABASE " + name); err != nil {
		t.Fatalf("make a database at TEST_POSTGRES_URL: %v", err)
	}
	t.Cleanup(func() {
		_, err := admin.Exec("DROP DATABASE " + name + " WITH (FORCE)")
		if err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
		_ = admin.Close()
	})
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal("TEST_POSTGRES_URL is no URL")
	}
	u.Path = "/" + name
	return u.String()
}

// Open opens, migrates and claims the database at url.
func Open(t testing.TB, url string) *db.DB {
	t.Helper()
	ctx := context.Background()
	d, err := db.Open(ctx, seal.NewSecret(url))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	if err := d.Migrate(ctx, migrations.Files); err != nil {
		t.Fatal(err)
	}
	if err := d.Claim(ctx, Component); err != nil {
		t.Fatal(err)
	}
	return d
}

// RedisURLs returns the Redis servers to test with: "" for the in-process one, and TEST_REDIS_URL
// if it is set.
func RedisURLs(t testing.TB) []string {
	t.Helper()
	if server := testenv.Get("TEST_REDIS_URL"); server != "" {
		return []string{"", server}
	}
	t.Log("without a redis-server: TEST_REDIS_URL is not set; make test brings one up")
	return []string{""}
}

// Ring returns a ring with one new key.
func Ring(t testing.TB) *seal.Ring {
	t.Helper()
	ring, err := seal.NewRing(seal.NewSecret(seal.NewKey()))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// Overtaken checks that resealing the only row of a table does not replace a value that was saved
// between its read and its write. save is a statement that saves the value $1.
func Overtaken(t *testing.T, d *db.DB, table db.SealedTable, save string) {
	t.Helper()
	ctx := context.Background()
	rows, err := table.Read(ctx, d, "", 10)
	if err != nil || len(rows) != 1 {
		t.Fatalf("got %d rows, %v, want one", len(rows), err)
	}
	replace := func(value string) (mine bool) {
		t.Helper()
		err := d.Tx(ctx, func(tx *db.Tx) (err error) {
			mine, err = table.Replace(ctx, tx, rows[0], [][]byte{[]byte(value)})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return mine
	}
	if !replace("resealed") || replace("resealed again") {
		t.Error("got the row as it was read not replaced, or another one replaced")
	}
	if _, err := db.Exec(ctx, d, save, []byte("newer")); err != nil {
		t.Fatal(err)
	}
	if replace("older") {
		t.Error("got a newer value replaced")
	}
	if rows, err = table.Read(ctx, d, "", 10); err != nil || len(rows) != 1 || string(rows[0].Sealed[0]) != "newer" {
		t.Errorf("got %q, %v, want the newer value", rows, err)
	}
}

// TimeReadEarly runs act(0) and act(1) at once. act(0) gets an earlier time than act(1), but gets
// it late: after act(1) has returned, or after 300 ms if act(1) waits for act(0). So code that
// reads the time before it waits for a lock, instead of under the lock, sees the other's changes as
// if they were in the future.
func TimeReadEarly(d *db.DB, act func(who int)) {
	began, second := time.Now(), make(chan struct{})
	var asked atomic.Int64
	d.Clock = func() time.Time {
		if asked.Add(1) > 1 {
			return began.Add(time.Millisecond)
		}
		select {
		case <-second:
		case <-time.After(300 * time.Millisecond):
		}
		return began
	}
	var both sync.WaitGroup
	for who := range 2 {
		both.Go(func() {
			act(who)
			if who == 1 {
				close(second)
			}
		})
		time.Sleep(50 * time.Millisecond)
	}
	both.Wait()
}
