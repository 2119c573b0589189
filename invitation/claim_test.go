package invitation

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
)

// One who read the time, and then waited for the lock of another, must not take the other's lease for one of a clock that was set back: two would exchange one code.
func TestWhoWaitedForTheLockFindsTheLeaseHeld(t *testing.T) {
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
		desk := &Desk{db: d}
		var claims [2]claim
		var all sync.WaitGroup
		for i := range claims {
			all.Go(func() {
				var err error
				if claims[i], err = desk.claim(context.Background(), "hash", source{}); err != nil {
					t.Error(err)
				}
				if i == 1 {
					close(second)
				}
			})
			time.Sleep(50 * time.Millisecond)
		}
		all.Wait()
		if claims[0].busy == claims[1].busy {
			t.Errorf("got both busy %v, want one to have it", claims[0].busy)
		}
	})
}
