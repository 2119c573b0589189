package db_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/seal"
	"wxplatform/internal/testenv"
)

var moving = fstest.MapFS{"0001_start.sql": {Data: []byte(`
CREATE TABLE meta (
  one         BIGINT PRIMARY KEY CHECK (one = 1),
  component   TEXT   NOT NULL,
  database_id TEXT   NOT NULL,
  changes     BIGINT NOT NULL
);
CREATE TABLE zoos (
  name TEXT PRIMARY KEY
);
CREATE TABLE animals (
  id     BIGINT PRIMARY KEY,
  zoo    TEXT   NOT NULL REFERENCES zoos (name),
  sealed BYTEA  NOT NULL,
  empty  BYTEA  NOT NULL
);
`)}}

// unmigrated opens the database at url as it is.
func unmigrated(t *testing.T, url string) *db.DB {
	t.Helper()
	d, err := db.Open(context.Background(), seal.NewSecret(url))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

const animals = 1234

// zoo creates a SQLite database with a value of every kind, and closes it.
func zoo(t *testing.T) (url string) {
	t.Helper()
	url = dbtest.SQLiteURL(t)
	d := unmigrated(t, url)
	err := errors.Join(d.Migrate(ctx, moving), d.Claim(ctx, "wx1"), d.Tx(ctx, func(tx *db.Tx) error {
		if _, err := db.Exec(ctx, tx, `INSERT INTO zoos (name) VALUES ('北京动物园')`); err != nil {
			return err
		}
		for i := range animals {
			if _, err := db.Exec(ctx, tx, `INSERT INTO animals (id, zoo, sealed, empty) VALUES ($1, '北京动物园', $2, $3)`, int64(i)<<40, []byte{0, byte(i), 0xff}, []byte{}); err != nil {
				return err
			}
		}
		return nil
	}), d.Close())
	if err != nil {
		t.Fatal(err)
	}
	return url
}

// targets runs test with an empty database of each engine.
func targets(t *testing.T, test func(t *testing.T, url string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, dbtest.SQLiteURL(t)) })
	if testenv.Get("TEST_POSTGRES_URL") != "" {
		t.Run("postgres", func(t *testing.T) { test(t, dbtest.PostgresURL(t)) })
	} else {
		t.Log("without PostgreSQL: TEST_POSTGRES_URL is not set; make test brings one up")
	}
}

func quiet(string, int) {}

func content(t *testing.T, d *db.DB) string {
	t.Helper()
	all, err := db.All(ctx, d, func(scan db.Scan) (string, error) {
		var id int64
		var zoo string
		var sealed, empty []byte
		err := scan(&id, &zoo, &sealed, &empty)
		return fmt.Sprintf("%d %s %x %x", id, zoo, sealed, empty), err
	}, `SELECT id, zoo, sealed, empty FROM animals ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, "\n")
}

func TestADatabaseIsMovedWhole(t *testing.T) {
	targets(t, func(t *testing.T, url string) {
		from, to := unmigrated(t, zoo(t)), unmigrated(t, url)
		told := map[string]int{}
		if err := to.Move(ctx, from, moving, func(table string, rows int) { told[table] = rows }); err != nil {
			t.Fatal(err)
		}
		if got, want := content(t, to), content(t, from); got != want || strings.Count(got, "\n") != animals-1 {
			t.Errorf("got other rows than there were")
		}
		if told["animals"] != animals || told["zoos"] != 1 {
			t.Errorf("was told of %v rows", told)
		}
		if err := to.Claim(ctx, "wx1"); err != nil {
			t.Errorf("got %v, want the new database to be the component's", err)
		}
		if err := from.Claim(ctx, "wx1"); !errors.Is(err, db.ErrMoved) {
			t.Errorf("got %v, want the old database to say that it was moved", err)
		}
		again := unmigrated(t, dbtest.SQLiteURL(t))
		if err := again.Move(ctx, from, moving, quiet); !errors.Is(err, db.ErrMoved) {
			t.Errorf("got %v, want it not to be moved twice", err)
		}
	})
}

func TestNothingIsMovedIntoADatabaseThatIsNotEmpty(t *testing.T) {
	targets(t, func(t *testing.T, url string) {
		from, to := unmigrated(t, zoo(t)), unmigrated(t, url)
		if err := to.Migrate(ctx, moving); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(ctx, to, `INSERT INTO zoos (name) VALUES ('another')`); err != nil {
			t.Fatal(err)
		}
		if err := to.Move(ctx, from, moving, quiet); !errors.Is(err, db.ErrNotEmpty) {
			t.Errorf("got %v, want it to say that it is not empty", err)
		}
		if err := from.Claim(ctx, "wx1"); err != nil {
			t.Errorf("got %v, want the old database to serve on", err)
		}
	})
}

func TestADatabaseInUseIsNotMoved(t *testing.T) {
	targets(t, func(t *testing.T, url string) {
		source := zoo(t)
		serving := unmigrated(t, source)
		from, to := unmigrated(t, source), unmigrated(t, url)
		if err := to.Move(ctx, from, moving, quiet); !errors.Is(err, db.ErrInUse) {
			t.Errorf("got %v, want it to say that it is in use", err)
		}
		if err := serving.Claim(ctx, "wx1"); err != nil {
			t.Errorf("got %v, want it to serve on", err)
		}
	})
}

// opening calls a function when a file is opened.
type opening struct {
	fs.FS
	happen func()
}

func (o opening) Open(name string) (fs.File, error) {
	o.happen()
	return o.FS.Open(name)
}

// A platform that starts after the first check and before the mark is found by the second check.
func TestADatabaseThatComesIntoUseMeanwhileIsNotMoved(t *testing.T) {
	targets(t, func(t *testing.T, url string) {
		source := zoo(t)
		from, to := unmigrated(t, source), unmigrated(t, url)
		var serving *db.DB
		files := opening{moving, func() {
			if serving == nil {
				serving = unmigrated(t, source)
				if err := serving.Claim(ctx, "wx1"); err != nil {
					t.Error(err)
				}
			}
		}}
		if err := to.Move(ctx, from, files, quiet); !errors.Is(err, db.ErrInUse) {
			t.Errorf("got %v, want it to say that it is in use", err)
		}
		if err := serving.Claim(ctx, "wx1"); err != nil {
			t.Errorf("got %v, want it to serve on", err)
		}
	})
}

// If something cannot be copied, nothing is.
func TestAMoveThatFailsLeavesBothAsTheyWere(t *testing.T) {
	targets(t, func(t *testing.T, url string) {
		from, to := unmigrated(t, zoo(t)), unmigrated(t, url)
		stopped, stop := context.WithCancel(ctx)
		defer stop()
		err := to.Move(stopped, from, moving, func(table string, rows int) {
			if table == "animals" {
				stop()
			}
		})
		if err == nil {
			t.Fatal("got it moved, want it stopped")
		}
		if got := content(t, to); got != "" {
			t.Errorf("got %d bytes moved, want nothing", len(got))
		}
		if marks, err := db.One(ctx, to, db.Value[int], `SELECT COUNT(*) FROM meta`); err != nil || marks != 0 {
			t.Errorf("got %d marks, %v, want none left on what was to be filled", marks, err)
		}
		if err := from.Claim(ctx, "wx1"); err != nil {
			t.Errorf("got %v, want the old database to serve on", err)
		}
		if err := to.Move(ctx, from, moving, quiet); err != nil {
			t.Errorf("got %v, want it moved at the second try", err)
		}
	})
}

func TestAFileThatIsNotThereIsNotMade(t *testing.T) {
	url := dbtest.SQLiteURL(t)
	if _, err := db.OpenExisting(ctx, seal.NewSecret(url)); err == nil {
		t.Error("got it opened")
	}
	if _, err := os.Stat(strings.TrimPrefix(url, "sqlite:")); !os.IsNotExist(err) {
		t.Errorf("got %v, want no file", err)
	}
}

// cutOff makes the process of a move die while a table is copied: nothing of it runs any more.
func cutOff(t *testing.T, from, to *db.DB) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Error("got the move to its end, want it cut off")
		}
	}()
	_ = to.Move(ctx, from, moving, func(table string, rows int) { panic("killed") })
}

func TestAMoveThatWasCutOffLeavesNoneServing(t *testing.T) {
	targets(t, func(t *testing.T, url string) {
		from, to := unmigrated(t, zoo(t)), unmigrated(t, url)
		cutOff(t, from, to)
		neitherServes(t, from, to)
		if err := unmigrated(t, dbtest.SQLiteURL(t)).Move(ctx, from, moving, quiet); err == nil {
			t.Error("got it moved to a third database, want it refused, for the second may be complete")
		}
		neitherServes(t, from, to)
		if err := to.Move(ctx, from, moving, quiet); err != nil {
			t.Fatal(err)
		}
		servesAlone(t, to, from)
	})
}

func neitherServes(t *testing.T, both ...*db.DB) {
	t.Helper()
	for _, d := range both {
		if err := d.Claim(ctx, "wx1"); !errors.Is(err, db.ErrMoving) {
			t.Errorf("%s: got %v, want it to say that a move was cut off", d.Engine(), err)
		}
	}
}

func servesAlone(t *testing.T, to, from *db.DB) {
	t.Helper()
	if got, want := content(t, to), content(t, from); got != want || strings.Count(got, "\n") != animals-1 {
		t.Error("got other rows than there were")
	}
	if err := to.Claim(ctx, "wx1"); err != nil {
		t.Errorf("got %v, want the new database to serve", err)
	}
	if err := from.Claim(ctx, "wx1"); !errors.Is(err, db.ErrMoved) {
		t.Errorf("got %v, want the old database to say that it was moved", err)
	}
}

// The process died between the copy's commit and the last mark: the new database serves, and the
// old one does not.
func TestAMoveThatWasCutOffBeforeItsLastMarkIsEnded(t *testing.T) {
	targets(t, func(t *testing.T, url string) {
		from, to := unmigrated(t, zoo(t)), unmigrated(t, url)
		if err := to.Move(ctx, from, moving, quiet); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(ctx, from, `UPDATE meta SET component = 'moving:wx1'`); err != nil {
			t.Fatal(err)
		}
		neitherServes(t, from)
		if _, err := db.Exec(ctx, to, `DELETE FROM animals WHERE id = 0`); err != nil { // it has served since
			t.Fatal(err)
		}
		if err := to.CancelMove(ctx, from, moving); !errors.Is(err, db.ErrMoved) {
			t.Errorf("got %v, want it not to be cancelled, for both would serve", err)
		}
		neitherServes(t, from)
		if err := to.Move(ctx, from, moving, func(string, int) { t.Error("copied again") }); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(to.Claim(ctx, "wx1"), from.Claim(ctx, "wx1")); !errors.Is(err, db.ErrMoved) {
			t.Errorf("got %v, want the old database alone to say that it was moved", err)
		}
	})
}

func TestAMoveThatWasCutOffIsCancelled(t *testing.T) {
	targets(t, func(t *testing.T, url string) {
		from, to := unmigrated(t, zoo(t)), unmigrated(t, url)
		cutOff(t, from, to)
		if err := unmigrated(t, dbtest.SQLiteURL(t)).CancelMove(ctx, from, moving); err == nil || errors.Is(err, db.ErrMoved) {
			t.Errorf("got %v, want it not cancelled by the word of a third database", err)
		}
		neitherServes(t, from, to)
		if err := to.CancelMove(ctx, from, moving); err != nil {
			t.Fatal(err)
		}
		if err := from.Claim(ctx, "wx1"); err != nil {
			t.Errorf("got %v, want the old database to serve again", err)
		}
		if err := to.Move(ctx, from, moving, quiet); err != nil {
			t.Errorf("got %v, want it to be moved later", err)
		}
	})
}

// A trial with a copy of the file leaves a database that looks complete but is old.
func TestAnEarlierCopyIsNotTakenForTheMove(t *testing.T) {
	targets(t, func(t *testing.T, url string) {
		source := zoo(t)
		from, to := unmigrated(t, source), unmigrated(t, url)
		trial := dbtest.SQLiteURL(t)
		if _, err := db.Exec(ctx, from, `VACUUM INTO $1`, strings.TrimPrefix(trial, "sqlite:")); err != nil {
			t.Fatal(err)
		}
		if err := to.Move(ctx, unmigrated(t, trial), moving, quiet); err != nil {
			t.Fatal(err)
		}
		if err := to.Move(ctx, from, moving, quiet); !errors.Is(err, db.ErrNotEmpty) {
			t.Errorf("got %v, want it to say that it is not empty", err)
		}
		if err := from.Claim(ctx, "wx1"); err != nil {
			t.Errorf("got %v, want the old database to serve on", err)
		}
	})
}
