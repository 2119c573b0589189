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

// conn is a connection that is read from here.
type conn struct {
	*net.TCPConn
	server *Server
	odd    *split
	remote string
	used   atomic.Bool // a request came on it
	posted bool        // the last one was a POST
	in     [room]byte
	answer response

	mu     sync.Mutex
	cancel context.CancelFunc // ends the request under way; nil while there is none
	since  time.Time          // when that began
}

// serve answers request after request.
func (c *conn) serve() {
	defer c.server.forget(c)
	for {
		r, read := c.next()
		switch {
		case r != nil && c.exchange(r):
		case r == nil && read != nil:
			c.odd.hand(&begun{c.TCPConn, c.TCPConn, read})
			return
		default:
			_ = c.Close()
			return
		}
	}
}

// next is the next request, or what was read of one that is not for here; neither where none comes.
func (c *conn) next() (*http.Request, []byte) {
	c.readUntil(c.patience())
	if c.used.Load() && c.server.ending.Load() {
		return nil, nil
	}
	for n := 0; ; {
		more, err := c.Read(c.in[n:])
		if n == 0 && more > 0 {
			c.readUntil(moment)
		}
		n += more
		if err != nil {
			return nil, c.cut(n, err)
		}
		r, err := parse(string(c.in[:n]))
		if err == nil {
			r.RemoteAddr, c.posted = c.remote, r.Method == http.MethodPost
			return r, nil
		}
		if n == room || !errors.Is(err, errMore) {
			return nil, c.unread(n)
		}
	}
}

// cut is what is left to net/http of a request that did not come whole: nothing of one that never began, and neither of the few bytes after which it would close a connection in use without a word.
func (c *conn) cut(n int, err error) []byte {
	if n == 0 || n < leastRead && c.used.Load() && errors.Is(err, io.EOF) {
		return nil
	}
	return c.unread(n)
}

// unread is what was read, without the blank line that old clients send behind the body of a POST: net/http forgives it, but does not know that there was a POST.
func (c *conn) unread(n int) []byte {
	blank := 0
	for c.posted && blank < min(n, leastRead) && (c.in[blank] == '\r' || c.in[blank] == '\n') {
		blank++
	}
	return c.in[blank:n]
}

// leastRead is how many bytes net/http wants before it believes in another request.
const leastRead = 4

// wake ends the waiting of an idle connection once the server is ending. One that goes to wait just now sets its deadline before it looks at ending. A new one may have been opened for a request
// that is on its way, and is waited for as net/http does.
func (c *conn) wake() {
	if c.used.Load() {
		_ = c.SetReadDeadline(time.Unix(1, 0))
	}
}

// patience is how long a request may take to begin, as in net/http: the first of a connection as long as a head, the next as long as it may be idle.
func (c *conn) patience() time.Duration {
	of := c.server.rest
	if c.used.Load() {
		return cmp.Or(of.IdleTimeout, of.ReadTimeout)
	}
	return cmp.Or(of.ReadHeaderTimeout, of.ReadTimeout)
}

func (c *conn) readUntil(patience time.Duration) {
	if patience > 0 {
		_ = c.SetReadDeadline(time.Now().Add(patience))
	}
}

// exchange answers r, and reports whether the connection goes on.
func (c *conn) exchange(r *http.Request) (goesOn bool) {
	defer c.caught(&goesOn)
	c.used.Store(true)
	ctx := c.begin()
	defer c.end()
	if patience := c.server.rest.WriteTimeout; patience > 0 {
		_ = c.SetWriteDeadline(time.Now().Add(patience))
	}
	c.answer.reset()
	c.server.rest.Handler.ServeHTTP(&c.answer, r.WithContext(ctx))
	_, err := c.Write(c.answer.finish(&c.server.clock))
	return err == nil && !c.answer.last
}

// caught is net/http's way with a panic: the connection is cut, and the log says so unless that was the aim. What panicked may hold a secret, so its type is all that is told.
func (c *conn) caught(goesOn *bool) {
	v := recover()
	if v == nil {
		return
	}
	*goesOn = false
	if log := c.server.rest.ErrorLog; log != nil && v != http.ErrAbortHandler {
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

// look ends the context of a request that has been under way for a while and whose caller has hung up.
func (c *conn) look(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil && now.Sub(c.since) > glance/2 && hungUp(c.TCPConn) {
		c.cancel()
	}
}
