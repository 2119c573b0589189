package mirror

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"wxplatform/internal/seal"
)

// Versioned is a secret with a version and an expiry. The largest version wins. Without a secret it
// says that older versions are no longer valid.
type Versioned struct {
	Secret  seal.Secret
	Version int64
	Expires time.Time
}

// Newest caches the newest known version of each secret of one kind, in the process and in Redis.
type Newest struct {
	m     *Mirror
	kind  string
	known bounded // of *item

	mu      sync.Mutex
	waiting map[string]*waiters
}

type item struct {
	Versioned
	generation atomic.Int64 // when it was last known to be the newest
	used       atomic.Bool
}

type waiters struct {
	count int
	news  chan struct{} // closed when something newer arrives
}

// NewNewest returns the secrets of one kind. The process keeps about as many as entries. A kind has
// no colon and is used once per mirror.
func NewNewest(m *Mirror, kind string, entries int) *Newest {
	n := &Newest{
		m:       m,
		kind:    "newest-" + kind,
		known:   newBounded(entries),
		waiting: map[string]*waiters{},
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.newest[n.kind] = n
	return n
}

// Resize changes how many secrets the process keeps, about.
func (n *Newest) Resize(entries int) { n.known.resize(entries) }

// Len counts the secrets that the process keeps. It evicts those above the bound first.
func (n *Newest) Len() int { return n.known.len() }

// Local returns what the process knows, and notes that it was used. If it is not fresh, news may
// have been missed: it may be used, but SQL should be read as well.
func (n *Newest) Local(key string) (v Versioned, fresh, ok bool) {
	known, ok := n.known.get(key).(*item)
	if !ok {
		return Versioned{}, false, false
	}
	if !known.used.Load() { // writing each time would make the cores compete for the cache line
		known.used.Store(true)
	}
	return known.Versioned, known.generation.Load() == n.m.generation.Load(), true
}

// Version returns the newest version that the process knows, or 0. It does not count as a use.
func (n *Newest) Version(key string) int64 {
	known, ok := n.known.peek(key).(*item)
	if !ok {
		return 0
	}
	return known.Version
}

// TakeUsed returns the keys that Local was called with since the last TakeUsed.
func (n *Newest) TakeUsed() []string {
	var keys []string
	n.known.each(func(key string, held any) {
		if held.(*item).used.Swap(false) {
			keys = append(keys, key)
		}
	})
	return keys
}

// Generation returns the value for Filled. It must be read before SQL is.
func (n *Newest) Generation() int64 { return n.m.generation.Load() }

// Filled stores what SQL has, unless something newer is known, and returns the newest. generation
// is Generation before SQL was read.
func (n *Newest) Filled(ctx context.Context, key string, v Versioned, generation int64) Versioned {
	newest, changed := n.adopt(key, v, generation)
	if changed {
		n.share(ctx, key, v)
	}
	return newest
}

// Put stores v and tells the other replicas, unless something newer is known. It returns the
// newest.
func (n *Newest) Put(ctx context.Context, key string, v Versioned) Versioned {
	newest, _ := n.adopt(key, v, n.Generation())
	n.share(ctx, key, v)
	return newest
}

// Shared returns what Redis has. ok is false if there is nothing, or Redis does not answer. What it
// finds is kept in the process, but not as fresh.
func (n *Newest) Shared(ctx context.Context, key string) (Versioned, bool) {
	sealed, err := n.m.redis.read(ctx, n.kind, key)
	if err != nil || len(sealed) == 0 {
		return Versioned{}, false
	}
	v, err := n.open(key, sealed)
	if err != nil {
		return Versioned{}, false
	}
	newest, _ := n.adopt(key, v, stale)
	return newest, true
}

// Wait returns when the process knows a version above older, after atMost, or when ctx ends. It
// does not say which.
func (n *Newest) Wait(ctx context.Context, key string, older int64, atMost time.Duration) {
	news := n.watch(key)
	defer n.unwatch(key)
	if n.Version(key) > older {
		return
	}
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-news:
	case <-timer.C:
	case <-ctx.Done():
	}
}

const stale = -1 // a generation, or a stamp, that never occurs

// adopt replaces what the process knows if v is newer, and reports whether it did. The same
// version, read again, becomes fresh again.
func (n *Newest) adopt(key string, v Versioned, generation int64) (newest Versioned, changed bool) {
	kept := n.known.change(key, func(held any) (value any, keep bool) {
		old, found := held.(*item)
		if found && old.Version >= v.Version {
			raise(&old.generation, generation)
			return nil, true
		}
		changed = true
		fresh := &item{Versioned: v}
		fresh.generation.Store(generation)
		fresh.used.Store(found && old.used.Load())
		return fresh, false
	})
	if changed {
		n.wake(key)
	}
	return kept.(*item).Versioned, changed
}

func raise(number *atomic.Int64, to int64) {
	for old := number.Load(); old < to && !number.CompareAndSwap(old, to); old = number.Load() {
	}
}

// sealedVersion is a Versioned as Redis stores it. Its secret is a plain field, because the JSON of
// a seal.Secret hides it.
type sealedVersion struct {
	Secret  []byte `json:"secret"`
	Version int64  `json:"version"`
	Expires int64  `json:"expires"` // Unix milliseconds
}

// share stores v in Redis, unless there is a newer one, and tells the other replicas.
func (n *Newest) share(ctx context.Context, key string, v Versioned) {
	text, _ := json.Marshal(sealedVersion{[]byte(v.Secret.Reveal()), v.Version, v.Expires.UnixMilli()}) // always marshals
	sealed := n.m.ring.Seal(seal.NewSecret(string(text)), "redis", n.kind, key)
	told := news{Kind: n.kind, Key: key, Version: v.Version, Sealed: sealed}
	n.m.redis.write(ctx, writing{kind: n.kind, key: key, version: v.Version, sealed: sealed, life: v.Expires.Sub(n.m.clock()), news: told.bytes()})
}

func (n *Newest) open(key string, sealed []byte) (Versioned, error) {
	text, err := n.m.ring.Open(sealed, "redis", n.kind, key)
	if err != nil {
		return Versioned{}, err
	}
	var s sealedVersion
	err = json.Unmarshal([]byte(text.Reveal()), &s)
	return Versioned{seal.NewSecret(string(s.Secret)), s.Version, time.UnixMilli(s.Expires)}, err
}

// learn takes in news about what this process has or waits for. If it cannot be decrypted, because
// it is sealed under a key that this replica does not have yet, what is known becomes stale.
func (n *Newest) learn(told news) {
	known, ok := n.known.peek(told.Key).(*item)
	if !ok && !n.awaited(told.Key) || ok && known.Version >= told.Version {
		return
	}
	v, err := n.open(told.Key, told.Sealed)
	if err == nil {
		n.adopt(told.Key, v, n.Generation())
	} else if ok {
		known.generation.Store(stale)
	}
}

func (n *Newest) watch(key string) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	w, ok := n.waiting[key]
	if !ok {
		w = &waiters{news: make(chan struct{})}
		n.waiting[key] = w
	}
	w.count++
	return w.news
}

func (n *Newest) unwatch(key string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := n.waiting[key]
	if w.count--; w.count == 0 {
		delete(n.waiting, key)
	}
}

func (n *Newest) wake(key string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if w, ok := n.waiting[key]; ok {
		close(w.news)
		w.news = make(chan struct{})
	}
}

func (n *Newest) awaited(key string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.waiting[key] != nil
}
