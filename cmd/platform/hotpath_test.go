package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"testing"

	"wxplatform/internal/dbtest"
)

// bareWeChat answers each close with ok, without net/http and without an allocation. It passes
// every other connection on to the simulator.
type bareWeChat struct {
	on     net.Listener
	ready  chan struct{} // closed when behind is set
	behind string
}

var (
	closeBegins = []byte("POST /customservice/kfsession/close?")
	sendBegins  = []byte("POST /cgi-bin/message/custom/send?")
	barelyOK    = []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json; encoding=utf-8\r\nDate: Mon, 02 Jan 2006 15:04:05 GMT\r\nConnection: keep-alive\r\nContent-Length: 27\r\n\r\n" + `{"errcode":0,"errmsg":"ok"}`)
)

func newBareWeChat(t testing.TB) *bareWeChat {
	t.Helper()
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &bareWeChat{on: on, ready: make(chan struct{})}
	t.Cleanup(func() { _ = on.Close() })
	go b.run()
	return b
}

func (b *bareWeChat) run() {
	for {
		c, err := b.on.Accept()
		if err != nil {
			return
		}
		go b.serve(c)
	}
}

func (b *bareWeChat) serve(c net.Conn) {
	defer c.Close()
	var request [4096]byte
	for {
		n, err := c.Read(request[:])
		switch {
		case err != nil:
			return
		case !bytes.HasPrefix(request[:n], closeBegins) && !bytes.HasPrefix(request[:n], sendBegins):
			b.pass(c, request[:n])
			return
		}
		if _, err := c.Write(barelyOK); err != nil {
			return
		}
	}
}

func (b *bareWeChat) pass(c net.Conn, begun []byte) {
	<-b.ready
	to, err := net.Dial("tcp", b.behind)
	if err != nil {
		return
	}
	defer to.Close()
	if _, err := to.Write(begun); err != nil {
		return
	}
	go func() { _, _ = io.Copy(to, c) }()
	_, _ = io.Copy(c, to)
}

// hotWorld is a world with a merchant, whose WeChat costs next to nothing.
func hotWorld(t *testing.T, netHTTP string) *world {
	t.Helper()
	wechat := newBareWeChat(t)
	w := newWorldWith(t, map[string]string{
		"PLATFORM_NET_HTTP":     netHTTP,
		"PLATFORM_DATABASE_URL": dbtest.SQLiteURL(t), "PLATFORM_WECHAT_URL": "http://" + wechat.on.Addr().String(), "PLATFORM_TENANT_RATE": "1000000",
	})
	wechat.behind = w.wechatOn.Addr().String()
	close(wechat.ready)
	w.grant(service, "1")
	return w
}

// bareCaller sends one request again and again over one connection, without an allocation.
type bareCaller struct {
	net.Conn
	request []byte
	answer  [4096]byte
}

func (w *world) bareCaller(line, header, body string) *bareCaller {
	w.t.Helper()
	c, err := net.Dial("tcp", w.on.public.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	request := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: platform.example\r\nUser-Agent: test/1\r\nAccept: */*\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", line, header, len(body), body)
	return &bareCaller{Conn: c, request: []byte(request)}
}

var answered200 = []byte("HTTP/1.1 200 OK\r\n")

func (c *bareCaller) call() error {
	if _, err := c.Write(c.request); err != nil {
		return err
	}
	n, err := c.Read(c.answer[:])
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(c.answer[:n], answered200) || !bytes.HasSuffix(c.answer[:n], saysOK) {
		return fmt.Errorf("got %q", c.answer[:n])
	}
	return nil
}

var saysOK = []byte(`{"errcode":0,"errmsg":"ok"}`)

// A warm call costs the same system calls as in any proxy. What else it costs grows with what it
// allocates, so that is bounded. docs/performance.md has the figures.
func TestAWarmCallAllocatesLittle(t *testing.T) {
	w := hotWorld(t, "off")
	native, dropIn := "/v1/authorizers/"+string(service), "?access_token="+w.sdkJWT(service)
	bearer := "Authorization: Bearer " + w.jwt + "\r\n"
	closing, sending := fmt.Sprintf(`{"kf_account":"%s","openid":"%s"}`, kfAccount, customer), `{"touser":"o1","msgtype":"text","text":{"content":"hello"}}`
	for name, request := range map[string][3]string{
		"close":          {native + "/customservice/kfsession/close", bearer, closing},
		"close, drop-in": {"/customservice/kfsession/close" + dropIn, "", closing},
		"send":           {native + "/cgi-bin/message/custom/send", bearer, sending},
		"send, drop-in":  {"/cgi-bin/message/custom/send" + dropIn, "", sending},
		"close, traced":  {native + "/customservice/kfsession/close", bearer + "traceparent: " + traceparent + "\r\n", closing},
	} {
		caller := w.bareCaller(request[0], request[1], request[2]) // now, because a connection's first request must come within 5 s
		call := func() {
			if err := caller.call(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		for range 1000 { // until there are connections enough that none is dialled
			call()
		}
		got := testing.AllocsPerRun(500, call)
		t.Logf("%s: %.0f allocations", name, got)
		if got > mostWarm {
			t.Errorf("%s: got %.0f allocations, want at most %d", name, got, mostWarm)
		}
	}
}

// mostWarm allows for the race detector, with which pools lose some of what they are given.
const mostWarm = 45

func TestNetHTTPAloneServesAsWell(t *testing.T) {
	w := hotWorld(t, "on")
	if !w.platform.client.NetHTTP {
		t.Error("got WeChat's answers read without net/http")
	}
	closing := fmt.Sprintf(`{"kf_account":"%s","openid":"%s"}`, kfAccount, customer)
	caller := w.bareCaller("/v1/authorizers/"+string(service)+"/customservice/kfsession/close", "Authorization: Bearer "+w.jwt+"\r\n", closing)
	for range 3 {
		if err := caller.call(); err != nil {
			t.Fatal(err)
		}
	}
}
