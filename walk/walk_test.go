package walk

import (
	"context"
	"errors"
	"testing"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/dbtest"
)

func TestWhenAWalkMayBegin(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for name, c := range map[string]struct {
		is   state
		why  Purpose
		want error
	}{
		"the first":                                {state{}, Seek, nil},
		"within ten minutes":                       {state{begun: ago(9 * time.Minute)}, Seek, ErrNotDue},
		"after ten minutes":                        {state{begun: ago(10 * time.Minute)}, Seek, nil},
		"the operator does not wait":               {state{begun: ago(time.Second)}, Command, nil},
		"but for another walk":                     {state{begun: ago(time.Hour), lease: now.Add(time.Second)}, Command, ErrUnderWay},
		"a lease that ended":                       {state{begun: ago(time.Hour), lease: now}, Seek, nil},
		"a lease from before the clock was set":    {state{begun: ago(time.Hour), lease: now.Add(lease + time.Second)}, Seek, nil},
		"a beginning from before":                  {state{begun: now.Add(time.Hour)}, Seek, nil},
		"a second reconciliation in a day":         {state{begun: ago(time.Hour), reconciled: ago(23 * time.Hour)}, Reconcile, ErrNotDue},
		"the next day":                             {state{begun: ago(time.Hour), reconciled: ago(24 * time.Hour)}, Reconcile, nil},
		"the next day, but just after another one": {state{begun: ago(time.Minute), reconciled: ago(24 * time.Hour)}, Reconcile, ErrNotDue},
	} {
		if got := c.is.may(c.why, now); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

// A process that read the time and then waited for another's lock must not take that lease for one
// from before the clock was set back: two would walk at once.
func TestAWalkThatWaitedForTheLockFindsTheOneUnderWay(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := NewSchedule(d)
		var errs [2]error
		dbtest.TimeReadEarly(d, func(who int) { _, errs[who] = s.Begin(context.Background(), Command) })
		if errors.Is(errs[0], ErrUnderWay) == errors.Is(errs[1], ErrUnderWay) {
			t.Errorf("got %v and %v, want one to walk", errs[0], errs[1])
		}
	})
}

func TestAWalkHoldsItsLeaseUntilItEndsOrIsOvertaken(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx, now := context.Background(), time.Unix(1_000_000, 0)
		d.Clock = func() time.Time { return now }
		s := NewSchedule(d)
		begin := func(why Purpose, want error) time.Time {
			t.Helper()
			begun, err := s.Begin(ctx, why)
			if !errors.Is(err, want) {
				t.Fatalf("got %v, want %v", err, want)
			}
			return begun
		}
		first := begin(Seek, nil)
		now = now.Add(lease - time.Second)
		if err := s.Hold(ctx, first); err != nil {
			t.Fatal(err)
		}
		now = now.Add(lease - time.Second)
		begin(Command, ErrUnderWay)
		now = now.Add(time.Second)
		second := begin(Command, nil)
		if err := s.Hold(ctx, first); !errors.Is(err, ErrOvertaken) {
			t.Errorf("got %v, want the first overtaken", err)
		}
		if err := errors.Join(s.End(ctx, first), s.Reconciled(ctx, first)); err != nil { // which changes nothing
			t.Fatal(err)
		}
		begin(Command, ErrUnderWay)
		if err := errors.Join(s.Reconciled(ctx, second), s.End(ctx, second)); err != nil {
			t.Fatal(err)
		}
		now = now.Add(seekEvery - time.Second)
		begin(Seek, ErrNotDue)
		if next, err := s.Next(ctx); err != nil || !next.Equal(now.Add(time.Second)) {
			t.Errorf("got %v, %v, want the next walk in a second", next, err)
		}
		now = now.Add(time.Second)
		if due, err := s.Due(ctx, Reconcile); err != nil || due {
			t.Errorf("got %v, %v, want no reconciliation within a day", due, err)
		}
		third := begin(Seek, nil)
		if err := s.Drop(ctx, third); err != nil {
			t.Fatal(err)
		}
		begin(Command, nil)
	})
}
