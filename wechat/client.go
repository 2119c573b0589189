package wechat

import (
	"bytes"
	"cmp"
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

// CloseIdle closes the connections that nobody uses, and waits for those that are being dialled ahead
// of calls. None is dialled ahead after that.
func (c *Client) CloseIdle() {
	if c.host != nil {
		c.host.close()
	}
}

// Call is one request to WeChat. Its query and its body are sent as they are.
type Call struct {
	Method      string
	Path        string // begins with "/", fixed in our code
	Query       string // raw, without the token
	As          Credential
	Token       seal.Secret   // what As says it is
	ContentType string        // of Body; "" is application/json
	Body        []byte        // nil sends none. It may hold secrets in plain, so it is never kept
	Timeout     time.Duration // 0 is CallPatience

	// Repeatable says that the call may be sent again on another connection where a kept one ends
	// before the first byte of an answer: it reads, and spends nothing.
	Repeatable bool
	// Explicit says that only an answer that states errcode 0 is a success: WeChat's to a call that
	// writes.
	Explicit bool
	// Read, where not nil, reads the answer to a call that was not refused. It returns the name of a
	// member that the answer must have and has not, which makes the outcome unknown, or "".
	Read func(Object) (lacks string)
	// Once says that WeChat gives what the answer holds only once. Where Read finds all that it must
	// have, the call succeeded whatever else the answer says.
	Once bool
}

// JSON is the body that says v. It panics where v cannot be encoded.
func JSON(v any) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false) // WeChat shows \u003c literally to users in old clients
	if err := encoder.Encode(v); err != nil {
		panic("wechat: a body of our own cannot be encoded: " + err.Error())
	}
	return bytes.TrimRight(out.Bytes(), "\n")
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
	own        bool // with the component's credentials, and so with an answer that may hold a token
	once       bool // on a connection of its own, closed after the answer
	repeatable bool
}

// Answer is what WeChat answered, as it came.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// clockSlack is how far WeChat's clock may differ from ours. A Date that is further off comes from
// something between us that has a clock, or a cache, of its own.
const clockSlack = 10 * time.Minute

// Date is WeChat's clock when it answered, in whole seconds. It is zero where the answer does not
// say, or says a time that is more than ten minutes from now.
func (a Answer) Date() time.Time {
	date := a.DateAsSaid()
	if time.Since(date).Abs() > clockSlack {
		return time.Time{}
	}
	return date
}

// DateAsSaid is Date however far from our clock it is: for whoever wants to know whether ours is wrong.
func (a Answer) DateAsSaid() time.Time {
	date, _ := http.ParseTime(a.Header.Get("Date"))
	return date
}

// Do sends one call, at most once unless it is Repeatable. Every error is an *Error: refused, not
// sent, or WeChat may have acted.
func (c *Client) Do(ctx context.Context, call Call) (Answer, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(call.Timeout, CallPatience))
	defer cancel()
	a, err := c.do(ctx, call)
	c.observer.called(call.Path, time.Since(began), err)
	return a, err
}

func codeOf(err error) Code {
	if e := wire(err); e != nil {
		return e.Code
	}
	return 0
}

func (c *Client) do(ctx context.Context, call Call) (Answer, error) {
	if c.fault != nil {
		return Answer{}, &Error{path: call.Path, result: notSent, cause: c.fault}
	}
	how := c.host.delivery(call)
	got, left, err := c.send(ctx, c.request(call, how), how)
	switch {
	case err == nil:
		a := Answer{Status: got.status, Header: got.header, Body: got.body}
		return a, c.read(call, a)
	case left:
		return Answer{}, &Error{path: call.Path, result: unknown, cause: err}
	default:
		return Answer{}, &Error{path: call.Path, result: notSent, cause: err}
	}
}

// request writes what is sent, in one piece. The token is added last, so that no parameter of a caller's can stand before it.
func (c *Client) request(call Call, how delivery) []byte {
	query := query(call)
	out := make([]byte, 0, 180+len(c.host.prefix)+len(call.Path)+len(query)+len(c.host.name)+len(call.Body))
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
	if how.once {
		out = append(out, "\r\nConnection: close"...)
	}
	if call.Method != http.MethodGet {
		if call.Body != nil {
			out = append(out, "\r\nContent-Type: "...)
			out = append(out, cmp.Or(call.ContentType, "application/json")...)
		}
		out = append(out, "\r\nContent-Length: "...)
		out = strconv.AppendInt(out, int64(len(call.Body)), 10)
	}
	out = append(out, "\r\n\r\n"...)
	return append(out, call.Body...)
}

func query(call Call) string {
	if call.As == NoToken {
		return call.Query
	}
	token := call.As.parameter() + "=" + url.QueryEscape(call.Token.Reveal())
	if call.Query == "" {
		return token
	}
	return call.Query + "&" + token
}

// plainOK is what WeChat answers to nearly every call that writes; it need not be parsed.
const plainOK = `{"errcode":0,"errmsg":"ok"}`

// read says what an answer means. WeChat answers 200 even when it refuses, so a refusal is read from
// the body; where that states no errcode, the call succeeded unless something is missing.
func (c *Client) read(call Call, a Answer) error {
	if a.Status == http.StatusOK && call.Explicit && string(a.Body) == plainOK {
		return nil
	}
	if len(a.Body) > answerLimit {
		return unknownOutcome(call, "answer too large")
	}
	o, is := parseObject(a.Body, "", c.observer.oddIn(call.Path))
	if is && call.Once && call.Read(o) == "" {
		return nil
	}
	if a.Status != http.StatusOK {
		return unknownOutcome(call, fmt.Sprintf("answered HTTP %d", a.Status))
	}
	code, stated := o.Int("errcode")
	if code != 0 {
		msg, _ := o.Text("errmsg")
		return answered(call.Path, Code(code), msg)
	}
	return lacking(call, o, is, stated)
}

// lacking says what is missing in an answer that refuses nothing, or nil.
func lacking(call Call, o Object, is, stated bool) error {
	switch {
	case call.Explicit && !(stated && o.Whole()):
		o.Odd("errcode", OddMissing)
		return unknownOutcome(call, "the answer does not say errcode 0")
	case call.Read == nil:
		return nil
	case !is:
		return unknownOutcome(call, "the answer is not a JSON object")
	}
	if lacks := call.Read(o); lacks != "" {
		o.Odd(lacks, OddMissing)
		return unknownOutcome(call, "the answer lacks "+lacks)
	}
	return nil
}

func unknownOutcome(call Call, why string) error {
	return &Error{path: call.Path, result: unknown, cause: errors.New(why)}
}
