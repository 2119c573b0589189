package plainhttp

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"wxplatform/internal/socket"
)

// conn is a connection that this package reads, until it hands it to net/http.
type conn struct {
	*net.TCPConn
	server *Server
	handed *handover
	place  *place
	remote string
	used   atomic.Bool // it has carried a request
	blanks int         // how many bytes of blank lines may still follow the last request
	answer *response   // kept for the next response, unless settled

	raw     syscall.RawConn
	turn    func(fd uintptr) bool // serveArrived, made once, so that a read does not allocate
	in      *[requestLimit]byte   // what arrived of a request; nil if nothing did
	arrived int                   // bytes in in
	failed  error                 // of the last receive
	over    bool                  // no other request is served on it
	settled bool                  // it is idle, and holds no buffers
	readBy  time.Time             // the deadlines that are set
	writeBy time.Time

	mu     sync.Mutex
	cancel context.CancelFunc // ends the request in flight; nil if there is none
	since  time.Time          // when that request began
}

// serve answers one request after the other, until the connection ends, settles or is handed over.
func (c *conn) serve() {
	var err error
	if !c.ends() {
		err = cmp.Or(c.raw.Read(c.turn), c.failed)
	}
	if c.arrived == 0 && c.settles() && errors.Is(err, os.ErrDeadlineExceeded) {
		c.settle()
		return
	}
	c.end(c.unserved(err))
}

// serveArrived receives what has arrived, and serves it if it is a request. It reports false if
// more is to be waited for, and true if the connection is over or net/http must serve what arrived.
// After a part of a request it receives again, because the end of the connection may be behind it.
func (c *conn) serveArrived(fd uintptr) (done bool) {
	for {
		first := c.arrived == 0
		if c.failed = c.receive(fd); c.failed != nil {
			return c.failed != socket.ErrNothing
		}
		hidden := c.mayHideMore()
		if c.skipBlanks(); c.arrived == 0 {
			continue
		}
		switch r, bad := c.request(); {
		case r != nil:
			if c.over = !c.reply(r); c.over || !hidden {
				return c.over
			}
		case bad != errMore || c.arrived == requestLimit:
			return true
		case first:
			c.readUntil(arrivalTime)
		}
	}
}

// mayHideMore reports whether what was just received may hide something that does not end the next
// wait, so that another receive is needed first, which usually finds nothing. What arrives later
// ends the wait. But what a full buffer left does not, nor does the end of the connection if it
// arrived together with a request. That is usual behind a connection's first request, which is
// often its only one. Behind a later one it is noticed after settleTime, if there are time-outs.
func (c *conn) mayHideMore() bool {
	return !c.used.Load() || c.arrived == requestLimit || c.patience() <= 0
}

// skipBlanks drops a blank line behind the body of a POST, as net/http does. Old clients send one.
func (c *conn) skipBlanks() {
	n := 0
	for n < min(c.arrived, c.blanks) && (c.in[n] == '\r' || c.in[n] == '\n') {
		n++
	}
	c.blanks -= n
	c.arrived = copy(c.in[:], c.in[n:c.arrived])
}

// request returns the request that has arrived; then the connection's place is busy, and finish
// must be called. It fails like parse, and with errNotPlain if net/http must serve the request or
// the connection is being closed.
func (c *conn) request() (*http.Request, error) {
	if c.over = !c.place.busy(); c.over {
		return nil, errNotPlain
	}
	ctx := c.begin()
	r, err := parse(ctx, string(c.in[:c.arrived]))
	if err == nil && !c.server.whole(r) {
		err = errNotPlain
	}
	if err != nil {
		c.finish()
		return nil, err
	}
	r.RemoteAddr, c.blanks = c.remote, 0
	if r.Method == http.MethodPost {
		c.blanks = mostBlanks
	}
	return r, nil
}

// reply serves r and reports whether another request may follow.
func (c *conn) reply(r *http.Request) bool {
	c.release()
	if !c.exchange(r) {
		return false
	}
	c.place.idle()
	return !c.ends()
}

// end hands the connection over with the bytes that arrived and were not served, or closes it if
// there are none.
func (c *conn) end(unserved []byte) {
	c.release()
	if unserved != nil {
		begun := c.server.handOver(c)      // from here on nobody else sets a deadline
		_ = c.SetReadDeadline(time.Time{}) // net/http does not remove it if it has no time-out of its own
		c.handed.give(&replayed{c.TCPConn, c.TCPConn, c.place, unserved, begun})
		return
	}
	defer c.server.forget(c)
	_ = c.Close()
	c.place.leave()
}

// unserved returns what net/http gets of what arrived, after err: nothing if the connection is over
// or being closed, or if so few bytes arrived that net/http would close a used connection without a
// response.
func (c *conn) unserved(err error) []byte {
	tooFew := c.arrived < leastRead && c.used.Load() && errors.Is(err, io.EOF)
	if c.over || c.arrived == 0 || tooFew || !c.place.busy() {
		return nil
	}
	return bytes.Clone(c.in[:c.arrived])
}

const (
	leastRead  = 4 // bytes that net/http peeks at before it reads another request
	mostBlanks = 4 // bytes of blank lines that net/http skips before it
)

// exchange serves r and reports whether the connection can carry another request.
func (c *conn) exchange(r *http.Request) (reusable bool) {
	defer c.recovered(&reusable)
	defer c.finish()
	c.used.Store(true)
	c.settled = false
	c.limitWriting()
	if c.answer == nil {
		c.answer = &response{}
	}
	c.answer.reset()
	c.server.fallback.Handler.ServeHTTP(c.answer, r)
	_, err := c.Write(c.answer.finish(&c.server.clock))
	return err == nil && !c.answer.last
}

// recovered handles a panic as net/http does: the connection is closed, and the panic is logged
// unless it was http.ErrAbortHandler. Its value may hold a secret, so only the type is logged.
func (c *conn) recovered(reusable *bool) {
	v := recover()
	if v == nil {
		return
	}
	*reusable = false
	if log := c.server.fallback.ErrorLog; log != nil && v != http.ErrAbortHandler {
		log.Printf("plainhttp: a handler panicked with a value of type %T", v)
	}
}

// begin returns the context of a request that has begun to arrive. finish must be called.
func (c *conn) begin() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	c.mu.Lock()
	c.cancel, c.since = cancel, time.Now()
	c.mu.Unlock()
	return ctx
}

func (c *conn) finish() {
	c.mu.Lock()
	c.cancel()
	c.cancel = nil
	c.mu.Unlock()
}

// cut ends the connection from another goroutine, and serves no request that has just arrived.
// Close would wait until the handler returns.
func (c *conn) cut() {
	c.place.leave()
	_, _ = c.CloseRead(), c.CloseWrite()
}

// check ends the context of a request that has run for a while if its caller has hung up.
func (c *conn) check(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil && now.Sub(c.since) > watchInterval/2 && hungUp(c.TCPConn) {
		c.cancel()
	}
}
