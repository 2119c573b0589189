package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"wxplatform/internal/dbtest"
)

// bareWeChat answers each close with ok, without net/http and without an allocation. It passes every
// other connection on to the simulator.
type bareWeChat struct {
	on     net.Listener
	ready  chan struct{} // closed when behind is set
	behind string
}

var (
	closeBegins = []byte("POST /customservice/kfsession/close?")
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
		case !bytes.HasPrefix(request[:n], closeBegins):
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
func hotWorld(t *testing.T) *world {
	t.Helper()
	wechat := newBareWeChat(t)
	w := newWorldWith(t, map[string]string{
		"PLATFORM_DATABASE_URL": dbtest.SQLiteURL(t), "PLATFORM_WECHAT_URL": "http://" + wechat.on.Addr().String(), "PLATFORM_TENANT_RATE": "1000000",
	})
	wechat.behind = w.wechatOn.Addr().String()
	close(wechat.ready)
	w.grant(service, "1")
	return w
}

// bareCaller sends the same request again and again over one connection, without an allocation.
type bareCaller struct {
	net.Conn
	request []byte
	answer  [4096]byte
	want    []byte
}

func (w *world) bareCaller(request, want string) *bareCaller {
	w.t.Helper()
	c, err := net.Dial("tcp", w.on.public.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	return &bareCaller{Conn: c, request: []byte(request), want: []byte(want)}
}

func (c *bareCaller) call() error {
	if _, err := c.Write(c.request); err != nil {
		return err
	}
	n, err := c.Read(c.answer[:])
	if err != nil {
		return err
	}
	if !bytes.Contains(c.answer[:n], c.want) {
		return fmt.Errorf("got %q, want %q", c.answer[:n], c.want)
	}
	return nil
}

var _ = bufio.NewReader
var _ sync.Mutex

// hotCalls are the calls whose cost counts, with what their answers contain.
func (w *world) hotCalls() map[string]*bareCaller {
	body := fmt.Sprintf(`{"kf_account":"%s","openid":"%s"}`, kfAccount, customer)
	rest := fmt.Sprintf("Host: platform.example\r\nUser-Agent: bench/1\r\nAccept: */*\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	return map[string]*bareCaller{
		"native": w.bareCaller("POST /v1/authorizers/"+string(service)+"/customservice/kfsession/close HTTP/1.1\r\nAuthorization: Bearer "+w.jwt+"\r\n"+rest+"\r\n"+body, "HTTP/1.1 200"),
	}
}

func TestHot(t *testing.T) {
	w := hotWorld(t)
	for name, c := range w.hotCalls() {
		if err := c.call(); err != nil {
			t.Fatal(err)
		}
		r := testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := c.call(); err != nil {
					b.Fatal(err)
				}
			}
		})
		t.Logf("%s: %v %s", name, r, r.MemString())
	}
}
