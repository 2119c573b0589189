package wechat

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync/atomic"
	"time"
)

const (
	mostConnections = 512 // in use, in each lane
	// SingleUse is for how long every connection is used once after surplus bytes.
	SingleUse = 10 * time.Minute
)

// host sends requests to one host over HTTP/1.1, in the goroutine of whoever calls. net/http's
// Transport has two more goroutines a connection, and waking them costs about a third of what a call
// costs (docs/performance.md); its parser reads the answers here too.
//
// An answer belongs to a request only because it is the next one on the connection. One superfluous
// answer of a faulty front end would shift a kept connection by one, and hand each caller another's
// answer from then on. What host promises against that:
//
//   - Calls with the component's credentials go out on connections that carry one request and are
//     never kept. No answer with a token reaches a tenant's call, and no tenant's answer is taken for
//     one with a token, however late it comes.
//   - A kept connection rests after an answer, and is looked at right before the next request is
//     written. Bytes that arrived before that are never taken for an answer: they end the connection,
//     are reported, and for ten minutes every connection is used once.
//   - Of two answers to one request on a kept connection neither is accepted.
//
// A wrong answer that comes after the request was written, and before the right one, looks like an
// answer. Resting makes that unlikely: it would have to be later than the answer that it duplicates
// by more than the rest.
type host struct {
	name    string // as the Host header has it
	address string
	prefix  string      // of every path
	secure  *tls.Config // nil speaks in plain
	surplus func(found SurplusBytes)

	tenants, own lane
	idle         idle         // connections of tenants' calls
	waryUntil    atomic.Int64 // milliseconds; until then no connection is used twice
}

// lane is the connections of one kind of calls, which never wait for those of the other kind.
type lane struct {
	open  chan struct{} // has an element for each connection in use
	stock stock
}

// newHost speaks to the host of base, which is http or https.
func newHost(base *url.URL, surplus func(found SurplusBytes)) (*host, error) {
	h := &host{surplus: surplus, name: base.Host, prefix: base.EscapedPath()}
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
	for _, l := range []*lane{&h.tenants, &h.own} {
		l.open = make(chan struct{}, mostConnections)
		l.stock.open(h)
	}
	return h, nil
}

// delivery is how call travels. Tenants' calls share connections, unless surplus bytes arrived a
// short time ago or this system cannot look at a connection.
func (h *host) delivery(call Call) delivery {
	own := call.As != AccessToken
	return delivery{own: own, once: own || h.wary(), repeatable: call.Repeatable}
}

// send sends a request and reads the answer, all within ctx. It sends it at most once, but for a
// repeatable one whose kept connection turned out to be of no use. Where it fails, left says whether
// a byte of the request may have left.
func (h *host) send(ctx context.Context, request []byte, how delivery) (a answer, left bool, err error) {
	l := &h.tenants
	if how.own {
		l = &h.own
	}
	select {
	case l.open <- struct{}{}:
		defer func() { <-l.open }()
	case <-ctx.Done():
		return answer{}, false, fmt.Errorf("wait for a connection: %w", context.Cause(ctx))
	}
	take := h.take
	for {
		c, err := take(ctx, l, how)
		if err != nil {
			return answer{}, left, err
		}
		a, sent, err := h.converse(ctx, c, request, how)
		left = left || sent
		if err == nil { // another call may have c already
			return a, left, nil
		}
		again := !c.dialled && ctx.Err() == nil && (!sent || how.repeatable && c.useless(err))
		if !again {
			return a, left, err
		}
		if sent {
			take = h.fresh
		}
	}
}

// converse sends the request on c, and keeps or closes c afterwards.
func (h *host) converse(ctx context.Context, c *connection, request []byte, how delivery) (a answer, left bool, err error) {
	a, left, err = c.converse(ctx, request)
	if a.surplus || errors.Is(err, errSurplus) {
		h.found(SurplusAnswered)
	}
	switch {
	case err != nil:
		c.abort()
	case a.last || how.once || h.wary():
		_ = c.Close()
	default:
		h.idle.put(c)
	}
	return a, left, err
}

// take returns a connection that stands: an idle one, one that was dialled ahead, or a new one.
func (h *host) take(ctx context.Context, l *lane, how delivery) (*connection, error) {
	next := func() *connection { return h.idle.take(len(l.open)) }
	if how.once {
		next = l.stock.take
	}
	if c := h.standing(next); c != nil {
		return c, nil
	}
	c, err := h.dial(ctx)
	if err != nil && !how.once && ctx.Err() == nil {
		if c := h.standing(h.idle.first); c != nil { // without a rest rather than not at all
			return c, nil
		}
	}
	return c, err
}

// fresh returns a new connection.
func (h *host) fresh(ctx context.Context, _ *lane, _ delivery) (*connection, error) {
	return h.dial(ctx)
}

// standing returns the next connection that the host has neither closed nor written to, or nil.
func (h *host) standing(next func() *connection) *connection {
	for c := next(); c != nil; c = next() {
		switch c.look() {
		case silent:
			return c
		case written:
			h.found(SurplusIdle)
		}
		_ = c.Close()
	}
	return nil
}

// found has every connection used once for a while.
func (h *host) found(where SurplusBytes) {
	h.waryUntil.Store(time.Now().Add(SingleUse).UnixMilli())
	h.idle.close()
	h.surplus(where)
}

func (h *host) wary() bool {
	until := h.waryUntil.Load()
	return until > 0 && time.Now().UnixMilli() < until
}

// close closes the connections that nobody uses, and has none dialled ahead any more.
func (h *host) close() {
	h.idle.close()
	h.tenants.stock.close()
	h.own.stock.close()
}

// dial returns a new connection.
func (h *host) dial(ctx context.Context) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	dialer := net.Dialer{KeepAlive: 30 * time.Second, Control: bound}
	raw, err := dialer.DialContext(ctx, "tcp", h.address)
	if err != nil {
		return nil, err
	}
	s, err := newStream(raw.(*net.TCPConn), h.secure != nil)
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	if h.secure == nil {
		return newConnection(s, s), nil
	}
	secured := tls.Client(s, h.secure)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS: %w", err), raw.Close())
	}
	return newConnection(secured, s), nil
}
