package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"wxplatform/internal/dbtest"
)

func TestTwoAuthorizationHeadersAreRefused(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	for _, second := range []string{"Authorization: Bearer " + w.jwt, "authorization: Bearer garbage", "AUTHORIZATION:"} {
		w.open(kfAccount)
		answers := w.spoken(w.closing(second + "\r\n"))
		if len(answers) != 1 || answers[0].StatusCode != 401 || !strings.Contains(answers[0].Header.Get("WWW-Authenticate"), "invalid_token") {
			t.Errorf("%q: got %v, want one 401", second, statuses(answers))
		}
	}
}

func TestProfilesAreServedOnlyIfTheyAreTurnedOn(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]int{"": 404, "off": 404, "on": 200} {
		w := newWorldWith(t, map[string]string{"PLATFORM_DATABASE_URL": dbtest.SQLiteURL(t), "PLATFORM_PPROF": setting})
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/symbol", "/debug/pprof/heap"} {
			answer, err := http.Get("http://" + w.on.private.Addr().String() + path)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			if answer.StatusCode != want {
				t.Errorf("%q: %s: got %d, want %d", setting, path, answer.StatusCode, want)
			}
		}
	}
}

func TestAForwardedAddressIsLoggedOnlyIfItsProxyIsTrusted(t *testing.T) {
	t.Parallel()
	for trusted, want := range map[string]string{"": "127.0.0.1", "192.0.2.0/24": "127.0.0.1", "127.0.0.0/8, ::1": "203.0.113.5"} {
		w := newWorldWith(t, map[string]string{"PLATFORM_DATABASE_URL": dbtest.SQLiteURL(t), "PLATFORM_TRUSTED_PROXIES": trusted})
		for _, forwarded := range []string{"X-Forwarded-For: 203.0.113.5\r\n", "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 203.0.113.5\r\n"} { // the second is net/http's
			w.log.reset()
			if answers := w.spoken("GET /v1/authorizers HTTP/1.1\r\nHost: x\r\n" + forwarded + "\r\n"); len(answers) != 1 {
				t.Fatalf("got %v, want one answer", statuses(answers))
			}
			w.eventually("the line", func() bool { return strings.Contains(w.log.String(), `"route":"/v1/authorizers"`) })
			if !strings.Contains(w.log.String(), `"address":"`+want+`"`) {
				t.Errorf("trusting %q: got %s, want %s", trusted, w.log, want)
			}
		}
	}
}

// full returns a function that fills a bound, and has it emptied at the end.
func (b *bound) full() (empty func()) {
	b.inFlight.Add(b.most)
	return func() { b.inFlight.Add(-b.most) }
}

func TestAnOverloadedListenerRefusesAtOnce(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.open(kfAccount)
	empty := w.platform.overload.calls.full()
	asked := w.sim.Calls(closePath)
	for name, request := range map[string]string{
		"read by plainhttp":              w.closing(),
		"read by net/http":               w.closing("X: 1\r\nX: 2\r\n"),
		"without a JWT":                  "GET /v1/authorizers HTTP/1.1\r\nHost: x\r\n\r\n",
		"a page":                         "GET /authorize/x HTTP/1.1\r\nHost: x\r\n\r\n",
		"a body that has not arrived":    "POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\n",
		"a body that waits for our word": "POST /v1/invitations HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n",
	} {
		answers := w.spoken(request)
		if len(answers) != 1 || answers[0].StatusCode != 503 || answers[0].Header.Get("Retry-After") != "1" || answers[0].Header.Get("Request-Id") == "" {
			t.Errorf("%s: got %v, want one 503 with Retry-After and Request-Id", name, answers)
		}
	}
	answer := w.ask("GET", "/v1/authorizers", "")
	w.wants(answer, 503, "overloaded")
	if !strings.Contains(string(answer.body), `"retryable":true`) {
		t.Errorf("got %s, want it retryable", answer.body)
	}
	if now := w.sim.Calls(closePath); now != asked {
		t.Errorf("got %d calls of WeChat, want none", now-asked)
	}
	if got := w.push(eventsPath, w.event("unknown_kind", ""), time.Now()); got.status != 200 {
		t.Errorf("got %d %s to a push of WeChat's, want it accepted", got.status, got.body)
	}
	for _, want := range []string{`wxplatform_requests_overloaded_total{kind="call"} 7`, `wxplatform_requests_overloaded_total{kind="push"} 0`, `wxplatform_problems_total{slug="overloaded"} 7`} {
		if !strings.Contains(w.scraped(), want+"\n") {
			t.Errorf("got no %s in the metrics", want)
		}
	}
	empty()
	w.ok(w.shut(kfAccount))
	if n := w.platform.overload.calls.inFlight.Load(); n != 0 {
		t.Errorf("got %d requests in flight, want none", n)
	}
}

func TestAFloodOfPushesRefusesNoCalls(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	defer w.platform.overload.pushes.full()()
	w.wants(w.push(eventsPath, w.event("unknown_kind", ""), time.Now()), 503, "overloaded")
	if got := w.ask("GET", "/v1/authorizers", ""); got.status != 200 {
		t.Errorf("got %d %s, want 200", got.status, got.body)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		answer, err := http.Get("http://" + w.on.private.Addr().String() + path)
		if err != nil || answer.StatusCode != 200 {
			t.Fatalf("%s: got %v, %v, want 200", path, answer, err)
		}
		_ = answer.Body.Close()
	}
}

func TestBodiesThatAreStillArrivingTakeHalfOfTheRoom(t *testing.T) {
	b := &bound{most: 4}
	for i, c := range []struct{ whole, want bool }{{false, true}, {false, true}, {false, false}, {true, true}, {true, true}, {true, false}, {false, false}} {
		if got := b.enter(c.whole); got != c.want {
			t.Errorf("request %d: got %v, want %v", i+1, got, c.want)
		}
	}
	body := &arrivingBody{ReadCloser: io.NopCloser(strings.NewReader("body")), of: b}
	if _, err := io.ReadAll(body); err != nil {
		t.Fatal(err)
	}
	body.end()
	b.leave()
	if !b.enter(false) {
		t.Error("got a body refused after another one arrived")
	}
	for range 2 {
		b.arrived()
	}
	for range 4 {
		b.leave()
	}
	if in, arriving := b.inFlight.Load(), b.arriving.Load(); in != 0 || arriving != 0 || b.refused.Load() != 3 {
		t.Errorf("got %d in flight, %d arriving, %d refused, want 0, 0, 3", in, arriving, b.refused.Load())
	}
}

// WeChat may answer before an upload has arrived. Then the request's end and the upload end
// the same body at once.
func TestABodyThatTwoEndAtOnceHasArrivedOnce(t *testing.T) {
	b := &bound{most: 2}
	b.enter(false)
	body := &arrivingBody{ReadCloser: io.NopCloser(strings.NewReader("")), of: b}
	var both sync.WaitGroup
	both.Go(body.end)
	both.Go(func() { _, _ = body.Read(make([]byte, 1)) })
	both.Wait()
	if arriving := b.arriving.Load(); arriving != 0 {
		t.Errorf("got %d bodies arriving after the only one ended, want 0", arriving)
	}
}

// Slow bodies cannot use up the room of requests that arrive whole.
func TestCallersThatSendTheirBodiesSlowlyRefuseNoOthers(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, map[string]string{"PLATFORM_DATABASE_URL": dbtest.SQLiteURL(t), "PLATFORM_NET_HTTP": "off"}) // net/http does not say whether a body has arrived
	w.grant(service, "1")
	calls := &w.platform.overload.calls
	calls.arriving.Add(calls.most/2 - 1)
	slow := "POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\n"
	first, err := net.Dial("tcp", w.on.public.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := io.WriteString(first, slow); err != nil {
		t.Fatal(err)
	}
	w.eventually("the first to wait for its body", func() bool { return calls.inFlight.Load() == 1 })
	if answers := w.spoken(slow); len(answers) != 1 || answers[0].StatusCode != 503 {
		t.Errorf("got %v to one more slow body, want 503", answers)
	}
	if answers := w.spoken(w.closing()); len(answers) != 1 || answers[0].StatusCode == 503 {
		t.Errorf("got %v to a request that arrived whole, want it served", answers)
	}
	_ = first.Close()
	w.eventually("the first to end", func() bool { return calls.inFlight.Load() == 0 && calls.arriving.Load() == calls.most/2-1 })
}

// slowly begins a request for each of the heads, of whose body only the beginning arrives.
func (w *world) slowly(heads []string, length int, begin string) (conns []net.Conn) {
	for _, head := range heads {
		conn, err := net.Dial("tcp", w.on.public.Addr().String())
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		if _, err := fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n%s", head, length, begin); err != nil {
			w.t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	w.eventually("the bodies to be waited for", func() bool { return w.platform.overload.calls.arriving.Load() == int64(len(heads)) })
	return conns
}

// holds returns how many slots the tenants' requests have, and how many they got so far.
func (w *world) holds() (now int, sofar int64) {
	for _, u := range append(w.platform.authorizers.Usage(), w.platform.authorizers.StreamUsage()...) {
		now, sofar = now+u.InFlight, sofar+u.Admitted
	}
	return now, sofar
}

// slowHeads are the beginnings of requests with bodies that are kept, at both doors: an API of
// package relay, one of package session, and one that takes files.
func (w *world) slowHeads() (heads []string) {
	for _, path := range []string{"/cgi-bin/message/custom/send", closePath, "/cgi-bin/media/upload"} {
		for _, head := range w.doors("POST", path, "") {
			heads = append(heads, head+"Content-Type: application/json\r\n")
		}
	}
	return heads
}

func TestABodyThatArrivesSlowlyHoldsNoSlot(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1", "7", "11", "15")
	w.settles()
	body := `{"kf_account":"` + string(kfAccount) + `","openid":"` + string(customer) + `"}`
	heads := w.slowHeads()
	_, before := w.holds()
	slow := w.slowly(heads, len(body), body[:len(body)-1])
	if answer := w.ask("GET", "/v1/authorizers/"+string(service)+"/cgi-bin/menu/get", ""); answer.field("errcode") != "46003" {
		t.Errorf("another request: got %d %s, want it served", answer.status, answer.body)
	}
	if now, sofar := w.holds(); now != 0 || sofar != before+1 {
		t.Errorf("got %d slots held and %d taken, want none held and 1 taken", now, sofar-before)
	}
	for i, conn := range slow {
		_, _ = io.WriteString(conn, body[len(body)-1:])
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || answer.StatusCode == 400 || answer.StatusCode == 503 {
			t.Errorf("%s: got %v %v, want WeChat's answer", heads[i], answer, err)
		}
	}
	if _, sofar := w.holds(); sofar != before+1+int64(len(heads)) {
		t.Errorf("got %d slots taken, want %d", sofar-before, 1+len(heads))
	}
}

// A caller who sends a byte from time to time cannot make its request last: a body that is kept has
// the server's time to arrive, also where files may take longer.
func TestABodyThatArrivesSlowlyIsGivenUp(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1", "7", "11")
	w.settles()
	heads := w.slowHeads()
	ctx, stop := context.WithCancel(anyContext)
	var sending sync.WaitGroup
	slow := w.slowly(heads, 10_000, "{")
	for _, conn := range slow {
		sending.Go(func() {
			for ctx.Err() == nil {
				time.Sleep(100 * time.Millisecond)
				_, _ = io.WriteString(conn, " ")
			}
		})
	}
	for i, conn := range slow {
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%s: got %v, want an answer within a minute", heads[i], err)
		} else if native := strings.Contains(heads[i], "/v1/"); native != (answer.StatusCode == 400) || !answer.Close {
			t.Errorf("%s: got %v, want the request refused and the connection closed", heads[i], answer)
		}
	}
	stop()
	sending.Wait()
	w.eventually("the requests to end", func() bool { return w.platform.overload.calls.inFlight.Load() == 0 })
	if n := w.sim.Calls("/cgi-bin/message/custom/send") + w.sim.Calls(closePath) + w.sim.Calls("/cgi-bin/media/upload"); n != 0 {
		t.Errorf("got %d calls of WeChat, want none", n)
	}
}

func TestTheConnectionsThatFilesAllow(t *testing.T) {
	for files, want := range map[uint64]int{256: 64, 1024: 256, 2048: 720, 4096: 2768, 8192: 6864, 65536: 8192, math.MaxUint64: 8192} {
		if got := publicConnections(files); got != want {
			t.Errorf("%d files: got %d connections, want %d", files, got, want)
		}
	}
	for limit, level := range map[uint64]string{1024: "warning", 2048: "warning", 2352: "ok", 65536: "ok"} {
		if got := files(limit); got.Level != level {
			t.Errorf("%d files: got %+v, want %s", limit, got, level)
		}
	}
}

func TestPublicConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	if got, want := w.platform.front.Connections().Most, publicConnections(openFiles()); got != want || want <= 0 {
		t.Errorf("got room for %d connections, want %d", got, want)
	}
	if !strings.Contains(w.scraped(), fmt.Sprintf("wxplatform_connections_limit %d\n", publicConnections(openFiles()))) {
		t.Error("got no limit in the metrics")
	}
}
