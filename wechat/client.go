package wechat

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"wxplatform/internal/seal"
)

const (
	// DefaultBase is where WeChat's API lives (wechat-protocol §7.3).
	DefaultBase = "https://api.weixin.qq.com"
	// CallPatience bounds one call, unless its context ends before: no lease outlives it (DESIGN.md §4 rule 2).
	CallPatience = 8 * time.Second
	dialPatience = 3 * time.Second
	answerLimit  = 4 << 20
)

// Client sends calls to WeChat. It follows no redirect, for a redirect would carry the token in its Referer, and sends no header but those it makes itself.
type Client struct {
	base    *url.URL // nil where it cannot be used
	wire    http.RoundTripper
	observe func(path string, code Code, took time.Duration, err error)
}

// NewClient speaks to base, or to WeChat itself where base is empty. observe, where not nil, is told of every call and must be quick; its err never holds a secret.
func NewClient(base string, observe func(path string, code Code, took time.Duration, err error)) *Client {
	if base == "" {
		base = DefaultBase
	}
	if observe == nil {
		observe = func(string, Code, time.Duration, error) {}
	}
	parsed, err := url.Parse(strings.TrimSuffix(base, "/"))
	if err != nil {
		parsed = nil
	}
	return &Client{base: parsed, wire: newTransport(), observe: observe}
}

func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: dialPatience, KeepAlive: 30 * time.Second}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    dialPatience,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    256,
		MaxConnsPerHost:        512,
		IdleConnTimeout:        50 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
	}
}

// CloseIdle closes the connections that nobody uses.
func (c *Client) CloseIdle() {
	if t, ok := c.wire.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}

// Call is one request to WeChat.
type Call struct {
	Method string
	Path   string     // begins with "/", fixed in our code
	Query  url.Values // without the token
	As     string     // the token's parameter, AsAccess or AsComponent; "" sends none
	Token  seal.Secret
	Body   any // sent as JSON; nil sends none. It may hold secrets in plain, so it is never kept
	Into   any // filled from the answer's JSON; nil passes it over
}

// The two names that WeChat has for a token's parameter (wechat-protocol §3, common rules).
const (
	AsAccess    = "access_token"
	AsComponent = "component_access_token"
)

// Reply is what else an answer told.
type Reply struct{ header http.Header }

// Date is WeChat's clock when it answered, whole seconds; zero where it did not say.
func (r Reply) Date() time.Time {
	t, _ := http.ParseTime(r.header.Get("Date"))
	return t
}

// Do sends one call, at most once but for what net/http sends again because no byte of it had left. Every error is an *Error: refused, not sent, or WeChat may have acted.
func (c *Client) Do(ctx context.Context, call Call) (Reply, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, CallPatience)
	defer cancel()
	reply, err := c.do(ctx, call)
	c.observe(call.Path, codeOf(err), time.Since(began), err)
	return reply, err
}

func codeOf(err error) Code {
	if e := wire(err); e != nil {
		return e.Code
	}
	return 0
}

func (c *Client) do(ctx context.Context, call Call) (Reply, error) {
	sent := &sending{}
	request, err := c.request(httptrace.WithClientTrace(ctx, sent.trace()), call)
	if err != nil {
		return Reply{}, &Error{path: call.Path, result: notSent, cause: err}
	}
	response, err := c.wire.RoundTrip(request)
	if err != nil {
		return Reply{}, &Error{path: call.Path, result: sent.outcome(), cause: withoutURL(err)}
	}
	defer response.Body.Close()
	return read(call, response)
}

// request hands net/http the base URL as NewClient parsed it, rather than have it parsed for each call.
func (c *Client) request(ctx context.Context, call Call) (*http.Request, error) {
	if c.base == nil {
		return nil, errors.New("the base URL cannot be used")
	}
	var body io.Reader
	header := noHeader
	if call.Body != nil {
		text, err := marshal(call.Body)
		if err != nil {
			return nil, fmt.Errorf("body of %s: %w", call.Path, err)
		}
		body, header = bytes.NewReader(text), jsonHeader
	}
	request, err := http.NewRequestWithContext(ctx, call.Method, "", body)
	if err != nil {
		return nil, fmt.Errorf("request of %s: %w", call.Path, err)
	}
	u := *c.base
	u.Path += call.Path
	u.RawQuery = query(call)
	request.URL, request.Host, request.Header = &u, u.Host, header
	return request, nil
}

// The headers of every request; nobody changes them. A nil User-Agent keeps net/http from naming itself.
var (
	noHeader   = http.Header{"User-Agent": nil}
	jsonHeader = http.Header{"User-Agent": nil, "Content-Type": {"application/json"}}
)

// The token is added last, so that no parameter of a caller's can stand before it.
func query(call Call) string {
	rest := call.Query.Encode()
	if call.As == "" {
		return rest
	}
	token := call.As + "=" + url.QueryEscape(call.Token.Reveal())
	if rest == "" {
		return token
	}
	return rest + "&" + token
}

// WeChat shows \u003c literally to users in old clients, so HTML is not escaped.
func marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(out.Bytes(), "\n"), nil
}

// sending knows whether a byte may have left: until a connection was got, none has.
type sending struct{ connected atomic.Bool }

func (s *sending) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { s.connected.Store(true) }}
}

func (s *sending) outcome() outcome {
	if s.connected.Load() {
		return unknown
	}
	return notSent
}

// net/http's url.Error carries the URL and so the token.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// WeChat answers 200 even when it refuses, so the error is read from the body; a missing errcode is success.
func read(call Call, response *http.Response) (Reply, error) {
	failed := func(cause error) (Reply, error) {
		return Reply{}, &Error{path: call.Path, result: unknown, cause: cause}
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, answerLimit+1))
	switch {
	case err != nil:
		return failed(fmt.Errorf("answer cut: %w", withoutURL(err)))
	case len(body) > answerLimit:
		return failed(errors.New("answer too large"))
	case response.StatusCode != http.StatusOK:
		return failed(fmt.Errorf("answered HTTP %d", response.StatusCode))
	}
	if call.Into == nil && string(body) == plainOK {
		return Reply{response.Header}, nil
	}
	var head struct {
		Code looseCode `json:"errcode"`
		Msg  string    `json:"errmsg"`
	}
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	if err := json.Unmarshal(body, &head); err != nil {
		return failed(errors.New("answer is not JSON"))
	}
	if head.Code != 0 {
		return Reply{}, answered(call.Path, Code(head.Code), head.Msg)
	}
	if call.Into != nil {
		if err := json.Unmarshal(body, call.Into); err != nil {
			return failed(errors.New("answer is not of its form"))
		}
	}
	return Reply{response.Header}, nil
}

// plainOK is what WeChat answers to nearly every call that writes; it need not be parsed.
const plainOK = `{"errcode":0,"errmsg":"ok"}`

// looseCode reads errcode as the number that WeChat documents, or as a string of one.
type looseCode int

func (l *looseCode) UnmarshalJSON(text []byte) error {
	text = bytes.Trim(text, `"`)
	if string(text) == "null" {
		return nil
	}
	return json.Unmarshal(text, (*int)(l))
}
