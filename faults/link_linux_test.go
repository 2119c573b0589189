//go:build failpoints

package faults

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/url"
	"sync"
	"syscall"
	"testing"
	"time"
)

// link is the network link from one replica to one server. It may be slow, trickle, be dead, or
// refuse connections.
type link struct {
	on     net.Listener
	to     string
	secure *tls.Config // the link ends TLS, as a gateway does; nil where there is none

	mu     sync.Mutex
	is     wire
	change chan struct{}     // closed when the wire becomes another
	conns  map[net.Conn]bool // both ends of all
}

// wire is the state of a link. The zero one passes everything on.
type wire struct {
	delay   time.Duration // of each piece, in each direction
	trickle time.Duration // between the bytes of what comes back
	dead    bool          // nothing passes and nobody is told, as where a cable is cut
	refuses bool          // and resets what there is
	doubles bool          // each answer comes twice,
	after   time.Duration // the second one this much later, or in the same segment
}

func newLink(t testing.TB, to string) *link {
	t.Helper()
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{on: on, to: to, change: make(chan struct{}), conns: map[net.Conn]bool{}}
	var all sync.WaitGroup
	all.Go(func() { l.accept(&all) })
	t.Cleanup(func() {
		_ = on.Close()
		l.become(wire{refuses: true})
		all.Wait()
	})
	return l
}

func (l *link) address() string { return l.on.Addr().String() }

// through returns a server's address with this link in between.
func (l *link) through(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	u.Host = l.address()
	if l.secure != nil {
		u.Scheme = "https"
	}
	return u.String()
}

// become changes the state of the link, also for existing connections.
func (l *link) become(is wire) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.is = is
	close(l.change)
	l.change = make(chan struct{})
	if is.refuses {
		for c := range l.conns {
			reset(c)
		}
	}
}

func reset(c net.Conn) {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

func (l *link) state() (wire, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.is, l.change
}

// passable waits until the link is not dead, and returns its state then.
func (l *link) passable() wire {
	for {
		is, change := l.state()
		if !is.dead {
			return is
		}
		<-change
	}
}

func (l *link) accept(all *sync.WaitGroup) {
	for {
		near, err := l.on.Accept()
		if err != nil {
			return
		}
		all.Go(func() { l.join(near, all) })
	}
}

func (l *link) join(near net.Conn, all *sync.WaitGroup) {
	if l.passable().refuses || wasReset(near) { // what came by a dead wire and was given up did not come
		reset(near)
		return
	}
	far, err := net.Dial("tcp", l.to)
	if err != nil {
		reset(near)
		return
	}
	if l.secure != nil {
		near = tls.Server(near, l.secure)
	}
	l.keep(near, far)
	all.Go(func() { l.pump(far, near, false) })
	l.pump(near, far, true)
}

func (l *link) keep(conns ...net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range conns {
		l.conns[c] = true
	}
}

// pump copies from one end to the other, until one of them is closed.
func (l *link) pump(to, from net.Conn, back bool) {
	piece := make([]byte, 32<<10)
	for {
		n, err := from.Read(piece)
		if n > 0 && l.pass(to, from, piece[:n], back) != nil || err != nil {
			break
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, to)
	delete(l.conns, from)
	_ = to.Close()
	_ = from.Close()
}

// wasReset reports whether the other end has reset the connection, without reading from it.
func wasReset(c net.Conn) (is bool) {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return true
	}
	failed := raw.Control(func(fd uintptr) {
		code, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
		is = err != nil || code == int(syscall.ECONNRESET)
	})
	return is || failed != nil
}

func (l *link) pass(to, from net.Conn, piece []byte, back bool) error {
	held, _ := l.state()
	is := l.passable()
	if held.dead && wasReset(from) {
		return net.ErrClosed // its kernel has dropped what it could not send, where one that was closed in order goes on sending
	}
	time.Sleep(is.delay)
	l.passable()
	if back && is.doubles && bytes.HasPrefix(piece, []byte("HTTP/1.1 ")) {
		return double(to, piece, is.after)
	}
	if !back || is.trickle == 0 {
		_, err := to.Write(piece)
		return err
	}
	for i := range piece {
		if _, err := to.Write(piece[i : i+1]); err != nil {
			return err
		}
		time.Sleep(is.trickle)
	}
	return nil
}

// double sends an answer, and again some time later. The next answer waits for that.
func double(to net.Conn, answer []byte, after time.Duration) error {
	if after == 0 {
		_, err := to.Write(append(answer, answer...))
		return err
	}
	if _, err := to.Write(answer); err != nil {
		return err
	}
	time.Sleep(after)
	_, err := to.Write(answer)
	return err
}
