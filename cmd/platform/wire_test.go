package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// spoken writes raw bytes to a connection to the public listener, and returns the answers until the
// connection is closed or silent for a while.
func (w *world) spoken(text string) []*http.Response {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.on.public.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		return nil // it was hung up on in the middle
	}
	var answers []*http.Response
	for from := bufio.NewReader(conn); ; {
		answer, err := http.ReadResponse(from, nil)
		if err != nil {
			return answers
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return answers
		}
		answers = append(answers, answer)
		_ = conn.SetDeadline(time.Now().Add(300 * time.Millisecond))
	}
}

func statuses(answers []*http.Response) []int {
	all := []int{}
	for _, a := range answers {
		all = append(all, a.StatusCode)
	}
	return all
}

// closing is a complete request that closes a session, with additional headers.
func (w *world) closing(more ...string) string {
	body := fmt.Sprintf(`{"kf_account":%q,"openid":%q}`, kfAccount, customer)
	return fmt.Sprintf("POST /v1/authorizers/%s%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s",
		service, closePath, w.jwt, len(body), strings.Join(more, ""), body)
}

// A proxy in front may parse such a message differently, and take the next caller's request for its
// body. The inner request must never be served.
func TestARequestIsNotSmuggledInAnothersBody(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	inner := w.closing()
	chunk := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(inner), inner)
	for name, text := range map[string]string{
		"two lengths":                "POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n" + inner,
		"a list of lengths":          "POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 0, 5\r\n\r\n" + inner,
		"a length with a sign":       "POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n" + inner,
		"a negative length":          "POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n" + inner,
		"a length in hex":            "POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 0x0\r\n\r\n" + inner,
		"a length beyond all":        "POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551616\r\n\r\n" + inner,
		"length and chunked":         "POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk,
		"an unknown coding":          "POST /oauth/token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n" + inner,
		"two codings":                "POST /oauth/token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n" + inner,
		"chunked twice":              "POST /oauth/token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk,
		"a space before the colon":   "POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length : 0\r\n\r\n" + inner,
		"a folded line":              "POST /oauth/token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n" + inner,
		"a folded first line":        "POST /oauth/token HTTP/1.1\r\n Host: y\r\nHost: x\r\n\r\n" + inner,
		"a name that is no token":    "POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent\x00Length: 0\r\n\r\n" + inner,
		"a control character":        "POST /oauth/token HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n" + inner,
		"a line without a colon":     "POST /oauth/token HTTP/1.1\r\nHost: x\r\nGarbage\r\n\r\n" + inner,
		"chunked in HTTP/1.0":        "POST /oauth/token HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk,
		"a chunk of a negative size": "POST /oauth/token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n" + inner,
		"a chunk beyond all":         "POST /oauth/token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n" + inner,
		"a chunk without its end":    "POST /oauth/token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naXX0\r\n\r\n" + inner,
	} {
		w.open(kfAccount)
		answers := w.spoken(text)
		if got := w.sim.Session(service, customer).KFAccount; got != kfAccount {
			t.Errorf("%s: got the inner request done, answered %v", name, statuses(answers))
		}
		if len(answers) > 1 || len(answers) == 1 && answers[0].StatusCode < 400 {
			t.Errorf("%s: got %v, want one refusal or none", name, statuses(answers))
		}
		for _, a := range answers {
			if a.StatusCode == http.StatusBadRequest && !a.Close && name != "length and chunked" { // RFC 9112 §6.1 lets a server go by the chunks
				t.Errorf("%s: got the connection kept, whose next byte nobody can be sure of", name)
			}
		}
	}
}

func TestWhatIsOddButPlainIsServed(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	body := fmt.Sprintf(`{"kf_account":%q,"openid":%q}`, kfAccount, customer)
	head := fmt.Sprintf("POST /v1/authorizers/%s%s HTTP/1.1\r\nHost: x\r\nauthorization: bearer %s\r\nCONTENT-TYPE: application/json\r\n", service, closePath, w.jwt)
	for name, text := range map[string]string{
		"chunks":               head + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x;a=b\r\n%s\r\n%x\r\n%s\r\n0\r\nT: x\r\n\r\n", 5, body[:5], len(body)-5, body[5:]),
		"an absolute target":   strings.Replace(w.closing(), "POST /", "POST http://elsewhere.example/", 1),
		"an expected continue": w.closing("Expect: 100-continue\r\n"),
		"a forwarded request":  w.closing("X-Forwarded-For: 1.2.3.4\r\nX-Original-URL: /nowhere\r\nX-HTTP-Method-Override: GET\r\nForwarded: for=1.2.3.4\r\n"),
		"a caller who leaves":  w.closing("Connection: close\r\n"),
	} {
		w.open(kfAccount)
		answers := w.spoken(text)
		if len(answers) == 2 && answers[0].StatusCode == http.StatusContinue {
			answers = answers[1:]
		}
		if len(answers) != 1 || answers[0].StatusCode != 200 {
			t.Errorf("%s: got %v, want 200", name, statuses(answers))
		}
	}
	w.open(kfAccount)
	if got := statuses(w.spoken(w.closing() + w.closing() + w.closing("Connection: close\r\n"))); fmt.Sprint(got) != "[200 409 409]" {
		t.Errorf("three in one write: got %v, want each answered, in their order", got)
	}
}

func TestARequestThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.open(kfAccount)
	for name, text := range map[string]string{
		"no host":                    strings.Replace(w.closing(), "Host: x\r\n", "", 1),
		"two hosts":                  w.closing("Host: y\r\n"),
		"no version":                 strings.Replace(w.closing(), " HTTP/1.1", "", 1),
		"a version to come":          strings.Replace(w.closing(), "HTTP/1.1", "HTTP/3.0", 1),
		"a method that is no token":  strings.Replace(w.closing(), "POST", "PO(ST", 1),
		"a lower-case method":        strings.Replace(w.closing(), "POST", "post", 1),
		"a space in the target":      strings.Replace(w.closing(), "/v1", "/ v1", 1),
		"a target that is no path":   strings.Replace(w.closing(), "POST /v1", "POST v1", 1),
		"a fragment":                 strings.Replace(w.closing(), " HTTP/1.1", "#x HTTP/1.1", 1),
		"a broken escape":            strings.Replace(w.closing(), "/v1", "/%v1", 1),
		"a header of 20 KB":          w.closing("X: " + strings.Repeat("x", 20<<10) + "\r\n"),
		"a thousand headers":         w.closing(strings.Repeat("X: xxxxxxxxxxxxxxxx\r\n", 1000)),
		"a first line of 20 KB":      strings.Replace(w.closing(), " HTTP/1.1", "?"+strings.Repeat("x", 20<<10)+" HTTP/1.1", 1),
		"HTTP/2 without being asked": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + w.closing(),
		"TLS":                        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 64),
		"a tunnel":                   "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n",
		"an upgrade":                 "GET /v1/authorizers HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"an unknown expectation":     w.closing("Expect: miracles\r\n"),
		"an asterisk":                "OPTIONS * HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
	} {
		answers := w.spoken(text)
		for _, a := range answers {
			if a.StatusCode < 400 && name != "an asterisk" {
				t.Errorf("%s: got %v, want it refused", name, statuses(answers))
			}
		}
		if n := w.sim.Calls(closePath); n != 0 {
			t.Fatalf("%s: got %d calls of WeChat, want none", name, n)
		}
	}
}

// A slow caller must not keep a connection open, and must not delay others.
func TestASlowCallerIsHungUpOn(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	begun := w.closing()
	slow := map[string]string{"its header": begun[:60], "nothing": "", "its body": begun[:len(begun)-5]}
	ended := make(chan string, len(slow))
	for name, text := range slow {
		go func() {
			conn, err := net.Dial("tcp", w.on.public.Addr().String())
			if err != nil {
				ended <- name + ": " + err.Error()
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, text)
			_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
			answer, err := io.ReadAll(conn)
			if err != nil {
				ended <- name + ": " + err.Error()
				return
			}
			if strings.HasPrefix(string(answer), "HTTP/1.1 200") {
				ended <- name + ": got it served"
				return
			}
			ended <- ""
		}()
	}
	w.open(kfAccount)
	w.ok(w.shut(kfAccount))
	for range slow {
		if fault := <-ended; fault != "" {
			t.Errorf("%s, want the connection ended within 20 seconds", fault)
		}
	}
	if n := w.sim.Calls(closePath); n != 1 {
		t.Errorf("got %d calls of WeChat, want one: a body that never came whole closes nothing", n)
	}
}
