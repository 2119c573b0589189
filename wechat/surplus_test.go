package wechat

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wxplatform/internal/seal"
	"wxplatform/internal/socket"
)

// sized is a whole answer that takes n bytes, and names itself.
func sized(tag string, n int) string {
	head, body := "HTTP/1.1 200 OK\r\nContent-Length: %06d\r\n\r\n", fmt.Sprintf(`{"errcode":0,"tag":%q,"pad":"`, tag)
	length := n - len(fmt.Sprintf(head, 0))
	return fmt.Sprintf(head, length) + body + strings.Repeat("x", length-len(body)-2) + `"}`
}

// naming is a call that reads which answer it got.
func naming(as Credential, got *string) Call {
	return Call{
		Method: http.MethodPost, Path: "/x", As: as, Token: seal.NewSecret(canary),
		Read: func(o Object) string { *got, _ = o.Text("tag"); return "" },
	}
}

// flush sends what was held back, in one segment.
func (s *segments) flush() {
	_, _ = s.TCPConn.Write(s.held)
	s.holds, s.held = false, nil
}

// closing holds back an answer and the close_notify behind it.
func closing(s *segments, c *tls.Conn, text string) {
	s.holds = true
	_, _ = io.WriteString(c, text)
	_ = c.CloseWrite()
	_ = s.TCPConn.SetWriteDeadline(time.Time{}) // CloseWrite leaves one in the past
}

// secured has serve serve TLS connections. It returns a client of them, and how often that found
// surplus bytes.
func secured(t *testing.T, version uint16, serve func(s *segments, handshake func(below net.Conn) *tls.Conn)) (*Client, *atomic.Int64) {
	t.Helper()
	certificate, pool := certificate(t)
	config := &tls.Config{MaxVersion: version, Certificates: []tls.Certificate{certificate}}
	address := raw(t, func(c *net.TCPConn, _ *bufio.Reader) {
		serve(&segments{TCPConn: c}, func(below net.Conn) *tls.Conn { return tls.Server(below, config) })
	}).host.address
	surplus := &atomic.Int64{}
	client := NewClient("https://"+address, Observer{Surplus: func(SurplusBytes) { surplus.Add(1) }})
	client.host.secure.RootCAs = pool
	t.Cleanup(client.CloseIdle)
	return client, surplus
}

// asked reads a request, or returns false if there is no more.
func asked(in *bufio.Reader) bool {
	request, err := http.ReadRequest(in)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, request.Body)
	return err == nil
}

// Answers that are read around the connection's buffer, or fill it, leave what is behind them in
// the socket. All of it has arrived before the first is read, so that no time matters.
func TestOfTwoLongAnswersToOneRequestNeitherIsAccepted(t *testing.T) {
	for _, netHTTP := range []bool{false, true} {
		for _, n := range []int{200, 4095, 4096, 4097, 8192, 26302, 28019, 29736} {
			both := sized("stray", n) + sized("own", n)
			client := raw(t, func(c *net.TCPConn, in *bufio.Reader) {
				_, _ = io.WriteString(c, both)
				asked(in)
			})
			c, err := client.host.dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !eventually(func() bool { got, _ := c.stream.arrived.Peek(make([]byte, len(both))); return got == len(both) }) {
				t.Fatalf("%d bytes: the answers did not arrive", n)
			}
			c.kept = true
			if a, err := c.answer(netHTTP); err != errSurplus || a.body != nil {
				t.Errorf("%d bytes, net/http %v: got %.40s and %v, want neither answer", n, netHTTP, a.body, err)
			}
			_ = c.Close()
		}
	}
}

// lastWords holds back what follows the first flight of a handshake.
type lastWords struct{ *segments }

func (l lastWords) Write(p []byte) (int, error) {
	n, err := l.segments.Write(p)
	l.holds = true
	return n, err
}

func TestAnAnswerThatCameWithTheHandshakeAnswersNoCall(t *testing.T) {
	for _, as := range []Credential{AccessToken, ComponentToken, NoToken} {
		client, surplus := secured(t, tls.VersionTLS12, func(s *segments, handshake func(net.Conn) *tls.Conn) {
			c := handshake(lastWords{s})
			if c.Handshake() != nil {
				return
			}
			_, _ = io.WriteString(c, sized("stray", 200))
			s.flush()
			if asked(bufio.NewReader(c)) {
				_, _ = io.WriteString(s, sized("own", 200))
			}
		})
		var got string
		_, err := client.Do(t.Context(), naming(as, &got))
		if got != "" || err == nil || MayHaveActed(err) || surplus.Load() == 0 {
			t.Errorf("credential %d: got %q, %v and %d alarms, want nothing sent and an alarm", as, got, err, surplus.Load())
		}
	}
}

func TestBytesOnANewConnectionAnswerNoCall(t *testing.T) {
	for text, want := range map[string]error{sized("stray", 200): errUnasked, "\r\n": errEnded} {
		client := raw(t, func(c *net.TCPConn, in *bufio.Reader) {
			_, _ = io.WriteString(c, text)
			asked(in)
		})
		c, err := client.host.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !eventually(func() bool { n, _ := c.stream.arrived.Peek(make([]byte, 1)); return n > 0 }) {
			t.Fatal("nothing arrived")
		}
		_, left, err := client.host.sendOn(patience{t.Context(), time.Now().Add(time.Minute)}, c, []byte("GET / HTTP/1.1\r\n\r\n"), delivery{})
		if err != want || left {
			t.Errorf("%q: got %v, sent %v, want %v and nothing sent", text, err, left, want)
		}
	}
}

func TestCloseNotifyBehindAnAnswerIsNoSurplus(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		var size atomic.Int64
		client, surplus := secured(t, version, func(s *segments, handshake func(net.Conn) *tls.Conn) {
			c := handshake(s)
			if asked(bufio.NewReader(c)) {
				text := strings.Replace(sized("own", int(size.Load())), "\r\n", "\r\nConnection: close\r\n", 1)
				closing(s, c, text)
				s.flush()
			}
		})
		for n := 1600; n < 1800; n += 3 { // some of which end so that crypto/tls receives a part of the alert
			size.Store(int64(n))
			var got string
			if _, err := client.Do(t.Context(), naming(ComponentToken, &got)); err != nil || got != "own" || surplus.Load() > 0 {
				t.Fatalf("%x, %d bytes: got %q, %v and %d alarms", version, n, got, err, surplus.Load())
			}
		}
	}
}

func TestCloseNotifyThatComesInPartsIsNoSurplus(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		known := make(chan bool)
		client, surplus := secured(t, version, func(s *segments, handshake func(net.Conn) *tls.Conn) {
			c := handshake(s)
			in := bufio.NewReader(c)
			for n := 1; asked(in); n++ {
				if n == 1 {
					_, _ = io.WriteString(c, sized("own", 200))
					continue
				}
				s.holds = true
				_, _ = io.WriteString(c, sized("own", 200))
				part := len(s.held) + recordHeader + 2
				closing(s, c, "")
				rest := s.held[part:]
				s.held = s.held[:part]
				s.flush()
				<-known
				_, _ = s.TCPConn.Write(rest)
				return
			}
		})
		var got string
		for range 2 {
			if _, err := client.Do(t.Context(), naming(AccessToken, &got)); err != nil || got != "own" {
				t.Errorf("%x: got %q and %v", version, got, err)
			}
			rested(client)
		}
		if close(known); surplus.Load() > 0 {
			t.Errorf("%x: got %d alarms, want none", version, surplus.Load())
		}
	}
}

// What begins an answer to the second request on a connection, and is none.
func TestWhatIsNoAnswerOnAKeptConnection(t *testing.T) {
	const timeOut = "HTTP/1.1 408 Request Time-out\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
	for text, alarms := range map[string]int64{timeOut: 0, "\r\n": 0, "rest of an earlier body": 1, "1\r\n}\r\n0\r\n\r\n" + plainAnswer: 1} {
		for _, early := range []time.Duration{0, time.Hour} {
			for _, repeatable := range []bool{true, false} {
				base, opened := answers(t, func(n int64, w io.Writer) bool {
					if n == 2 {
						_, _ = io.WriteString(w, text)
						return false
					}
					_, _ = io.WriteString(w, plainAnswer)
					return true
				})
				var surplus atomic.Int64
				client := NewClient(base, Observer{Surplus: func(SurplusBytes) { surplus.Add(1) }})
				one := Call{Method: http.MethodGet, Path: "/x", As: AccessToken, Repeatable: repeatable}
				if _, err := client.Do(t.Context(), one); err != nil {
					t.Fatal(err)
				}
				rested(client)
				client.host.idle.conns[0].early = early
				_, err := client.Do(t.Context(), one)
				if repeatable && err != nil || !repeatable && !MayHaveActed(err) || surplus.Load() != alarms {
					t.Errorf("%q, repeatable %v, early %v: got %v and %d alarms, want %d", text, repeatable, early, err, surplus.Load(), alarms)
				}
				if want := map[bool]int64{true: 2, false: 1}[repeatable]; opened.Load() != want {
					t.Errorf("%q, repeatable %v, early %v: got %d connections, want %d", text, repeatable, early, opened.Load(), want)
				}
				client.CloseIdle()
			}
		}
	}
}

func TestWhatAResetKeptFromBeingWrittenWasNotSent(t *testing.T) {
	reset := make(chan bool)
	client, _ := secured(t, tls.VersionTLS13, func(s *segments, handshake func(net.Conn) *tls.Conn) {
		c := handshake(s)
		if asked(bufio.NewReader(c)) {
			_, _ = io.WriteString(c, plainAnswer)
			<-reset
			_ = s.SetLinger(0)
		}
	})
	if _, err := client.Do(t.Context(), Call{Method: http.MethodPost, Path: "/x", As: AccessToken}); err != nil {
		t.Fatal(err)
	}
	c := client.host.idle.first()
	if got := c.inspect(); got != silent {
		t.Fatalf("got %v before the reset, want silence", got)
	}
	close(reset)
	if !eventually(func() bool {
		_, err := c.stream.arrived.Peek(make([]byte, 1))
		return !errors.Is(err, socket.ErrNothing)
	}) {
		t.Fatal("no reset arrived")
	}
	_, left, err := client.host.sendOn(patience{context.Background(), time.Now().Add(time.Minute)}, c, []byte("POST / HTTP/1.1\r\n\r\n"), delivery{})
	if err == nil || left {
		t.Errorf("got %v, sent %v, want nothing sent", err, left)
	}
}
