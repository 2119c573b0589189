package wechatsim

import "time"

const ringSize = 4096

// ring keeps the last few thousand values.
type ring[T any] struct {
	items []T
	next  int
}

func (r *ring[T]) add(item T) {
	if len(r.items) < ringSize {
		r.items = append(r.items, item)
		return
	}
	r.items[r.next] = item
	r.next = (r.next + 1) % ringSize
}

// all returns a copy, oldest first.
func (r *ring[T]) all() []T {
	return append(append([]T{}, r.items[r.next:]...), r.items[:r.next]...)
}

func (r *ring[T]) clear() { *r = ring[T]{} }

// shelfLife is how long codes are remembered, so that a late use can be told from an invented code.
const shelfLife = 24 * time.Hour

// shelf keeps codes by number, and forgets old ones when new ones are added.
type shelf[T any] struct {
	items map[uint64]*T
	ages  []shelved
}

type shelved struct {
	number uint64
	made   time.Time
}

func (s *shelf[T]) put(number uint64, item *T, now time.Time) {
	if s.items == nil {
		s.items = map[uint64]*T{}
	}
	for len(s.ages) > 0 && now.Sub(s.ages[0].made) > shelfLife {
		delete(s.items, s.ages[0].number)
		s.ages = s.ages[1:]
	}
	s.items[number] = item
	s.ages = append(s.ages, shelved{number, now})
}
