package wechat

import (
	"context"
	"sync"
	"time"

	"wxplatform/internal/socket"
)

const (
	mostAhead  = 64
	aheadStays = 3 * time.Second
)

// dialAhead keeps connections ready that were dialled ahead of the calls that will use them, once
// each. It keeps as many as were used within a recent second, so none if calls are rare.
type dialAhead struct {
	host *host
	ctx  context.Context // of dialling
	stop context.CancelFunc

	mu      sync.Mutex
	ready   []*connection // the oldest first
	dialing int
	used    demand
	expiry  *time.Timer // set while it runs, also after ready became empty
	closed  bool
	work    sync.WaitGroup // dials, and the expiry
}

func (s *dialAhead) open(h *host) {
	s.host = h
	s.ctx, s.stop = context.WithCancel(context.Background())
}

// take removes and returns the oldest connection, or nil.
func (s *dialAhead) take() *connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	var c *connection
	if len(s.ready) > 0 {
		c, s.ready = s.ready[0], s.ready[1:]
	}
	s.refill(s.used.add(time.Now()))
	return c
}

// refill dials until there are most connections. After a failed dial the next call dials itself.
func (s *dialAhead) refill(most int) {
	if s.closed || !socket.Able {
		return
	}
	for range min(most, mostAhead) - len(s.ready) - s.dialing {
		s.dialing++
		s.work.Go(func() { s.put(s.host.dial(s.ctx)) })
	}
}

func (s *dialAhead) put(c *connection, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialing--
	switch {
	case err != nil:
	case s.closed:
		_ = c.Close()
	default:
		c.dialled = false
		c.since = time.Now()
		s.ready = append(s.ready, c)
		s.watch()
	}
}

// watch starts the timer that closes the connections that are not used in time.
func (s *dialAhead) watch() {
	if s.expiry != nil || len(s.ready) == 0 || s.closed {
		return
	}
	s.work.Add(1)
	s.expiry = time.AfterFunc(time.Until(s.ready[0].since.Add(aheadStays)), s.expire)
}

func (s *dialAhead) expire() {
	defer s.work.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.ready) > 0 && time.Since(s.ready[0].since) >= aheadStays {
		_ = s.ready[0].Close()
		s.ready = s.ready[1:]
	}
	s.expiry = nil
	s.watch()
}

// close closes the connections that are ready, and waits for dials in flight.
func (s *dialAhead) close() {
	if s.host == nil {
		return // it was never opened
	}
	s.mu.Lock()
	s.closed = true
	for _, c := range s.ready {
		_ = c.Close()
	}
	s.ready = nil
	if s.expiry != nil && s.expiry.Stop() {
		s.work.Done()
	}
	s.expiry = nil
	s.mu.Unlock()
	s.stop()
	s.work.Wait()
}

// demand counts uses per second.
type demand struct {
	second      int64
	now, before int // uses in this second, and in the one before
}

// add counts a use. It returns how many there were before it in this second, or in the second
// before, whichever is more.
func (d *demand) add(at time.Time) int {
	switch second := at.Unix(); second {
	case d.second:
	case d.second + 1:
		d.before, d.now = d.now, 0
	default:
		d.before, d.now = 0, 0
	}
	d.second = at.Unix()
	d.now++
	return max(d.before, d.now-1)
}
