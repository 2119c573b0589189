package wechat

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wxplatform/internal/seal"
)

const canary = "canary-token-77aa"

func TestAnAnswerIsReadFromItsBody(t *testing.T) {
	for name, c := range map[string]struct {
		status          int
		body            string
		code            Code
		refused, unsure bool
	}{
		"ok":                      {200, `{"errcode":0,"errmsg":"ok"}`, 0, false, false},
		"errcode as text":         {200, `{"errcode":"0","errmsg":"ok"}`, 0, false, false},
		"errcode as a float":      {200, `{"errcode":0.0}`, 0, false, false},
		"a control byte":          {200, "{\"errcode\":0,\"errmsg\":\"o\x14k\"}", 0, false, false},
		"no errcode":              {200, `{"count":1}`, 0, false, true},
		"an empty object":         {200, `{}`, 0, false, true},
		"null":                    {200, `null`, 0, false, true},
		"a null errcode":          {200, `{"errcode":null}`, 0, false, true},
		"an errcode in capitals":  {200, `{"ErrCode":0}`, 0, false, true},
		"a list":                  {200, `[{"errcode":0}]`, 0, false, true},
		"two answers":             {200, plainOK + plainOK, 0, false, true},
		"cut":                     {200, plainOK[:20], 0, false, true},
		"byte order mark":         {200, "\xef\xbb\xbf" + `{"errcode":0}`, 0, false, false},
		"refused":                 {200, `{"errcode":65413,"errmsg":"no effective session for the customer rid: 666188b4-774b1b9f-5cbb8e23"}`, 65413, true, false},
		"errcode as a string":     {200, `{"errcode":"40001","errmsg":"x"}`, 40001, true, false},
		"busy":                    {200, `{"errcode":-1,"errmsg":"system error"}`, -1, false, true},
		"busy, the old way":       {200, `{"errcode":61450,"errmsg":"system error"}`, 61450, false, true},
		"server error":            {502, `{"errcode":0}`, 0, false, true},
		"a page":                  {200, `<html>`, 0, false, true},
		"nothing":                 {200, ``, 0, false, true},
		"redirect":                {302, `{"errcode":0}`, 0, false, true},
		"too large":               {200, strings.Repeat(" ", answerLimit+1) + `{"errcode":0}`, 0, false, true},
		"errcode that is no code": {200, `{"errcode":{}}`, 0, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))
			defer server.Close()
			for reader, netHTTP := range readers {
				client := NewClient(server.URL, Observer{})
				client.NetHTTP = netHTTP
				_, err := client.Do(context.Background(), call())
				if got := codeOf(err); got != c.code {
					t.Errorf("%s: got code %d, want %d", reader, got, c.code)
				}
				if got := Refusal(err) != nil; got != c.refused {
					t.Errorf("%s: got refused %v, want %v", reader, got, c.refused)
				}
				if got := MayHaveActed(err); got != c.unsure {
					t.Errorf("%s: got may have acted %v, want %v", reader, got, c.unsure)
				}
			}
		})
	}
}

func TestTheRequestIDOfWeChatIsTakenOutOfItsMessage(t *testing.T) {
	for _, msg := range []string{"invalid openid rid: 666188b4-774b1b9f-5cbb8e23", "invalid openid, rid: 666188b4-774b1b9f-5cbb8e23"} {
		e := answered("/x", 40003, msg)
		if e.Msg != "invalid openid" || e.RID != "666188b4-774b1b9f-5cbb8e23" {
			t.Errorf("got %q and rid %q", e.Msg, e.RID)
		}
	}
}

func TestACallThatNeverLeftIsNotSent(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	_, err = NewClient("http://"+address, Observer{}).Do(context.Background(), call())
	if !NotSent(err) || MayHaveActed(err) {
		t.Errorf("got %v, want not sent", err)
	}
}

func TestAConnectionCutAfterTheRequestMayHaveActed(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler)
	}))
	defer server.Close()
	_, err := NewClient(server.URL, Observer{}).Do(context.Background(), call())
	if !MayHaveActed(err) {
		t.Errorf("got %v, want an unknown outcome", err)
	}
}

func TestAPostIsNeverSentTwice(t *testing.T) {
	var count atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if count.Add(1) > 1 {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, `{"errcode":0}`)
	}))
	defer server.Close()
	client := NewClient(server.URL, Observer{})
	for range 2 {
		_, _ = client.Do(context.Background(), call())
	}
	if got := count.Load(); got != 2 {
		t.Errorf("got %d requests for 2 calls on a kept connection, want 2", got)
	}
}

func TestConnectionsAreKept(t *testing.T) {
	var opened atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"errcode":0,"errmsg":"ok"}`)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	client := NewClient(server.URL, Observer{})
	for range 20 {
		if _, err := client.Do(context.Background(), call()); err != nil {
			t.Fatal(err)
		}
		rested(client)
	}
	if got := opened.Load(); got != 1 {
		t.Errorf("got %d connections for 20 calls, want 1", got)
	}
}

func TestATimeOutMayHaveActed(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	client := NewClient(server.URL, Observer{})
	err := untilSent(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		_, err := client.Do(ctx, call())
		return err
	})
	if !MayHaveActed(err) {
		t.Errorf("got %v, want an unknown outcome", err)
	}
}

func TestNoErrorShowsTheToken(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer server.Close()
	for _, base := range []string{server.URL, "http://127.0.0.1:1", "http://nowhere.invalid", "ht tp://x"} {
		_, err := NewClient(base, Observer{}).Do(context.Background(), call())
		if err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), canary) {
			t.Errorf("got %v from %s, want an error without the token", err, base)
		}
	}
}

func TestTheTokenIsOurs(t *testing.T) {
	seen := make(chan *http.Request, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r
		_, _ = io.WriteString(w, plainOK)
	}))
	defer server.Close()
	c := call()
	c.Query = url.Values{"openid": {"a&access_token=forged"}}.Encode()
	if _, err := NewClient(server.URL, Observer{}).Do(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	got := <-seen
	if tokens := got.URL.Query()["access_token"]; len(tokens) != 1 || tokens[0] != canary {
		t.Errorf("got %d tokens, want ours alone", len(tokens))
	}
	for name := range got.Header {
		if name != "Content-Type" && name != "Content-Length" && name != "Accept-Encoding" {
			t.Errorf("got header %s, want none but the content's", name)
		}
	}
}

// The buffer of a request is used again, but nothing in it.
func TestARecycledRequestIsErased(t *testing.T) {
	client := &Client{host: &host{name: "h"}}
	request := client.appendRequest(nil, call(), delivery{})
	all := request[:cap(request)]
	client.recycle(&request)
	if len(bytes.Trim(all, "\x00")) > 0 {
		t.Errorf("got %q in a buffer that is kept, want it erased", all)
	}
	none := &Client{}
	large := make([]byte, mostRecycled+1)
	none.recycle(&large)
	if none.requests.Get() != nil {
		t.Error("got a large buffer kept, want it collected")
	}
}

func TestARequestHasNothingOfTheOneBefore(t *testing.T) {
	seen := make(chan string, 1)
	client := raw(t, func(c *net.TCPConn, in *bufio.Reader) {
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			body, _ := io.ReadAll(r.Body)
			seen <- fmt.Sprintf("%s %s %d %s", r.Method, r.RequestURI, len(r.Header), body)
			_, _ = io.WriteString(c, plainAnswer)
		}
	})
	defer client.CloseIdle()
	long, short := call(), Call{Method: "GET", Path: "/x", As: AccessToken, Token: seal.NewSecret("another token")}
	long.Query, long.Header, long.Body = "a=b", []Field{{"Wechatmp-X", "y"}}, bytes.Repeat([]byte("z"), 200)
	for range 3 {
		for c, want := range map[*Call]string{
			&long:  "POST " + long.Path + "?a=b&access_token=" + canary + " 3 " + string(long.Body),
			&short: "GET /x?access_token=another+token 0 ",
		} {
			if _, err := client.Do(t.Context(), *c); err != nil {
				t.Fatal(err)
			}
			if got := <-seen; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			rested(client)
		}
	}
}

// exchange is a call whose answer WeChat gives only once. It reads into got.
func exchange(got *[2]string) Call {
	c := call()
	c.As, c.Explicit, c.Once = ComponentToken, false, true
	c.Read = func(o Object) (lacks string) {
		info, _ := o.Object("authorization_info")
		id, _ := info.AppID("authorizer_appid")
		access, _ := info.Secret("authorizer_access_token")
		if *got = [2]string{string(id), access.Reveal()}; id == "" || access.IsZero() {
			return "authorization_info"
		}
		return ""
	}
	return c
}

const (
	merchant = "wx5a3e1c0b7d2f4801"
	single   = "single-use-token"
	members  = `"authorizer_appid":"` + merchant + `","authorizer_access_token":"` + single + `"`
	given    = `{"authorization_info":{` + members + `,"func_info":[{"funcscope_category":{"id":1}}]}}`
)

// What WeChat gives only once is found whatever surrounds it.
func TestAnAnswerThatComesOnceIsFoundInAnyText(t *testing.T) {
	texts := map[string]string{
		"plain":                      given,
		"with an errcode":            `{"errcode":0,"errmsg":"ok"}` + "\n" + given,
		"twice":                      given + given,
		"another one behind, empty":  `{"authorization_info":{` + members + `},"authorization_info":{}}`,
		"in a list":                  `[` + given + `]`,
		"as a callback":              `callback(` + given + `)`,
		"behind a guard":             ")]}',\n" + given,
		"behind a notice":            "<br />\nNotice: Undefined index: \"a\" in /x.php\n" + given,
		"behind byte order marks":    "\n\ufeff\ufeff\u00a0\u200b" + given,
		"in UTF-16":                  "\xff\xfe" + strings.Join(strings.Split(given, ""), "\x00") + "\x00",
		"behind a bad byte":          "\xff\n" + given,
		"an info that is a list":     `{"authorization_info":[{` + members + `}]}`,
		"a broken list in front":     `{"authorization_info":{"func_info":[{"funcscope_category":{"id":1}},` + members + `}}`,
		"a bracket too many behind":  `{"authorization_info":{"authorizer_appid":"` + merchant + `","x":[]},"authorizer_access_token":"` + single + `"}}`,
		"a bracket too many":         `{"authorization_info":{"func_info":[]]},` + members + `}}`,
		"a quote in a name in front": `{"authorization_info":{"name":"a"b",` + members + `}}`,
		"a backslash in front":       `{"authorization_info":{"name":"a\` + `",` + members + `}}`,
		"GBK in front":               "{\"authorization_info\":{\"name\":\"\xb3\x5c\"," + members + `}}`,
		"empty, then the value":      `{"authorization_info":{"authorizer_access_token":"",` + members + `}}`,
		"cut":                        given[:len(given)-20],
	}
	for name, text := range texts {
		var got [2]string
		err := (&Client{}).read(exchange(&got), Answer{Status: 200, Body: []byte(text)})
		if err != nil || got != [2]string{merchant, single} {
			t.Errorf("%s: got %q, %v, want it found in %s", name, got, err, text)
		}
	}
}

func TestNothingIsFoundThatIsNotThereOnce(t *testing.T) {
	for name, text := range map[string]string{
		"two accounts":           `[` + given + strings.ReplaceAll(given, merchant, "wx00000000000000ff") + `]`,
		"two tokens":             `[` + given + strings.ReplaceAll(given, single, "another-token") + `]`,
		"no token":               `{"errcode":61010,"authorization_info":{"authorizer_appid":"` + merchant + `"}}`,
		"a refusal":              `{"errcode":61023,"errmsg":"invalid","data":{` + members + `}}`,
		"a refusal, then ok":     `{"errcode":61023}{"errcode":0,"data":{` + members + `}}`,
		"a text that quotes it":  `{"errcode":-1,"errmsg":"` + strings.ReplaceAll(given, `"`, `\"`) + `"}`,
		"a token that is blank":  strings.ReplaceAll(given, single, " \u200b"),
		"a token that is cut":    given[:strings.Index(given, single)+5],
		"a token that is a list": strings.ReplaceAll(given, `"`+single+`"`, `["`+single+`"]`),
	} {
		var got [2]string
		if err := (&Client{}).read(exchange(&got), Answer{Status: 200, Body: []byte(text)}); err == nil {
			t.Errorf("%s: got %q in %s, want an error", name, got, text)
		}
	}
}

// What Read found in its place stays, also if the answer is no success.
func TestASearchTakesNothingAway(t *testing.T) {
	var refresh seal.Secret
	c := exchange(new([2]string))
	c.Read = func(o Object) string {
		refresh, _ = o.Secret("authorizer_refresh_token")
		return "authorizer_access_token"
	}
	for _, code := range []string{"-1", "0"} {
		text := `{"errcode":` + code + `,"authorizer_refresh_token":"R2","request":{"authorizer_refresh_token":"R1"}}`
		if err := (&Client{}).read(c, Answer{Status: 200, Body: []byte(text)}); err == nil || refresh.Reveal() != "R2" {
			t.Errorf("errcode %s: got %q, %v, want R2 kept", code, refresh.Reveal(), err)
		}
	}
}

// Only calls of ours are searched: a tenant gets its answer as it came.
func TestATenantsAnswerIsNotSearched(t *testing.T) {
	var got [2]string
	c := exchange(&got)
	c.As = ComponentTokenForTenant
	if err := (&Client{}).read(c, Answer{Status: 200, Body: []byte("[" + given + "]")}); err == nil {
		t.Errorf("got %q", got)
	}
}

func TestWhatArrivedOfAnAnswerThatComesOnceCounts(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(z, given)
	_ = z.Close()
	wrong := bytes.Clone(zipped.Bytes())
	wrong[len(wrong)-8]++ // the checksum
	head := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	for name, answer := range map[string]string{
		"a length that is too large": fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(given)+2, given),
		"chunks without an end":      fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", head, len(given), given),
		"gzip":                       fmt.Sprintf("%sContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", head, zipped.Len(), zipped.String()),
		"gzip that is cut":           fmt.Sprintf("%sContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", head, zipped.Len(), zipped.String()[:zipped.Len()-8]),
	} {
		for reader, netHTTP := range readers {
			client := NewClient("http://"+answering(t, answer), Observer{})
			client.NetHTTP = netHTTP
			var got [2]string
			if _, err := client.Do(context.Background(), exchange(&got)); err != nil || got != [2]string{merchant, single} {
				t.Errorf("%s, %s: got %q, %v", name, reader, got, err)
			}
			spoilt := NewClient("http://"+answering(t, fmt.Sprintf("%sContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", head, len(wrong), wrong)), Observer{})
			if _, err := spoilt.Do(context.Background(), exchange(new([2]string))); !MayHaveActed(err) {
				t.Errorf("%s: got %v for a wrong checksum, want an unknown outcome", reader, err)
			}
			writes := call()
			if _, err := client.Do(context.Background(), writes); !MayHaveActed(err) {
				t.Errorf("%s, %s: got %v for a call that writes, want an unknown outcome", name, reader, err)
			}
		}
	}
}

// answering serves connections that each get answer and are closed then.
func answering(t *testing.T, answer string) (address string) {
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = on.Close() })
	go func() {
		for {
			c, err := on.Accept()
			if err != nil {
				return
			}
			if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = io.Copy(io.Discard, r.Body)
				_, _ = io.WriteString(c, answer)
			}
			_ = c.Close()
		}
	}()
	return on.Addr().String()
}

func TestAnErrcodeThatCannotBeReadIsNoSuccess(t *testing.T) {
	reads := call()
	reads.Explicit, reads.Read = false, func(o Object) string { return "" }
	for code, unsure := range map[string]bool{
		`"E500"`: true, `1e400`: true, `[40001]`: true, `true`: true, `40001.5`: true, `"40001 invalid credential"`: true, `{}`: true, `""`: true,
		`null`: false, `0`: false, `"0"`: false, `-0.0`: false,
	} {
		err := (&Client{}).read(reads, Answer{Status: 200, Body: []byte(`{"errcode":` + code + `,"kf_account":""}`)})
		if MayHaveActed(err) != unsure {
			t.Errorf("errcode %s: got %v, want the outcome unknown %v", code, err, unsure)
		}
	}
}

func TestAMessageIsShortAndRepeatsNoSecretOfOurs(t *testing.T) {
	ours := call()
	ours.As, ours.Body = ComponentToken, JSON(map[string]string{"authorizer_refresh_token": "refreshtoken@@@secret-of-ours"})
	for _, c := range []struct {
		call      Call
		msg, want string
	}{
		{ours, "data format error: " + `{\"authorizer_refresh_token\":\"refreshtoken@@@secret-of-ours\"} rid: 666188b4-774b1b9f-5cbb8e23`, `data format error: {"authorizer_refresh_token":"…"}`},
		{ours, strings.Repeat("x", 225) + "refreshtoken@@@secret-of-ours", strings.Repeat("x", 225) + "…"},
		{ours, "a refreshtoken%40%40%40secret-of-ours and secret-of-ours", "a … and …"},
		{ours, "invalid authorizer_refresh_token", "invalid authorizer_refresh_token"},
		{call(), strings.Repeat("x", 3<<20), strings.Repeat("x", nameLimit)},
	} {
		err := (&Client{}).read(c.call, Answer{Status: 200, Body: []byte(`{"errcode":47001,"errmsg":"` + c.msg + `"}`)})
		if got := Refusal(err); got == nil || got.Msg != c.want {
			t.Errorf("got %v, want %.80s", err, c.want)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{`{"errcode":0}`, `{"errcode":"40001"}`, `{"errcode":1.5}`, `[]`, `null`, `{"errcode":null,"errmsg":1}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		err := (&Client{}).read(call(), Answer{Status: 200, Body: body})
		if err != nil && Refusal(err) == nil && !MayHaveActed(err) {
			t.Errorf("got %v, want it refused or unknown", err)
		}
	})
}

func call() Call {
	return Call{
		Method: "POST", Path: "/customservice/kfsession/close", As: AccessToken, Token: seal.NewSecret(canary),
		Body: JSON(map[string]string{"a": "b"}), Explicit: true,
	}
}

func TestADateFarFromOurClockIsNone(t *testing.T) {
	for ahead, kept := range map[time.Duration]bool{0: true, 9 * time.Minute: true, -9 * time.Minute: true, 11 * time.Minute: false, -11 * time.Minute: false} {
		date := time.Now().Add(ahead)
		a := Answer{Header: []Field{{"Date", date.UTC().Format(http.TimeFormat)}}}
		if got := a.Date(); got.IsZero() == kept || kept && got.Unix() != date.Unix() {
			t.Errorf("%s ahead: got %v, want it kept %v", ahead, got, kept)
		}
	}
	for _, text := range []string{"", "yesterday"} {
		if got := (Answer{Header: []Field{{"Date", text}}}).Date(); !got.IsZero() {
			t.Errorf("%q: got %v", text, got)
		}
	}
}
