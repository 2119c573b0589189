package mirror

import "github.com/maypok86/otter/v2"

// Local is a bounded cache of this process alone. It is safe for concurrent use.
type Local[K comparable, V any] struct{ cache *otter.Cache[K, V] }

// NewLocal makes a cache that keeps about as many entries as it is told, those that are asked for most.
func NewLocal[K comparable, V any](entries int) *Local[K, V] {
	return &Local[K, V]{cache: otter.Must(&otter.Options[K, V]{MaximumSize: entries})}
}

// Get is what was last set for key, if it is still there.
func (l *Local[K, V]) Get(key K) (V, bool) { return l.cache.GetIfPresent(key) }

// Set keeps value for key.
func (l *Local[K, V]) Set(key K, value V) { l.cache.Set(key, value) }

// Delete forgets key.
func (l *Local[K, V]) Delete(key K) { l.cache.Invalidate(key) }
