package plainhttp

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
)

// patience is how long a test waits for something that must happen.
const patience = time.Minute

func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// hear reads one answer.
func hear(t *testing.T, c net.Conn) (status int, body string) {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("got %v, want an answer", err)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// left counts the connections that net/http gets.
func left(count *atomic.Int32) func(*http.Server) server {
	return func(s *http.Server) server {
		s.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				count.Add(1)
			}
		}
		return New(s, all, 0)
	}
}

func TestPlainRequestsNeverReachNetHTTP(t *testing.T) {
	var handed atomic.Int32
	address := serving(t, &witness{}, left(&handed))
	c := dial(t, address)
	for range 3 {
		for _, r := range plain[:len(plain)-1] { // the last ends the connection
			say(t, c, r)
			if status, _ := hear(t, c); status != 200 {
				t.Fatalf("%q: got %d", r, status)
			}
		}
	}
	if n := handed.Load(); n != 0 {
		t.Errorf("got %d connections handed over, want none", n)
	}
}

// Many libraries send a head and its body separately. A busy machine may hold up the body for
// longer than arrivalTime, but not each time.
func TestAPlainRequestMayComeInTwoPieces(t *testing.T) {
	var handed atomic.Int32
	address := serving(t, &witness{}, left(&handed))
	for tries := int32(1); tries <= 100; tries++ {
		c := dial(t, address)
		say(t, c, closing[:len(closing)-2])
		time.Sleep(20 * time.Millisecond)
		say(t, c, "{}")
		hear(t, c)
		if handed.Load() < tries {
			return
		}
	}
	t.Error("got every connection handed over, want none")
}

// without returns a server without time-outs, which counts the connections that net/http gets.
func without(count *atomic.Int32) func(*http.Server) server {
	return func(s *http.Server) server {
		s.ReadHeaderTimeout, s.ReadTimeout, s.WriteTimeout, s.IdleTimeout = 0, 0, 0, 0
		return left(count)(s)
	}
}

// The time in which the rest of a request must arrive limits neither the next request nor net/http.
func TestWithoutTimeoutsNothingIsCutOff(t *testing.T) {
	t.Parallel()
	for name, rest := range map[string]time.Duration{"in time": arrivalTime / 10, "late": arrivalTime * 3 / 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var theirs atomic.Int32
			c := dial(t, serving(t, &witness{}, without(&theirs)))
			say(t, c, closing[:20])
			time.Sleep(rest)
			say(t, c, closing[20:])
			hear(t, c)
			time.Sleep(arrivalTime * 3 / 2)
			say(t, c, closing)
			if status, _ := hear(t, c); status != http.StatusOK {
				t.Errorf("got %d", status)
			}
			if name == "late" && theirs.Load() == 0 {
				t.Error("got it served here, want it left to net/http")
			}
		})
	}
}

// Old clients send a blank line behind the body of a POST. It begins no request.
func TestABlankLineBehindAPostKeepsTheConnectionIdle(t *testing.T) {
	t.Parallel()
	var theirs atomic.Int32
	address, s := started(t, &witness{}, left(&theirs))
	c := dial(t, address)
	for range 2 {
		say(t, c, closing)
		hear(t, c)
		for _, blank := range []string{"\r", "\n"} {
			say(t, c, blank)
			time.Sleep(arrivalTime * 3 / 2)
			rests(t, s)
		}
	}
	if n := theirs.Load(); n != 0 {
		t.Errorf("got %d connections left to net/http, want none", n)
	}
}

func TestAConnectionThatIsHandedOverGoesOn(t *testing.T) {
	var handed atomic.Int32
	c := dial(t, serving(t, &witness{}, left(&handed)))
	say(t, c, closing)
	hear(t, c)
	say(t, c, strings.Replace(closing, "POST", "PUT", 1))
	hear(t, c)
	say(t, c, closing)
	hear(t, c)
	if n := handed.Load(); n != 1 {
		t.Errorf("got %d connections handed over, want one", n)
	}
}

func TestARequestEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	for name, hangUp := range map[string]func(*net.TCPConn){
		"closed":      func(c *net.TCPConn) { _ = c.Close() },
		"reset":       func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() },
		"half closed": func(c *net.TCPConn) { _ = c.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			begun, ended := make(chan struct{}), make(chan error, 1)
			handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				close(begun)
				select {
				case <-r.Context().Done():
					ended <- nil
				case <-time.After(patience):
					ended <- errors.New("nobody said that the caller had hung up")
				}
			})
			c := dial(t, serving(t, handler, ours))
			say(t, c, closing)
			<-begun
			hangUp(c)
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestACallerThatWaitsOrSendsMoreHasNotHungUp(t *testing.T) {
	t.Parallel()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
			w.WriteHeader(http.StatusTeapot)
		case <-time.After(5 * watchInterval):
		}
	})
	c := dial(t, serving(t, handler, ours))
	say(t, c, closing)
	time.Sleep(watchInterval)
	say(t, c, closing)
	in := bufio.NewReader(c)
	for range 2 {
		response, err := http.ReadResponse(in, nil)
		if err != nil || response.StatusCode != 200 {
			t.Fatalf("got %v %v, want 200", response, err)
		}
	}
}

func TestAContextEndsWithItsRequest(t *testing.T) {
	var last context.Context
	c := dial(t, serving(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { last = r.Context() }), ours))
	say(t, c, closing)
	hear(t, c)
	select {
	case <-last.Done():
	case <-time.After(patience):
		t.Error("the context of an answered request did not end")
	}
}

// ends returns how long after its start the server ends a connection on which parts were sent.
func ends(t *testing.T, address string, parts ...string) time.Duration {
	t.Helper()
	began := time.Now()
	c := dial(t, address)
	for _, part := range parts {
		if _, err := io.WriteString(c, part); err != nil {
			break // it was ended already
		}
		time.Sleep(20 * time.Millisecond)
	}
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%q: the connection is open still", parts)
	}
	return time.Since(began)
}

// A caller that keeps a connection and sends nothing, or sends too slowly, is cut off by the same
// time-out as in net/http.
func TestSlowCallersAreCutOffAsByNetHTTP(t *testing.T) {
	t.Parallel()
	head := func(s *http.Server) *time.Duration { return &s.ReadHeaderTimeout }
	body := func(s *http.Server) *time.Duration { return &s.ReadTimeout }
	idle := func(s *http.Server) *time.Duration { return &s.IdleTimeout }
	for name, c := range map[string]struct {
		by    func(*http.Server) *time.Duration
		parts []string
	}{
		"nothing":            {head, nil},
		"half a head":        {head, []string{"POST / HTTP/1.1\r\nHost"}},
		"half a body":        {body, []string{closing[:len(closing)-1]}},
		"idle":               {idle, []string{closing}},
		"half a second head": {head, []string{closing, "POST / HTTP/1.1\r\nHost"}},
		"half a second body": {body, []string{closing, closing[:len(closing)-1]}},
		"odd and idle":       {idle, []string{strings.Replace(closing, "POST", "PUT", 1)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const timeout = 600 * time.Millisecond
			for of, make := range map[string]func(*http.Server) server{"ours": ours, "net/http": theirs} {
				address := serving(t, &witness{}, func(s *http.Server) server { *c.by(s) = timeout; return make(s) })
				if got := ends(t, address, c.parts...); got < timeout {
					t.Errorf("%s: got it cut off after %v, want not before %v", of, got, timeout)
				}
			}
		})
	}
}

func TestManySlowCallersDelayNoOther(t *testing.T) {
	t.Parallel()
	address := serving(t, &witness{}, ours)
	for range 200 {
		say(t, dial(t, address), "POST / HTTP/1.1\r\nHost: a\r\nX-")
	}
	c := dial(t, address)
	say(t, c, closing)
	hear(t, c) // before any time-out
}

func TestShutdownAnswersWhatIsUnderWayAndClosesWhatIsIdle(t *testing.T) {
	t.Parallel()
	begun, goOn := make(chan struct{}), make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			close(begun)
			<-goOn
		}
		_, _ = io.WriteString(w, "done")
	})
	address, s := started(t, handler, ours)
	idle, busy := dial(t, address), dial(t, address)
	say(t, idle, closing)
	hear(t, idle)
	say(t, busy, "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-begun
	ended := stopping(s)
	wantEnd(t, idle)
	select {
	case err := <-ended:
		t.Fatalf("Shutdown returned %v while a request was under way", err)
	case <-time.After(100 * time.Millisecond):
	}
	close(goOn)
	if status, body := hear(t, busy); status != 200 || body != "done" {
		t.Errorf("got %d %q, want the answer", status, body)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("the listener is open still")
	}
}

func TestShutdownGivesUpWithItsContext(t *testing.T) {
	begun := make(chan struct{})
	address, s := started(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
	}), ours)
	c := dial(t, address)
	say(t, c, closing)
	<-begun
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	_ = s.Close()
	wantEnd(t, c)
}

// A connection opened for a request that is on its way when the server stops is waited for.
func TestShutdownWaitsForTheFirstRequestOfANewConnection(t *testing.T) {
	t.Parallel()
	address, s := started(t, &witness{}, ours)
	c := dial(t, address)
	used := dial(t, address) // when this one is answered the first has been accepted
	say(t, used, closing)
	hear(t, used)
	ended := stopping(s)
	say(t, c, closing)
	if status, _ := hear(t, c); status != 200 {
		t.Errorf("got %d", status)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// If that request is not plain, net/http still serves it, however late it takes the connection.
func TestShutdownHandsOverTheFirstRequestOfANewConnection(t *testing.T) {
	t.Parallel()
	ending := make(chan struct{}) // net/http's server is
	address, s := started(t, &witness{}, func(s *http.Server) server {
		s.RegisterOnShutdown(func() { close(ending) })
		s.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				soon(ending)
			}
		}
		return New(s, all, 0)
	})
	c, used := dial(t, address), dial(t, address)
	say(t, used, closing)
	hear(t, used)
	ended := stopping(s)
	say(t, c, "GET / HTTP/1.0\r\n\r\n")
	if status, _ := hear(t, c); status != 200 {
		t.Errorf("got %d", status)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A connection that is being accepted when the server stops counts too.
func TestShutdownWaitsForAConnectionThatIsBeingAccepted(t *testing.T) {
	t.Parallel()
	real, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	on, ending := &slow{real, make(chan struct{}), make(chan struct{})}, make(chan struct{})
	fallback := &http.Server{Handler: &witness{}}
	fallback.RegisterOnShutdown(func() { close(ending) })
	s := New(fallback, all, 0)
	done := begin(s, on)
	c := dial(t, real.Addr().String())
	<-on.accepted
	ended := stopping(s)
	soon(ending)
	close(on.goOn)
	say(t, c, "GET / HTTP/1.0\r\n\r\n")
	if status, _ := hear(t, c); status != 200 {
		t.Errorf("got %d", status)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	<-done
}

// slow is a listener that keeps its first connection back for a while.
type slow struct {
	net.Listener
	accepted, goOn chan struct{}
}

func (l *slow) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		close(l.accepted)
		<-l.goOn
	}
	return c, err
}

// soon waits a moment for what must not happen.
func soon(c chan struct{}) {
	select {
	case <-c:
	case <-time.After(200 * time.Millisecond):
	}
}

// stopping begins to shut s down, and returns once connections notice.
func stopping(s server) (ended chan error) {
	ended = make(chan error, 1)
	go func() { ended <- s.Shutdown(context.Background()) }()
	for !s.(*Server).ending.Load() {
		time.Sleep(time.Millisecond)
	}
	return ended
}

func TestAConnectionAcceptedWhileStoppingIsAnsweredOnce(t *testing.T) {
	address, s := started(t, &witness{}, ours)
	s.(*Server).ending.Store(true)
	c := dial(t, address)
	say(t, c, closing)
	if status, _ := hear(t, c); status != 200 {
		t.Errorf("got %d", status)
	}
	wantEnd(t, c)
}

// wantEnd fails if the server does not end a connection before any time-out would.
func wantEnd(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := c.Read(make([]byte, 1)); err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want the connection ended", err)
	}
}

func TestACallerThatDoesNotReadIsCutOff(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 32<<20)
	address, s := started(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, large) }), func(s *http.Server) server {
		s.WriteTimeout = 500 * time.Millisecond
		return New(s, all, 0)
	})
	say(t, dial(t, address), closing)
	for began := time.Now(); time.Since(began) < patience; time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > 500*time.Millisecond && s.(*Server).count() == 0 {
			return
		}
	}
	t.Error("the connection is open still, want it cut after WriteTimeout")
}

func TestAPanicCutsTheConnection(t *testing.T) {
	for _, value := range []any{http.ErrAbortHandler, "secret"} {
		var lines lines
		c := dial(t, serving(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half")
			panic(value)
		}), func(s *http.Server) server {
			s.ErrorLog.SetOutput(&lines)
			return New(s, all, 0)
		}))
		say(t, c, closing)
		if text, _ := io.ReadAll(c); len(text) > 0 {
			t.Errorf("%v: got %q, want nothing", value, text)
		}
		if said := lines.String(); (value == http.ErrAbortHandler) != (said == "") || strings.Contains(said, "secret") {
			t.Errorf("%v: the log says %q", value, said)
		}
	}
}

// Handlers answer alike through both servers.
func TestAnswersAreThoseOfNetHTTP(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"nothing":      func(http.ResponseWriter, *http.Request) {},
		"no content":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
		"not modified": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304); _, _ = io.WriteString(w, "x") },
		"twice": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(404)
			w.Header().Set("Late", "x")
			w.WriteHeader(200)
		},
		"unknown status": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(599); _, _ = io.WriteString(w, "x") },
		"typed": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, "{}")
		},
		"guessed": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<!doctype html><p>") },
		"many values": func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Set-Cookie"] = []string{"a=b", "c=d"}
			w.Header().Set("Empty", "")
		},
		"split answer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/x\r\nSet-Cookie: a=b\r\n\r\n<p>")
			w.WriteHeader(302)
		},
		"bad name": func(w http.ResponseWriter, _ *http.Request) { w.Header()["X\r\nY"] = []string{"z"} },
		"last":     func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") },
		"own length": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "2")
			_, _ = io.WriteString(w, "ok")
		},
		"own date": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Date", "today") },
		"no date":  func(w http.ResponseWriter, _ *http.Request) { w.Header()["Date"] = nil },
		"no type": func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			_, _ = io.WriteString(w, "x")
		},
		"two writes": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "a")
			_, _ = io.WriteString(w, "b")
		},
		"early hints": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200); w.WriteHeader(103) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, request := range []string{closing, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"} {
				got, want := said(t, serving(t, handler, ours), request), said(t, serving(t, handler, theirs), request)
				if got != want {
					t.Errorf("got  %q\nwant %q", got, want)
				}
			}
		})
	}
}

func TestAnInterimStatusIsNotTheAnswer(t *testing.T) {
	c := dial(t, serving(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusNotFound)
	}), ours))
	say(t, c, closing)
	if status, _ := hear(t, c); status != http.StatusNotFound {
		t.Errorf("got %d, want 404", status)
	}
}

func TestWhatIsHandedOverTooLateIsClosed(t *testing.T) {
	l := newHandover(nowhere{})
	_ = l.Close()
	near, far := net.Pipe()
	l.give(far)
	if _, err := near.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("got %v, want the connection closed", err)
	}
}

func TestALargeAnswerArrivesWhole(t *testing.T) {
	c := dial(t, serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for range 1000 {
			_, _ = io.WriteString(w, strings.Repeat(r.URL.RawQuery, 1000))
		}
	}), ours))
	for _, letter := range []string{"a", "b"} {
		say(t, c, "GET /?"+letter+" HTTP/1.1\r\nHost: a\r\n\r\n")
		if _, body := hear(t, c); body != strings.Repeat(letter, 1000*1000) {
			t.Errorf("got %d bytes", len(body))
		}
	}
}

// A route that streams is net/http's: what it flushes arrives while it runs.
func TestARouteThatStreamsIsNetHTTPs(t *testing.T) {
	goOn := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "first")
		w.(http.Flusher).Flush()
		<-goOn
		_, _ = io.WriteString(w, "last")
	})
	address := serving(t, handler, func(s *http.Server) server {
		return New(s, func(r *http.Request) bool { return !strings.HasPrefix(r.URL.Path, "/stream") }, 0)
	})
	c := dial(t, address)
	say(t, c, "GET /stream?x=1 HTTP/1.1\r\nHost: a\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, len("first"))
	if _, err := io.ReadFull(response.Body, first); err != nil || string(first) != "first" {
		t.Fatalf("got %q, %v while the handler runs, want what it flushed", first, err)
	}
	close(goOn)
	if rest, err := io.ReadAll(response.Body); err != nil || string(rest) != "last" {
		t.Errorf("got %q, %v, want the rest", rest, err)
	}
}

func TestAFlushOnARouteServedHereDoesNotPanic(t *testing.T) {
	e := echo.New()
	e.GET("/", func(c echo.Context) error {
		_, _ = io.WriteString(c.Response(), "first")
		c.Response().Flush()
		_, err := io.WriteString(c.Response(), "last")
		return err
	})
	c := dial(t, serving(t, e, ours))
	for range 2 {
		say(t, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if status, body := hear(t, c); status != 200 || body != "firstlast" {
			t.Errorf("got %d %q, want the whole response", status, body)
		}
	}
}

func TestARouteOfNetHTTPTakesItsConnectionAlong(t *testing.T) {
	var handed atomic.Int32
	address := serving(t, &witness{}, func(s *http.Server) server {
		left(&handed)(s)
		return New(s, func(r *http.Request) bool { return r.URL.Path != "/theirs" }, 0)
	})
	c := dial(t, address)
	for i, step := range []struct {
		path string
		want int32
	}{{"/ours", 0}, {"/theirs", 1}, {"/ours", 1}} {
		say(t, c, "GET "+step.path+" HTTP/1.1\r\nHost: a\r\n\r\n")
		if status, _ := hear(t, c); status != 200 || handed.Load() != step.want {
			t.Errorf("request %d: got %d and %d connections handed over, want 200 and %d", i+1, status, handed.Load(), step.want)
		}
	}
}

// Without file descriptors no connection is accepted for a while; that does not end the server.
func TestAcceptIsTriedAgain(t *testing.T) {
	real, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	on := &exhausted{Listener: real}
	on.times.Store(3)
	s := New(&http.Server{Handler: &witness{}, ErrorLog: log.New(io.Discard, "", 0)}, all, 0)
	done := begin(s, on)
	c := dial(t, real.Addr().String())
	say(t, c, closing)
	if status, _ := hear(t, c); status != 200 {
		t.Errorf("got %d", status)
	}
	_ = s.Close()
	if err := <-done; err != http.ErrServerClosed {
		t.Errorf("got %v, want http.ErrServerClosed", err)
	}
}

type exhausted struct {
	net.Listener
	times atomic.Int32
}

func (l *exhausted) Accept() (net.Conn, error) {
	if l.times.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

func TestOverTLSAllIsNetHTTPs(t *testing.T) {
	var handed atomic.Int32
	real, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := left(&handed)(&http.Server{Handler: &witness{}})
	done := begin(s, wrapped{real})
	c := dial(t, real.Addr().String())
	say(t, c, closing)
	hear(t, c)
	if handed.Load() != 1 {
		t.Error("a connection that is not plainly TCP was read here")
	}
	_ = s.Close()
	<-done
}

// wrapped is a listener with connections that are more than TCP's, like TLS's.
type wrapped struct{ net.Listener }

func (l wrapped) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return struct{ net.Conn }{c}, err
}

// A platform whose own parser is switched off reads nothing itself.
func TestWithoutRoutesNetHTTPServesAll(t *testing.T) {
	var begun atomic.Int64
	address := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if Whole(r) {
			t.Error("got a body that this package has read")
		}
		_, _ = io.WriteString(w, "{}")
	}), func(s *http.Server) server {
		s.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				begun.Add(1)
			}
		}
		return New(s, nil, 0)
	})
	answer, err := http.Post("http://"+address, "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK || begun.Load() != 1 {
		t.Errorf("got %d and %d connections of net/http, want 200 and 1", answer.StatusCode, begun.Load())
	}
}
