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

// uses are what callers asked for and SQL was not told of yet. A use costs a flag in the process; SQL learns of it once in a while, for only hours and days count.
type uses struct {
	mu      sync.Mutex
	flushed time.Time
	pending map[wechat.AppID]struct{} // what was read from SQL, which need not stay in the process, and what SQL did not take
}

const usesAtOnce = 500

// note is for what is not kept in the process for sure. Beyond the bound it is forgotten: such a token is asked for on demand.
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

// take is what was noted, if more than a grain has passed since.
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

// flushUses tells SQL what was used, at most once a grain (five minutes). What SQL does not take is kept for the next time.
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

// Counts is what a Store did since it was made.
type Counts struct {
	Answered, Refused, Dead, Unsent, NotAsked, Unknown int64 // asks by their end
	Lost                                               int64 // claims that somebody else was quicker to make
	Waited                                             int64 // waits for another's lease
	Limited                                            int64 // forced refreshes that were not made
	Insisted                                           int64 // answers that SQL did not take at once
}

type counters struct {
	asks                            [unknown + 1]atomic.Int64
	lost, waited, limited, insisted atomic.Int64
}

func (c *counters) count(how outcome) { c.asks[how].Add(1) }

// Counts is a copy of the counters, for metrics.
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
