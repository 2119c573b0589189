// Package dbtest hands tests real databases: SQLite in a temporary directory, and PostgreSQL and Redis where TEST_POSTGRES_URL and TEST_REDIS_URL say so (make test brings them up).
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

// Each runs test once an engine, beside other tests: on SQLite always, on PostgreSQL where there is one.
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

// SQLite is an empty, migrated database of Component.
func SQLite(t testing.TB) *db.DB { return Open(t, SQLiteURL(t)) }

// SQLiteURL is the URL of a database that does not exist yet.
func SQLiteURL(t testing.TB) string { return "sqlite:" + filepath.Join(t.TempDir(), "platform.db") }

// Postgres is an empty, migrated database of Component, dropped when the test ends.
func Postgres(t testing.TB) *db.DB { return Open(t, PostgresURL(t)) }

// PostgresURL makes an empty database on the test's server and returns its URL.
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

// RedisURLs are the Redis servers to test against: the in-process one ("") always, a real one where TEST_REDIS_URL says so.
func RedisURLs(t testing.TB) []string {
	t.Helper()
	if server := testenv.Get("TEST_REDIS_URL"); server != "" {
		return []string{"", server}
	}
	t.Log("without a redis-server: TEST_REDIS_URL is not set; make test brings one up")
	return []string{""}
}

// Ring is a ring of one fresh key.
func Ring(t testing.TB) *seal.Ring {
	t.Helper()
	ring, err := seal.NewRing(seal.NewSecret(seal.NewKey()))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// Overtaken fails unless resealing the one row of a table gives way to whoever saves it between its reading and its writing, as save does with the new value.
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

// TimeReadEarly has two act at once, of whom the first is told an earlier time than the second, but late: when the second has ended, or after 300 ms where that one waits for the first.
// So one who reads the time before he waits for a lock, rather than under it, acts on what the other left there as if that were in the future. act is told who acts, 0 or 1.
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
