package plainhttp

import (
	"errors"
	"net"
	"sync"
)

// handover is the listener that net/http's server accepts from. It accepts only the connections
// that it was given.
type handover struct {
	net.Listener
	given  chan net.Conn
	failed chan error
	closed chan struct{}
	once   sync.Once
}

func newHandover(on net.Listener) *handover {
	return &handover{Listener: on, given: make(chan net.Conn), failed: make(chan error), closed: make(chan struct{})}
}

// acceptAll accepts connections and calls start with each, until the listener is closed. It passes
// the errors of Accept to net/http's server, which waits after a temporary one.
func (h *handover) acceptAll(start func(*net.TCPConn)) {
	for {
		c, err := h.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			select {
			case h.failed <- err:
				continue
			case <-h.closed:
				return
			}
		}
		if tcp, is := c.(*net.TCPConn); is {
			start(tcp)
		} else {
			h.give(c)
		}
	}
}

// give passes c to net/http's server, or closes it if that server is closed.
func (h *handover) give(c net.Conn) {
	select {
	case h.given <- c:
	case <-h.closed:
		_ = c.Close()
	}
}

// Accept returns the next connection that was given.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.given:
		return c, nil
	case err := <-h.failed:
		return nil, err
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close closes the listener. It is no error that Shutdown has closed the accepting listener before.
func (h *handover) Close() error {
	h.once.Do(func() { close(h.closed) })
	if err := h.Listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// replayed is a connection some of whose bytes were read already: its reader gets them first.
type replayed struct {
	net.Conn
	tcp   *net.TCPConn
	place *place
	read  []byte
	begun func() // called when a response begins, or the connection is closed; it may be called more than once
}

// Read fails if the connection was closed to make room, so that no request is served whose response
// could not be sent.
func (r *replayed) Read(p []byte) (int, error) {
	if len(r.read) == 0 {
		n, err := r.Conn.Read(p)
		if n > 0 && !r.place.busy() {
			return 0, net.ErrClosed
		}
		return n, err
	}
	n := copy(p, r.read)
	r.read = r.read[n:]
	return n, nil
}

// Write writes a part of a response.
func (r *replayed) Write(p []byte) (int, error) {
	r.begun()
	return r.Conn.Write(p)
}

// Close closes the connection.
func (r *replayed) Close() error {
	defer r.begun()
	defer r.place.leave()
	return r.Conn.Close()
}

// CloseWrite is called by net/http when it ends a connection before it has read all of a request.
func (r *replayed) CloseWrite() error { return r.tcp.CloseWrite() }
