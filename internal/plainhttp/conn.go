package plainhttp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// conn is a connection that this package reads, until it hands it to net/http.
type conn struct {
	*net.TCPConn
	server *Server
	handed *handover
	place  *place
	remote string
	used   atomic.Bool // it has carried a request
	posted bool        // the last request was a POST
	answer *response   // kept for the next response, unless settled

	raw     syscall.RawConn
	turn    func(fd uintptr) bool // serveArrived, made once, so that a read does not allocate
	in      *[requestLimit]byte   // while a request is read
	arrived int                   // bytes in in that were not served yet
	failed  error                 // of the last receive
	over    bool                  // no other request is served on it
	settled bool                  // it is idle, and holds no buffers
	readBy  time.Time             // the deadlines that are set
	writeBy time.Time

	mu     sync.Mutex
	cancel context.CancelFunc // ends the request in flight; nil if there is none
	since  time.Time          // when that request began
}

// serve answers one request after the other, until the connection ends, is handed over or settles.
func (c *conn) serve() {
	for {
		r, read, err := c.next()
		switch {
		case err != nil:
			c.settle()
			return
		case r != nil && c.exchange(r):
			c.place.idle()
		default:
			c.end(read)
			return
		}
	}
}

// end hands the connection over with the bytes that were read of a request, or closes it if there
// are none.
func (c *conn) end(read []byte) {
	if read != nil {
		c.handed.give(&replayed{c.TCPConn, c.TCPConn, c.place, read, c.server.handOver(c)})
		return
	}
	defer c.server.forget(c)
	_ = c.Close()
	c.place.leave()
}

// next serves requests that arrive whole. It returns the next one that did not, or the bytes that
// were read of one that net/http must serve. It returns neither if no request came, and errSettled
// if none has come yet.
func (c *conn) next() (*http.Request, []byte, error) {
	n, err := c.await()
	if err == errSettled {
		return nil, nil, err
	}
	defer c.release()
	if c.over || n > 0 && !c.place.busy() {
		return nil, nil, nil
	}
	if err != nil {
		return nil, c.incomplete(n, err), nil
	}
	r, n, err := c.readRest(n)
	switch {
	case r != nil:
		return r, nil, nil
	case err == nil:
		return nil, c.unread(n), nil
	}
	return nil, c.incomplete(n, err), nil
}

// readRest reads the rest of a request of which n bytes have arrived, and returns how many bytes
// have arrived then. It returns no request if net/http must serve it, and in addition an error if
// the request did not arrive completely.
func (c *conn) readRest(n int) (*http.Request, int, error) {
	ctx := c.begin()
	for first := true; ; first = false {
		r, bad := parse(ctx, string(c.in[:n]))
		if bad == nil && c.server.whole(r) {
			return c.received(r), n, nil
		}
		if n == requestLimit || !errors.Is(bad, errMore) {
			c.finish()
			return nil, n, nil
		}
		if first {
			c.readUntil(arrivalTime)
		}
		more, err := c.Read(c.in[n:])
		if n += more; err != nil {
			c.finish()
			return nil, n, err
		}
	}
}

// received completes a request.
func (c *conn) received(r *http.Request) *http.Request {
	r.RemoteAddr, c.posted = c.remote, r.Method == http.MethodPost
	return r
}

// incomplete returns what net/http gets of a request that did not arrive completely: nothing if no
// byte arrived, or if so few did that net/http would close a used connection without a response.
func (c *conn) incomplete(n int, err error) []byte {
	if n == 0 || n < leastRead && c.used.Load() && errors.Is(err, io.EOF) {
		return nil
	}
	return c.unread(n)
}

// unread returns the n bytes that were read, without the blank line that old clients send after
// the body of a POST: net/http skips it only if it has served the POST itself.
func (c *conn) unread(n int) []byte {
	blank := 0
	for c.posted && blank < min(n, leastRead) && (c.in[blank] == '\r' || c.in[blank] == '\n') {
		blank++
	}
	return bytes.Clone(c.in[blank:n])
}

// leastRead is how many bytes net/http peeks at before it reads another request.
const leastRead = 4

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
