package db_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
	"wxplatform/internal/seal"
	"wxplatform/migrations"
)

func ring(t *testing.T, keys string) *seal.Ring {
	t.Helper()
	r, err := seal.NewRing(seal.NewSecret(keys))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAMissingKeyIsReported(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		old, young := seal.NewKey(), seal.NewKey()
		now := time.Now()
		d.Clock = func() time.Time { now = now.Add(time.Millisecond); return now } // so that no two steps are in the same millisecond
		for _, step := range []struct {
			keys    string
			missing bool
		}{{old, false}, {old, false}, {young, true}, {old, false}, {old + "," + young, false}, {young + "," + old, false}, {old, true}, {young + "," + old, false}} {
			err := d.AdoptKeys(ctx, ring(t, step.keys))
			if errors.Is(err, db.ErrMissingKey) != step.missing || err != nil && !step.missing {
				t.Errorf("got %v, want a key missing: %v", err, step.missing)
			}
		}
		keys, err := d.SealingKeys(ctx)
		if err != nil || len(keys) != 2 || keys[0].ID != ring(t, young).Keys()[0] || time.Since(keys[0].Seen).Abs() > time.Minute {
			t.Errorf("got %v, %v, want both, the one used last first", keys, err)
		}
	})
}

func TestTheSecondProcessWithAnotherKeyIsRefused(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		var starting sync.WaitGroup
		errs := make([]error, 4)
		for i := range errs {
			own := ring(t, seal.NewKey())
			starting.Go(func() { errs[i] = d.AdoptKeys(context.Background(), own) })
		}
		starting.Wait()
		adopted := 0
		for _, err := range errs {
			if err == nil {
				adopted++
			} else if !errors.Is(err, db.ErrMissingKey) {
				t.Error(err)
			}
		}
		if adopted != 1 {
			t.Errorf("got %d adopted, want one", adopted)
		}
	})
}

func TestAKeyIsForgottenUnlessItIsUsedMeanwhile(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		at := time.Now()
		d.Clock = func() time.Time { return at }
		own := ring(t, seal.NewKey())
		if err := d.StillSeals(ctx, own); err != nil {
			t.Fatal(err)
		}
		read, err := d.SealingKeys(ctx)
		if err != nil || len(read) != 1 {
			t.Fatalf("got %v, %v, want the one", read, err)
		}
		at = at.Add(time.Second)
		if err := d.StillSeals(ctx, own); err != nil {
			t.Fatal(err)
		}
		if gone, err := forget(d, read[0]); err != nil || gone {
			t.Errorf("got it forgotten: %v, %v, want it kept: it was used meanwhile", gone, err)
		}
		read, _ = d.SealingKeys(ctx)
		if gone, err := forget(d, read[0]); err != nil || !gone {
			t.Errorf("got it forgotten: %v, %v, want it gone", gone, err)
		}
	})
}

func forget(d *db.DB, k db.SealingKey) (forgotten bool, err error) {
	err = d.Tx(context.Background(), func(tx *db.Tx) (err error) {
		forgotten, err = db.ForgetKey(context.Background(), tx, k)
		return err
	})
	return forgotten, err
}

// An id alone proves nothing: a process that has the key can open what the key sealed.
func TestACanaryThatDoesNotOpenIsAMissingKey(t *testing.T) {
	d := dbtest.SQLite(t)
	own := ring(t, seal.NewKey())
	for _, canary := range [][]byte{{}, append(own.Keys()[0].Bytes(), make([]byte, 60)...), own.Seal(seal.NewSecret("other"), "sealing_keys", "canary", own.Keys()[0].String())} {
		if _, err := db.Exec(t.Context(), d, `INSERT INTO sealing_keys (id, canary, seen_at) VALUES ($1, $2, 1) ON CONFLICT (id) DO UPDATE SET canary = excluded.canary`, own.Keys()[0].Bytes(), canary); err != nil {
			t.Fatal(err)
		}
		if err := d.CheckKeys(t.Context(), own); !errors.Is(err, db.ErrMissingKey) {
			t.Errorf("got %v, want the key missed", err)
		}
	}
}

func TestPendingChangesNothing(t *testing.T) {
	urls := map[string]func(testing.TB) string{"sqlite": dbtest.SQLiteURL}
	dbtest.Each(t, func(t *testing.T, migrated *db.DB) {
		if pending, err := migrated.Pending(t.Context(), migrations.Files); err != nil || len(pending) != 0 {
			t.Errorf("got %q pending, %v, want none", pending, err)
		}
		if migrated.Engine() == "postgres" {
			urls["postgres"] = dbtest.PostgresURL
		}
	})
	for engine, url := range urls {
		d, err := db.Open(t.Context(), seal.NewSecret(url(t)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		for range 2 {
			if pending, err := d.Pending(t.Context(), migrations.Files); err != nil || len(pending) == 0 {
				t.Errorf("%s: got %q pending, %v, want all", engine, pending, err)
			}
		}
	}
}
