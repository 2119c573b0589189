package plainhttp

import (
	"cmp"
	"runtime/debug"
	"sync"
	"time"

	"wxplatform/internal/socket"
)

// An idle connection holds no buffer and no response, and its goroutine has a small stack. What it
// holds for requests in quick succession it gives up after settleTime.
const settleTime = time.Second

// buffers holds the buffers that requests are read into. Handlers get copies only.
var buffers = sync.Pool{New: func() any { return new([requestLimit]byte) }}

// ends reports whether no request may follow. It sets the time by which one must have begun.
func (c *conn) ends() bool {
	c.readUntil(c.waits())
	return c.used.Load() && c.server.ending.Load()
}

// waits is how long to wait for a request: for the rest of patience, or at first for settleTime
// only.
func (c *conn) waits() time.Duration {
	switch {
	case c.settles():
		return settleTime
	case c.settled:
		return c.patience() - settleTime
	default:
		return c.patience()
	}
}

// settles reports whether the connection may hold something that it can give up.
func (c *conn) settles() bool { return c.used.Load() && !c.settled && c.patience() > settleTime }

// settle gives up the response and goes on in a new goroutine: a goroutine's stack grows with the
// first request, and shrinks only by half with each garbage collection.
func (c *conn) settle() {
	c.settled, c.answer = true, nil
	c.server.settled.Add(1)
	go c.serve()
}

const (
	tidyAfter = 1000 // connections
	tidyEvery = 10 * time.Second
)

// tidy gives the memory that many connections gave up back to the system: in a process that has
// become idle, the garbage collector does not run by itself for two minutes.
func (s *Server) tidy(now time.Time) {
	if s.settled.Load() < tidyAfter || now.Sub(s.tidied) < tidyEvery {
		return
	}
	s.settled.Store(0)
	s.tidied = now
	debug.FreeOSMemory()
}

// receive adds what has arrived to c.in, or fails with socket.ErrNothing if nothing has.
func (c *conn) receive(fd uintptr) error {
	if c.in == nil {
		c.in = buffers.Get().(*[requestLimit]byte)
	}
	n, err := socket.Receive(fd, c.in[c.arrived:])
	c.arrived += n
	if c.arrived == 0 {
		c.release() // an idle connection holds no buffer
	}
	return err
}

func (c *conn) release() {
	if c.in != nil {
		buffers.Put(c.in)
		c.in, c.arrived = nil, 0
	}
}

// patience is how long a request may take to begin, as in net/http: a connection's first request as
// long as a head may take, a later one as long as a connection may be idle.
func (c *conn) patience() time.Duration {
	limits := c.server.fallback
	if c.used.Load() {
		return cmp.Or(limits.IdleTimeout, limits.ReadTimeout)
	}
	return cmp.Or(limits.ReadHeaderTimeout, limits.ReadTimeout)
}

func (c *conn) readUntil(patience time.Duration) {
	if until, moves := next(c.readBy, patience); moves {
		c.readBy = until
		_ = c.SetReadDeadline(until)
	}
}

// limitWriting gives the next response the time that net/http would give it.
func (c *conn) limitWriting() {
	if until, moves := next(c.writeBy, c.server.fallback.WriteTimeout); moves {
		c.writeBy = until
		_ = c.SetWriteDeadline(until)
	}
}

// next returns the deadline after a wait of patience, or none if that is not above 0, and whether
// it must be set in place of the one that is set. Setting it takes as long as parsing a request, so
// the one that is set may be a little early.
func next(set time.Time, patience time.Duration) (until time.Time, moves bool) {
	if patience <= 0 {
		return time.Time{}, !set.IsZero()
	}
	until = time.Now().Add(patience)
	early := until.Sub(set)
	return until, early < 0 || early > min(mostEarly, patience/2)
}

const mostEarly = 50 * time.Millisecond

// wake stops an idle connection from waiting for a request once the server is ending. A connection
// that begins to wait at the same time sets its deadline before it reads ending, so it is not
// missed. A new connection keeps waiting, as in net/http: its first request may be on the way.
func (c *conn) wake() {
	if c.used.Load() {
		_ = c.SetReadDeadline(time.Unix(1, 0))
	}
}
