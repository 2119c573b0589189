package runqueue

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestTheMedianIsABoundOfItsBucket(t *testing.T) {
	buckets := []float64{0, 1e-6, 1e-3, 1, math.Inf(1)}
	for _, c := range []struct {
		counts []uint64
		want   time.Duration
	}{
		{[]uint64{0, 0, 0, 0}, 0},
		{[]uint64{1, 0, 0, 0}, time.Microsecond},
		{[]uint64{5, 4, 0, 0}, time.Microsecond},
		{[]uint64{4, 5, 0, 0}, time.Millisecond},
		{[]uint64{1, 1, 7, 0}, time.Second},
		{[]uint64{0, 0, 0, 3}, time.Second},
	} {
		total := uint64(0)
		for _, n := range c.counts {
			total += n
		}
		if got := bound(c.counts, buckets, total); got != c.want {
			t.Errorf("got %v for %v, want %v", got, c.counts, c.want)
		}
	}
}

func TestGoroutinesThatWaitForAProcessorAreMeasured(t *testing.T) {
	m := &Meter{}
	m.Median()
	var busy sync.WaitGroup
	var over atomic.Bool
	for range 20 * runtime.GOMAXPROCS(0) { // each runs for up to 10 ms while the others wait
		busy.Go(func() {
			for !over.Load() {
			}
		})
	}
	longest := time.Duration(0)
	for range 100 {
		time.Sleep(20 * time.Millisecond)
		if longest = max(longest, m.Median()); longest > time.Millisecond {
			break
		}
	}
	over.Store(true)
	busy.Wait()
	if longest <= time.Millisecond {
		t.Errorf("got a median of %v with twenty busy goroutines for each processor, want above 1 ms", longest)
	}
}
