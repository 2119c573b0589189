// Package share divides the calls that one replica may have in flight among tenants and
// authorizers, so that slow calls of one do not keep the others waiting (docs/design.md, "Shares").
//
// It knows no HTTP and no WeChat, and stores nothing: each replica counts its own calls.
package share

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

var (
	// ErrOver says that a tenant or an authorizer uses its share already and that no slot is free for
	// more. It is returned at once. Nothing was done; the same call may be made again when a call in
	// flight has ended.
	ErrOver = errors.New("the share of calls in flight is used up")
	// ErrFull says that a call within its tenant's and its authorizer's share got no slot within Wait.
	// Nothing was done.
	ErrFull = errors.New("no slot for a call became free in time")
)

// Wait is how long a call within its share waits for a slot.
const Wait = 500 * time.Millisecond

// A tenant gets a slot while it uses fewer than tenantTimes as many as are free, and an authorizer
// while it uses fewer than authorizerTimes as many. So one that is alone may use nearly all slots,
// several that want all of them get equal parts, and some slots stay free for those that use few.
const (
	tenantTimes     = 7
	authorizerTimes = 3
)

// Slots are the calls that may be in flight. It is safe for concurrent use.
type Slots struct {
	size int

	mu          sync.Mutex
	used        int
	tenants     map[string]*tenantUse // each stays once it has called: there are few, and metrics show them
	authorizers map[string]use        // those with calls in flight or waiting
	waiting     []*waiter             // the longest first; at most size
}

// use is what a tenant or an authorizer uses and waits for.
type use struct{ inFlight, waiting int }

func (u use) total() int { return u.inFlight + u.waiting }

type tenantUse struct {
	use
	admitted, waited, over, full int64
}

// waiter is a call that waits for a slot. got is closed when it has one.
type waiter struct {
	slot Slot
	got  chan struct{}
}

// New returns size slots, all free.
func New(size int) *Slots {
	return &Slots{size: size, tenants: map[string]*tenantUse{}, authorizers: map[string]use{}}
}

// Slot is the place of one call. Its zero value is no place.
type Slot struct {
	slots      *Slots
	tenant     *tenantUse
	authorizer string
}

// Enter takes a slot for a call of a tenant for an authorizer: at once if there is room, and after
// at most Wait if both use less than their share, which is half of all slots for a tenant and a
// quarter for an authorizer. Of those that wait, the tenant with the fewest calls in flight comes
// first. Enter fails with ErrOver, ErrFull, or the cause of ctx's end. After a success Leave must
// be called once.
func (s *Slots) Enter(ctx context.Context, tenant, authorizer string) (Slot, error) {
	slot, w, err := s.enter(tenant, authorizer)
	if w == nil {
		return slot, err
	}
	timer := time.NewTimer(Wait)
	defer timer.Stop()
	select {
	case <-w.got:
		return slot, nil
	case <-timer.C:
		err = ErrFull
	case <-ctx.Done():
		err = fmt.Errorf("wait for a slot: %w", context.Cause(ctx))
	}
	return s.giveUp(w, err)
}

// enter takes a slot, or returns a waiter for one, or fails.
func (s *Slots) enter(tenant, authorizer string) (Slot, *waiter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slot := Slot{s, s.tenant(tenant), authorizer}
	switch {
	case s.hasRoom(slot):
		s.take(slot)
		return slot, nil, nil
	case s.isOver(slot):
		slot.tenant.over++
		return Slot{}, nil, ErrOver
	case len(s.waiting) >= s.size:
		slot.tenant.full++
		return Slot{}, nil, ErrFull
	}
	w := &waiter{slot, make(chan struct{})}
	s.waiting = append(s.waiting, w)
	slot.tenant.waited++
	s.count(slot, use{waiting: 1})
	return slot, w, nil
}

// giveUp ends a wait with err, unless the waiter got its slot at the same moment.
func (s *Slots) giveUp(w *waiter, err error) (Slot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.Index(s.waiting, w)
	if at < 0 {
		return w.slot, nil
	}
	s.remove(at)
	if errors.Is(err, ErrFull) { // and not because the caller left
		w.slot.tenant.full++
	}
	return Slot{}, err
}

// Leave gives the slot back.
func (slot Slot) Leave() {
	s := slot.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used--
	s.count(slot, use{inFlight: -1})
	for next := s.next(); next >= 0; next = s.next() {
		w := s.waiting[next]
		s.remove(next)
		s.take(w.slot)
		close(w.got)
	}
}

// next returns the index of the waiter that gets the next slot, or -1.
func (s *Slots) next() int {
	best := -1
	for i, w := range s.waiting {
		if s.hasRoom(w.slot) && (best < 0 || w.slot.tenant.inFlight < s.waiting[best].slot.tenant.inFlight) {
			best = i
		}
	}
	return best
}

func (s *Slots) remove(at int) {
	s.count(s.waiting[at].slot, use{waiting: -1})
	s.waiting = slices.Delete(s.waiting, at, at+1)
}

func (s *Slots) hasRoom(slot Slot) bool {
	free := s.size - s.used
	return slot.tenant.inFlight < tenantTimes*free && s.authorizers[slot.authorizer].inFlight < authorizerTimes*free
}

func (s *Slots) isOver(slot Slot) bool {
	return slot.tenant.total() >= s.size/2 || s.authorizers[slot.authorizer].total() >= s.size/4
}

func (s *Slots) take(slot Slot) {
	s.used++
	slot.tenant.admitted++
	s.count(slot, use{inFlight: 1})
}

// count adds to what the slot's tenant and authorizer use.
func (s *Slots) count(slot Slot, more use) {
	slot.tenant.use = slot.tenant.plus(more)
	if u := s.authorizers[slot.authorizer].plus(more); u != (use{}) {
		s.authorizers[slot.authorizer] = u
	} else {
		delete(s.authorizers, slot.authorizer)
	}
}

func (u use) plus(more use) use { return use{u.inFlight + more.inFlight, u.waiting + more.waiting} }

func (s *Slots) tenant(id string) *tenantUse {
	t := s.tenants[id]
	if t == nil {
		t = &tenantUse{}
		s.tenants[id] = t
	}
	return t
}

// Usage is what a tenant has used since the process started, and uses now.
type Usage struct {
	Tenant           string
	InFlight         int
	Admitted, Waited int64 // calls; one that waited and then got a slot counts in both
	Over, Full       int64 // calls refused with ErrOver; refused with ErrFull, or ended while they waited
}

// Usage returns the usage of each tenant that has called, in no order.
func (s *Slots) Usage() []Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Usage, 0, len(s.tenants))
	for id, t := range s.tenants {
		all = append(all, Usage{id, t.inFlight, t.admitted, t.waited, t.over, t.full})
	}
	return all
}
