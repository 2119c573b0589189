package db_test

import (
	"sync"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
)

func TestBackgroundWorkLeavesConnectionsForWhoeverWaits(t *testing.T) {
	d := dbtest.SQLite(t)
	behind, release := db.Background(ctx), make(chan struct{})
	var slow sync.WaitGroup
	for range 40 {
		slow.Go(func() {
			_, err := db.One(behind, d, func(scan db.Scan) (int, error) { // which holds its connection
				<-release
				return db.Value[int](scan)
			}, `SELECT 1`)
			if err != nil {
				t.Error(err)
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	began := time.Now()
	for range 20 {
		if _, err := db.One(ctx, d, db.Value[int], `SELECT 1`); err != nil || time.Since(began) > time.Second {
			t.Fatalf("got %v after %v, want a connection at once", err, time.Since(began))
		}
	}
	close(release)
	slow.Wait()
}
