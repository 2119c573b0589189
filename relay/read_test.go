package relay

import (
	"errors"
	"io"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"wxplatform/internal/strict"
)

func TestOnlyTheTokenIsTakenOutOfAQuery(t *testing.T) {
	for query, want := range map[string]string{
		"access_token=x":                        "",
		"a=%E4%BD%A0&access_token=x&b=1+2&c":    "a=%E4%BD%A0&b=1+2&c",
		"next_openid=&access%5Ftoken=x&kf=a@b":  "next_openid=&kf=a@b",
		"access_tokens=1&xaccess_token=2&debug": "access_tokens=1&xaccess_token=2&debug",
	} {
		if got := withoutToken(query); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
}

// A query is refused if any reader could find a token in it, so that WeChat gets only ours.
func FuzzCheckQuery(f *testing.F) {
	for _, query := range []string{"a=1", "a;access_token=x", "Access_Token=x", "access%255ftoken=x", "a#access_token", "a?access_token=1", "a=access_token", "%zz&access_token"} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		if checkQuery(query) != nil {
			return
		}
		if strings.ContainsAny(query, " #\r\n\x00") {
			t.Fatalf("got %q, want it refused", query)
		}
		values, _ := url.ParseQuery(strings.ReplaceAll(query, ";", "&"))
		for name := range values {
			if strings.EqualFold(name, tokenName) {
				t.Fatalf("got %q, want a token refused", query)
			}
		}
	})
}

func TestABodyIsKeptMeasuredOrStreamed(t *testing.T) {
	post := API{Method: "POST", Path: "/cgi-bin/draft/add", Body: JSONBody}
	for what, c := range map[string]struct {
		body   string
		length int64
		err    error
		kept   bool
	}{
		"short":                 {"{}", 2, nil, true},
		"short without length":  {"{}", -1, nil, true},
		"long":                  {strings.Repeat("x", keptLimit+1), keptLimit + 1, nil, false},
		"long without length":   {strings.Repeat("x", measured+1), -1, ErrLength, false},
		"too long":              {"", UploadLimit + 1, ErrTooLarge, false},
		"shorter than it says":  {"{}", 3, &strict.Fault{Why: "body could not be read"}, false},
		"longest that is known": {strings.Repeat("x", measured), -1, nil, true},
	} {
		request := httptest.NewRequest("POST", "/", io.NopCloser(strings.NewReader(c.body)))
		request.ContentLength = c.length
		r, err := read(request, post, "")
		var fault *strict.Fault
		if !errors.Is(err, c.err) && !(errors.As(c.err, &fault) && errors.As(err, &fault)) {
			t.Errorf("%s: got %v, want %v", what, err, c.err)
		}
		if c.err == nil && ((string(r.Body) == c.body) != c.kept || (r.Upload != nil) == c.kept) {
			t.Errorf("%s: got %d bytes kept, streamed %v, want kept %v", what, len(r.Body), r.Upload != nil, c.kept)
		}
	}
}

func TestAGETWithABodyIsRefused(t *testing.T) {
	var fault *strict.Fault
	request := httptest.NewRequest("GET", "/", strings.NewReader("x"))
	if _, err := read(request, API{Method: "GET"}, ""); !errors.As(err, &fault) {
		t.Errorf("got %v, want a fault", err)
	}
}

func TestOnlyFieldsThatWeChatReadsAreSent(t *testing.T) {
	request := httptest.NewRequest("POST", "/", strings.NewReader("{}"))
	for name, value := range map[string]string{"Cookie": "c", "Authorization": "b", "X-Forwarded-For": "f", "Wechatmp-Signature": "s", "Idempotency-Key": "i", "Content-Type": "text/x"} {
		request.Header.Set(name, value)
	}
	r, err := read(request, API{Method: "POST"}, "")
	if err != nil || len(r.Header) != 1 || r.Header[0].Value != "s" || r.ContentType != "text/x" {
		t.Errorf("got %+v %v, want the signature and the type only", r, err)
	}
}
