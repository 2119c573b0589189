package db_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
)

func TestBackgroundWorkLeavesConnectionsForOthers(t *testing.T) {
	d := dbtest.SQLite(t)
	behind, release := db.Background(ctx), make(chan struct{})
	var slow sync.WaitGroup
	var held atomic.Int64
	for range 40 {
		slow.Go(func() {
			_, err := db.One(behind, d, func(scan db.Scan) (int, error) { // it holds its connection
				held.Add(1)
				<-release
				return db.Value[int](scan)
			}, `SELECT 1`)
			if err != nil {
				t.Error(err)
			}
		})
	}
	for end := time.Now().Add(time.Minute); held.Load() < 8 && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	time.Sleep(100 * time.Millisecond) // the others wait now, or hold connections that they should not have
	for range 20 {
		if _, err := db.One(ctx, d, db.Value[int], `SELECT 1`); err != nil {
			t.Fatalf("got %v, want a connection though the others are held", err)
		}
	}
	close(release)
	slow.Wait()
}
