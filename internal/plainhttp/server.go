// Package plainhttp serves HTTP/1.1 for about half of what net/http's server costs. It reads requests of the plain shape itself: a known method, a path without escapes, each field once, a short body
// with its length, nothing about how the connection goes on; all of it there within a moment. Whatever else comes on a connection is left to net/http, with every byte that was read,
// so that nothing is refused, guessed at or read in two ways here. Time-outs and limits are those of the http.Server, and a request's context ends when its caller hangs up.
package plainhttp

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	room   = 4 << 10 // bytes of a request that is read here
	moment = 250 * time.Millisecond
	glance = 100 * time.Millisecond // between two looks for callers who hung up
)

// Server serves as an http.Server does, with its handler.
type Server struct {
	rest   *http.Server
	ending atomic.Bool
	clock  clock

	mu    sync.Mutex
	conns map[*conn]struct{}
	from  net.Listener // nil before Serve
}

// New serves with rest's handler, time-outs and ErrorLog. ConnState, ConnContext and BaseContext are asked only for connections that are left to rest. Answers are sent when the handler returns: it cannot flush or hijack.
func New(rest *http.Server) *Server {
	return &Server{rest: rest, conns: map[*conn]struct{}{}}
}

// Serve answers on a listener until Shutdown or Close; then it returns http.ErrServerClosed. It closes the listener.
func (s *Server) Serve(on net.Listener) error {
	odd := newSplit(on)
	s.mu.Lock()
	s.from = on
	s.mu.Unlock()
	watching, stop := context.WithCancel(context.Background())
	defer stop()
	go s.watch(watching)
	go odd.accept(func(c *net.TCPConn) { s.begin(c, odd) })
	return s.rest.Serve(odd)
}

// Shutdown closes the listener and what is idle, and waits until what is under way is answered. It fails when ctx ends before that.
func (s *Server) Shutdown(ctx context.Context) error {
	s.ending.Store(true)
	s.refuse()
	s.each((*conn).wake)
	err := s.drained(ctx) // into rest, which so ends last
	return errors.Join(err, s.rest.Shutdown(ctx))
}

// refuse has nobody accepted any more.
func (s *Server) refuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.from != nil {
		_ = s.from.Close()
	}
}

func (s *Server) drained(ctx context.Context) error {
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for s.count() > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
		}
	}
	return nil
}

// Close closes the listener and all connections.
func (s *Server) Close() error {
	s.ending.Store(true)
	s.each(func(c *conn) { _ = c.Close() })
	return s.rest.Close()
}

func (s *Server) begin(raw *net.TCPConn, odd *split) {
	c := &conn{TCPConn: raw, server: s, odd: odd, remote: raw.RemoteAddr().String()}
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

// watch looks for callers who hung up while they are being answered.
func (s *Server) watch(ctx context.Context) {
	look := time.NewTicker(glance)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-look.C:
			s.each(func(c *conn) { c.look(now) })
		}
	}
}
