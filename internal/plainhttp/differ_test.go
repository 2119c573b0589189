package plainhttp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// server is what both are.
type server interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
	Close() error
}

// seen is a request as a handler sees it.
type seen struct {
	Method, RequestURI, Proto, Host, Body string
	URL                                   string
	Header                                http.Header
	ContentLength                         int64
	Close, Failed                         bool
	TransferEncoding                      []string
	Trailer                               http.Header
}

func see(r *http.Request) seen {
	body, err := io.ReadAll(r.Body)
	return seen{
		Method: r.Method, RequestURI: r.RequestURI, Proto: r.Proto, Host: r.Host, Body: string(body), URL: fmt.Sprintf("%#v", *r.URL), Header: r.Header,
		ContentLength: r.ContentLength, Close: r.Close, Failed: err != nil, TransferEncoding: r.TransferEncoding, Trailer: r.Trailer,
	}
}

// witness is a handler that keeps what it sees and answers with its hash.
type witness struct {
	mu  sync.Mutex
	saw []seen
}

func (w *witness) ServeHTTP(to http.ResponseWriter, r *http.Request) {
	s := see(r)
	w.mu.Lock()
	w.saw = append(w.saw, s)
	w.mu.Unlock()
	if r.URL.Path == "/bye" {
		to.Header().Set("Connection", "close")
	}
	text, _ := json.Marshal(s)
	_, _ = fmt.Fprintf(to, "%x", sha256.Sum256(text))
}

func (w *witness) take() []seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	saw := w.saw
	w.saw = nil
	return saw
}

// serving serves on loopback. Unless a test shortens one, its time-outs never expire.
func serving(t testing.TB, handler http.Handler, make func(*http.Server) server) string {
	t.Helper()
	address, _ := started(t, handler, make)
	return address
}

func started(t testing.TB, handler http.Handler, make func(*http.Server) server) (string, server) {
	t.Helper()
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := make(&http.Server{
		Handler: handler, MaxHeaderBytes: 16 << 10, ErrorLog: log.New(io.Discard, "", 0),
		ReadHeaderTimeout: 5 * time.Minute, ReadTimeout: 5 * time.Minute, WriteTimeout: 5 * time.Minute, IdleTimeout: 5 * time.Minute,
	})
	done := begin(s, on)
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return on.Addr().String(), s
}

func begin(s server, on net.Listener) chan error {
	done := make(chan error, 1)
	go func() { done <- s.Serve(on) }()
	return done
}

func all(*http.Request) bool       { return true }
func ours(s *http.Server) server   { return New(s, all, 0) }
func theirs(s *http.Server) server { return s }

// pair is our server and net/http's, with a witness each.
type pair struct {
	ours, theirs   string
	weSaw, theySaw *witness
}

func newPair(t testing.TB) *pair {
	p := &pair{weSaw: &witness{}, theySaw: &witness{}}
	p.ours, p.theirs = serving(t, p.weSaw, ours), serving(t, p.theySaw, theirs)
	return p
}

// said sends parts, one after the other, closes its side, and returns everything that comes back.
func said(t testing.TB, address string, parts ...string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	for i, part := range parts {
		if i > 0 {
			time.Sleep(5 * time.Millisecond)
		}
		if _, err := io.WriteString(c, part); err != nil {
			break // it was answered and closed already
		}
	}
	_ = c.(*net.TCPConn).CloseWrite()
	answer, _ := io.ReadAll(c) // a reset is an end too
	return ordered(string(answer))
}

// ordered sorts the fields of each head, and drops the date.
func ordered(text string) string {
	var out []string
	for _, block := range strings.Split(text, "\r\n\r\n") {
		lines := strings.Split(block, "\r\n")
		lines = slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, "Date: ") })
		slices.Sort(lines)
		out = append(out, strings.Join(lines, "\n"))
	}
	return strings.Join(out, "\n\n")
}

// same fails if the two servers answered differently, or their handlers saw different requests.
func (p *pair) same(t testing.TB, parts ...string) {
	t.Helper()
	if got, want := said(t, p.ours, parts...), said(t, p.theirs, parts...); got != want {
		t.Errorf("%.400q:\ngot  %.1000q\nwant %.1000q", parts, got, want)
	}
	got, want := p.weSaw.take(), p.theySaw.take()
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		t.Errorf("%.400q:\nour handler saw   %.1000s\nnet/http's handler %.1000s", parts, g, w)
	}
}

// FuzzPlain sends anything to both servers: they answer alike, and their handlers see the same
// requests.
func FuzzPlain(f *testing.F) {
	for _, r := range slices.Concat(plain, odd, large) {
		f.Add([]byte(r))
	}
	p := newPair(f)
	f.Fuzz(func(t *testing.T, sent []byte) {
		p.same(t, string(sent))
	})
}

// FuzzParse parses anything, and compares what is accepted with what net/http's own parser makes of
// it.
func FuzzParse(f *testing.F) {
	for _, r := range slices.Concat(plain, odd, large) {
		f.Add([]byte(r))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		r, err := parse(context.Background(), string(sent))
		if err != nil {
			return
		}
		got, want := see(r), seen{}
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { want = see(r) })
		rest := overPipe(handler, sent)
		if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w || strings.Count(rest, "HTTP/1.1 ") != 1 {
			t.Errorf("%q:\ngot  %s\nwant %s, with one answer: %q", sent, g, w, rest)
		}
	})
}

// overPipe returns what net/http's server answers to what is sent, in memory.
func overPipe(handler http.Handler, sent []byte) string {
	one, closed := newHandover(nowhere{}), make(chan struct{})
	s := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0), ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			close(closed)
		}
	}}
	done := begin(s, one)
	c := &inMemory{in: bytes.NewReader(sent)}
	one.give(c)
	<-closed
	_ = s.Close()
	<-done
	return c.out.String()
}

// inMemory is a connection whose caller has sent everything and ended its side.
type inMemory struct {
	net.Conn
	in  *bytes.Reader
	out bytes.Buffer
}

func (c *inMemory) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c *inMemory) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *inMemory) Close() error                     { return nil }
func (c *inMemory) LocalAddr() net.Addr              { return nowhere{}.Addr() }
func (c *inMemory) RemoteAddr() net.Addr             { return nowhere{}.Addr() }
func (c *inMemory) SetDeadline(time.Time) error      { return nil }
func (c *inMemory) SetReadDeadline(time.Time) error  { return nil }
func (c *inMemory) SetWriteDeadline(time.Time) error { return nil }

type nowhere struct{ net.Listener }

func (nowhere) Close() error   { return nil }
func (nowhere) Addr() net.Addr { return &net.TCPAddr{} }

// lines is a log that is read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
