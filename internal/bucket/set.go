package bucket

import (
	"sync"
	"time"
)

// Set is a bounded set of token buckets, one for each key. It is safe for concurrent use.
//
// It forgets buckets that were not used for long, and a bucket that it forgot is full: of the keys
// that were used last it keeps at least half of its bound.
type Set[K comparable] struct {
	half int

	mu       sync.Mutex
	recent   map[K]level
	previous map[K]level // what was recent before recent was begun
}

// NewSet returns an empty set that keeps at most so many buckets.
func NewSet[K comparable](most int) *Set[K] {
	return &Set[K]{half: max(1, most/2), recent: map[K]level{}}
}

// Take takes a token from the bucket of key, like Bucket.Take.
func (s *Set[K]) Take(key K, r Rate, now time.Time) (wait time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	after, wait, ok := s.level(key).take(r, now)
	s.keep(key, after)
	return wait, ok
}

// Return gives back a token of key that was taken and not used.
func (s *Set[K]) Return(key K, r Rate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep(key, s.level(key).give(r))
}

// Len is how many buckets the set keeps.
func (s *Set[K]) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.recent) + len(s.previous)
}

func (s *Set[K]) level(key K) level {
	if l, ok := s.recent[key]; ok {
		return l
	}
	return s.previous[key]
}

func (s *Set[K]) keep(key K, l level) {
	delete(s.previous, key)
	if _, known := s.recent[key]; !known && len(s.recent) >= s.half {
		s.previous, s.recent = s.recent, make(map[K]level)
	}
	s.recent[key] = l
}
