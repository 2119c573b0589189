package wechatsim

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"
)

// caller speaks HTTP on one connection and sees every byte of it.
type caller struct {
	net.Conn
	t    *testing.T
	in   *bufio.Reader
	path string
}

// newCaller calls getwaitcase, whose true answer is noCases, on a connection in plain or in TLS.
func newCaller(r *rig, secure bool) *caller {
	r.t.Helper()
	server := r.server
	var conn net.Conn
	var err error
	if secure {
		server = httptest.NewTLSServer(r.Sim)
		r.t.Cleanup(server.Close)
		conn, err = tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	} else {
		conn, err = net.Dial("tcp", server.Listener.Addr().String())
	}
	r.must(err)
	r.t.Cleanup(func() { _ = conn.Close() })
	r.must(conn.SetDeadline(time.Now().Add(20 * time.Second)))
	query := url.Values{"access_token": {r.LastAccessToken(SampleService)}}
	return &caller{Conn: conn, t: r.t, in: bufio.NewReader(conn), path: waitPath + "?" + query.Encode()}
}

const (
	noCases = `{"count":0,"waitcaselist":[]}`
	another = "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"count\":999}"
)

func (c *caller) ask(header ...string) {
	c.t.Helper()
	_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n", c.path, strings.Join(header, ""))
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *caller) answer() (*http.Response, string, error) {
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

func (c *caller) wantAnswer(want string) {
	c.t.Helper()
	resp, body, err := c.answer()
	if err != nil || body != want || resp.Close {
		c.t.Errorf("got %v %s, %v, want %s on a connection that is kept", resp, body, err, want)
	}
}

// wantEnd wants the connection to end, by a FIN or a RST, with nothing more on it.
func (c *caller) wantEnd(reset bool) {
	c.t.Helper()
	rest, err := io.ReadAll(c.in)
	if len(rest) > 0 || reset != errors.Is(err, syscall.ECONNRESET) || !reset && err != nil {
		c.t.Errorf("got %q, %v, want the end of the connection, reset: %v", rest, err, reset)
	}
}

// onBothWires runs test in plain and in TLS.
func onBothWires(t *testing.T, test func(*rig, *caller)) {
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			r := newRigAuthorized(t)
			test(r, newCaller(r, secure))
		})
	}
}

func TestAConnectionEndsUnannouncedAfterTheAnswer(t *testing.T) {
	onBothWires(t, func(r *rig, c *caller) {
		r.Fault(Fault{Path: waitPath, Wire: CloseAfter})
		c.ask()
		c.wantAnswer(noCases)
		c.wantEnd(false)
	})
	onBothWires(t, func(r *rig, c *caller) {
		r.Fault(Fault{Path: waitPath, Wire: ResetAfter, Gap: 20 * time.Millisecond})
		c.ask()
		c.wantAnswer(noCases)
		c.wantEnd(true)
	})
}

func TestAConnectionEndsWithinTheAnswer(t *testing.T) {
	for wire, reset := range map[Wire]bool{CloseHalf: false, ResetHalf: true} {
		onBothWires(t, func(r *rig, c *caller) {
			r.Fault(Fault{Path: waitPath, Wire: wire, Gap: 20 * time.Millisecond})
			c.ask()
			got, err := io.ReadAll(c.in)
			if !bytes.HasPrefix(got, []byte("HTTP/1.1 200 OK\r\n")) || bytes.HasSuffix(got, []byte("}")) || reset != errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s: got %q, %v, want half an answer", wire, got, err)
			}
		})
	}
}

func TestAConnectionEndsInPlaceOfAnAnswer(t *testing.T) {
	for _, when := range []When{Before, After} {
		for do, reset := range map[Effect]bool{Cut: false, Reset: true} {
			onBothWires(t, func(r *rig, c *caller) {
				r.Fault(Fault{Path: waitPath, Do: do, When: when})
				c.ask()
				c.wantEnd(reset)
			})
		}
	}
}

func TestAStrayAnswerComesLaterOnAConnectionThatIsKept(t *testing.T) {
	onBothWires(t, func(r *rig, c *caller) {
		r.Fault(Fault{Path: waitPath, Wire: StrayAfter, Gap: 30 * time.Millisecond, Extra: another})
		asked := time.Now() // when the right answer came, this process may have been busy elsewhere
		c.ask()
		c.wantAnswer(noCases)
		c.wantAnswer(`{"count":999}`)
		if took := time.Since(asked); took < 30*time.Millisecond {
			t.Errorf("the stray answer came after %s, want 30 ms", took)
		}
		c.ask()
		c.wantAnswer(noCases)
	})
}

func TestAStrayAnswerComesWithOrBeforeTheRightOne(t *testing.T) {
	for wire, answers := range map[Wire][]string{
		StrayWith: {noCases, `{"count":999}`}, StrayRecords: {noCases, `{"count":999}`}, StrayBefore: {`{"count":999}`, noCases},
	} {
		onBothWires(t, func(r *rig, c *caller) {
			r.Fault(Fault{Path: waitPath, Wire: wire, Extra: another})
			c.ask()
			for _, answer := range answers {
				c.wantAnswer(answer)
			}
			c.ask()
			c.wantAnswer(noCases)
		})
	}
}

func TestAStrayAnswerOfNoBytesIsTheFirstAgain(t *testing.T) {
	onBothWires(t, func(r *rig, c *caller) {
		r.Fault(Fault{Path: waitPath, Wire: StrayAfter})
		c.ask()
		c.wantAnswer(noCases)
		c.wantAnswer(noCases)
	})
}

// A client that waits for the answer has the stray at once too: in a second segment it would be too
// late for some of a hundred reads.
func TestStraysTravelInTheSegmentOfTheRightAnswer(t *testing.T) {
	for _, wire := range []Wire{StrayWith, StrayRecords} {
		r := newRigAuthorized(t)
		c := newCaller(r, false)
		r.Fault(Fault{Path: waitPath, Wire: wire, Extra: another, Count: Always})
		for range 100 {
			c.ask()
			c.wantAnswer(noCases)
			if got := c.in.Buffered(); got != len(another) {
				t.Fatalf("%s: got %d bytes with the first answer, want %d", wire, got, len(another))
			}
			_, _ = c.in.Discard(len(another))
		}
	}
}

func TestAnAnswerTrickles(t *testing.T) {
	onBothWires(t, func(r *rig, c *caller) {
		r.Fault(Fault{Path: waitPath, Wire: Trickle, Gap: time.Millisecond})
		began := time.Now()
		c.ask()
		c.wantAnswer(noCases)
		if took := time.Since(began); took < 100*time.Millisecond {
			t.Errorf("took %s, want a millisecond for each byte", took)
		}
		c.ask()
		c.wantAnswer(noCases)
	})
}

func TestAHeaderIsOverlong(t *testing.T) {
	onBothWires(t, func(r *rig, c *caller) {
		r.Fault(Fault{Path: waitPath, Wire: LongHeader})
		c.ask()
		resp, body, err := c.answer()
		if err != nil || body != noCases || len(resp.Header.Get("X-Long")) < 64<<10 {
			t.Errorf("got %s, %v, want %s below a header of more than 64 KiB", body, err, noCases)
		}
	})
}

func TestACallerThatWantsNoMoreIsNotKept(t *testing.T) {
	for _, f := range []Fault{{Wire: StrayAfter, Gap: 10 * time.Millisecond}, {Body: noCases}} {
		onBothWires(t, func(r *rig, c *caller) {
			f.Path = waitPath
			r.Fault(f)
			c.ask("Connection: close\r\n")
			resp, body, err := c.answer()
			if err != nil || body != noCases || !resp.Close {
				t.Errorf("got %v %s, %v, want an answer that is the last", resp, body, err)
			}
			rest, err := io.ReadAll(c.in)
			if strays := bytes.Count(rest, []byte(noCases)); err != nil || (strays == 1) != f.Wire.strays() {
				t.Errorf("got %q, %v, want the stray and then the end", rest, err)
			}
		})
	}
}

// What the wire does is one thing, whether WeChat acts is another.
func TestWiresBeforeAndAfterTheAct(t *testing.T) {
	for _, wire := range wires[1:] {
		for _, when := range []When{Before, After} {
			r := newRigAuthorized(t)
			r.must(r.OpenSession(SampleService, kf1, SampleCustomer))
			r.Fault(Fault{Path: closePath, Wire: wire, When: when})
			query := url.Values{"access_token": {r.LastAccessToken(SampleService)}}
			_, _, _ = r.try(closePath, query, pairBody(kf1, SampleCustomer))
			open := r.Session(SampleService, SampleCustomer).KFAccount != ""
			if open != (when == Before) {
				t.Errorf("%s %s: the session is open: %v", when, wire, open)
			}
			http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		}
	}
}

// A handler around the simulator stays around it, even on a connection that the simulator had taken
// over.
func TestAKeptConnectionIsServedByTheSameServer(t *testing.T) {
	r := newRigAuthorized(t)
	seen := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		seen++
		r.ServeHTTP(w, req)
	}))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	r.must(err)
	defer conn.Close()
	c := newCaller(r, false)
	c.Conn, c.in = conn, bufio.NewReader(conn)
	r.Fault(Fault{Path: waitPath, Body: `{"first":1}`, Count: 2})
	for range 2 {
		c.ask()
		c.wantAnswer(`{"first":1}`)
	}
	c.ask()
	c.wantAnswer(noCases)
	if seen != 3 {
		t.Errorf("the handler saw %d calls, want 3", seen)
	}
}

func TestRequestsThatCameEarlyAreServed(t *testing.T) {
	onBothWires(t, func(r *rig, c *caller) {
		r.Fault(Fault{Path: waitPath, Body: `{"first":1}`, Wire: Trickle, Gap: 100 * time.Microsecond})
		request := "GET " + c.path + " HTTP/1.1\r\nHost: x\r\n\r\n"
		_, err := io.WriteString(c, request+request)
		r.must(err)
		c.wantAnswer(`{"first":1}`)
		c.wantAnswer(noCases)
	})
}

func TestWithoutAConnectionTheFaultSaysSo(t *testing.T) {
	r := newRigAuthorized(t)
	r.Fault(Fault{Path: waitPath, Wire: CloseAfter})
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest("GET", waitPath+"?access_token="+r.LastAccessToken(SampleService), nil))
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "needs a connection") {
		t.Errorf("got %d %s, want an error that says what is missing", w.Code, w.Body)
	}
}

func TestCloseWaitsForStrays(t *testing.T) {
	r := newRigAuthorized(t)
	c := newCaller(r, false)
	r.Fault(Fault{Path: waitPath, Wire: StrayAfter, Gap: time.Hour})
	c.ask()
	c.wantAnswer(noCases)
	r.Close()
	r.must(c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)))
	if got, err := c.in.Peek(1); err == nil {
		t.Errorf("got %q after Close, want no stray", got)
	}
}
