package mirror

// Local is a bounded cache in this process. It is safe for concurrent use.
type Local[K ~string, V any] struct{ cache bounded }

// NewLocal returns a cache of about so many entries; it evicts the least used ones.
func NewLocal[K ~string, V any](entries int) *Local[K, V] {
	return &Local[K, V]{newBounded(entries)}
}

// Get returns what was last set for key, unless it was evicted.
func (l *Local[K, V]) Get(key K) (V, bool) { return held[V](l.cache.get(string(key))) }

// Set keeps value for key.
func (l *Local[K, V]) Set(key K, value V) { l.cache.set(string(key), &value) }

// Delete forgets key.
func (l *Local[K, V]) Delete(key K) { l.cache.forget(string(key)) }

// Hashed is a Local whose keys are SHA-256 hashes.
type Hashed[V any] struct{ cache byHash }

// NewHashed is NewLocal for a Hashed.
func NewHashed[V any](entries int) *Hashed[V] { return &Hashed[V]{newByHash(entries)} }

// Resize changes how many entries are kept, about.
func (h *Hashed[V]) Resize(entries int) { h.cache.resize(entries) }

// Len counts the entries. It evicts those above the bound first.
func (h *Hashed[V]) Len() int { return h.cache.len() }

// Get returns what was last set for key, unless it was evicted.
func (h *Hashed[V]) Get(key [32]byte) (V, bool) { return held[V](h.cache.get(key)) }

// Set keeps value for key.
func (h *Hashed[V]) Set(key [32]byte, value V) { h.cache.set(key, &value) }

// Delete forgets key.
func (h *Hashed[V]) Delete(key [32]byte) { h.cache.forget(key) }

// held returns the value that a cache holds a pointer to.
func held[V any](pointer any) (value V, known bool) {
	if p, known := pointer.(*V); known {
		return *p, true
	}
	return value, false
}
