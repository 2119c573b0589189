package relay

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"wxplatform/internal/seal"
	"wxplatform/wechat"
)

const fuzzedToken = "86_platform-token"

// upstream is a server on loopback in WeChat's place. It keeps the bytes of what it gets.
type upstream struct {
	client *wechat.Client
	got    chan []byte
}

func newUpstream(f *testing.F) *upstream {
	u := &upstream{got: make(chan []byte, 10)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var text bytes.Buffer
		_, _ = text.WriteString(r.Method + " " + r.RequestURI + "\n")
		_, _ = io.Copy(&text, r.Body)
		u.got <- text.Bytes()
		_, _ = io.WriteString(w, `{"errcode":0,"errmsg":"ok"}`)
	}))
	u.client = wechat.NewClient(server.URL, wechat.Observer{})
	f.Cleanup(func() { u.client.CloseIdle(); server.Close() })
	return u
}

// fuzzedRouter has the routes of Handler. In place of admission, every caller may call every API:
// what is left decides what goes to WeChat.
func fuzzedRouter(c *Catalogue, u *upstream) *echo.Echo {
	e := echo.New()
	relay := func(called func(echo.Context) (string, string)) echo.HandlerFunc {
		return func(ctx echo.Context) error {
			path, query := called(ctx)
			api, err := c.Resolve(ctx.Request().Method, path)
			if err != nil {
				return err
			}
			request, err := read(ctx.Request(), api, query)
			if err != nil {
				return err
			}
			call := request.Sent()
			call.As, call.Token = wechat.AccessToken, seal.NewSecret(fuzzedToken)
			answer, err := u.client.Do(context.Background(), call)
			if answer.Stream != nil {
				_ = answer.Stream.Close()
			}
			return err
		}
	}
	e.Any(nativePrefix+":appid/*", relay(nativeCall))
	for _, root := range c.Roots() {
		e.Any(root+"/*", relay(dropInCall))
	}
	return e
}

// Whatever a caller sends, WeChat gets one request with one token, the platform's, and a path of
// the catalogue or one that wechat:any may call.
func FuzzWhatGoesToWeChat(f *testing.F) {
	c, err := Load()
	if err != nil {
		f.Fatal(err)
	}
	u := newUpstream(f)
	router := fuzzedRouter(c, u)
	const native = nativePrefix + "wx5a3e1c0b7d2f4801"
	for _, path := range []string{"/cgi-bin/menu/get", "//cgi-bin/menu/get", "/cgi-bin/../sns/userinfo", "/cgi-bin/%2e%2e/token", "/cgi-bin/menu%2Fget", "/cgi-bin/menu/get%00", "/cgi-bin/menu/get;x=1",
		"/cgi-bin/Menu/get", "/cgi-bin/nonsense/x", "/wxa/nonsense", "/cgi-bin/token", "/cgi-bin/component/api_component_token", "/sns/userinfo", "/cgi-bin/menu/get%3Fx", "/cgi-bin/menu/get%23", native + "/cgi-bin/menu/get"} {
		for _, query := range []string{"", "?openid=o%20x", "?access_token=JWT&next_openid=", "?a=1;Access%5Ftoken=x", "?%2561ccess_token=x", "?a=access_token=x", "?access_token%00=x", "?x=%zz&&access_token", "?a=1?access_token=x#b"} {
			f.Add("GET", path+query, "", "")
			f.Add("GET", native+path+query, "", "")
			f.Add("POST", native+path+query, "application/json", `{"access_token":"x"}`)
		}
	}
	f.Add("POST", native+"/cgi-bin/media/upload?type=image", "multipart/form-data; boundary=x\r\nCookie: c", "--x--")
	f.Add("POST /cgi-bin/token HTTP/1.1\r\nX:", native+"/cgi-bin/menu/create", "text/x\r\nTransfer-Encoding: chunked", "0\r\n\r\n")
	f.Fuzz(func(t *testing.T, method, target, contentType, body string) {
		head := method + " " + target + " HTTP/1.1\r\nHost: x\r\nContent-Type: " + contentType + "\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n"
		request, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head + body)))
		if err != nil {
			return
		}
		router.ServeHTTP(httptest.NewRecorder(), request)
		select {
		case got := <-u.got:
			checkSent(t, c, request, got)
		default:
			return
		}
		if len(u.got) > 0 {
			t.Fatalf("%q: got a second request %q", head, <-u.got)
		}
	})
}

// checkSent fails if WeChat may not get this for a caller's request.
func checkSent(t *testing.T, c *Catalogue, asked *http.Request, got []byte) {
	line, _, _ := strings.Cut(string(got), "\n")
	method, target, _ := strings.Cut(line, " ")
	path, query, _ := strings.Cut(target, "?")
	if _, listed := c.Find(method, path); !listed && !c.Below(path) || c.Denied(path) || method != asked.Method {
		t.Fatalf("%s %q reached WeChat as %s %q", asked.Method, asked.RequestURI, method, path)
	}
	before, ours := strings.CutSuffix("&"+query, "&access_token="+fuzzedToken)
	if !ours || tokensIn(before) > 0 {
		t.Fatalf("%q reached WeChat with the query %q, want one token, last", asked.RequestURI, query)
	}
	if strings.HasPrefix(asked.URL.Path, nativePrefix) && strings.TrimPrefix(before, "&") != asked.URL.RawQuery {
		t.Fatalf("%q reached WeChat with the query %q, want it as it was", asked.RequestURI, query)
	}
}

// tokensIn counts the parameters that some reader takes for a token. Readers differ in what
// separates parameters, in the case of letters, in how often they remove escapes, and in where
// they end a name.
func tokensIn(query string) (n int) {
	for _, separators := range []string{"&", "&;", "&;?"} {
		for part := range strings.FieldsFuncSeq(query, func(r rune) bool { return strings.ContainsRune(separators, r) }) {
			name, _, _ := strings.Cut(part, "=")
			for range 3 {
				if short := strings.ToLower(strings.TrimSpace(strings.SplitN(name, "[", 2)[0])); strings.TrimRight(short, "\x00") == tokenName {
					n++
				}
				if plain, err := url.QueryUnescape(name); err == nil {
					name = plain
				}
			}
		}
	}
	return n
}
