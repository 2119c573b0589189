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

// stock is connections that are dialled ahead of the calls that will use them, once: as many as were
// used within a second of late, so that none is dialled where calls are rare.
type stock struct {
	host *host
	ctx  context.Context // of dialling
	stop context.CancelFunc

	mu      sync.Mutex
	ready   []*connection // the oldest is the first
	dialing int
	used    demand
	expiry  *time.Timer // set while ready is not empty
	closed  bool
	work    sync.WaitGroup // dials, and the expiry
}

func (s *stock) open(h *host) {
	s.host = h
	s.ctx, s.stop = context.WithCancel(context.Background())
}

// take removes and returns the oldest connection, or nil.
func (s *stock) take() *connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	var c *connection
	if len(s.ready) > 0 {
		c, s.ready = s.ready[0], s.ready[1:]
	}
	s.refill(s.used.add(time.Now()))
	return c
}

// refill has as many dialled as want of most. A dial that fails is left to the next call.
func (s *stock) refill(most int) {
	if s.closed || !socket.Able {
		return
	}
	for range min(most, mostAhead) - len(s.ready) - s.dialing {
		s.dialing++
		s.work.Go(func() { s.put(s.host.dial(s.ctx)) })
	}
}

func (s *stock) put(c *connection, err error) {
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

// watch has the connections closed that nobody took in time.
func (s *stock) watch() {
	if s.expiry != nil || len(s.ready) == 0 || s.closed {
		return
	}
	s.work.Add(1)
	s.expiry = time.AfterFunc(time.Until(s.ready[0].since.Add(aheadStays)), s.expire)
}

func (s *stock) expire() {
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

// close closes what is ready, and waits for the dials that are under way.
func (s *stock) close() {
	if s.host == nil {
		return // never opened
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

// demand counts uses by the second.
type demand struct {
	second      int64
	now, before int // uses within it, and within the second before
}

// add counts a use, and returns how many others there were within this second or the one before.
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
