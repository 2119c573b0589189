package tenant

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"wxplatform/internal/runqueue"
)

// While requests wait for CPU time, tenants that send more than an equal share are slowed down
// (docs/design.md, "Shares").
const (
	paceEvery  = 100 * time.Millisecond
	burstSteps = 5                // a queue in fewer steps than this is a burst
	activeFor  = 10 * time.Second // since a tenant's last request
	leastPace  = 500              // requests a second that no tenant is slowed below
	paceDown   = 0.8
	paceUp     = 1.03
	paceBurst  = 100 * time.Millisecond // how much of a tenant's pace it may use at once
	smoothing  = 0.2                    // the weight of the newest step in a tenant's rate
)

// traffic is what a tenant sends, and its pace: how many requests a second it may send while others
// wait, 0 if it is not slowed down.
type traffic struct {
	admitted atomic.Int64 // since the last step
	pace     atomic.Int64
	last     time.Time // when requests of it were last seen
	rate     float64   // requests a second that were admitted, smoothed
}

// step updates rate from the requests admitted since the last step, and reports whether the tenant
// is active.
func (t *traffic) step(now time.Time, took time.Duration) bool {
	latest := float64(t.admitted.Swap(0)) / took.Seconds()
	if latest > 0 {
		t.last = now
	}
	t.rate += smoothing * (latest - t.rate)
	return now.Sub(t.last) < activeFor
}

// nextPace returns a tenant's next pace. rate is what the tenant sends, mean the average of all
// active tenants, both in requests a second; queue says that requests wait for CPU time. It returns
// 0, which is no limit, for a tenant that is alone, or that sends less than a tenth of its pace.
func nextPace(pace int64, rate, mean float64, alone, queue bool) int64 {
	switch {
	case alone:
		return 0
	case queue && rate > mean:
		if pace == 0 || rate < float64(pace) {
			pace = int64(rate)
		}
		return max(leastPace, int64(paceDown*float64(pace)))
	case queue, pace == 0:
		return pace
	case rate < float64(pace)/10:
		return 0
	case rate < float64(pace)/2: // it does not use its pace, so a higher one would change nothing
		return pace
	}
	return int64(paceUp*float64(pace)) + 1
}

// step recalculates each tenant's pace. queued says that requests waited for CPU time since the
// last step. A tenant gets its first pace only after burstSteps more steps with a queue than
// without, so that a burst slows nobody down.
func (l *limits) step(now time.Time, took time.Duration, queued bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if queued {
		l.queued = min(l.queued+1, burstSteps)
	} else {
		l.queued = max(l.queued-1, 0)
	}
	active, total := 0, 0.0
	for _, t := range l.tenants {
		if t.step(now, took) {
			active++
			total += t.rate
		}
	}
	for _, t := range l.tenants {
		pace := t.pace.Load()
		slow := queued && (l.queued == burstSteps || pace > 0)
		t.pace.Store(nextPace(pace, t.rate, total/float64(max(active, 1)), active < 2, slow))
	}
}

// Pace slows down the tenants that send most while requests wait for CPU time, until ctx ends.
// Requests count as waiting if, on average, more goroutines wait for a processor than there are
// processors.
func (r *Registry) Pace(ctx context.Context) error {
	ticker := time.NewTicker(paceEvery)
	defer ticker.Stop()
	meter, last := runqueue.NewMeter(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			queued := meter.Waiting() > float64(runtime.GOMAXPROCS(0))
			r.limits.step(now, max(now.Sub(last), time.Millisecond), queued)
			last = now
		}
	}
}

// Paces returns the pace, in requests a second, of the tenants that are slowed down now.
func (r *Registry) Paces() map[ID]int64 {
	r.limits.mu.Lock()
	defer r.limits.mu.Unlock()
	all := map[ID]int64{}
	for id, t := range r.limits.tenants {
		if pace := t.pace.Load(); pace > 0 {
			all[id] = pace
		}
	}
	return all
}

// within returns the lower of l and pace.
func (l Limit) within(pace int64) Limit {
	if pace == 0 || l != (Limit{}) && l.PerSecond <= int(pace) {
		return l
	}
	return Limit{PerSecond: int(pace), Burst: max(1, int(float64(pace)*paceBurst.Seconds()))}
}
