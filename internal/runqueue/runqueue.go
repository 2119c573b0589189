// Package runqueue measures how many goroutines of this process wait for a processor.
package runqueue

import (
	"math"
	"runtime/metrics"
	"time"
)

const (
	name    = "/sched/latencies:seconds"
	sampled = 8 // the runtime measures one wait in 8 (gTrackingPeriod in runtime/runtime2.go)
)

// Meter measures from one call of Waiting to the next. It is not safe for concurrent use.
type Meter struct {
	sample []metrics.Sample
	waited time.Duration // by all goroutines since the process started
	at     time.Time
}

// NewMeter returns a Meter that measures from now on.
func NewMeter() *Meter {
	m := &Meter{sample: []metrics.Sample{{Name: name}}}
	m.Waiting()
	return m
}

// Waiting returns how many goroutines waited for a processor at the same time, on average since the
// last call. A wait counts when it ends.
func (m *Meter) Waiting() float64 {
	metrics.Read(m.sample)
	now, h := time.Now(), m.sample[0].Value.Float64Histogram()
	waited := sampled * sum(h.Counts, h.Buckets)
	n := float64(waited-m.waited) / float64(max(now.Sub(m.at), 1))
	m.at, m.waited = now, waited
	return n
}

// sum adds up the waits of a histogram. Each counts as the middle of its bucket, or as the finite
// one of its bounds. Bucket i is from buckets[i] to buckets[i+1], in seconds.
func sum(counts []uint64, buckets []float64) time.Duration {
	seconds := 0.0
	for i, n := range counts {
		lower, upper := buckets[i], buckets[i+1]
		if math.IsInf(lower, -1) {
			lower = upper
		}
		if math.IsInf(upper, 1) {
			upper = lower
		}
		seconds += float64(n) * (lower + upper) / 2
	}
	return time.Duration(seconds * float64(time.Second))
}
