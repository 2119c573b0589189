package wechat

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

func TestACallLooksAgainWhenItMayBeOver(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct{ timeOut, context, want time.Duration }{
		"nothing is near":     {time.Hour, time.Hour, lookTime},
		"the time-out":        {lookTime / 2, time.Hour, lookTime / 2},
		"the context":         {time.Hour, lookTime / 2, lookTime/2 + time.Millisecond},
		"the context is over": {time.Hour, -time.Second, lookTime},
		"both":                {lookTime / 2, lookTime / 2, lookTime / 2},
	} {
		ctx, cancel := context.WithDeadline(t.Context(), now.Add(c.context))
		if got := (patience{ctx, now.Add(c.timeOut)}).next(now).Sub(now); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
		cancel()
	}
}

// A deadline is kept only if it is not over and the next call may wait so long.
func TestOnlyADeadlineThatSuitsTheNextCallIsKept(t *testing.T) {
	server := httptest.NewServer(nil)
	defer server.Close()
	tcp, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	s, err := newStream(tcp.(*net.TCPConn), false)
	if err != nil {
		t.Fatal(err)
	}
	begins := func(timeOut time.Duration) time.Time {
		for !s.begin(patience{t.Context(), time.Now().Add(timeOut)}) { // a busy machine may take longer than that
		}
		s.end()
		return s.deadline
	}
	began := time.Now()
	first, second := begins(time.Hour), begins(time.Hour)
	if took := time.Since(began); took < lookTime/2 && first != second {
		t.Errorf("got a deadline set anew %v after one was set", took)
	}
	began = time.Now()
	if got := begins(lookTime / 4).Sub(began); got > lookTime/4+time.Since(began) {
		t.Errorf("got %v kept for a call that may take %v", got, lookTime/4)
	}
	for _, timeOut := range []time.Duration{time.Hour, lookTime / 4} {
		over := begins(lookTime / 4)
		time.Sleep(time.Until(over))
		began = time.Now()
		if got := begins(timeOut); !got.After(began) {
			t.Errorf("got a deadline kept that was over %v before, for a call that may take %v", began.Sub(got), timeOut)
		}
	}
}

// A call that waits looks at its context again and again, also in the middle of a TLS record.
func TestACallWaitsThroughManyLooks(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		client, _, _ := hostile(t, scheme, func(p *peer, _, _ string) bool {
			time.Sleep(2 * lookTime)
			p.sayInTwo(plainAnswer, lookTime*3/2)
			return true
		})
		a, err := client.Do(t.Context(), call())
		if err != nil || string(a.Body) != plainOK {
			t.Errorf("%s: got %q, %v, want the answer", scheme, a.Body, err)
		}
	}
}

// sayInTwo sends text, as one record with TLS, and waits in the middle.
func (p *peer) sayInTwo(text string, wait time.Duration) {
	p.holds = true
	_, _ = p.over.Write([]byte(text))
	held := p.held
	p.holds, p.held = false, nil
	_, _ = p.TCPConn.Write(held[:len(held)/2])
	time.Sleep(wait)
	_, _ = p.TCPConn.Write(held[len(held)/2:])
}

// silence is a host that reads requests and answers none until release is closed.
func silence(t *testing.T, scheme string) (client *Client, got <-chan struct{}) {
	release, requests := make(chan struct{}), make(chan struct{}, 9)
	client, _, _ = hostile(t, scheme, func(*peer, string, string) bool {
		requests <- struct{}{}
		<-release
		return false
	})
	t.Cleanup(func() { close(release) })
	return client, requests
}

// untilSent makes a call that has a short limit again and again until it is sent: a busy machine
// may not even connect within the limit.
func untilSent(call func() error) (err error) {
	for range 100 {
		if err = call(); !NotSent(err) {
			break
		}
	}
	return err
}

func TestACallEndsAtItsTimeOut(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		for _, limit := range []time.Duration{lookTime / 2, lookTime * 5 / 2} {
			client, _ := silence(t, scheme)
			c := call()
			c.Timeout = limit
			var began time.Time
			err := untilSent(func() error { began = time.Now(); _, err := client.Do(t.Context(), c); return err })
			if took := time.Since(began); !MayHaveActed(err) || !errors.Is(err, context.DeadlineExceeded) || took < limit {
				t.Errorf("%s: got %v after %v, want an unknown outcome because of the time-out of %v", scheme, err, took, limit)
			}
		}
	}
}

func TestACallEndsWhenItIsCancelledWhileItWaits(t *testing.T) {
	why := errors.New("the caller left")
	for _, scheme := range []string{"http", "https"} {
		client, got := silence(t, scheme)
		ctx, cancel := context.WithCancelCause(t.Context())
		var calling errgroup.Group
		calling.Go(func() error { _, err := client.Do(ctx, call()); return err })
		<-got
		time.Sleep(lookTime / 2) // it waits for the answer
		cancel(why)
		if err := calling.Wait(); !MayHaveActed(err) || !errors.Is(err, why) {
			t.Errorf("%s: got %v, want an unknown outcome because %v", scheme, err, why)
		}
	}
}

// A context that has ended is noticed before a byte is sent on a kept connection.
func TestACancelledCallIsNotSent(t *testing.T) {
	client, _, _ := hostile(t, "http", func(p *peer, _, _ string) bool { p.say(plainAnswer); return true })
	if _, err := client.Do(t.Context(), call()); err != nil {
		t.Fatal(err)
	}
	rested(client)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Do(ctx, call()); !NotSent(err) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want not sent because of the context", err)
	}
}

// A host that takes a request slowly gets all of it, once and in order.
func TestASlowlyTakenRequestArrivesWhole(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789"), 1<<20)
	for _, scheme := range []string{"http", "https"} {
		client, got := slowReader(t, scheme)
		for _, connection := range []string{"new", "kept"} {
			c := call()
			c.Body, c.Timeout = large, time.Minute
			if _, err := client.Do(t.Context(), c); err != nil {
				t.Fatalf("%s, %s: got %v, want success", scheme, connection, err)
			}
			if !bytes.Equal(<-got, large) {
				t.Errorf("%s, %s: the host got another body", scheme, connection)
			}
			rested(client)
		}
	}
}

// slowReader is a host that begins to read a body late, when the client's write waits for it.
func slowReader(t *testing.T, scheme string) (client *Client, got <-chan []byte) {
	bodies := make(chan []byte, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(3 * lookTime)
		body, _ := io.ReadAll(r.Body)
		bodies <- body
		_, _ = io.WriteString(w, plainOK)
	}))
	t.Cleanup(server.Close)
	if scheme == "http" {
		server.Start()
		return NewClient(server.URL, Observer{}), bodies
	}
	server.StartTLS()
	client = NewClient(server.URL, Observer{})
	client.host.secure.RootCAs = x509.NewCertPool()
	client.host.secure.RootCAs.AddCert(server.Certificate())
	return client, bodies
}

// The limit of one call does not end the next on its connection.
func TestALimitEndsWithItsCall(t *testing.T) {
	client, _, _ := hostile(t, "http", func(p *peer, _, _ string) bool { p.say(plainAnswer); return true })
	short := call()
	short.Timeout = lookTime / 2
	read := Call{Method: http.MethodGet, Path: "/x", As: AccessToken}
	for range 2 {
		_, err := client.Do(t.Context(), short)
		for tries := 0; err != nil && tries < 100; tries++ { // a busy machine may take longer than its limit
			_, err = client.Do(t.Context(), short)
		}
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(max(settleTime, lookTime))
		if _, err := client.Do(t.Context(), read); err != nil {
			t.Fatal(err)
		}
		time.Sleep(max(settleTime, lookTime))
	}
}
