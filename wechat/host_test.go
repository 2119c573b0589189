package wechat

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"wxplatform/internal/socket"
)

// answers serves each connection with answer, which gets the number of the request and where to
// write to. If it returns false, the connection ends.
func answers(t *testing.T, answer func(n int64, w io.Writer) bool) (base string, opened *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving errgroup.Group
	var requests atomic.Int64
	opened = &atomic.Int64{}
	serving.Go(func() error {
		for {
			c, err := listener.Accept()
			if err != nil {
				return nil // the test is over
			}
			opened.Add(1)
			serving.Go(func() error {
				defer c.Close()
				for in := bufio.NewReader(c); ; {
					request, err := http.ReadRequest(in)
					if err != nil {
						return nil
					}
					_, _ = io.Copy(io.Discard, request.Body)
					if !answer(requests.Add(1), c) {
						return nil
					}
				}
			})
		}
	})
	t.Cleanup(func() { _ = listener.Close() })
	return "http://" + listener.Addr().String(), opened
}

// rested makes the idle connections of c look settled.
func rested(c *Client) {
	c.host.idle.mu.Lock()
	defer c.host.idle.mu.Unlock()
	for _, one := range c.host.idle.conns {
		one.since = one.since.Add(-settleTime)
	}
}

const plainAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n" + plainOK

func TestAnAnswerMayComeInEveryShapeOfHTTP(t *testing.T) {
	for name, c := range map[string]struct {
		text        string
		ok, kept    bool
		hangsUp     bool
		wantedCause string
	}{
		"with its length":         {text: plainAnswer, ok: true, kept: true},
		"in chunks":               {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"err\r\n16\r\ncode\":0,\"errmsg\":\"ok\"}\r\n0\r\n\r\n", ok: true, kept: true},
		"with a long header":      {text: strings.Replace(plainAnswer, "\r\n", "\r\nX: "+strings.Repeat("x", headerLimit-100)+"\r\n", 1), ok: true, kept: true},
		"with too long a header":  {text: strings.Replace(plainAnswer, "\r\n", "\r\nX: "+strings.Repeat("x", headerLimit)+"\r\n", 1), wantedCause: "too large"},
		"until the end":           {text: "HTTP/1.1 200 OK\r\n\r\n" + plainOK, ok: true, hangsUp: true},
		"as the last":             {text: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 27\r\n\r\n" + plainOK, ok: true},
		"of HTTP/1.0":             {text: "HTTP/1.0 200 OK\r\nContent-Length: 27\r\n\r\n" + plainOK, ok: true},
		"after an interim one":    {text: "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + plainAnswer, ok: true, kept: true},
		"with more than asked":    {text: plainAnswer + "HTTP/1.1 200 OK\r\n", ok: true},
		"cut":                     {text: "HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n{", hangsUp: true, wantedCause: "answer cut"},
		"only interim":            {text: strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 6), wantedCause: "no end"},
		"another protocol":        {text: "HTTP/1.1 101 Switching Protocols\r\n\r\n", wantedCause: "HTTP 101"},
		"of two lengths":          {text: "HTTP/1.1 200 OK\r\nContent-Length: 27\r\nContent-Length: 28\r\n\r\n" + plainOK, wantedCause: "not HTTP"},
		"not HTTP":                {text: "220 mail.example " + canary + "\r\n", wantedCause: "not HTTP"},
		"nothing":                 {hangsUp: true, wantedCause: "closed before an answer"},
		"a header without an end": {text: "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", headerLimit+answerLimit), wantedCause: "too large"},
	} {
		for reader, netHTTP := range readers {
			t.Run(name+"/"+reader, func(t *testing.T) {
				base, opened := answers(t, func(_ int64, w io.Writer) bool {
					_, _ = io.WriteString(w, c.text)
					return !c.hangsUp
				})
				client := NewClient(base, Observer{})
				client.NetHTTP = netHTTP
				for range 2 {
					_, err := client.Do(context.Background(), call())
					switch {
					case c.ok && err != nil:
						t.Errorf("got %v, want success", err)
					case !c.ok && (!MayHaveActed(err) || !strings.Contains(err.Error(), c.wantedCause) || strings.Contains(err.Error(), canary)):
						t.Errorf("got %v, want an unknown outcome: %s", err, c.wantedCause)
					}
					rested(client)
				}
				if kept := opened.Load() == 1; kept != c.kept {
					t.Errorf("got kept %v, want %v", kept, c.kept)
				}
			})
		}
	}
}

// Front ends close connections that were idle for long: the next call must not fail because of
// that.
func TestAConnectionThatTheHostClosedIsNotUsed(t *testing.T) {
	base, opened := answers(t, func(_ int64, w io.Writer) bool {
		_, _ = io.WriteString(w, plainAnswer)
		return false
	})
	client := NewClient(base, Observer{})
	for range 3 {
		if _, err := client.Do(context.Background(), call()); err != nil {
			t.Fatal(err)
		}
		heardOf(t, client)
		time.Sleep(settleTime)
	}
	if got := opened.Load(); got != 3 {
		t.Errorf("got %d connections, want 3", got)
	}
}

func TestAnIdleConnectionThatStandsIsUsed(t *testing.T) {
	base, opened := answers(t, func(_ int64, w io.Writer) bool {
		_, _ = io.WriteString(w, plainAnswer)
		return true
	})
	client := NewClient(base, Observer{})
	for range 3 {
		if _, err := client.Do(context.Background(), call()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(settleTime)
	}
	if got := opened.Load(); got != 1 {
		t.Errorf("got %d connections, want 1", got)
	}
}

// What arrives on an idle connection is not an answer to the next request.
func TestASurplusAnswerIsNotAnAnswer(t *testing.T) {
	base, _ := answers(t, func(n int64, w io.Writer) bool {
		_, _ = io.WriteString(w, plainAnswer)
		if n == 1 {
			time.Sleep(5 * time.Millisecond)
			_, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n"+`{"errcode":40003}`)
		}
		return true
	})
	client := NewClient(base, Observer{})
	if _, err := client.Do(context.Background(), call()); err != nil {
		t.Errorf("got %v, want success", err)
	}
	heardOf(t, client)
	time.Sleep(settleTime)
	if _, err := client.Do(context.Background(), call()); err != nil {
		t.Errorf("got %v the second time, want success", err)
	}
}

// While no connection can be dialled, the last one is used before it has settled, but not if
// something has arrived on it.
func TestTheLastConnectionIsInspectedToo(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		client, surplus, _ := hostile(t, scheme, func(p *peer, own, stray string) bool {
			p.say(own)
			time.Sleep(5 * time.Millisecond)
			p.say(stray)
			return true
		})
		if _, err := client.Do(t.Context(), call()); err != nil {
			t.Fatal(err)
		}
		heardOf(t, client)
		client.host.address = "127.0.0.1:1" // where nobody listens
		if a, err := client.Do(t.Context(), call()); err == nil || surplus.Load() != 1 {
			t.Errorf("%s: got %q, and surplus bytes reported %d times, want an error", scheme, a.Body, surplus.Load())
		}
	}
}

// A front end that reads until our end of the connection should see that end, and no reset.
func TestAConnectionThatEndedIsClosedInOrder(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ends := make(chan error, 2)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return // the test is over
			}
			if request, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = io.Copy(io.Discard, request.Body)
			}
			_, _ = io.WriteString(c, plainAnswer)
			_ = c.(*net.TCPConn).CloseWrite()
			_, err = c.Read(make([]byte, 1))
			ends <- err
			_ = c.Close()
		}
	}()
	client := NewClient("http://"+listener.Addr().String(), Observer{})
	for range 2 {
		if _, err := client.Do(t.Context(), call()); err != nil {
			t.Fatal(err)
		}
		heardOf(t, client)
		rested(client)
	}
	if err := <-ends; err != io.EOF {
		t.Errorf("got %v, want the end of the connection", err)
	}
	client.CloseIdle()
}

// heardOf waits until something has arrived on the one idle connection of c, or its end has. Where
// that came with the answer, there is no idle connection.
func heardOf(t *testing.T, c *Client) {
	t.Helper()
	c.host.idle.mu.Lock()
	defer c.host.idle.mu.Unlock()
	var some [1]byte
	for range 10000 {
		if len(c.host.idle.conns) == 0 {
			return
		}
		if _, err := c.host.idle.conns[0].stream.arrived.Peek(some[:]); !errors.Is(err, socket.ErrNothing) {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("nothing arrives")
}

func TestACallEndsWithItsContext(t *testing.T) {
	started, over := make(chan struct{}, 1), make(chan struct{})
	defer close(over)
	base, opened := answers(t, func(n int64, w io.Writer) bool {
		if n == 1 {
			started <- struct{}{}
			<-over
		}
		_, _ = io.WriteString(w, plainAnswer)
		return true
	})
	client := NewClient(base, Observer{})
	ctx, cancel := context.WithCancel(context.Background())
	var calling errgroup.Group
	calling.Go(func() error { _, err := client.Do(ctx, call()); return err })
	<-started
	cancel()
	if err := calling.Wait(); !MayHaveActed(err) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want an unknown outcome because of the context", err)
	}
	if _, err := client.Do(context.Background(), call()); err != nil || opened.Load() != 2 {
		t.Errorf("got %v on %d connections, want the one that was given up not to be used", err, opened.Load())
	}
}

func TestAnAnswerThatTricklesIsNotWaitedForForever(t *testing.T) {
	base, _ := answers(t, func(_ int64, w io.Writer) bool {
		for {
			if _, err := io.WriteString(w, " "); err != nil {
				return false
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	client, over := NewClient(base, Observer{}), errors.New("100 ms are over")
	err := untilSent(func() error {
		ctx, cancel := context.WithTimeoutCause(context.Background(), 100*time.Millisecond, over)
		defer cancel()
		_, err := client.Do(ctx, call())
		return err
	})
	if !MayHaveActed(err) || !errors.Is(err, over) {
		t.Errorf("got %v, want an unknown outcome because of the context", err)
	}
}

func TestATimeOutWhileWaitingForAConnectionIsNotSent(t *testing.T) {
	base, _ := answers(t, func(_ int64, w io.Writer) bool { return true })
	client := NewClient(base, Observer{})
	for range MostConnections {
		client.host.tenants.open <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := client.Do(ctx, call()); !NotSent(err) {
		t.Errorf("got %v, want not sent", err)
	}
}

// A host that cuts connections at random gets each call at most once. A call that it did not get
// either fails as not sent or is answered on another connection.
func TestWhatWasGivenUpIsNotSentAfterwards(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, giveUp := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		c, err := listener.Accept()
		if err != nil {
			ended <- err
			return
		}
		defer c.Close()
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			ended <- err
			return
		}
		giveUp()
		_, err = c.Read(make([]byte, 1))
		ended <- err
	}()
	if _, err := NewClient("http://"+listener.Addr().String(), Observer{}).Do(ctx, Call{Method: "GET", Path: "/"}); !MayHaveActed(err) {
		t.Errorf("got %v, want that nobody knows", err)
	}
	if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the host saw %v, want a reset, by which the kernel drops what it holds", err)
	}
}

func TestNoCallIsSentTwiceWhenConnectionsAreCut(t *testing.T) {
	const calls = 2000
	var got atomic.Int64
	base, _ := answers(t, func(_ int64, w io.Writer) bool {
		got.Add(1)
		if rand.IntN(4) == 0 {
			return false
		}
		_, _ = io.WriteString(w, plainAnswer)
		return rand.IntN(4) > 0
	})
	client := NewClient(base, Observer{})
	var answered, unsure, unsent atomic.Int64
	var calling errgroup.Group
	calling.SetLimit(16)
	for range calls {
		calling.Go(func() error {
			switch _, err := client.Do(context.Background(), call()); {
			case err == nil:
				answered.Add(1)
			case NotSent(err):
				unsent.Add(1)
			case MayHaveActed(err):
				unsure.Add(1)
			}
			return nil
		})
	}
	_ = calling.Wait()
	if answered.Load()+unsure.Load()+unsent.Load() != calls || got.Load() > answered.Load()+unsure.Load() || answered.Load() == 0 || unsure.Load() == 0 {
		t.Errorf("the host got %d calls of %d; %d were answered, of %d the outcome is unknown, and %d were not sent", got.Load(), calls, answered.Load(), unsure.Load(), unsent.Load())
	}
}

func TestTheCertificateOfTheHostIsChecked(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, plainOK) }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	stranger := NewClient(server.URL, Observer{})
	if _, err := stranger.Do(context.Background(), call()); !NotSent(err) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v, want the certificate refused and nothing sent", err)
	}
	trusting := NewClient(server.URL, Observer{})
	trusting.host.secure.RootCAs = x509.NewCertPool()
	trusting.host.secure.RootCAs.AddCert(server.Certificate())
	for range 3 {
		if _, err := trusting.Do(context.Background(), call()); err != nil {
			t.Error(err)
		}
		time.Sleep(settleTime)
	}
	trusting.host.secure.ServerName = "another.example"
	trusting.CloseIdle()
	if _, err := trusting.Do(context.Background(), call()); !NotSent(err) {
		t.Errorf("got %v, want another host's certificate refused", err)
	}
}

func TestABaseThatCannotBeUsedSendsNothing(t *testing.T) {
	for _, base := range []string{"ftp://api.weixin.qq.com", "https://", "api.weixin.qq.com", "ht tp://x"} {
		if _, err := NewClient(base, Observer{}).Do(context.Background(), call()); !NotSent(err) {
			t.Errorf("got %v from %s, want not sent", err, base)
		}
	}
}

func TestConnectionsThatAreIdleForLongAreClosed(t *testing.T) {
	base, opened := answers(t, func(_ int64, w io.Writer) bool {
		time.Sleep(20 * time.Millisecond)
		_, _ = io.WriteString(w, plainAnswer)
		return true
	})
	client := NewClient(base, Observer{})
	var calling errgroup.Group
	for range 3 {
		calling.Go(func() error { _, err := client.Do(context.Background(), call()); return err })
	}
	if err := calling.Wait(); err != nil || opened.Load() != 3 {
		t.Fatal(err, opened.Load())
	}
	for _, c := range client.host.idle.conns {
		c.since = c.since.Add(-idlePatience)
	}
	if _, err := client.Do(context.Background(), call()); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(opened.Load(), len(client.host.idle.conns)); got != "4 1" {
		t.Errorf("got %s connections opened and idle, want 4 1", got)
	}
}
