// Package bucket limits how often something happens, with token buckets.
package bucket

import (
	"sync"
	"time"
)

// Rate is how many tokens a bucket holds, and how fast they come back.
type Rate struct {
	Every time.Duration // one token comes back after this time; 0 means no limit
	Burst int           // how many tokens a full bucket holds; at least 1
}

// window is how long an empty bucket takes to fill.
func (r Rate) window() time.Duration { return time.Duration(max(r.Burst, 1)) * r.Every }

// Bucket is a token bucket. The zero value is full. It is safe for concurrent use.
//
// The rate is an argument of each call, so that it may change at any time: then the bucket keeps
// how long it takes to fill, but never more than an empty bucket of the new rate does.
type Bucket struct {
	mu    sync.Mutex
	level level
}

// Take takes a token. If there is none, ok is false, nothing changes, and wait is how long it takes
// until one comes back.
func (b *Bucket) Take(r Rate, now time.Time) (wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.level, wait, ok = b.level.take(r, now)
	return wait, ok
}

// Return gives back a token that was taken and not used.
func (b *Bucket) Return(r Rate) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.level = b.level.give(r)
}

// level is the state of a bucket: when it is full again.
type level struct{ full time.Time }

func (l level) take(r Rate, now time.Time) (after level, wait time.Duration, ok bool) {
	filling := min(max(0, l.full.Sub(now)), r.window())
	if wait = filling + r.Every - r.window(); wait > 0 {
		return l, wait, false
	}
	return level{now.Add(filling + r.Every)}, 0, true
}

func (l level) give(r Rate) level { return level{l.full.Add(-r.Every)} }
