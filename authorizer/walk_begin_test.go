package authorizer

import (
	"context"
	"errors"
	"testing"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
)

// One who read the time, and then waited for the lock of another, must not take the other's lease for one of a clock that was set back: two would walk at once.
func TestWhoWaitedForTheLockFindsTheWalkUnderWay(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := &Registry{db: d}
		var errs [2]error
		dbtest.TimeReadEarly(d, func(who int) { _, errs[who] = r.beginWalk(context.Background(), commanded) })
		if errors.Is(errs[0], ErrWalking) == errors.Is(errs[1], ErrWalking) {
			t.Errorf("got %v and %v, want one to walk", errs[0], errs[1])
		}
	})
}
