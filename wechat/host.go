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
	// MostConnections is how many connections may be in use for tenants' calls, and as many again for
	// the component's.
	MostConnections = 512
	// SingleUse is how long each connection is used only once after surplus bytes were found.
	SingleUse = 10 * time.Minute
)

// host sends requests to one host, WeChat's, over HTTP/1.1, in the caller's goroutine. net/http's
// Transport has two more goroutines per connection, and waking them costs about a third of a call
// (docs/performance.md). Answers of the plain form are read by parsePlain, all others by net/http.
//
// HTTP/1.1 matches an answer to a request only by their order. One surplus answer from a faulty
// front end would shift a kept connection by one, and from then on give each caller another
// caller's answer. Against that, host promises:
//
//   - Calls with the component's credentials use connections that carry one request and are never
//     kept. No answer with a token reaches a tenant's call, and no tenant's answer is taken for one
//     with a token, however late it arrives.
//   - A kept connection is left alone for a while after an answer (settleTime, or less if there are
//     many calls or none can be dialled), and inspected right before the next request. Bytes that
//     arrived by then are never taken for an answer: they end the connection, are reported, and for
//     ten minutes every connection is used once.
//   - If two answers to one request arrive on a kept connection, neither is accepted.
//
// A wrong answer that arrives after the request was written, and before the right one, cannot be
// told apart. settleTime makes that unlikely: the surplus answer would have to be later than the
// one before it by more than that.
type host struct {
	name    string // for the Host field
	address string
	prefix  string      // of every path
	secure  *tls.Config // nil for http
	surplus func(found SurplusBytes)

	tenants, component pool
	transfers          chan struct{} // one element per transfer
	transferIdle       time.Duration // replaced in tests only
	idle               idle          // kept connections, for tenants' calls only
	made               time.Time
	onceUntil          atomic.Int64 // milliseconds after made, so that no set clock changes it; see usesOnce
}

// pool limits and dials the connections for one kind of calls, so that neither kind waits for the
// other.
type pool struct {
	open  chan struct{} // one element per connection in use
	ahead dialAhead
}

// enter waits until one more connection may be in use.
func (p *pool) enter(limit patience) error {
	select {
	case p.open <- struct{}{}:
		return nil
	default:
	}
	ctx, cancel := context.WithDeadline(limit.ctx, limit.until)
	defer cancel()
	select {
	case p.open <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for a connection: %w", context.Cause(ctx))
	}
}

func (p *pool) leave() { <-p.open }

// newHost returns a host for base, an http or https URL.
func newHost(base *url.URL, surplus func(found SurplusBytes)) (*host, error) {
	h := &host{made: time.Now(), surplus: surplus, name: base.Host, prefix: base.EscapedPath()}
	h.transfers, h.transferIdle = make(chan struct{}, MostTransfers), transferIdle
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
	for _, p := range []*pool{&h.tenants, &h.component} {
		p.open = make(chan struct{}, MostConnections)
		p.ahead.open(h)
	}
	return h, nil
}

// delivery returns how call is sent. Tenants' calls share connections, unless surplus bytes were
// found a short time ago, or their answers may hold tokens.
func (h *host) delivery(call Call) delivery {
	return delivery{component: !call.isTenants(), once: call.As != AccessToken || h.usesOnce(), repeatable: call.Repeatable}
}

// send sends a request and reads the answer, until how.until or the end of ctx. It sends it a
// second time only if it is repeatable and its kept connection turned out to be useless. If it
// fails, left says whether a byte of the request may have left this machine. It keeps no request.
func (h *host) send(ctx context.Context, request []byte, how delivery) (a answer, left bool, err error) {
	from := &h.tenants
	if how.component {
		from = &h.component
	}
	limit := patience{ctx, how.until}
	if err := from.enter(limit); err != nil {
		return answer{}, false, err
	}
	defer from.leave()
	take := h.take
	for {
		c, err := take(limit, from, how)
		if err != nil {
			return answer{}, left, err
		}
		a, sent, err := h.sendOn(limit, c, request, how)
		left = left || sent
		if err == nil { // another call may have c already
			return a, left, nil
		}
		again := !c.dialled && !limit.over(time.Now()) && (!sent || how.repeatable && c.useless(err))
		if !again {
			return a, left, err
		}
		if sent {
			take = h.fresh
		}
	}
}

// sendOn sends the request on c and reads the answer, and then keeps or closes c.
func (h *host) sendOn(limit patience, c *connection, request []byte, how delivery) (a answer, left bool, err error) {
	a, left, err = c.converse(limit, request, how.netHTTP)
	switch {
	case err == errUnasked:
		h.found(SurplusIdle)
	case a.surplus, errors.Is(err, errSurplus):
		h.found(SurplusAnswered)
	}
	switch {
	case err == errUnasked, err == errEnded:
		_ = c.Close()
	case err != nil:
		c.abort()
	case a.last || how.once || h.usesOnce():
		_ = c.Close()
	default:
		h.idle.put(c)
	}
	return a, left, err
}

// take returns an open connection: a kept one, one that was dialled ahead, or a new one.
func (h *host) take(limit patience, from *pool, how delivery) (*connection, error) {
	next := func() *connection { return h.idle.take(len(from.open)) }
	if how.once {
		next = from.ahead.take
	}
	if c := h.usable(next, (*connection).preselect); c != nil {
		return c, nil
	}
	c, err := h.fresh(limit, from, how)
	if err != nil && !how.once && !limit.over(time.Now()) {
		if c := h.usable(h.idle.first, (*connection).inspect); c != nil { // it has not settled, but there is no other
			return c, nil
		}
	}
	return c, err
}

// fresh returns a new connection.
func (h *host) fresh(limit patience, _ *pool, _ delivery) (*connection, error) {
	ctx, cancel := context.WithDeadline(limit.ctx, limit.until)
	defer cancel()
	return h.dial(ctx)
}

// usable returns the next connection that inspect finds silent, or nil.
func (h *host) usable(next func() *connection, inspect func(*connection) finding) *connection {
	for c := next(); c != nil; c = next() {
		switch inspect(c) {
		case silent:
			return c
		case written:
			h.found(SurplusIdle)
		}
		_ = c.Close()
	}
	return nil
}

// found notes surplus bytes: from now on, and for SingleUse, each connection is used once.
func (h *host) found(where SurplusBytes) {
	h.onceUntil.Store((time.Since(h.made) + SingleUse).Milliseconds())
	h.idle.close()
	h.surplus(where)
}

// usesOnce reports whether each connection is used once, because surplus bytes were found recently.
func (h *host) usesOnce() bool {
	until := h.onceUntil.Load()
	return until > 0 && time.Since(h.made).Milliseconds() < until
}

// close closes the connections that no call uses, and stops dialling ahead.
func (h *host) close() {
	h.idle.close()
	h.tenants.ahead.close()
	h.component.ahead.close()
}

// dial returns a new connection for a call.
func (h *host) dial(ctx context.Context) (*connection, error) {
	return h.dialBound(ctx, CallPatience)
}

// dialBound returns a new connection that the kernel drops if the host acknowledges nothing for as
// long as patience. It fails with errUnasked if an answer came with the host's last words of the
// TLS handshake; without TLS, ask looks.
func (h *host) dialBound(ctx context.Context, patience time.Duration) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	dialer := net.Dialer{KeepAlive: 30 * time.Second, Control: bound(patience)}
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
	c := newConnection(secured, s)
	if c.find(arrives) == written {
		h.found(SurplusIdle)
		return nil, errors.Join(errUnasked, c.Close())
	}
	return c, nil
}
