package main

import (
	"bytes"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wxplatform/internal/dbtest"
	"wxplatform/internal/testenv"
)

// migrateFrom runs platform migrate --from, into the database at url.
func (w *world) migrateFrom(source, url string) (code int, printed string) {
	w.t.Helper()
	env := maps.Clone(w.env)
	env["PLATFORM_DATABASE_URL"] = url
	var out bytes.Buffer
	lookup := func(name string) (string, bool) { value, ok := env[name]; return value, ok }
	return run(shell{anyContext, &out, &out, lookup, noEnvironment}, []string{"migrate", "--from", source}), out.String()
}

// Afterwards PostgreSQL has everything that SQLite had: the same JWTs, clients, merchants and
// tokens work, and no token is requested again.
func TestThePlatformMovesFromSQLiteToAnotherDatabase(t *testing.T) {
	t.Parallel()
	targetURLs := map[string]string{"sqlite": dbtest.SQLiteURL(t)}
	w := sqliteWorld(t)
	if testenv.Get("TEST_POSTGRES_URL") != "" {
		targetURLs["postgres"] = dbtest.PostgresURL(t)
	}
	w.grant(service, "1")
	w.settles()
	for name, target := range targetURLs {
		t.Run(name, func(t *testing.T) {
			if code, printed := w.migrateFrom(w.env["PLATFORM_DATABASE_URL"], target); code != 1 || !strings.Contains(printed, "another process has the database open") {
				t.Fatalf("got %d and %q, want a database that is served from refused", code, printed)
			}
			stopped := filepath.Join(t.TempDir(), "stopped.db") // as the file is when the platform is stopped
			w.exec(`VACUUM INTO $1`, stopped)
			if code, printed := w.migrateFrom("sqlite:"+stopped, target); code != 0 || !strings.Contains(printed, "authorizers: 1 rows") {
				t.Fatalf("got %d and %q, want everything moved", code, printed)
			}
			before := w.sim.Calls(refreshPath)
			was, _ := w.entries(0)
			moved := w.replica(map[string]string{"PLATFORM_DATABASE_URL": target})
			w.open(kfAccount)
			moved.ok(moved.shut(kfAccount))
			if is, _ := moved.entries(0); len(is) <= len(was) || !slices.Equal(is[:len(was)], was) || is[len(was)] != "OPERATOR database.move - "+name+" - -" {
				t.Errorf("got the trail %q, want all that there was and the move: %q", is, was)
			}
			if asked := w.sim.Calls(refreshPath) - before; asked != 0 {
				t.Errorf("got %d calls for a token, want none", asked)
			}
			if code, printed := w.migrateFrom("sqlite:"+stopped, dbtest.SQLiteURL(t)); code != 1 || !strings.Contains(printed, "moved to another one") {
				t.Errorf("got %d and %q, want it not to be moved twice", code, printed)
			}
			if code, printed := w.migrateFrom("sqlite:"+stopped+".not", dbtest.SQLiteURL(t)); code != 1 || !strings.Contains(printed, "--from") {
				t.Errorf("got %d and %q, want a file that is not there named", code, printed)
			}
		})
	}
}
