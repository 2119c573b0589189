package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"wxplatform/wechat/wechatsim"
)

// doors are the request lines of one API at both doors, with what belongs behind them.
func (w *world) doors(method, path, query string) map[string]string {
	join := func(a, b string) string { return strings.Trim(a+"&"+b, "&") }
	return map[string]string{
		"native":  method + " /v1/authorizers/" + string(service) + path + strings.TrimSuffix("?"+query, "?") + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + w.jwt + "\r\n",
		"drop-in": method + " " + path + "?" + join("access_token="+w.sdkJWT(service), query) + " HTTP/1.1\r\nHost: x\r\n",
	}
}

func TestABadMessageIsNeverRelayed(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1", "11")
	const path = "/cgi-bin/message/custom/send"
	inner := "POST " + path + "?access_token=" + w.sdkJWT(service) + " HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
	for door, head := range w.doors("POST", path, "") {
		for what, rest := range map[string]string{
			"1 MB of headers":   "X: " + strings.Repeat("x", 1<<20) + "\r\nContent-Length: 2\r\n\r\n{}",
			"100,000 headers":   strings.Repeat("X: y\r\n", 100_000) + "Content-Length: 2\r\n\r\n{}",
			"length and chunks": "Content-Length: " + strconv.Itoa(5+len(inner)) + "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
			"two lengths":       "Content-Length: 0\r\nContent-Length: 2\r\n\r\n" + inner,
			"an unknown coding": "Transfer-Encoding: xchunked\r\n\r\n" + inner,
			"a longer body":     "Content-Length: 2\r\n\r\n{}{\"touser\":\"o\"}",
		} {
			w.sim.ResetCalls()
			answers := w.spoken(head + rest)
			most := 0
			if what == "a longer body" || what == "length and chunks" {
				most = 1 // what follows the body is never served
			}
			if n := w.sim.Calls(path); n > most || len(answers) > 1+most {
				t.Errorf("%s, %s: got %v and %d calls of WeChat, want at most %d", door, what, statuses(answers), n, most)
			}
			for _, answer := range answers[min(most, len(answers)):] {
				if answer.StatusCode == 200 && door == "native" {
					t.Errorf("%s, %s: got %v, want it refused", door, what, statuses(answers))
				}
			}
		}
	}
	if answer := w.ask("GET", "/v1/authorizers", ""); answer.status != 200 {
		t.Errorf("afterwards: got %d, want the platform to serve", answer.status)
	}
}

// A body that ends early, and a caller that sends slowly, are not relayed either.
func TestABodyThatDoesNotArriveIsNeverRelayed(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1", "11")
	const path = "/cgi-bin/message/custom/send"
	for door, head := range w.doors("POST", path, "") {
		for _, length := range []string{"100", "400000"} { // kept, and streamed
			conn, err := net.Dial("tcp", w.on.public.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
			_, _ = io.WriteString(conn, head+"Content-Length: "+length+"\r\n\r\n{\"touser\":")
			_ = conn.(*net.TCPConn).CloseWrite()
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err == nil && answer.StatusCode == 200 && door == "native" {
				t.Errorf("%s: got %d, want the body of %s bytes refused", door, answer.StatusCode, length)
			}
			_ = conn.Close()
		}
	}
	for _, call := range w.sim.CallLog() {
		if call.Path == path && call.ErrCode == 0 {
			t.Errorf("got %+v, want nothing done", call)
		}
	}
}

func TestASlowHeaderEndsTheConnection(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	conn, err := net.Dial("tcp", w.on.public.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	began := time.Now()
	_, _ = io.WriteString(conn, "GET /cgi-bin/menu/get?access_token=x HTTP/1.1\r\nHost: x\r\nX: ")
	if _, err := io.ReadAll(conn); err != nil || time.Since(began) > 30*time.Second {
		t.Errorf("got %v after %v, want the connection ended", err, time.Since(began))
	}
}

func TestAPathWithTricksIsNeverRelayed(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1", "11", "15")
	w.settles()
	w.sim.ResetCalls()
	for _, path := range []string{
		"/cgi-bin//menu/get", "/cgi-bin/./menu/get", "/cgi-bin/x/../menu/get", "/cgi-bin/%2e%2e/menu/get", "/cgi-bin/menu%2Fget", "/cgi-bin/menu/get%00",
		"/cgi-bin/menu/get;x=1", "/cgi-bin/menu/get%3Fx", "/cgi-bin/menu/get%23", "/cgi-bin/menu/ge%74%", "/cgi-bin/menu\\get", "/CGI-BIN/menu/get", "/cgi-bin/Menu/get", "/cgi-bin/menu/get/..",
	} {
		for door, head := range w.doors("GET", path, "") {
			if answers := w.spoken(head + "\r\n"); len(answers) > 1 || len(answers) == 1 && answers[0].StatusCode == 200 && door == "native" {
				t.Errorf("%s %s: got %v, want it refused", door, path, statuses(answers))
			}
		}
	}
	for _, call := range w.sim.CallLog() {
		if !strings.HasPrefix(call.Path, "/cgi-bin/component/") {
			t.Errorf("got %+v, want no call of WeChat", call)
		}
	}
}

func TestAJWTOfOneAccountOpensNoOther(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1")
	w.grant(wechatsim.SampleOfficial, "1")
	bearer := map[string]string{"Authorization": "Bearer " + w.sdkJWT(service)}
	for _, path := range []string{"/cgi-bin/menu/get", "/customservice/kfsession/getwaitcase", "/sns/auth?access_token=x&openid=o"} {
		w.wants(w.raw("GET", "/v1/authorizers/"+string(wechatsim.SampleOfficial)+path, bearer, ""), 404, "unknown-authorizer")
	}
}

// request is what a caller of either door might send.
type request struct{ method, target, authorization, body string }

func (w *world) drawRequest(t *rapid.T, bound []string, paths []string) request {
	pick := func(label string, from ...string) string { return rapid.SampledFrom(from).Draw(t, label) }
	path := pick("path", paths...)
	if rapid.IntRange(0, 3).Draw(t, "broken") == 0 {
		at := rapid.IntRange(0, len(path)).Draw(t, "at")
		path = path[:at] + pick("odd", "/", "//", "..", "/../", "%2e", "%2F", "%00", "?", ";", "%3f", "A", ":", "*") + path[at:]
	}
	door := pick("door", "", "", "/v1/authorizers/"+string(service), "/v1/authorizers/"+string(service), "/v1/authorizers/"+string(wechatsim.SampleOfficial))
	var query string
	if rapid.IntRange(0, 3).Draw(t, "with the JWT") > 0 && door == "" {
		query = "access_token=" + pick("JWT", bound...) + "&"
	}
	for range rapid.IntRange(0, 3).Draw(t, "parts") {
		part := pick("part", "openid=o%20x", "type=image", "", "中=文", "x=%zz", "debug=1")
		if rapid.IntRange(0, 3).Draw(t, "forbidden") == 0 {
			part = pick("token", "access_token="+bound[0], "access_token=x", "Access_Token=x", "access%5Ftoken=x", "acc%65ss_token="+bound[0], "%2561ccess_token=x",
				"access_token", "access_token%3Dx", "a=access_token=x", "a[access_token]=x", "access_token%00=x", "component_access_token=x")
		}
		query += part + pick("separator", "&", "&", "&", "&", ";", "?", "&&", "#")
	}
	authorization := ""
	if rapid.IntRange(0, 4).Draw(t, "usual header") > 0 == (door != "") {
		authorization = pick("authorization", w.jwt, w.jwt, w.jwt, bound[0], "x")
	}
	return request{pick("method", "GET", "GET", "POST", "POST", "PUT"), door + path + "?" + query, authorization, pick("body", "", "", "{}", `{"access_token":"x"}`)}
}

// Whatever a caller sends, WeChat gets one token, which is the platform's, and a path that may be
// relayed.
func TestWhateverGoesToWeChatHasOneTokenAndARelayedPath(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.grant(service, "1", "11", "15")
	var any struct{ ID, Secret string }
	w.command(&any, "client", "create", w.tenant, "--name", "any", "--scope", "wechat:any", "--scope", "media:read", "--scope", "menu:read", "--scope", "menu:write")
	bound := []string{w.sdkJWT(service), w.givenSDK("any", w.sdkToken(service, any.Secret))}
	w.settles()
	w.ask("GET", "/v1/authorizers/"+string(service)+"/cgi-bin/menu/get", "")
	token := w.sim.LastAccessToken(service)
	handler, catalogue := w.platform.sdkPath(w.platform.public()), w.platform.catalogue
	paths := []string{"/cgi-bin/menu/get", "/cgi-bin/menu/get", "/cgi-bin/menu/create", "/cgi-bin/media/get", "/cgi-bin/nonsense/x", "/wxa/nonsense", "/cgi-bin/token", "/cgi-bin/clear_quota",
		"/cgi-bin/component/api_component_token", "/sns/userinfo", "/sns/jscode2session", "/customservice/kfsession/getwaitcase", "/elsewhere/x"}
	for _, a := range catalogue.All()[:200] {
		paths = append(paths, a.Path)
	}
	w.heard.kept.Store(true)
	reached := 0
	check := func(t *rapid.T) {
		r := w.drawRequest(t, bound, paths)
		text := r.method + " " + r.target + " HTTP/1.1\r\nHost: x\r\nContent-Length: " + map[string]string{"": "0", "{}": "2"}[r.body]
		if len(r.body) > 2 {
			text += "20"
		}
		if r.authorization != "" {
			text += "\r\nAuthorization: Bearer " + r.authorization
		}
		parsed, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text + "\r\n\r\n" + r.body)))
		if err != nil {
			return
		}
		parsed.RemoteAddr = "192.0.2.1:1"
		w.heard.got.reset()
		handler.ServeHTTP(httptest.NewRecorder(), parsed)
		for line := range strings.Lines(w.heard.got.String()) {
			sent, is := strings.CutPrefix(line, "GET ")
			if post, isPost := strings.CutPrefix(line, "POST "); isPost {
				sent, is = post, true
			}
			if !is || strings.HasPrefix(sent, "/cgi-bin/component/") {
				continue
			}
			reached++
			path, query, _ := strings.Cut(strings.TrimSpace(sent), "?")
			if _, known := catalogue.Find(line[:strings.Index(line, " ")], path); !known && !catalogue.Below(path) || catalogue.Denied(path) {
				t.Fatalf("%+v reached WeChat at %s", r, path)
			}
			if n, last := tokensIn(query), query[strings.LastIndex(query, "&")+1:]; n != 1 || last != "access_token="+token {
				t.Fatalf("%+v reached WeChat with the query %s, want one token, last", r, query)
			}
			if strings.Contains(query, bound[0]) || strings.Contains(query, w.jwt) || strings.Contains(query, any.Secret) {
				t.Fatalf("%+v took a credential to WeChat", r)
			}
		}
	}
	for range 10 {
		rapid.Check(t, check)
	}
	if reached < 10 {
		t.Errorf("got %d requests to WeChat, want more", reached)
	}
}

// tokensIn counts what any reader of a query could take for a token.
func tokensIn(query string) (n int) {
	for range 2 {
		if plain, err := url.PathUnescape(query); err == nil {
			query = plain
		}
	}
	parts := strings.FieldsFunc(strings.ToLower(query), func(r rune) bool { return slices.Contains([]rune("&;?"), r) })
	for _, part := range parts {
		if name, _, _ := strings.Cut(part, "="); strings.Contains(name, "access_token") {
			n++
		}
	}
	return n
}
