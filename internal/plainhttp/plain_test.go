package plainhttp

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const closing = "POST /v1/authorizers/wx1/customservice/kfsession/close HTTP/1.1\r\nHost: localhost:8080\r\nAuthorization: Bearer a.b.c\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"

// plain requests are answered without net/http.
var plain = []string{
	closing,
	"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /a/b.c?openid=o%201&x=%zz HTTP/1.1\r\nhost: [::1]:80\r\nx-a:   b  c  \r\nX-B:\r\n\r\n",
	"GET /.hidden/./x HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nConnection: Keep-Alive\r\nAccept: */*\r\n\r\n",
	"DELETE /v1/invitations/i HTTP/1.1\r\nHost: a\r\nUser-Agent: \"x\" (y; z)\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
	"POST /?a=b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Encoding: gzip\r\nCookie: a=b; c=d\r\n\r\n\x00\xff\n",
	strings.Replace(closing, "\r\n\r\n", "\r\n"+traced+"\r\n\r\n", 1),
	"GET / HTTP/1.1\r\nHost: a\r\nTraceParent: x\r\ntracestate: a=b,c=d\r\nbaggage: e=f\r\n\r\n",
	"GET /bye HTTP/1.1\r\nHost: a\r\n\r\n",
}

const traced = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// odd requests are net/http's: what it refuses, what can be read in two ways, and what it reads and
// this package does not try to.
var odd = []string{
	"", "\r\n", "\n\n", "GET", "GET / HTTP/1.1", "GET / HTTP/1.1\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", "GET / http/1.1\r\nHost: a\r\n\r\n", "GET /\r\nHost: a\r\n\r\n",
	"get / HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", "G\tT / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "GET / x HTTP/1.1\r\nHost: a\r\n\r\n", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n", "GET //b/x HTTP/1.1\r\nHost: a\r\n\r\n", "GET x HTTP/1.1\r\nHost: a\r\n\r\n", "GET /../x HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a;b HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a? HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a?b#c HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a?b?c HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", "GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", "GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a\x7f HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a?b=\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nX: y\r\n\r\n", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
	"GET / HTTP/1.1\r\nHost : a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX_Y: b\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX:\tb\t\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: \xff\r\n\r\n",
	"GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\r\nHost: a\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: a\nY: b\r\n\r\n", "GET / HTTP/1.1\rHost: a\r\r",
	"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nX: 2\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: a\r\nauthorization: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n" + traced + "\r\nTraceparent: x\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Keep-Alive, X\r\nX: 1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nPragma: no-cache\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nProxy-Connection: close\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nKeep-Alive: timeout=5\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHTTP2-Settings: x\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nTrailer: X\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\n\r\nx",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nx", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 01\r\n\r\nx", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\nx",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1,1\r\n\r\nx", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nx", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\nx", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nx", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\nx",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n1\r\nx\r\n0\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: identity\r\n\r\nabcd",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: xchunked\r\n\r\nabcd", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer_Encoding: chunked\r\n\r\nabcd", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n1\r\nx\r\n0\r\nX: y\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\nx", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: y\r\n\r\nx",
	closing + closing, "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", closing + "GET /admin HTTP/1.1\r\n", closing + "\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\n" + manyFields(40) + "\r\n",
}

// large requests would be plain, but are too long.
var large = []string{
	"GET /" + strings.Repeat("a", requestLimit) + " HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n" + strings.Repeat("x", 5000),
	"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 17<<10) + "\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", requestLimit-len("GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n")) + "\r\n\r\n", // exactly as much
}

func manyFields(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "X-%d: y\r\n", i)
	}
	return b.String()
}

func TestThePlainShapeIsReadHereAndNothingElseIs(t *testing.T) {
	for _, r := range plain {
		if _, err := parse(context.Background(), r); err != nil {
			t.Errorf("%q: got %v, want it taken", r, err)
		}
	}
	for _, r := range odd {
		if got, err := parse(context.Background(), r); err == nil {
			t.Errorf("%q: got %+v, want it left to net/http", r, got)
		}
	}
}

func TestATracedRequestAllocatesNoMore(t *testing.T) {
	counted := func(request string) float64 {
		return testing.AllocsPerRun(100, func() {
			if _, err := parse(context.Background(), request); err != nil {
				t.Fatal(err)
			}
		})
	}
	bare, full := counted(closing), counted(strings.Replace(closing, "\r\n\r\n", "\r\n"+traced+"\r\n\r\n", 1))
	if full > bare {
		t.Errorf("got %.0f allocations with traceparent, want %.0f as without", full, bare)
	}
}

func TestBothServersAnswerTheSame(t *testing.T) {
	p := newPair(t)
	for _, r := range slices.Concat(plain, odd, large) {
		p.same(t, r)
	}
}

// A proxy in front may see one request where we see two: both servers see as many, in whatever
// pieces the bytes arrive.
func TestBothServersSeeTheSameRequestsInPieces(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	for _, first := range plain {
		p.same(t, first[:1], first[1:])
		p.same(t, first[:len(first)/2], first[len(first)/2:])
		p.same(t, strings.SplitAfter(first, "\r\n")...)
		p.same(t, first, closing, first)
		p.same(t, first, "GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n")
	}
	for _, second := range slices.Concat(odd, large) {
		p.same(t, closing, second)
		p.same(t, closing+second)
	}
	for _, blanks := range []string{"\r\n", "\n\n\n\n", "\n\n\n\n\n", "\r\n\r\n\r\n"} {
		p.same(t, closing, blanks, closing)
		p.same(t, closing, blanks+closing)
		p.same(t, closing, blanks[:1], blanks[1:]+closing)
		p.same(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", blanks+closing)
	}
}
