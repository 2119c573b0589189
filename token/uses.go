package token

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"wxplatform/wechat"
)

// uses holds the uses that SQL was not told of yet. A use sets a flag in memory; SQL is told only
// every few minutes, because only hours and days matter.
type uses struct {
	mu      sync.Mutex
	flushed time.Time
	pending map[wechat.AppID]struct{} // uses of tokens read from SQL, and those that SQL failed to store
}

const usesAtOnce = 500

// note records uses of tokens that may not stay in memory. Beyond the limit it drops them: such a
// token is requested on demand.
func (u *uses) note(ids ...wechat.AppID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.pending == nil {
		u.pending = map[wechat.AppID]struct{}{}
	}
	for _, id := range ids {
		if len(u.pending) < entries {
			u.pending[id] = struct{}{}
		}
	}
}

// take returns and clears what was noted, if more than a grain has passed since it last did.
func (u *uses) take(now time.Time, grain time.Duration) (noted []wechat.AppID, due bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if age := now.Sub(u.flushed); 0 <= age && age < grain {
		return nil, false
	}
	noted = slices.Collect(maps.Keys(u.pending))
	u.flushed, u.pending = now, nil
	return noted, true
}

// flushUses writes uses to SQL, at most once per grain (five minutes). If SQL fails, it keeps them
// for the next time.
func (s *Store) flushUses(ctx context.Context, now time.Time) error {
	noted, due := s.uses.take(now, s.times.grain())
	if !due {
		return nil
	}
	for _, id := range s.newest.TakeUsed() {
		noted = append(noted, wechat.AppID(id))
	}
	for some := range slices.Chunk(noted, usesAtOnce) {
		used := make(map[wechat.AppID]Version, len(some))
		for _, id := range some {
			used[id] = s.version(id)
		}
		if err := s.noteUse(ctx, now, used); err != nil {
			s.uses.note(noted...)
			return err
		}
	}
	return nil
}

// Counts is what a Store did since it was created.
type Counts struct {
	Answered, Refused, Dead, Unsent, NotAsked, Unknown int64 // requests by outcome
	Lost                                               int64 // claims that another process made first
	Waited                                             int64 // waits for another process's lease
	Limited                                            int64 // forced refreshes that were not allowed
	Insisted                                           int64 // answers that SQL did not store at once
}

type counters struct {
	asks                            [unknown + 1]atomic.Int64
	lost, waited, limited, insisted atomic.Int64
}

func (c *counters) count(how outcome) { c.asks[how].Add(1) }

// Counts returns a copy of the counters, for metrics.
func (s *Store) Counts() Counts {
	c := &s.counters
	return Counts{
		Answered: c.asks[answered].Load(),
		Refused:  c.asks[refused].Load(),
		Dead:     c.asks[dead].Load(),
		Unsent:   c.asks[unsent].Load(),
		NotAsked: c.asks[notAsked].Load(),
		Unknown:  c.asks[unknown].Load(),
		Lost:     c.lost.Load(),
		Waited:   c.waited.Load(),
		Limited:  c.limited.Load(),
		Insisted: c.insisted.Load(),
	}
}
