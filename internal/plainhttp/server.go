// Package plainhttp serves HTTP/1.1 for about half of the CPU time of net/http's server.
//
// It parses only requests of a plain shape: a known method, a path without escapes, each field
// once, a short body with a Content-Length, nothing that changes how the connection is used, and
// all of it received within a moment. It serves only the routes that its caller names, because it
// sends each response whole, when the handler returns. Every other request goes to net/http, with
// its connection and every byte that was read from it, so that this package never has to refuse a
// request or guess what it means. Time-outs and limits are those of the http.Server, and a
// request's context ends when its caller hangs up.
package plainhttp

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"wxplatform/internal/socket"
)

const (
	requestLimit  = 4 << 10                // bytes of a request that is parsed here
	arrivalTime   = 250 * time.Millisecond // for the rest of a request after its first bytes
	watchInterval = 100 * time.Millisecond // between two checks for callers that hung up
)

// Server serves like an http.Server, with the same handler. It is safe for concurrent use.
type Server struct {
	fallback *http.Server
	whole    func(*http.Request) bool
	ending   atomic.Bool
	clock    clock
	room     room
	settled  atomic.Int64 // connections that settled since tidied
	tidied   time.Time

	mu        sync.Mutex
	conns     map[*conn]struct{}
	handing   int          // connections that fallback was given and has not begun to answer
	accepting bool         // a connection may have been accepted that is not in conns yet
	listener  net.Listener // nil before Serve
}

// New returns a server with the handler, the time-outs and the ErrorLog of fallback. It serves the
// requests for which whole returns true, and fallback serves the others; fallback keeps a
// connection that it was given. whole sees, perhaps twice, a request's method, path, query and
// header, and must return false for each route that streams, flushes, hijacks its connection or
// uses an http.ResponseController. If whole is nil, fallback serves all requests, and nothing is
// read here.
// ConnState, ConnContext and BaseContext are called only for connections that fallback serves.
//
// At most most TCP connections are open, or any number if most is 0. For a new one beyond that, the
// one that has been idle for longest is closed. If none is idle, the new one is closed.
func New(fallback *http.Server, whole func(*http.Request) bool, most int) *Server {
	s := &Server{fallback: fallback, whole: whole, conns: map[*conn]struct{}{}, room: room{most: most}}
	observe := fallback.ConnState
	fallback.ConnState = func(c net.Conn, state http.ConnState) {
		if r, counted := c.(*replayed); counted && state == http.StateIdle {
			r.place.idle()
		}
		if observe != nil {
			observe(c, state)
		}
	}
	return s
}

// Connections counts the TCP connections.
func (s *Server) Connections() Connections { return s.room.count() }

// Serve accepts connections until Shutdown or Close is called; then it returns
// http.ErrServerClosed. It closes the listener.
func (s *Server) Serve(on net.Listener) error {
	handed := newHandover(on)
	s.mu.Lock()
	s.listener, s.accepting = on, true
	s.mu.Unlock()
	watching, stop := context.WithCancel(context.Background())
	defer stop()
	go s.watch(watching)
	go s.acceptAll(handed)
	return s.fallback.Serve(handed)
}

func (s *Server) acceptAll(handed *handover) {
	handed.acceptAll(func(c *net.TCPConn) { s.start(c, handed) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepting = false
}

// Shutdown closes the listener and the idle connections, and waits for the requests in flight. It
// returns ctx's error if ctx ends first.
func (s *Server) Shutdown(ctx context.Context) error {
	s.ending.Store(true)
	s.closeListener()
	s.each((*conn).wake)
	// fallback ends last: once it is ending, it closes connections on which a request has just
	// arrived.
	err := s.drained(ctx)
	return errors.Join(err, s.fallback.Shutdown(ctx))
}

func (s *Server) closeListener() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		_ = s.listener.Close()
	}
}

func (s *Server) drained(ctx context.Context) error {
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for s.busy() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-poll.C:
		}
	}
	return nil
}

// Close closes the listener and all connections at once.
func (s *Server) Close() error {
	s.ending.Store(true)
	s.each((*conn).cut)
	return s.fallback.Close()
}

// start serves tcp, if there is room for it.
func (s *Server) start(tcp *net.TCPConn, handed *handover) {
	at := s.room.enter(tcp)
	if at == nil {
		_ = tcp.Close()
		return
	}
	raw, err := tcp.SyscallConn()
	// Where a socket cannot be inspected without reading it, nothing shows that its caller hung up.
	if s.whole == nil || err != nil || !socket.Able {
		at.busy()
		handed.give(&replayed{tcp, tcp, at, nil, func() {}})
		return
	}
	c := &conn{TCPConn: tcp, server: s, handed: handed, place: at, remote: tcp.RemoteAddr().String(), raw: raw}
	c.turn = c.serveArrived
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	go c.serve()
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// handOver forgets c, which fallback is about to be given. begun must be called once fallback
// begins to answer, or closes c.
func (s *Server) handOver(c *conn) (begun func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.handing++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.handing--
	})
}

// busy reports whether there may be a connection whose request fallback must still get.
func (s *Server) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepting || len(s.conns)+s.handing > 0
}

func (s *Server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *Server) each(do func(*conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		do(c)
	}
}

// watch ends the requests whose callers have hung up.
func (s *Server) watch(ctx context.Context) {
	poll := time.NewTicker(watchInterval)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-poll.C:
			s.each(func(c *conn) { c.check(now) })
			s.tidy(now)
		}
	}
}
