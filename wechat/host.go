package wechat

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	mostConnections = 512
	mostIdle        = 256
	idlePatience    = 50 * time.Second // a front end like WeChat's closes after about a minute
	soonAgain       = 10 * time.Millisecond
	headerLimit     = 64 << 10
	interimAnswers  = 5
)

// host keeps the connections to one host, and speaks HTTP/1.1 on them in the goroutine of whoever calls. net/http's Transport has two more goroutines a connection, and waking them costs about
// a third of what a call costs (docs/performance.md); its parser reads the answers here too.
type host struct {
	name    string // as the Host header has it
	address string
	prefix  string      // of every path
	secure  *tls.Config // nil speaks in plain
	open    chan struct{}
	surplus func() // is told of a kept connection that held bytes nobody asked for

	mu   sync.Mutex
	idle []*connection // the one that was used last is the last
}

// newHost speaks to the host of base, which is http or https.
func newHost(base *url.URL, surplus func()) (*host, error) {
	h := &host{surplus: surplus, name: base.Host, prefix: base.EscapedPath(), open: make(chan struct{}, mostConnections)}
	port := base.Port()
	switch {
	case base.Hostname() == "":
		return nil, errors.New("the base URL names no host")
	case base.Scheme == "https":
		h.secure = &tls.Config{ServerName: base.Hostname(), MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
		h.address = net.JoinHostPort(base.Hostname(), cmp.Or(port, "443"))
	case base.Scheme == "http":
		h.address = net.JoinHostPort(base.Hostname(), cmp.Or(port, "80"))
	default:
		return nil, errors.New("the base URL is neither http nor https")
	}
	return h, nil
}

// answer is what came back. Its body is whole.
type answer struct {
	status int
	header http.Header
	body   []byte
	last   bool // of its connection
}

// send sends a request, at most once, and reads the answer, all within ctx. Where it fails, left says whether a byte of the request may have left.
func (h *host) send(ctx context.Context, request []byte, how delivery) (a answer, left bool, err error) {
	select {
	case h.open <- struct{}{}:
		defer func() { <-h.open }()
	case <-ctx.Done():
		return answer{}, false, fmt.Errorf("wait for a connection: %w", context.Cause(ctx))
	}
	for {
		c, err := h.take(ctx)
		if err != nil {
			return answer{}, false, err
		}
		a, left, err := c.converse(ctx, request)
		if err == nil {
			h.done(c, a.last)
			return a, left, nil
		}
		c.abort()
		if fresh := c.since.IsZero(); left || fresh || ctx.Err() != nil {
			return a, left, err
		}
	}
}

// take is an idle connection that still stands, or a new one.
func (h *host) take(ctx context.Context) (*connection, error) {
	for c := h.pop(); c != nil; c = h.pop() {
		if c.stands() {
			return c, nil
		}
		_ = c.Close()
	}
	return h.dial(ctx)
}

func (h *host) pop() *connection {
	h.mu.Lock()
	defer h.mu.Unlock()
	last := len(h.idle) - 1
	if last < 0 {
		return nil
	}
	c := h.idle[last]
	h.idle[last], h.idle = nil, h.idle[:last]
	return c
}

func (h *host) done(c *connection, last bool) {
	if last {
		_ = c.Close()
	} else {
		h.put(c)
	}
}

// put keeps c for the next call, and closes the one that has been idle for longest if that was too long, or if there are too many.
func (h *host) put(c *connection) {
	c.since = time.Now()
	h.mu.Lock()
	h.idle = append(h.idle, c)
	var old *connection
	if first := h.idle[0]; len(h.idle) > mostIdle || c.since.Sub(first.since) > idlePatience {
		old, h.idle = first, append(h.idle[:0], h.idle[1:]...)
	}
	h.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
}

func (h *host) closeIdle() {
	for c := h.pop(); c != nil; c = h.pop() {
		_ = c.Close()
	}
}

func (h *host) dial(ctx context.Context) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	dialer := net.Dialer{KeepAlive: 30 * time.Second, Control: bound}
	raw, err := dialer.DialContext(ctx, "tcp", h.address)
	if err != nil {
		return nil, err
	}
	if h.secure != nil {
		secured := tls.Client(raw, h.secure)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("TLS: %w", err), raw.Close())
		}
		raw = secured
	}
	c := &connection{Conn: raw}
	c.in = bufio.NewReader(c)
	return c, nil
}

// connection is one to the host, used by one call at a time.
type connection struct {
	net.Conn
	in    *bufio.Reader
	room  int       // how much of an answer is still read
	since time.Time // when it became idle; zero for a new one
}

// abort closes a connection whose call was given up, with what was not sent yet. Closed in order, the kernel would go on sending it to a host that it cannot reach, for minutes,
// and the request could land when nobody expects it any more (unsettled_until, DESIGN.md §4 rule 2).
func (c *connection) abort() {
	raw := c.Conn
	if secured, is := raw.(*tls.Conn); is {
		raw = secured.NetConn()
	}
	if tcp, is := raw.(*net.TCPConn); is {
		_ = tcp.SetLinger(0)
	}
	_ = raw.Close()
}

// Read is Conn's within the room that an answer has.
func (c *connection) Read(p []byte) (int, error) {
	if c.room <= 0 {
		return 0, errTooLarge
	}
	n, err := c.Conn.Read(p[:min(len(p), c.room)])
	c.room -= n
	return n, err
}

var errTooLarge = errors.New("answer too large")

// stands reports whether the host has neither closed an idle connection nor said something on it. One that was used a moment ago is not looked at.
func (c *connection) stands() bool {
	idle := time.Since(c.since)
	if idle < soonAgain {
		return true
	}
	if idle > idlePatience {
		return false
	}
	c.room = 1
	_ = c.SetReadDeadline(time.Now().Add(100 * time.Microsecond))
	_, err := c.in.Peek(1)
	_ = c.SetReadDeadline(time.Time{})
	var waited net.Error
	return errors.As(err, &waited) && waited.Timeout()
}

// converse writes the request and reads the answer. Where it fails, left says whether a byte of the request may have left.
func (c *connection) converse(ctx context.Context, request []byte) (a answer, left bool, err error) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer func() { a.last = !stop() || a.last }()
	c.room = headerLimit + answerLimit
	written, err := c.Write(request)
	if err != nil {
		return answer{}, written > 0 || isTLS(c.Conn), because(ctx, err)
	}
	if a, err = c.answer(); err != nil {
		return answer{}, true, because(ctx, err)
	}
	return a, true, nil
}

// Of a TLS connection nobody knows what a failed Write has sent.
func isTLS(c net.Conn) bool {
	_, is := c.(*tls.Conn)
	return is
}

// because is why ctx ended, where that is why a connection failed.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// answer reads the next answer, after those that only say that one will come.
func (c *connection) answer() (answer, error) {
	for range interimAnswers {
		response, err := http.ReadResponse(c.in, nil)
		if err != nil {
			return answer{}, noAnswer(err)
		}
		if response.StatusCode/100 == 1 && response.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			return answer{}, fmt.Errorf("answer cut: %w", err)
		}
		last := response.Close || response.StatusCode == http.StatusSwitchingProtocols || c.in.Buffered() > 0
		return answer{response.StatusCode, response.Header, body, last}, nil
	}
	return answer{}, errors.New("no end of interim answers")
}

// net/http's parser quotes what it cannot read, and that may be anything.
func noAnswer(err error) error {
	var failed net.Error
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the connection was closed before an answer")
	case errors.Is(err, errTooLarge), errors.As(err, &failed):
		return err
	default:
		return errors.New("the answer is not HTTP")
	}
}
