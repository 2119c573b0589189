package wechat

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestOnlyATimeBetweenTheEarliestAndTheLatestIsPlausible(t *testing.T) {
	oldest, latest := time.Unix(1_293_840_000, 0), time.Unix(1_800_000_000, 5e8)
	for seconds, want := range map[int64]bool{
		oldest.Unix() - 1: false, oldest.Unix(): true, latest.Unix(): true, latest.Unix() + 1: false,
		0: false, -1: false, 1_800_000_000_000: false, 1 << 62: false, math.MaxInt64: false, math.MinInt64: false,
	} {
		if got := PlausibleTime(seconds, oldest, latest); got.IsZero() == want || want && got.Unix() != seconds {
			t.Errorf("%d: got %v, want it plausible: %v", seconds, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		got := PlausibleTime(rapid.Int64().Draw(t, "seconds"), oldest, latest)
		if !got.IsZero() && (got.Before(oldest) || got.After(latest)) {
			t.Errorf("got %v", got)
		}
	})
}
