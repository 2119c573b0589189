package wechat

import (
	"bufio"
	"bytes"
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
