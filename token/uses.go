package token

import (
	"maps"
	"slices"
	"sync"
	"time"

	"wxplatform/wechat"
)

// uses holds the uses that are not in SQL yet. A use sets a flag in memory. SQL is written only
// every few minutes, because only hours and days matter.
type uses struct {
	mu      sync.Mutex
	taken   time.Time
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

// take returns and clears what was noted, if enough time has passed since it last did.
func (u *uses) take(now time.Time, every time.Duration) (noted []wechat.AppID, due bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if age := now.Sub(u.taken); 0 <= age && age < every {
		return nil, false
	}
	noted = slices.Collect(maps.Keys(u.pending))
	u.taken, u.pending = now, nil
	return noted, true
}
