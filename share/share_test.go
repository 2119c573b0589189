package share

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"wxplatform/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const size = 512

// fill enters until it gets no slot at once, and returns the slots.
func fill(t *testing.T, s *Slots, tenant, authorizer string) (all []Slot) {
	t.Helper()
	for {
		slot, w, err := s.enter(tenant, authorizer)
		if w != nil {
			_, err = s.giveUp(w, ErrFull)
		}
		if err != nil {
			return all
		}
		all = append(all, slot)
	}
}

func TestATenantAloneUsesNearlyAllSlots(t *testing.T) {
	s := New(size)
	n := 0
	for i := range 8 { // one authorizer gets less
		n += len(fill(t, s, "noisy", fmt.Sprint("wx", i)))
	}
	if n < size*4/5 || n > size*9/10 {
		t.Errorf("got %d slots for a tenant that is alone, want 80 to 90 %% of %d", n, size)
	}
	if _, err := s.Enter(t.Context(), "noisy", "wx9"); !errors.Is(err, ErrOver) {
		t.Errorf("got %v over the share, want ErrOver at once", err)
	}
	if slot, err := s.Enter(t.Context(), "quiet", "wxq"); err != nil {
		t.Errorf("got %v for a quiet tenant beside it, want a slot", err)
	} else {
		slot.Leave()
	}
}

func TestAnAuthorizerLeavesRoomForItsTenantsOthers(t *testing.T) {
	s := New(size)
	if n := len(fill(t, s, "a", "noisy")); n < size/2 || n > size*4/5 {
		t.Errorf("got %d slots for an authorizer that is alone, want at most 80 %% of %d", n, size)
	}
	if _, err := s.Enter(t.Context(), "a", "noisy"); !errors.Is(err, ErrOver) {
		t.Errorf("got %v over the authorizer's share, want ErrOver at once", err)
	}
	if _, err := s.Enter(t.Context(), "a", "quiet"); err != nil {
		t.Errorf("got %v for another authorizer of the tenant, want a slot", err)
	}
}

// Two tenants that both want everything: the second one gets what the first gives back, until both
// have the same, less than half.
func TestTwoNoisyTenantsGetEqualParts(t *testing.T) {
	s := New(size)
	calls := 0
	enter := func(tenant string) []Slot {
		var all []Slot
		for i := range 8 {
			all = append(all, fill(t, s, tenant, fmt.Sprint(tenant, i))...)
		}
		return all
	}
	a, b := enter("a"), enter("b")
	for range 4 * size { // the calls end one by one, and both tenants try again
		if calls++; calls%2 == 0 && len(b) > 0 || len(a) == 0 {
			b[0].Leave()
			b = b[1:]
		} else {
			a[0].Leave()
			a = a[1:]
		}
		a = append(a, enter("a")...)
		b = append(b, enter("b")...)
	}
	if len(a) > size/2 || len(b) > size/2 || len(a)+len(b) < size*9/10 || len(a)-len(b) > 40 || len(b)-len(a) > 40 {
		t.Errorf("got %d and %d slots of %d, want about half each", len(a), len(b), size)
	}
	if _, err := s.Enter(t.Context(), "quiet", "wxq"); err != nil {
		t.Errorf("got %v for a quiet tenant beside both, want a slot", err)
	}
}

func TestACallWithinItsShareWaitsAndOneOverItDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(8)
		held := full(t, s)
		if _, err := s.Enter(t.Context(), "a", "wx1"); !errors.Is(err, ErrOver) {
			t.Errorf("got %v for a tenant that has its half, want ErrOver", err)
		}
		began := time.Now()
		if _, err := s.Enter(t.Context(), "new", "wxn"); !errors.Is(err, ErrFull) || time.Since(began) != Wait {
			t.Errorf("got %v after %s, want ErrFull after %s", err, time.Since(began), Wait)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Enter(ctx, "new", "wxn"); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v for a caller that left, want that", err)
		}
		if full := s.tenants["new"].full; full != 1 {
			t.Errorf("got %d counted as without a slot, want the one that waited for all of Wait", full)
		}
		time.AfterFunc(Wait/2, held[0].Leave)
		if _, err := s.Enter(t.Context(), "new", "wxn"); err != nil {
			t.Errorf("got %v, want the slot that became free", err)
		}
		if got := s.authorizers["wxn"]; got != (use{inFlight: 1}) {
			t.Errorf("got %+v, want one in flight and none waiting", got)
		}
	})
}

// full has tenants a, b, c … take all slots of s; a has half of them.
func full(t *testing.T, s *Slots) (held []Slot) {
	t.Helper()
	for i := range s.size {
		tenant := "a"
		if i >= s.size/2 {
			tenant = fmt.Sprint("t", i)
		}
		slot := Slot{s, s.tenant(tenant), tenant}
		s.take(slot)
		held = append(held, slot)
	}
	return held
}

func TestTheTenantWithTheFewestCallsComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(8)
		held := full(t, s)
		got := make(chan string, 3)
		for _, tenant := range []string{"t7", "new"} {
			go func() {
				if _, err := s.Enter(t.Context(), tenant, "wx"+tenant); err == nil {
					got <- tenant
				}
			}()
			synctest.Wait()
		}
		held[0].Leave()
		if first := <-got; first != "new" {
			t.Errorf("got %s first, want the tenant without calls in flight, though it came later", first)
		}
		held[1].Leave()
		<-got
	})
}

// Whatever happens, the counts are those of the calls, and no call waits while it has room.
func TestTheCountsAreThoseOfTheCalls(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New(rapid.IntRange(1, 24).Draw(t, "size"))
		var held []Slot
		var waiting []*waiter
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0, 1, 2:
				who := rapid.IntRange(0, 5).Draw(t, "tenant")
				slot, w, err := s.enter(fmt.Sprint(who), fmt.Sprint(who, rapid.IntRange(0, 1).Draw(t, "authorizer")))
				if w != nil {
					waiting = append(waiting, w)
				} else if err == nil {
					held = append(held, slot)
				}
			case 3, 4:
				if len(held) > 0 {
					i := rapid.IntRange(0, len(held)-1).Draw(t, "which")
					held[i].Leave()
					held = append(held[:i], held[i+1:]...)
				}
			default:
				if len(waiting) > 0 {
					if slot, err := s.giveUp(waiting[0], ErrFull); err == nil {
						held = append(held, slot)
					}
					waiting = waiting[1:]
				}
			}
			var still []*waiter
			for _, w := range waiting {
				select {
				case <-w.got:
					held = append(held, w.slot)
				default:
					still = append(still, w)
				}
			}
			waiting = still
			check(t, s, held, waiting)
		}
	})
}

func check(t *rapid.T, s *Slots, held []Slot, waiting []*waiter) {
	inFlight, total := 0, 0
	for _, u := range s.Usage() {
		inFlight += u.InFlight
	}
	for _, u := range s.authorizers {
		total += u.total()
	}
	if s.used != len(held) || s.used > s.size || inFlight != s.used || len(s.waiting) != len(waiting) || total != len(held)+len(waiting) {
		t.Fatalf("got %d used, %d in flight, %d waiting and %d by authorizer, want those of %d held and %d waiting", s.used, inFlight, len(s.waiting), total, len(held), len(waiting))
	}
	if s.next() >= 0 {
		t.Fatal("got a call that waits though it has room")
	}
}

func BenchmarkEnter(b *testing.B) {
	s := New(size)
	b.ReportAllocs()
	for b.Loop() {
		slot, err := s.Enter(b.Context(), "tenant", "wx")
		if err != nil {
			b.Fatal(err)
		}
		slot.Leave()
	}
}
