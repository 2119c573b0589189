package plainhttp

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"wxplatform/internal/socket"
)

// counted waits until the server's connections are as wanted.
func counted(t *testing.T, s server, want Connections) {
	t.Helper()
	var got Connections
	for began := time.Now(); time.Since(began) < patience; time.Sleep(time.Millisecond) {
		if got = s.(*Server).Connections(); got == want {
			return
		}
	}
	t.Fatalf("got %+v, want %+v", got, want)
}

// narrow returns the address of a server with room for so many connections. It leaves PUT and
// everything below /theirs to net/http.
func narrow(t *testing.T, most int, handler http.Handler) (string, server) {
	t.Helper()
	return started(t, handler, func(s *http.Server) server {
		return New(s, func(r *http.Request) bool { return !strings.HasPrefix(r.URL.Path, "/theirs") }, most)
	})
}

func get(t *testing.T, c net.Conn, path string) {
	t.Helper()
	say(t, c, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
	if status, _ := hear(t, c); status != 200 {
		t.Fatalf("got %d", status)
	}
}

// rests waits until the server has noticed that every connection is idle, which it does after it
// has sent the response.
func rests(t *testing.T, s server) {
	t.Helper()
	r := &s.(*Server).room
	for began := time.Now(); time.Since(began) < patience; time.Sleep(time.Millisecond) {
		busy := 0
		r.mu.Lock()
		for e := r.places.Front(); e != nil; e = e.Next() {
			if e.Value.(*place).state.Load() != placeIdle {
				busy++
			}
		}
		r.mu.Unlock()
		if busy == 0 {
			return
		}
	}
	t.Fatal("a connection stays busy")
}

func TestTheConnectionThatWasIdleLongestMakesRoom(t *testing.T) {
	for _, path := range []string{"/ours", "/theirs"} {
		address, s := narrow(t, 3, &witness{})
		var conns []*net.TCPConn
		for i := range 3 {
			conns = append(conns, dial(t, address))
			get(t, conns[i], path)
			rests(t, s)
		}
		get(t, conns[0], path) // now the second is the oldest
		rests(t, s)
		counted(t, s, Connections{Open: 3, Most: 3})
		get(t, dial(t, address), path)
		rests(t, s)
		wantEnd(t, conns[1])
		counted(t, s, Connections{Open: 3, Most: 3, Evicted: 1})
		get(t, dial(t, address), path)
		wantEnd(t, conns[2])
		get(t, conns[0], path)
		counted(t, s, Connections{Open: 3, Most: 3, Evicted: 2})
	}
}

func TestAConnectionWithoutAnyRequestMakesRoomToo(t *testing.T) {
	address, s := narrow(t, 2, &witness{})
	first := dial(t, address)
	counted(t, s, Connections{Open: 1, Most: 2})
	second := dial(t, address)
	get(t, second, "/")
	rests(t, s)
	get(t, dial(t, address), "/")
	wantEnd(t, first)
	get(t, second, "/")
}

func TestBusyConnectionsAreKeptAndANewOneIsRefused(t *testing.T) {
	for _, path := range []string{"/ours", "/theirs"} {
		begun, goOn := make(chan struct{}), make(chan struct{})
		address, s := narrow(t, 2, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			begun <- struct{}{}
			<-goOn
			_, _ = io.WriteString(w, "done")
		}))
		busy := []*net.TCPConn{dial(t, address), dial(t, address)}
		for _, c := range busy {
			say(t, c, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
			<-begun
		}
		wantEnd(t, dial(t, address))
		counted(t, s, Connections{Open: 2, Most: 2, Refused: 1})
		close(goOn)
		for _, c := range busy {
			if status, body := hear(t, c); status != 200 || body != "done" {
				t.Errorf("%s: got %d %q, want the response", path, status, body)
			}
		}
		rests(t, s)
		c := dial(t, address) // idle again, they make room
		say(t, c, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
		<-begun
		hear(t, c)
		counted(t, s, Connections{Open: 2, Most: 2, Refused: 1, Evicted: 1})
	}
}

func TestAConnectionThatEndsLeavesItsPlace(t *testing.T) {
	address, s := narrow(t, 10, &witness{})
	for _, path := range []string{"", "/ours", "/theirs"} {
		c := dial(t, address)
		if path != "" {
			get(t, c, path)
		}
		counted(t, s, Connections{Open: 1, Most: 10})
		_ = c.Close()
		counted(t, s, Connections{Most: 10})
	}
	c := dial(t, address)
	get(t, c, "/theirs")
	_ = s.Close()
	counted(t, s, Connections{Most: 10})
}

// A request whose connection was closed to make room must not be served: its caller may repeat it.
func TestAnEvictedConnectionServesNothing(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	p := &place{room: &room{}}
	p.element = p.room.places.PushBack(p)
	p.room.evict()
	go func() { _, _ = io.WriteString(near, "GET / HTTP/1.1\r\n") }()
	if n, err := (&replayed{Conn: far, place: p}).Read(make([]byte, 100)); n != 0 || err == nil {
		t.Errorf("got %d bytes and %v, want none", n, err)
	}
	if p.busy() {
		t.Error("got a request begun on a connection that is being closed")
	}
	p.idle()
	p.leave()
	if n := p.room.count().Open; n != 0 {
		t.Errorf("got %d places, want none", n)
	}
}

func TestAConnectionThatWasGivenUpServesNothing(t *testing.T) {
	for name, giveUp := range map[string]func(c *conn){
		"evicted": func(c *conn) { c.place.room.evict() },
		"cut":     (*conn).cut,
	} {
		t.Run(name, func(t *testing.T) {
			near, c := lone(t)
			say(t, near, closing)
			arrives(t, c.TCPConn)
			giveUp(c)
			servesNothing(t, c, near, func() {})
		})
	}
}

// Such a request is whole for net/http only.
func TestAConnectionThatIsCutInARequestHandsNothingOver(t *testing.T) {
	near, c := lone(t)
	say(t, near, "GET / HTTP/1.1\nHost: a\n\n")
	arrives(t, c.TCPConn)
	servesNothing(t, c, near, func() {
		for began := time.Now(); time.Since(began) < patience && waiting(t, c.TCPConn); time.Sleep(time.Millisecond) {
		}
		c.cut()
	})
}

// lone returns a connection that nothing serves yet, and the caller's end of it.
func lone(t *testing.T) (near *net.TCPConn, c *conn) {
	t.Helper()
	s := New(&http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("got a request served") })}, all, 0)
	near, far := connected(t)
	raw, err := far.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	c = &conn{TCPConn: far, server: s, handed: newHandover(nil), place: s.room.enter(far), raw: raw}
	c.turn = c.serveArrived
	return near, c
}

// servesNothing serves c, and fails unless it is closed, and nothing handed to net/http. Meanwhile
// is called while c is served.
func servesNothing(t *testing.T, c *conn, near *net.TCPConn, meanwhile func()) {
	t.Helper()
	ended := make(chan struct{})
	go func() { c.serve(); close(ended) }()
	meanwhile()
	select {
	case <-c.handed.given:
		t.Error("got the request handed to net/http")
	case <-ended:
	}
	if _, err := near.Read(make([]byte, 1)); err == nil {
		t.Error("got an answer, want the connection closed")
	}
}

// arrives waits until something has arrived.
func arrives(t *testing.T, c *net.TCPConn) {
	t.Helper()
	for began := time.Now(); time.Since(began) < patience; time.Sleep(time.Millisecond) {
		if waiting(t, c) {
			return
		}
	}
	t.Fatal("nothing arrives")
}

// waiting reports whether something has arrived that was not received.
func waiting(t *testing.T, c *net.TCPConn) bool {
	t.Helper()
	r, err := socket.NewReader(c)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := r.Peek(make([]byte, 1))
	return n > 0
}

// connected returns both ends of a connection.
func connected(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer on.Close()
	near = dial(t, on.Addr().String())
	accepted, err := on.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = accepted.Close() })
	return near, accepted.(*net.TCPConn)
}
