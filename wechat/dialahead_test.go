package wechat

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"wxplatform/internal/seal"
)

// eventually waits until is returns true, and reports whether it did.
func eventually(is func() bool) bool {
	for range 2000 {
		if is() {
			return true
		}
		time.Sleep(5 * time.Millisecond)
	}
	return false
}

func own() Call {
	return Call{Method: "POST", Path: "/cgi-bin/component/api_authorizer_token", As: ComponentToken, Token: seal.NewSecret(canary)}
}

// requestsBy counts the requests on each connection, and those that do not say they are the last.
type requestsBy struct {
	mu    sync.Mutex
	of    map[string]int
	going int // requests without Connection: close
}

func (r *requestsBy) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of[request.RemoteAddr]++
	if !request.Close {
		r.going++
	}
	_, _ = io.WriteString(w, plainOK)
}

func (r *requestsBy) most() (most int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.of {
		most = max(most, n)
	}
	return most
}

// A connection that carried an answer with a token carries nothing else, even if the host keeps it
// open.
func TestACallWithTheComponentsCredentialsHasAConnectionOfItsOwn(t *testing.T) {
	for _, as := range []Credential{NoToken, ComponentToken, ComponentTokenAsAccess} {
		base, opened := answers(t, func(_ int64, w io.Writer) bool {
			_, _ = io.WriteString(w, plainAnswer) // and does not close
			return true
		})
		client := NewClient(base, Observer{})
		defer client.CloseIdle()
		one := own()
		one.As = as
		for range 3 {
			if _, err := client.Do(context.Background(), one); err != nil {
				t.Fatal(err)
			}
			rested(client)
			if got := len(client.host.idle.conns); got != 0 {
				t.Errorf("got %d connections kept after a call with credential %d, want none", got, as)
			}
		}
		if got := opened.Load(); got < 3 {
			t.Errorf("got %d connections for 3 calls with credential %d, want one for each", got, as)
		}
	}
}

func TestACallOnItsOwnConnectionSaysThatItIsTheLast(t *testing.T) {
	host := &requestsBy{of: map[string]int{}}
	server := httptest.NewServer(host)
	defer server.Close()
	client := NewClient(server.URL, Observer{})
	defer client.CloseIdle()
	for range 50 {
		if _, err := client.Do(context.Background(), own()); err != nil {
			t.Fatal(err)
		}
	}
	if host.going > 0 || host.most() != 1 {
		t.Errorf("got %d of 50 requests without Connection: close, and %d on one connection", host.going, host.most())
	}
	if _, err := client.Do(context.Background(), call()); err != nil || host.going != 1 {
		t.Errorf("got %v and %d requests that let their connection go on, want the tenant's", err, host.going)
	}
}

func TestTenantsCallsDoNotDelayRenewals(t *testing.T) {
	base, _ := answers(t, func(_ int64, w io.Writer) bool {
		_, _ = io.WriteString(w, plainAnswer)
		return true
	})
	client := NewClient(base, Observer{})
	defer client.CloseIdle()
	for range MostConnections {
		client.host.tenants.open <- struct{}{}
	}
	if _, err := client.Do(context.Background(), own()); err != nil {
		t.Errorf("got %v while tenants' calls have all their connections, want an answer", err)
	}
}

func TestConnectionsAreDialledAheadWhereCallsAreFrequent(t *testing.T) {
	host := &requestsBy{of: map[string]int{}}
	server := httptest.NewUnstartedServer(host)
	server.StartTLS()
	defer server.Close()
	client := NewClient(server.URL, Observer{})
	client.host.secure.RootCAs = server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	stock := &client.host.component.ahead
	ready := func() int {
		stock.mu.Lock()
		defer stock.mu.Unlock()
		return len(stock.ready)
	}
	if _, err := client.Do(context.Background(), own()); err != nil || ready() > 0 {
		t.Fatalf("got %v and %d connections ahead after one call, want none", err, ready())
	}
	for range 10 {
		if _, err := client.Do(context.Background(), own()); err != nil {
			t.Fatal(err)
		}
	}
	if !eventually(func() bool { return ready() > 0 }) {
		t.Fatal("nothing is dialled ahead of frequent calls")
	}
	c := stock.take()
	if secured := c.Conn.(*tls.Conn); !secured.ConnectionState().DidResume {
		t.Error("the TLS session was not resumed")
	}
	if got := c.inspect(); got != silent {
		t.Errorf("got finding %d on a connection dialled ahead, want silent: a session ticket is nothing surplus", got)
	}
	_ = c.Close()
	if !eventually(func() bool { return ready() == 0 }) {
		t.Errorf("%d connections that nobody took are not closed", ready())
	}
	client.CloseIdle()
	for range 10 {
		if _, err := client.Do(context.Background(), own()); err != nil {
			t.Fatal(err)
		}
	}
	stock.mu.Lock()
	defer stock.mu.Unlock()
	if stock.dialing > 0 || len(stock.ready) > 0 || host.most() != 1 {
		t.Errorf("got %d connections dialled ahead after CloseIdle, and at most %d requests a connection", stock.dialing+len(stock.ready), host.most())
	}
}

// A connection that the host closes or writes to before it is used is replaced.
func TestAConnectionDialledAheadIsInspected(t *testing.T) {
	for name, c := range map[string]struct {
		says    string
		surplus int
	}{
		"closed":  {"", 0},
		"a 408":   {"HTTP/1.1 408 Request Time-out\r\n\r\n", 0},
		"surplus": {plainAnswer, 1},
	} {
		t.Run(name, func(t *testing.T) {
			base, _ := answers(t, func(_ int64, w io.Writer) bool {
				_, _ = io.WriteString(w, plainAnswer)
				return true
			})
			surplus := 0
			client := NewClient(base, Observer{Surplus: func(SurplusBytes) { surplus++ }})
			defer client.CloseIdle()
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			right := client.host.address
			client.host.address = listener.Addr().String()
			odd, err := client.host.dial(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			client.host.address = right
			far, err := listener.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer far.Close()
			if _, err := io.WriteString(far, c.says); err != nil {
				t.Fatal(err)
			}
			if c.says == "" {
				_ = far.Close()
			}
			client.host.component.ahead.put(odd, nil)
			client.host.component.ahead.dialing = 0
			var some [1]byte
			if !eventually(func() bool {
				_, err := odd.stream.arrived.Peek(some[:])
				return err == nil || c.says == "" && err == io.EOF
			}) {
				t.Fatal("nothing arrives")
			}
			if _, err := client.Do(context.Background(), own()); err != nil || surplus != c.surplus {
				t.Errorf("got %v and %d times surplus, want an answer and %d", err, surplus, c.surplus)
			}
		})
	}
}

func TestDemandIsThatOfTheSecondBefore(t *testing.T) {
	var d demand
	at := time.Unix(1000, 0)
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{0, 0}, {0, 1}, {0, 2}, {time.Second, 3}, {0, 3}, {2 * time.Second, 0}, {time.Second, 1}} {
		at = at.Add(c.after)
		if got := d.add(at); got != c.want {
			t.Errorf("got %d others at second %d, want %d", got, at.Unix(), c.want)
		}
	}
}

func TestRecordsAreFollowed(t *testing.T) {
	record := func(n int) string {
		return "\x17\x03\x03" + string([]byte{byte(n >> 8), byte(n)}) + strings.Repeat("x", n)
	}
	whole := record(0) + record(1) + record(700)
	for size := range 12 {
		var r records
		for rest := whole; rest != ""; {
			n := min(size+1, len(rest))
			r.saw([]byte(rest[:n]))
			rest = rest[n:]
		}
		if r.inside() {
			t.Errorf("got a record begun after whole ones in pieces of %d", size+1)
		}
		r.saw([]byte(record(5)[:size%9+1]))
		if !r.inside() {
			t.Errorf("got no record begun after %d bytes of one of 10", size%9+1)
		}
	}
}
