package plainhttp

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// conn is a connection that this package reads, until it hands it to net/http.
type conn struct {
	*net.TCPConn
	server *Server
	handed *handover
	remote string
	used   atomic.Bool // it has carried a request
	posted bool        // the last request was a POST
	in     [requestLimit]byte
	answer response

	mu     sync.Mutex
	cancel context.CancelFunc // ends the request in flight; nil if there is none
	since  time.Time          // when that request began
}

// serve answers one request after the other.
func (c *conn) serve() {
	defer c.server.forget(c)
	for {
		r, read := c.next()
		switch {
		case r != nil && c.exchange(r):
		case r == nil && read != nil:
			c.handed.give(&replayed{c.TCPConn, c.TCPConn, read})
			return
		default:
			_ = c.Close()
			return
		}
	}
}

// next returns the next request, or the bytes that were read of one that net/http must serve. It
// returns neither if no request came.
func (c *conn) next() (*http.Request, []byte) {
	c.readUntil(c.patience())
	if c.used.Load() && c.server.ending.Load() {
		return nil, nil
	}
	for n := 0; ; {
		more, err := c.Read(c.in[n:])
		if n == 0 && more > 0 {
			c.readUntil(arrivalTime)
		}
		n += more
		if err != nil {
			return nil, c.incomplete(n, err)
		}
		r, err := parse(string(c.in[:n]))
		if err == nil && c.server.whole(r) {
			r.RemoteAddr, c.posted = c.remote, r.Method == http.MethodPost
			return r, nil
		}
		if n == requestLimit || !errors.Is(err, errMore) {
			return nil, c.unread(n)
		}
	}
}

// incomplete returns what net/http gets of a request that did not arrive whole: nothing if no byte
// arrived, or if so few did that net/http would close a used connection without a response.
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
	return c.in[blank:n]
}

// leastRead is how many bytes net/http peeks at before it reads another request.
const leastRead = 4

// wake stops an idle connection from waiting for a request once the server is ending. A connection
// that begins to wait at the same time sets its deadline before it reads ending, so it is not
// missed. A new connection keeps waiting, as in net/http: its first request may be on the way.
func (c *conn) wake() {
	if c.used.Load() {
		_ = c.SetReadDeadline(time.Unix(1, 0))
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
	if patience > 0 {
		_ = c.SetReadDeadline(time.Now().Add(patience))
	}
}

// exchange serves r and reports whether the connection can carry another request.
func (c *conn) exchange(r *http.Request) (reusable bool) {
	defer c.recovered(&reusable)
	c.used.Store(true)
	ctx := c.begin()
	defer c.end()
	if patience := c.server.fallback.WriteTimeout; patience > 0 {
		_ = c.SetWriteDeadline(time.Now().Add(patience))
	}
	c.answer.reset()
	c.server.fallback.Handler.ServeHTTP(&c.answer, r.WithContext(ctx))
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

func (c *conn) begin() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	c.mu.Lock()
	c.cancel, c.since = cancel, time.Now()
	c.mu.Unlock()
	return ctx
}

func (c *conn) end() {
	c.mu.Lock()
	c.cancel()
	c.cancel = nil
	c.mu.Unlock()
}

// check ends the context of a request that has run for a while if its caller has hung up.
func (c *conn) check(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil && now.Sub(c.since) > watchInterval/2 && hungUp(c.TCPConn) {
		c.cancel()
	}
}
