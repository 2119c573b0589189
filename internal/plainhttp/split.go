package plainhttp

import (
	"errors"
	"net"
	"sync"

	"wxplatform/internal/socket"
)

// split is the listener that net/http's server serves on. Its connections are those that were handed over to it.
type split struct {
	net.Listener
	odd    chan net.Conn
	failed chan error
	closed chan struct{}
	once   sync.Once
}

func newSplit(on net.Listener) *split {
	return &split{Listener: on, odd: make(chan net.Conn), failed: make(chan error), closed: make(chan struct{})}
}

// accept has plain begin with every connection that comes, until the listener is closed. What Accept fails with is net/http's to judge, and it comes back for the next when it has waited.
func (l *split) accept(plain func(*net.TCPConn)) {
	for {
		c, err := l.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			select {
			case l.failed <- err:
				continue
			case <-l.closed:
				return
			}
		}
		if tcp, is := c.(*net.TCPConn); is && socket.Able { // else nobody sees that a caller hung up without reading from them
			plain(tcp)
		} else {
			l.hand(c)
		}
	}
}

// hand gives a connection to net/http, or closes it where net/http takes no more.
func (l *split) hand(c net.Conn) {
	select {
	case l.odd <- c:
	case <-l.closed:
		_ = c.Close()
	}
}

// Accept is the next connection that was handed over.
func (l *split) Accept() (net.Conn, error) {
	select {
	case c := <-l.odd:
		return c, nil
	case err := <-l.failed:
		return nil, err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *split) Close() error {
	l.once.Do(func() { close(l.closed) })
	if err := l.Listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil // Shutdown has nobody accepted before it ends this
}

// begun is a connection of which something was read already.
type begun struct {
	net.Conn
	tcp  *net.TCPConn
	read []byte
}

func (b *begun) Read(p []byte) (int, error) {
	if len(b.read) == 0 {
		return b.Conn.Read(p)
	}
	n := copy(p, b.read)
	b.read = b.read[n:]
	return n, nil
}

// CloseWrite is what net/http asks of a connection that it ends before it has read all.
func (b *begun) CloseWrite() error { return b.tcp.CloseWrite() }
