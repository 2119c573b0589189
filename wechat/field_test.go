package wechat

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"

	"wxplatform/internal/seal"
)

// sent returns the request that would be sent for a call.
func sent(call Call) string {
	return string((&Client{host: &host{name: "h"}}).appendRequest(nil, call, delivery{}))
}

func TestABodyMayHaveNoContentType(t *testing.T) {
	c := call()
	c.ContentType = NoContentType
	if got := sent(c); strings.Contains(got, "Content-Type") || !strings.Contains(got, "Content-Length: 9\r\n") {
		t.Errorf("got %q, want a body without a Content-Type", got)
	}
}

func TestFieldsAreSentAsTheyAre(t *testing.T) {
	c := call()
	c.Header = []Field{{"Wechatmp-Appid", "wx1"}, {"wechatmp-signature", "a+b/=="}}
	if got := sent(c); !strings.Contains(got, "\r\nWechatmp-Appid: wx1\r\nwechatmp-signature: a+b/==\r\n\r\n{") {
		t.Errorf("got %q, want both fields", got)
	}
}

func TestARequestThatIsNotWhatItSeemsIsNotSent(t *testing.T) {
	for name, change := range map[string]func(*Call){
		"a line in a value":         func(c *Call) { c.Header = []Field{{"X", "a\r\nY: b"}} },
		"a byte in a value":         func(c *Call) { c.Header = []Field{{"X", "a\x00"}} },
		"a line in a name":          func(c *Call) { c.Header = []Field{{"X\r\nY", "b"}} },
		"a colon in a name":         func(c *Call) { c.Header = []Field{{"X:", "b"}} },
		"a blank in a name":         func(c *Call) { c.Header = []Field{{"X ", "b"}} },
		"no name":                   func(c *Call) { c.Header = []Field{{"", "b"}} },
		"Host":                      func(c *Call) { c.Header = []Field{{"hoSt", "evil"}} },
		"Content-Length":            func(c *Call) { c.Header = []Field{{"Content-length", "1"}} },
		"Transfer-Encoding":         func(c *Call) { c.Header = []Field{{"Transfer-Encoding", "chunked"}} },
		"Connection":                func(c *Call) { c.Header = []Field{{"Connection", "close"}} },
		"Authorization":             func(c *Call) { c.Header = []Field{{"authorization", "Bearer x"}} },
		"Cookie":                    func(c *Call) { c.Header = []Field{{"Cookie", "a=b"}} },
		"a second Content-Type":     func(c *Call) { c.Header = []Field{{"Content-Type", "a/b"}} },
		"a line in Content-Type":    func(c *Call) { c.ContentType = "a/b\r\nX: y" },
		"a line in the path":        func(c *Call) { c.Path = "/a HTTP/1.1\r\nX: y" },
		"a blank in the query":      func(c *Call) { c.Query = "a=b c" },
		"a line in the query":       func(c *Call) { c.Query = "a=b\r\n" },
		"a body of a GET":           func(c *Call) { c.Method = http.MethodGet },
		"two bodies":                func(c *Call) { c.Upload, c.UploadLength = bytes.NewReader(nil), 0 },
		"a length without a body":   func(c *Call) { c.UploadLength = 1 },
		"a length below 0":          func(c *Call) { c.Body, c.Upload, c.UploadLength = nil, bytes.NewReader(nil), -1 },
		"an upload of a GET":        func(c *Call) { c.Method, c.Body, c.Upload = http.MethodGet, nil, bytes.NewReader(nil) },
		"a tab in a value":          func(c *Call) { c.Header = []Field{{"X", "a\tb"}} },
		"Expect":                    func(c *Call) { c.Header = []Field{{"Expect", "100-continue"}} },
		"NoContentType in a header": func(c *Call) { c.Header = []Field{{"X", NoContentType}} },
	} {
		c := call()
		change(&c)
		client := NewClient("http://127.0.0.1:1", Observer{})
		if _, err := client.Do(t.Context(), c); !errors.Is(err, ErrField) || !NotSent(err) {
			t.Errorf("%s: got %v, want ErrField", name, err)
		}
	}
}

func TestBytesAboveASCIIAreSent(t *testing.T) {
	c := Call{Method: "GET", Path: "/x", Query: "name=四季", As: AccessToken, Token: seal.NewSecret(canary), Header: []Field{{"X", "四季"}}}
	if err := c.check(); err != nil {
		t.Errorf("got %v, want them sent as they are", err)
	}
}
