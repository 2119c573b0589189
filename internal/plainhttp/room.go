package plainhttp

import (
	"container/list"
	"net"
	"sync"
	"sync/atomic"
)

// room bounds how many connections are open. A new one for which there is no room takes the place
// of the one that has been idle for longest.
type room struct {
	most int // 0 is no bound

	mu     sync.Mutex
	places list.List // of *place, by when each became idle; some are busy again
	counts Connections
}

// Connections counts a server's TCP connections, including those that net/http serves.
type Connections struct {
	Open    int   // now
	Most    int   // that may be open; 0 if there is no bound
	Evicted int64 // closed while they were idle, to make room for new ones
	Refused int64 // closed as soon as they were accepted, because all others were busy
}

const (
	placeIdle int32 = iota // no request has begun
	placeBusy
	placeLeft // the connection is closed, or is being closed
)

// place is the place of one open connection in a room.
type place struct {
	room    *room
	tcp     *net.TCPConn
	element *list.Element
	state   atomic.Int32 // it changes to idle and to left under room.mu
}

// enter returns a place for c, which is idle. If there is no room for it, it closes the connection
// that has been idle for longest, or returns nil if none is idle.
func (r *room) enter(c *net.TCPConn) *place {
	p := &place{room: r, tcp: c}
	evicted, ok := r.add(p)
	if evicted != nil {
		_ = evicted.tcp.Close() // not under the lock: it waits until the connection's reader has woken up
	}
	if !ok {
		return nil
	}
	return p
}

// add adds p, if there is room for it or for one place that is evicted.
func (r *room) add(p *place) (evicted *place, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.most > 0 && r.places.Len() >= r.most {
		if evicted = r.evict(); evicted == nil {
			r.counts.Refused++
			return nil, false
		}
	}
	p.element = r.places.PushBack(p)
	return evicted, true
}

// evict removes the place that has been idle for longest, or returns nil if none is idle. In the
// list it is behind only those that were idle for as long and are busy now.
func (r *room) evict() *place {
	for e := r.places.Front(); e != nil; e = e.Next() {
		if p := e.Value.(*place); p.state.CompareAndSwap(placeIdle, placeLeft) {
			r.places.Remove(e)
			r.counts.Evicted++
			return p
		}
	}
	return nil
}

// busy says that a request has begun, and reports whether it may: not if the connection is being
// closed. Nothing of that request may be acted on then.
func (p *place) busy() bool {
	return p.state.CompareAndSwap(placeIdle, placeBusy) || p.state.Load() == placeBusy
}

// idle says that a request has ended.
func (p *place) idle() {
	p.room.mu.Lock()
	defer p.room.mu.Unlock()
	if p.state.CompareAndSwap(placeBusy, placeIdle) {
		p.room.places.MoveToBack(p.element)
	}
}

// leave says that the connection is closed. It may be called more than once.
func (p *place) leave() {
	p.room.mu.Lock()
	defer p.room.mu.Unlock()
	if p.state.Swap(placeLeft) != placeLeft {
		p.room.places.Remove(p.element)
	}
}

func (r *room) count() Connections {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts.Open, r.counts.Most = r.places.Len(), r.most
	return r.counts
}
