// Package runqueue measures how long goroutines of this process wait for a processor.
package runqueue

import (
	"math"
	"runtime/metrics"
	"time"
)

const name = "/sched/latencies:seconds"

// Meter measures from one call of Median to the next. Its zero value measures from the process's
// start. It is not safe for concurrent use.
type Meter struct {
	sample []metrics.Sample
	before []uint64
}

// Median returns how long half of the goroutines that became runnable since the last call waited at
// most, as a bound of the runtime's histogram; 0 if there were none.
func (m *Meter) Median() time.Duration {
	if m.sample == nil {
		m.sample = []metrics.Sample{{Name: name}}
	}
	metrics.Read(m.sample)
	h := m.sample[0].Value.Float64Histogram()
	if m.before == nil {
		m.before = make([]uint64, len(h.Counts))
	}
	since, total := make([]uint64, len(h.Counts)), uint64(0)
	for i, n := range h.Counts {
		since[i] = n - m.before[i]
		total += since[i]
	}
	copy(m.before, h.Counts)
	return bound(since, h.Buckets, total)
}

// bound returns the upper bound of the bucket that the median of total counts is in. A bucket
// without an upper bound counts as its lower one.
func bound(counts []uint64, buckets []float64, total uint64) time.Duration {
	seen := uint64(0)
	for i, n := range counts {
		if seen += n; n > 0 && 2*seen >= total {
			upper := buckets[i+1]
			if math.IsInf(upper, 1) {
				upper = buckets[i]
			}
			return time.Duration(upper * float64(time.Second))
		}
	}
	return 0
}
