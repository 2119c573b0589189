package runqueue

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestAWaitCountsAsTheMiddleOfItsBucket(t *testing.T) {
	buckets := []float64{math.Inf(-1), 0, 1, 3, math.Inf(1)}
	for _, c := range []struct {
		counts []uint64
		want   time.Duration
	}{
		{[]uint64{0, 0, 0, 0}, 0},
		{[]uint64{7, 0, 0, 0}, 0},
		{[]uint64{0, 4, 0, 0}, 2 * time.Second},
		{[]uint64{0, 1, 2, 0}, 4500 * time.Millisecond},
		{[]uint64{0, 0, 0, 2}, 6 * time.Second},
	} {
		if got := sum(c.counts, buckets); got != c.want {
			t.Errorf("got %v for %v, want %v", got, c.counts, c.want)
		}
	}
}

// While so many goroutines are busy, all wait that have no processor. A process without work has
// none that wait. The runtime's samples are few, so the numbers are rough.
func TestGoroutinesThatWaitForAProcessorAreCounted(t *testing.T) {
	processors := runtime.GOMAXPROCS(0)
	busy := 20 * processors
	m := NewMeter()
	stop := occupy(busy)
	n, ok := measured(m, func(n float64) bool { return n > float64(busy)/4 && n < float64(4*busy) })
	stop()
	if !ok {
		t.Errorf("got %.1f waiting at a time while %d are busy on %d processors", n, busy, processors)
	}
	if n, ok = measured(m, func(n float64) bool { return n < float64(processors) }); !ok {
		t.Errorf("got %.1f waiting at a time in a process without work", n)
	}
}

// measured measures each second until what was measured is as wanted, for a minute at most.
func measured(m *Meter, wanted func(float64) bool) (n float64, ok bool) {
	for deadline := time.Now().Add(time.Minute); !ok && time.Now().Before(deadline); ok = wanted(n) {
		time.Sleep(time.Second)
		n = m.Waiting()
	}
	return n, ok
}

// occupy keeps n goroutines busy until stop is called.
func occupy(n int) (stop func()) {
	var busy sync.WaitGroup
	var over atomic.Bool
	for range n {
		busy.Go(func() {
			for !over.Load() {
			}
		})
	}
	return func() { over.Store(true); busy.Wait() }
}
