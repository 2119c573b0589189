package mirror

import "github.com/maypok86/otter/v2"

// Local is a bounded cache in this process. It is safe for concurrent use.
type Local[K comparable, V any] struct{ cache *otter.Cache[K, V] }

// NewLocal returns a cache of about so many entries; it evicts the least used ones.
func NewLocal[K comparable, V any](entries int) *Local[K, V] {
	return &Local[K, V]{cache: otter.Must(&otter.Options[K, V]{MaximumSize: entries})}
}

// Get returns what was last set for key, unless it was evicted.
func (l *Local[K, V]) Get(key K) (V, bool) { return l.cache.GetIfPresent(key) }

// Set keeps value for key.
func (l *Local[K, V]) Set(key K, value V) { l.cache.Set(key, value) }

// Delete forgets key.
func (l *Local[K, V]) Delete(key K) { l.cache.Invalidate(key) }
