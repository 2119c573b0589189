package plainhttp

import (
	"cmp"
	"errors"
	"net/http"
	"os"
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

// errSettled says that no request has begun for settleTime.
var errSettled = errors.New("the connection is idle")

// await serves requests that arrive whole, and then waits for the first bytes of another one and
// returns how many there are.
func (c *conn) await() (int, error) {
	c.arrived = 0
	if c.ends() {
		return 0, os.ErrDeadlineExceeded
	}
	err := cmp.Or(c.raw.Read(c.turn), c.failed)
	if c.settles() && errors.Is(err, os.ErrDeadlineExceeded) {
		err = errSettled
	}
	return c.arrived, err
}

// ends reports whether no request may follow. It sets the time by which one must have begun.
func (c *conn) ends() bool {
	c.readUntil(c.waits())
	return c.used.Load() && c.server.ending.Load()
}

// serveArrived receives what has arrived, and serves it if it is a whole request. It reports false
// if another one is to be waited for. What arrives after the receive ends that wait, so no receive
// is needed before it, which would usually find nothing. But the end of the connection, if it
// arrived together with the request, does not end the wait. That is usual behind a connection's
// only request, so there is a receive after the first one; otherwise it is noticed after
// settleTime.
func (c *conn) serveArrived(fd uintptr) bool {
	if !c.receiveLazily(fd) {
		return false
	}
	if c.failed != nil || !c.place.busy() {
		return true
	}
	r, look := c.wholeRequest(), !c.used.Load() || c.patience() <= 0
	if r == nil {
		return true
	}
	c.release()
	c.arrived = 0
	if c.over = !c.exchange(r); c.over {
		return true
	}
	c.place.idle()
	if c.over = c.ends(); c.over {
		return true
	}
	return look && c.serveArrived(fd)
}

// wholeRequest returns the request that has arrived, or nil if await's caller must look at it. If
// the buffer is full, more may have arrived, which would not end a wait.
func (c *conn) wholeRequest() *http.Request {
	if c.arrived == requestLimit {
		return nil
	}
	ctx := c.begin()
	r, bad := parse(ctx, string(c.in[:c.arrived]))
	if bad != nil || !c.server.whole(r) {
		c.finish()
		return nil
	}
	return c.received(r)
}

// waits is how long await waits: for the rest of patience, or at first for settleTime only.
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

// receiveLazily receives what has arrived, and reports false if that is nothing. It takes a buffer
// for that moment only.
func (c *conn) receiveLazily(fd uintptr) bool {
	c.in = buffers.Get().(*[requestLimit]byte)
	if c.arrived, c.failed = socket.Receive(fd, c.in[:]); c.arrived > 0 {
		return true
	}
	c.release()
	return c.failed != socket.ErrNothing
}

func (c *conn) release() {
	if c.in != nil {
		buffers.Put(c.in)
		c.in = nil
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
	if patience <= 0 {
		return
	}
	if until := time.Now().Add(patience); moves(c.readBy, until) {
		c.readBy = until
		_ = c.SetReadDeadline(until)
	}
}

// limitWriting gives the next response the time that net/http would give it.
func (c *conn) limitWriting() {
	patience := c.server.fallback.WriteTimeout
	if patience <= 0 {
		return
	}
	if until := time.Now().Add(patience); moves(c.writeBy, until) {
		c.writeBy = until
		_ = c.SetWriteDeadline(until)
	}
}

// moves reports whether a deadline must be set anew. Setting it takes as long as parsing a request,
// so it may be a little early.
func moves(set, wanted time.Time) bool {
	early := wanted.Sub(set)
	return early < 0 || early > mostEarly
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
