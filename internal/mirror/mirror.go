// Package mirror caches rows of SQL twice: in the process, and encrypted in Redis for all replicas.
// Facts are rows that decide what is allowed; Newest are tokens and the ticket, of which the
// largest version wins. The change counter in SQL and pub/sub say when something must be read
// again. The packages component, authorizer, tenant and token read through it.
//
// It is filled from SQL, and from Redis only while SQL is unavailable; when SQL is back, everything
// is read again. Redis is never needed: if it is down, slow, read-only or flushed, callers wait a
// moment longer and notice nothing else.
package mirror

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"wxplatform/internal/db"
	"wxplatform/internal/failpoint"
	"wxplatform/internal/seal"
)

const (
	pollEvery    = time.Second
	pollPatience = 2 * time.Second
	// ownEvery is how often this process looks for its own writes. It is shorter than the interval
	// of polling SQL, because looking costs nothing.
	ownEvery = 50 * time.Millisecond
	// unavailableFor is how long SQL is not asked after it failed. Every failing poll prolongs it.
	unavailableFor = 3 * time.Second
	// rereadEvery is how often facts in use are read again even if nothing changes, so that Redis
	// has a recent copy of each.
	rereadEvery = 20 * time.Minute
)

// Mirror knows whether SQL answers and what has changed there, and holds the connection to Redis.
// It is safe for concurrent use.
type Mirror struct {
	db    *db.DB
	ring  *seal.Ring
	redis *shared
	clock func() time.Time // the process's; replaced in tests only

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	work sync.WaitGroup // flights

	polling          sync.Mutex
	own              atomic.Int64 // db.Changes() before the last poll that succeeded
	counter          atomic.Int64 // the change counter at the last poll
	epoch            atomic.Int64 // raised when all Facts have to be read again
	generation       atomic.Int64 // raised when a newer token may have been missed, so that Newest must be read again
	unavailableUntil atomic.Int64 // Unix nanoseconds, 0 while SQL answers

	mu     sync.Mutex
	newest map[string]*Newest // by kind, for pub/sub
}

// Open connects to the Redis at redisURL, or starts one in this process if the URL is empty. A
// Redis that is down is not an error. Errors never show the URL. The database must have been
// claimed: its id prefixes every key in Redis.
func Open(ctx context.Context, redisURL seal.Secret, d *db.DB, ring *seal.Ring) (*Mirror, error) {
	return openWrapped(ctx, redisURL, d, ring, func(dial dialer) dialer { return dial })
}

// CheckURL returns what is wrong with the URL of a Redis, which it never quotes, or nil. It
// connects to nothing.
func CheckURL(redisURL seal.Secret) error {
	if redisURL.IsZero() {
		return nil
	}
	client, _, err := connect(redisURL.Reveal(), func(dial dialer) dialer { return dial })
	if err != nil {
		return err
	}
	return client.Close()
}

func openWrapped(ctx context.Context, redisURL seal.Secret, d *db.DB, ring *seal.Ring, wrap func(dialer) dialer) (*Mirror, error) {
	redis, err := openShared(redisURL, d.ID(), wrap)
	if err != nil {
		return nil, err
	}
	return newMirror(ctx, redis, failpoint.Now, d, ring), nil
}

func newMirror(ctx context.Context, redis *shared, clock func() time.Time, d *db.DB, ring *seal.Ring) *Mirror {
	m := &Mirror{db: d, ring: ring, redis: redis, clock: clock, newest: map[string]*Newest{}}
	m.ctx, m.stop = context.WithCancel(context.WithoutCancel(ctx))
	m.poll(ctx)
	return m
}

// Now returns this process's clock.
func (m *Mirror) Now() time.Time { return m.clock() }

// Run follows the change counter and pub/sub until ctx ends, and waits for what it started. Without
// Run this process sees only its own writes.
func (m *Mirror) Run(ctx context.Context) error {
	var running errgroup.Group
	running.Go(func() error { m.follow(ctx); return nil })
	running.Go(func() error { m.watchOwn(ctx); return nil })
	running.Go(func() error { m.listen(ctx); return nil })
	return running.Wait()
}

// Close cancels the work in flight, waits for it, and closes the connections to Redis.
func (m *Mirror) Close() error {
	m.mu.Lock()
	m.stop() // under the lock, so that no flight starts while Close waits for their end
	m.mu.Unlock()
	m.work.Wait()
	return m.redis.close()
}

// Ping reports whether Redis answers and takes writes. It fails with ErrRefused if Redis says why
// not.
func (m *Mirror) Ping(ctx context.Context) error { return m.redis.ping(ctx) }

// SQLUnavailable reports whether SQL failed a moment ago, so that asking it again would only take
// time.
func (m *Mirror) SQLUnavailable() bool {
	until := m.unavailableUntil.Load()
	return until != 0 && m.clock().UnixNano() < until
}

// SQLFailed tells the mirror that SQL is unavailable. After the next successful poll everything is
// read again.
func (m *Mirror) SQLFailed() { m.unavailableUntil.Store(m.clock().Add(unavailableFor).UnixNano()) }

// stamp returns a number that changes whenever something may have changed: by this process (its own
// commits) or by any other (the polled counter). Both parts only rise, and their sum, even if one
// changes between the two reads, lies between the sums before and after. So equal stamps mean that
// nothing changed.
func (m *Mirror) stamp() int64 { return m.epoch.Load() + m.db.Changes() }

func (m *Mirror) follow(ctx context.Context) {
	reread := m.clock().Add(rereadEvery)
	every(ctx, pollEvery, func() {
		m.poll(ctx)
		if now := m.clock(); now.After(reread) {
			reread = now.Add(rereadEvery)
			m.epoch.Add(1)
		}
	})
}

// watchOwn tells the other replicas of this process's writes before their next poll.
func (m *Mirror) watchOwn(ctx context.Context) {
	every(ctx, ownEvery, func() { m.catchUp(ctx) })
}

// catchUp polls if this process has written since the last poll, so that what is read next carries
// the number of that write.
func (m *Mirror) catchUp(ctx context.Context) {
	if m.db.Changes() != m.own.Load() && !m.SQLUnavailable() {
		m.poll(ctx)
	}
}

func (m *Mirror) poll(ctx context.Context) {
	m.polling.Lock()
	changed := m.pollLocked(ctx)
	m.polling.Unlock()
	if changed {
		m.publish(ctx, news{Changed: m.counter.Load()})
	}
}

func (m *Mirror) pollLocked(ctx context.Context) (changed bool) {
	own := m.db.Changes()
	within, cancel := context.WithTimeout(ctx, pollPatience)
	defer cancel()
	counter, err := m.db.Counter(within)
	if err != nil {
		if ctx.Err() == nil {
			m.SQLFailed()
			m.epoch.Add(1) // so that facts in use are compared with Redis's
		}
		return false
	}
	back := m.unavailableUntil.Swap(0) != 0
	changed = m.counter.Swap(counter) != counter
	m.own.Store(own)
	if back {
		m.generation.Add(1)
	}
	if back || changed {
		m.epoch.Add(1)
	}
	return changed
}

// every calls act each d until ctx ends.
func every(ctx context.Context, d time.Duration, act func()) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			act()
		}
	}
}
