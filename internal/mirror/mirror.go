// Package mirror keeps what is known of SQL in the process and in Redis: sealed, versioned, newest wins, with the change counter and pub/sub.
// It is filled from SQL, and from Redis only while SQL is away; SQL's return has everything read again. Redis is never needed:
// when it is down, slow, read-only or flushed, callers wait a moment longer and see nothing else of it.
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
	// A write of this process is looked for much more often than SQL is polled, for looking costs nothing.
	ownEvery = 50 * time.Millisecond
	// After SQL failed, what is known is served without asking SQL again for this long. Every failing poll prolongs it.
	awayFor = 3 * time.Second
	// Even if nothing changes, facts in use are read again this often, so that Redis keeps a young copy of each.
	rereadEvery = 20 * time.Minute
)

// Mirror is one process's view of SQL and its connection to Redis. It is safe for concurrent use.
type Mirror struct {
	db    *db.DB
	ring  *seal.Ring
	redis *shared
	clock func() time.Time // the process's; replaced in tests only

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	work sync.WaitGroup // flights

	polling    sync.Mutex
	own        atomic.Int64 // db.Changes() before the last poll that succeeded
	counter    atomic.Int64 // the change counter as last polled
	epoch      atomic.Int64 // raised whenever facts have to be read again
	generation atomic.Int64 // raised whenever news about tokens may have been missed
	awayUntil  atomic.Int64 // Unix nanoseconds, 0 while SQL answers

	mu     sync.Mutex
	newest map[string]*Newest // by kind, for pub/sub
}

// Open connects to the Redis at redisURL, or to one of its own in this process where the URL is empty. A Redis that is down is no error. The URL never shows in an error.
// The database must have been claimed: its id prefixes every key in Redis.
func Open(ctx context.Context, redisURL seal.Secret, d *db.DB, ring *seal.Ring) (*Mirror, error) {
	redis, err := openShared(redisURL, d.ID())
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

// Now is this process's clock.
func (m *Mirror) Now() time.Time { return m.clock() }

// Run follows the change counter and pub/sub until ctx ends, and waits for what it started. Without it this process sees only its own writes.
func (m *Mirror) Run(ctx context.Context) error {
	var running errgroup.Group
	running.Go(func() error { m.follow(ctx); return nil })
	running.Go(func() error { m.watchOwn(ctx); return nil })
	running.Go(func() error { m.listen(ctx); return nil })
	return running.Wait()
}

// Close ends what is under way, waits for it, and closes the connections to Redis.
func (m *Mirror) Close() error {
	m.mu.Lock()
	m.stop() // under the lock, so that no flight starts while its end is waited for
	m.mu.Unlock()
	m.work.Wait()
	return m.redis.close()
}

// Ping reports whether Redis answers.
func (m *Mirror) Ping(ctx context.Context) error { return m.redis.ping(ctx) }

// Away reports whether SQL failed a moment ago, so that asking it again would only cost time.
func (m *Mirror) Away() bool {
	until := m.awayUntil.Load()
	return until != 0 && m.clock().UnixNano() < until
}

// SQLFailed tells the mirror that SQL is away. The next poll that succeeds has everything read again.
func (m *Mirror) SQLFailed() { m.awayUntil.Store(m.clock().Add(awayFor).UnixNano()) }

// stamp is a number that differs from an earlier one if anything may have changed in between: by this process (its own commits) or by any (the polled counter).
// Its two parts only rise and a sum of them, even torn, is never behind the first read nor ahead of the last, so equal stamps mean that nothing changed.
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

// catchUp polls if this process has written since the last poll, so that what is read next carries that write's number.
func (m *Mirror) catchUp(ctx context.Context) {
	if m.db.Changes() != m.own.Load() && !m.Away() {
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
	back := m.awayUntil.Swap(0) != 0
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
