package invitation

import (
	"context"
	"testing"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
)

// A process that reads the time and then waits for a lock must not take the lease that it finds for
// one of a clock that was set back: two processes would exchange one code.
func TestAClaimThatWaitedForALockFindsTheLeaseHeld(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		service := &Service{db: d, table: table{d}, exchanges: newLimit(queryAuth, exchangesEach)}
		var claims [2]claim
		dbtest.TimeReadEarly(d, func(who int) {
			var err error
			if claims[who], err = service.claim(context.Background(), "hash", source{}); err != nil {
				t.Error(err)
			}
		})
		if claims[0].busy == claims[1].busy {
			t.Errorf("got both busy %v, want one to have it", claims[0].busy)
		}
	})
}
