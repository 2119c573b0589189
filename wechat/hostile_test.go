package wechat

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"wxplatform/internal/seal"
)

// peer is the host's side of a connection.
type peer struct {
	*segments
	over     net.Conn // below HTTP: segments, or TLS on them
	requests int
	late     *atomic.Int64 // how often the host was held up for longer than settleTime

	mu    sync.Mutex // guards writes
	later sync.WaitGroup
}

// segments is a TCP connection that can hold back what is written, to send it in one segment.
type segments struct {
	*net.TCPConn
	holds bool
	held  []byte
}

func (s *segments) Write(p []byte) (int, error) {
	if !s.holds {
		return s.TCPConn.Write(p)
	}
	s.held = append(s.held, p...)
	return len(p), nil
}

// say sends texts in one segment; with TLS, each text is a record of its own.
func (p *peer) say(texts ...string) { p.sayPart(1, texts...) }

// sayPart sends a part of that segment and never the remainder.
func (p *peer) sayPart(part float64, texts ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.holds = true
	for _, text := range texts {
		_, _ = io.WriteString(p.over, text)
	}
	_, _ = p.TCPConn.Write(p.held[:int(part*float64(len(p.held)))])
	p.holds, p.held = false, nil
}

func (p *peer) reset() { _, _ = p.SetLinger(0), p.TCPConn.Close() }

// did counts if what followed an answer took longer than settleTime. The client cannot detect such
// bytes, and a busy machine may hold up any host for that long.
func (p *peer) did(answered time.Time) {
	if time.Since(answered) >= settleTime {
		p.late.Add(1)
	}
}

// conduct is what a host does with a request: own is the right answer, and stray one that answers
// another request. It reports whether the connection stays open.
type conduct func(p *peer, own, stray string) bool

// hostile serves as conduct says. Each answer takes a few milliseconds, as over a network.
func hostile(t *testing.T, scheme string, conduct conduct) (client *Client, surplus, late *atomic.Int64) {
	t.Helper()
	certificate, pool := certificate(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	late = &atomic.Int64{}
	var serving errgroup.Group
	serving.Go(func() error {
		for {
			c, err := listener.Accept()
			if err != nil {
				return nil // the test is over
			}
			p := &peer{segments: &segments{TCPConn: c.(*net.TCPConn)}, late: late}
			p.over = p.segments
			if scheme == "https" {
				p.over = tls.Server(p.segments, &tls.Config{Certificates: []tls.Certificate{certificate}})
			}
			serving.Go(func() error { return p.serve(conduct) })
		}
	})
	surplus = &atomic.Int64{}
	client = NewClient(scheme+"://"+listener.Addr().String(), Observer{Surplus: func(SurplusBytes) { surplus.Add(1) }})
	if scheme == "https" {
		client.host.secure.RootCAs = pool
	}
	t.Cleanup(func() {
		client.CloseIdle()
		_ = listener.Close()
		_ = serving.Wait()
	})
	return client, surplus, late
}

func (p *peer) serve(conduct conduct) error {
	defer p.over.Close()
	defer p.later.Wait()
	for in := bufio.NewReader(p.over); ; {
		request, err := http.ReadRequest(in)
		if err != nil {
			return nil // the client has closed it
		}
		_, _ = io.Copy(io.Discard, request.Body)
		time.Sleep(time.Duration(3+rand.IntN(4)) * time.Millisecond)
		p.requests++
		began := time.Now()
		goesOn := conduct(p, tagged(request.FormValue("tag")), tagged("stray"))
		if !goesOn {
			_ = p.over.Close()
		}
		p.did(began)
		if !goesOn {
			return nil
		}
	}
}

// tagged is a whole answer that names the request it answers.
func tagged(tag string) string {
	body := fmt.Sprintf(`{"errcode":0,"tag":%q}`, tag)
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// ask sends a request with its own tag. Every second one is safe to repeat.
func ask(client *Client, as Credential, n int64) (got, want string, err error) {
	want = fmt.Sprint("t", n)
	_, err = client.Do(context.Background(), Call{
		Method: http.MethodGet, Path: "/x", Query: "tag=" + want, As: as, Token: seal.NewSecret(canary), Repeatable: n%2 == 0,
		Read: func(o Object) string { got, _ = o.Text("tag"); return "" },
	})
	return got, want, err
}

// crowd counts how many calls ended in which way.
type crowd struct{ right, wrong, reads, writes atomic.Int64 } // reads and writes failed

// callers makes calls from n goroutines, without pause.
func (c *crowd) callers(client *Client, n, calls int, before func()) {
	var next atomic.Int64
	var calling errgroup.Group
	for range n {
		calling.Go(func() error {
			for {
				tag := next.Add(1)
				if tag > int64(calls) {
					return nil
				}
				before()
				switch got, want, err := ask(client, AccessToken, tag); {
				case err == nil && got == want:
					c.right.Add(1)
				case err == nil:
					c.wrong.Add(1)
				case tag%2 == 0:
					c.reads.Add(1)
				default:
					c.writes.Add(1)
				}
			}
		})
	}
	_ = calling.Wait()
}

func (c *crowd) String() string {
	return fmt.Sprintf("%d right, %d wrong, %d reads and %d writes failed", c.right.Load(), c.wrong.Load(), c.reads.Load(), c.writes.Load())
}

func sometimes() bool { return rand.IntN(8) == 0 }

// later sends a stray answer some time after the right one, before the next request is read.
func later(after time.Duration) conduct {
	return func(p *peer, own, stray string) bool {
		p.say(own)
		if sometimes() {
			time.Sleep(after)
			p.say(stray)
		}
		return true
	}
}

var conducts = map[string]struct {
	conduct
	surplus bool // is reported
	fails   bool // some calls do
}{
	"nothing odd":             {conduct: func(p *peer, own, _ string) bool { p.say(own); return true }},
	"stray with the answer":   {surplus: true, fails: true, conduct: func(p *peer, own, stray string) bool { p.say(own + stray); return true }},
	"stray in a record":       {surplus: true, fails: true, conduct: func(p *peer, own, stray string) bool { p.say(own, stray); return true }},
	"stray after 0 ms":        {surplus: true, fails: true, conduct: later(0)},
	"stray after 2 ms":        {surplus: true, fails: true, conduct: later(2 * time.Millisecond)},
	"stray after 20 ms":       {surplus: true, fails: true, conduct: later(20 * time.Millisecond)},
	"stray after 50 ms":       {surplus: true, fails: true, conduct: later(50 * time.Millisecond)},
	"a part of a stray":       {surplus: true, fails: true, conduct: func(p *peer, own, stray string) bool { p.say(own); p.sayPart(.4, stray); return true }},
	"stray before the answer": {surplus: true, fails: true, conduct: strayFirst(func(p *peer, own, stray string) { p.say(stray + own) })},
	"stray in a record first": {surplus: true, fails: true, conduct: strayFirst(func(p *peer, own, stray string) { p.say(stray, own) })},
	"strays at their own time": {surplus: true, fails: true, conduct: func(p *peer, own, stray string) bool {
		answered := time.Now()
		p.say(own)
		if sometimes() {
			p.later.Go(func() {
				time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond)
				p.say(stray)
				p.did(answered)
			})
		}
		return true
	}},
	"closed after each": {conduct: func(p *peer, own, _ string) bool { p.say(own); return false }},
	"FIN after each":    {conduct: func(p *peer, own, _ string) bool { p.say(own); _ = p.TCPConn.Close(); return false }},
	"FIN 5 ms after each": {conduct: func(p *peer, own, _ string) bool {
		p.say(own)
		time.Sleep(5 * time.Millisecond)
		_ = p.TCPConn.Close()
		return false
	}},
	"RST 1 ms after each": {conduct: func(p *peer, own, _ string) bool { p.say(own); time.Sleep(time.Millisecond); p.reset(); return false }},
	"RST after each":      {conduct: func(p *peer, own, _ string) bool { p.say(own); p.reset(); return false }},
	"408, then closed": {conduct: func(p *peer, own, _ string) bool {
		p.say(own)
		p.say("HTTP/1.1 408 Request Time-out\r\n\r\n")
		return false
	}},
	"an empty line after it": {conduct: func(p *peer, own, _ string) bool { p.say(own + "\r\n"); return true }},
	"closed without an answer": {fails: true, conduct: func(p *peer, own, _ string) bool {
		if sometimes() {
			return false
		}
		p.say(own)
		return true
	}},
	"half an answer": {fails: true, conduct: func(p *peer, own, _ string) bool {
		if sometimes() {
			p.say(own[:len(own)-rand.IntN(len(own)-1)-1])
			return false
		}
		p.say(own)
		return true
	}},
	"headers without end": {fails: true, conduct: func(p *peer, own, _ string) bool {
		if sometimes() {
			own = strings.Replace(own, "\r\n", "\r\nX: "+strings.Repeat("x", headerLimit)+"\r\n", 1)
		}
		p.say(own)
		return true
	}},
}

// strayFirst sends a stray answer first, if the connection has carried a request before. On a new
// connection nothing tells a stray answer from the right one.
func strayFirst(say func(p *peer, own, stray string)) conduct {
	return func(p *peer, own, stray string) bool {
		if p.requests > 1 && sometimes() {
			say(p, own, stray)
		} else {
			p.say(own)
		}
		return true
	}
}

// Whatever a host does with its connections, each call gets the answer to its own request, or
// fails.
func TestNoCallGetsTheAnswerToAnother(t *testing.T) {
	var all errgroup.Group
	all.SetLimit(4)
	for name, c := range conducts {
		for how, run := range map[string]struct {
			scheme  string
			netHTTP bool
		}{"http": {"http", false}, "https": {"https", false}, "net/http": {"http", true}} {
			all.Go(func() error {
				t.Run(name+"/"+how, func(t *testing.T) { underConduct(t, run.scheme, run.netHTTP, c.conduct, c.surplus, c.fails) })
				return nil
			})
		}
	}
	_ = all.Wait()
}

// underConduct repeats a run in which the machine was too busy to keep the host's times.
func underConduct(t *testing.T, scheme string, netHTTP bool, conduct conduct, surplus, fails bool) {
	const tries = 10
	for try := 1; ; try++ {
		wrong, late := tryConduct(t, scheme, netHTTP, conduct, surplus, fails)
		if wrong == "" {
			return
		}
		if late == 0 || try == tries {
			t.Fatalf("%s; the host was late %d times", wrong, late)
		}
	}
}

// tryConduct returns what was wrong, and how often the host was late.
func tryConduct(t *testing.T, scheme string, netHTTP bool, conduct conduct, surplus, fails bool) (wrong string, lates int64) {
	const callers, calls = 8, 240
	client, found, late := hostile(t, scheme, conduct)
	client.NetHTTP = netHTTP
	var got crowd
	got.callers(client, callers, calls, func() {
		if rand.IntN(20) == 0 {
			client.host.onceUntil.Store(0) // otherwise only the first connections would be kept
		}
	})
	lates = late.Load() // each of which may cost a call
	if failed := got.reads.Load() + got.writes.Load(); got.wrong.Load() > 0 || got.right.Load() < calls/2 || failed > lates && !fails {
		wrong = got.String()
	}
	if got := found.Load() > 0; got != surplus {
		wrong += fmt.Sprintf(" surplus bytes reported %v, want %v", got, surplus)
	}
	return wrong, lates
}
