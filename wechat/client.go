package wechat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
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
	host     *host
	fault    error // why there is no host
	send     func(ctx context.Context, request []byte, how delivery) (a answer, left bool, err error)
	observer Observer
}

// NewClient returns a client of the host that base names, or of WeChat itself where base is empty.
func NewClient(base string, observer Observer) *Client {
	if base == "" {
		base = DefaultBase
	}
	c := &Client{observer: observer}
	parsed, err := url.Parse(strings.TrimSuffix(base, "/"))
	if err != nil {
		c.fault = errors.New("the base URL cannot be read")
		return c
	}
	c.host, c.fault = newHost(parsed, observer.surplus)
	c.send = c.host.send
	return c
}

// CloseIdle closes the connections that nobody uses.
func (c *Client) CloseIdle() {
	if c.host != nil {
		c.host.closeIdle()
	}
}

// Call is one request to WeChat.
type Call struct {
	Method string
	Path   string     // begins with "/", fixed in our code
	Query  url.Values // without the token
	As     Credential // what Token is
	Token  seal.Secret
	// Repeatable says that the call may be sent again on another connection where a kept one ends
	// before the first byte of an answer: it reads, and spends nothing.
	Repeatable bool
	Body       any // sent as JSON; nil sends none. It may hold secrets in plain, so it is never kept
	Into       any // filled from the answer's JSON; nil passes it over
}

// Credential says what a call's token is, and so how it is sent and over which connections.
type Credential int

const (
	// NoToken is for calls whose credentials are in their body.
	NoToken Credential = iota
	// ComponentToken is the component's token, sent as component_access_token.
	ComponentToken
	// ComponentTokenAsAccess is the component's token, sent as access_token.
	ComponentTokenAsAccess
	// AccessToken is an authorizer's access token. Only its calls share connections.
	AccessToken
)

// parameter is the name under which WeChat takes the token (wechat-protocol §3, common rules).
func (c Credential) parameter() string {
	if c == ComponentToken {
		return "component_access_token"
	}
	return "access_token"
}

// delivery is how a request travels.
type delivery struct {
	once       bool // on a connection of its own, closed after the answer
	repeatable bool
}

// delivery keeps every call that presents the component's own credentials, and so every answer that
// can hold a token, off the connections that tenants' calls share.
func (call Call) delivery() delivery {
	return delivery{once: call.As != AccessToken, repeatable: call.Repeatable}
}

// Reply is what else an answer told.
type Reply struct{ header http.Header }

// Date is WeChat's clock when it answered, whole seconds; zero where it did not say.
func (r Reply) Date() time.Time {
	t, _ := http.ParseTime(r.header.Get("Date"))
	return t
}

// Do sends one call, at most once. Every error is an *Error: refused, not sent, or WeChat may have acted.
func (c *Client) Do(ctx context.Context, call Call) (Reply, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, CallPatience)
	defer cancel()
	reply, err := c.do(ctx, call)
	c.observer.called(call.Path, time.Since(began), err)
	return reply, err
}

func codeOf(err error) Code {
	if e := wire(err); e != nil {
		return e.Code
	}
	return 0
}

func (c *Client) do(ctx context.Context, call Call) (Reply, error) {
	request, err := c.request(call)
	if err != nil {
		return Reply{}, &Error{path: call.Path, result: notSent, cause: err}
	}
	answer, left, err := c.send(ctx, request, call.delivery())
	switch {
	case err == nil:
		return read(call, answer)
	case left:
		return Reply{}, &Error{path: call.Path, result: unknown, cause: err}
	default:
		return Reply{}, &Error{path: call.Path, result: notSent, cause: err}
	}
}

// request writes what is sent, in one piece. The token is added last, so that no parameter of a caller's can stand before it.
func (c *Client) request(call Call) ([]byte, error) {
	if c.fault != nil {
		return nil, c.fault
	}
	var body []byte
	if call.Body != nil {
		var err error
		if body, err = marshal(call.Body); err != nil {
			return nil, fmt.Errorf("body of %s: %w", call.Path, err)
		}
	}
	query := query(call)
	out := make([]byte, 0, 160+len(c.host.prefix)+len(call.Path)+len(query)+len(c.host.name)+len(body))
	out = append(out, call.Method...)
	out = append(out, ' ')
	out = append(out, c.host.prefix...)
	out = append(out, call.Path...)
	if query != "" {
		out = append(out, '?')
		out = append(out, query...)
	}
	out = append(out, " HTTP/1.1\r\nHost: "...)
	out = append(out, c.host.name...)
	if call.Method != http.MethodGet {
		if body != nil {
			out = append(out, "\r\nContent-Type: application/json"...)
		}
		out = append(out, "\r\nContent-Length: "...)
		out = strconv.AppendInt(out, int64(len(body)), 10)
	}
	out = append(out, "\r\n\r\n"...)
	return append(out, body...), nil
}

func query(call Call) string {
	rest := ""
	if len(call.Query) > 0 {
		rest = call.Query.Encode()
	}
	if call.As == NoToken {
		return rest
	}
	token := call.As.parameter() + "=" + url.QueryEscape(call.Token.Reveal())
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

// WeChat answers 200 even when it refuses, so the error is read from the body; a missing errcode is success.
func read(call Call, a answer) (Reply, error) {
	failed := func(why string) (Reply, error) {
		return Reply{}, &Error{path: call.Path, result: unknown, cause: errors.New(why)}
	}
	switch {
	case len(a.body) > answerLimit:
		return failed("answer too large")
	case a.status != http.StatusOK:
		return failed(fmt.Sprintf("answered HTTP %d", a.status))
	}
	if call.Into == nil && string(a.body) == plainOK {
		return Reply{a.header}, nil
	}
	var head struct {
		Code looseCode `json:"errcode"`
		Msg  string    `json:"errmsg"`
	}
	body := bytes.TrimPrefix(a.body, []byte("\xef\xbb\xbf"))
	if err := json.Unmarshal(body, &head); err != nil {
		return failed("answer is not JSON")
	}
	if head.Code != 0 {
		return Reply{}, answered(call.Path, Code(head.Code), head.Msg)
	}
	if call.Into != nil {
		if err := json.Unmarshal(body, call.Into); err != nil {
			return failed("answer is not of its form")
		}
	}
	return Reply{a.header}, nil
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
