package authorizer

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
)

// One who read the time, and then waited for the lock of another, must not take the other's lease for one of a clock that was set back: two would walk at once.
func TestWhoWaitedForTheLockFindsTheWalkUnderWay(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		began, second := time.Now(), make(chan struct{})
		var asked atomic.Int64
		d.Clock = func() time.Time {
			if asked.Add(1) > 1 {
				return began.Add(time.Millisecond)
			}
			select { // the first to ask is told the earlier time, late
			case <-second:
			case <-time.After(300 * time.Millisecond):
			}
			return began
		}
		r := &Registry{db: d}
		var errs [2]error
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() {
				_, errs[i] = r.beginWalk(context.Background(), commanded)
				if i == 1 {
					close(second)
				}
			})
			time.Sleep(50 * time.Millisecond)
		}
		all.Wait()
		if errors.Is(errs[0], ErrWalking) == errors.Is(errs[1], ErrWalking) {
			t.Errorf("got %v and %v, want one to walk", errs[0], errs[1])
		}
	})
}
