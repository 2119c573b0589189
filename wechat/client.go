// Package wechat talks to WeChat's open platform: it sends calls and reads their answers, decrypts
// and encrypts pushes, and names WeChat's error codes and ids.
//
// It contains no API of WeChat's: the packages above it describe theirs as a Call. It stores
// nothing, so it does not need SQL or Redis. If WeChat is unreachable, a call fails within
// CallPatience, and the error says whether WeChat may have acted. Answers and pushes are read
// tolerantly, field by field, because real ones differ from WeChat's documents.
package wechat

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"wxplatform/internal/seal"
	"wxplatform/internal/trace"
)

const (
	// DefaultBase is the base URL of WeChat's API (docs/wechat.md, "Hosts and time-outs").
	DefaultBase = "https://api.weixin.qq.com"
	// CallPatience limits one call, unless its context ends earlier. It is shorter than every lease
	// under which a call is made (docs/design.md, "One refresher").
	CallPatience = 8 * time.Second
	dialPatience = 3 * time.Second
	answerLimit  = 4 << 20
)

// Client sends calls to WeChat over connections that it keeps. It is safe for concurrent use. It
// follows no redirect, because a redirect would carry the token in its Referer, and sends only the
// header fields that HTTP needs and those of the call. Make one with NewClient.
type Client struct {
	// NetHTTP leaves every answer to net/http's parser. Otherwise this package reads answers of the
	// plain form itself (plain.go), with the same result. It must not change after the first call.
	NetHTTP bool

	host     *host
	fault    error                                                                                    // why host is nil
	send     func(ctx context.Context, request []byte, how delivery) (a answer, left bool, err error) // host.send, except in the simulation
	observer Observer
	requests sync.Pool // of *[]byte, zeroed
}

// NewClient returns a client for the API at base, an http or https URL, or for WeChat if base is
// empty. If base cannot be used, each call fails as not sent.
func NewClient(base string, observer Observer) *Client {
	if base == "" {
		base = DefaultBase
	}
	c := &Client{observer: observer}
	parsed, err := url.Parse(strings.TrimSuffix(base, "/"))
	if err != nil {
		c.fault = errors.New("the base URL is not valid")
		return c
	}
	c.host, c.fault = newHost(parsed, observer.surplus)
	c.send = c.host.send
	return c
}

// CloseIdle closes the connections that no call uses, and stops dialling ahead. It waits for dials
// in flight. Calls may still be made afterwards.
func (c *Client) CloseIdle() {
	if c.host != nil {
		c.host.close()
	}
}

// Call is one request to WeChat. Query and Body are sent exactly as they are.
type Call struct {
	Method      string
	Path        string // begins with "/"
	Name        string // what logs and metrics show, a constant of our code; if "", Path is one, and is shown
	Query       string // raw, without "?" and without the token
	As          Credential
	Token       seal.Secret   // the kind that As names
	Header      []Field       // further fields, which WeChat reads
	ContentType string        // of the body; "" means application/json. See NoContentType
	Body        []byte        // nil sends none. It may hold secrets, so it is never kept
	Timeout     time.Duration // 0 means CallPatience, or TransferPatience for a transfer

	// Upload, if not nil, is sent instead of Body while it is read, with UploadLength as its
	// Content-Length: WeChat refuses chunked bodies. If it has another length, or cannot be read, the
	// call fails with ErrBody. Do does not wait for a Read of it in progress: that one may return
	// after Do has, but none begins after that.
	Upload       io.Reader
	UploadLength int64
	// Streamed says that an answer with status 200 that is not a JSON object, or that is larger than
	// 4 MiB, is handed on as Answer.Stream. It counts as a success; Read and Explicit are only for the
	// others.
	Streamed bool

	// Repeatable says that the call may be sent a second time, on another connection, if a kept
	// connection ends before the first byte of an answer. It must only read, and use up nothing.
	Repeatable bool
	// Explicit says that only an answer with errcode 0 is a success, as WeChat sends for calls that
	// write.
	Explicit bool
	// Read, if not nil, reads an answer that is not a refusal. It returns the name of a required
	// member that is missing, which makes the outcome unknown, or "".
	Read func(Object) (lacks string)
	// Repeats is how often the same call was sent before, with a token that WeChat rejected or with an
	// answer that was lost. Only traces show it.
	Repeats int
	// Once says that WeChat returns this answer only once. The call succeeds if Read finds all that it
	// requires, whatever the status or errcode. If Read does not, and the call is no tenant's and the
	// answer no refusal, Read is tried once more on all members found anywhere in the text, even if
	// that is cut or not JSON. Once needs a Read.
	Once bool
}

// Again returns the call as it is sent another time.
func (c Call) Again() Call {
	c.Repeats++
	return c
}

// name returns what logs and metrics show of the call.
func (c Call) name() string { return cmp.Or(c.Name, c.Path) }

// JSON encodes v as a request's body. It panics if v cannot be encoded.
func JSON(v any) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false) // WeChat shows \u003c literally to users of old clients
	if err := encoder.Encode(v); err != nil {
		panic("wechat: a body of our own cannot be encoded: " + err.Error())
	}
	return bytes.TrimRight(out.Bytes(), "\n")
}

// Credential says which token a call carries. It decides how the token is sent, and over which
// connections the call goes.
type Credential int

const (
	// NoToken is for calls that have their credentials in the body.
	NoToken Credential = iota
	// ComponentToken is the component's token, sent as component_access_token.
	ComponentToken
	// ComponentTokenAsAccess is the component's token, sent as access_token.
	ComponentTokenAsAccess
	// ComponentTokenForTenant is ComponentToken in a call that a tenant asked for. It takes no
	// connection from the component's own calls.
	ComponentTokenForTenant
	// AccessToken is an authorizer's access token, or that of a user who logged in to its account.
	// Only calls with this one share connections.
	AccessToken
)

// parameter is the name of the token in the query (docs/wechat.md, "Common rules").
func (c Credential) parameter() string {
	if c == ComponentToken || c == ComponentTokenForTenant {
		return "component_access_token"
	}
	return "access_token"
}

// delivery says which connections may carry a request.
type delivery struct {
	component  bool // a call of the component's own, which must not wait for tenants' calls
	once       bool // on a new connection that is closed after the answer
	repeatable bool
	netHTTP    bool      // which reads the answer, whatever its form
	until      time.Time // when the call is given up
}

// Answer is WeChat's response as it came. Its status is 200 for most refusals too.
type Answer struct {
	Status int
	Header []Field // names as net/http spells them
	Body   []byte

	// Stream, if not nil, is the body of a Streamed call's answer as it arrives, in WeChat's own
	// Content-Encoding. It must be closed. It ends without an error only where the answer does: if the
	// connection is cut, if ctx ends, or if nothing arrives for 30 s, Read fails. One that has neither
	// a length nor chunks ends with its connection. It is nil if Do fails.
	Stream       io.ReadCloser
	StreamLength int64 // -1 if it is unknown
}

// clockSlack is how far a Date may be from our clock. One that is further off comes from something
// between WeChat and us that has a clock, or a cache, of its own.
const clockSlack = 10 * time.Minute

// Date returns WeChat's clock when it answered, in whole seconds. It is zero if the answer has no
// Date, or one that is more than ten minutes from our clock.
func (a Answer) Date() time.Time {
	date := a.DateAsSaid()
	if time.Since(date).Abs() > clockSlack {
		return time.Time{}
	}
	return date
}

// DateAsSaid returns the answer's Date however far it is from our clock, to find out whether our
// own clock is wrong. It is zero if there is none.
func (a Answer) DateAsSaid() time.Time {
	date, _ := http.ParseTime(valueOf(a.Header, "Date"))
	return date
}

// Do sends one call, and never more than once unless it is Repeatable. Every error is an *Error,
// which says whether WeChat refused, the call was not sent, or WeChat may have acted on it; then
// Answer is what arrived, if anything did. A call with Upload or Streamed is a transfer: it goes
// over a connection of its own, and fails if nothing moves for 30 s. Do returns within 100 ms after
// ctx was cancelled.
func (c *Client) Do(ctx context.Context, call Call) (Answer, error) {
	began := time.Now()
	ctx, span := trace.Call(ctx, call.name())
	a, err := c.do(ctx, call, began)
	a, err = withoutToken(call, a, err)
	c.observer.called(call.name(), time.Since(began), err)
	endSpan(span, call, a, err)
	return a, err
}

func codeOf(err error) Code {
	if e := asError(err); e != nil {
		return e.Code
	}
	return 0
}

func (c *Client) do(ctx context.Context, call Call, began time.Time) (Answer, error) {
	if err := cmp.Or(c.fault, call.check()); err != nil {
		return Answer{}, &Error{path: call.name(), result: notSent, cause: err}
	}
	if call.isTransfer() {
		return c.transfer(ctx, call)
	}
	how := c.host.delivery(call)
	how.netHTTP, how.until = c.NetHTTP, began.Add(cmp.Or(call.Timeout, CallPatience))
	request := c.buffer()
	*request = c.appendRequest((*request)[:0], call, how)
	got, left, err := c.send(ctx, *request, how)
	c.recycle(request)
	switch {
	case err == nil:
		a := Answer{Status: got.status, Header: got.header, Body: got.body}
		return a, c.read(call, a)
	case c.salvages(call, got.body): // what arrived before the connection was cut
		return Answer{Status: got.status, Header: got.header, Body: got.body}, nil
	case left:
		return Answer{}, &Error{path: call.name(), result: unknown, cause: err}
	default:
		return Answer{}, &Error{path: call.name(), result: notSent, cause: err}
	}
}

// mostRecycled is the size of the largest request whose buffer is used again.
const mostRecycled = 8 << 10

func (c *Client) buffer() *[]byte {
	if kept, ok := c.requests.Get().(*[]byte); ok {
		return kept
	}
	return new([]byte)
}

// recycle keeps the buffer of a request that was sent, without the token and all else in it.
func (c *Client) recycle(request *[]byte) {
	clear(*request)
	if cap(*request) <= mostRecycled {
		c.requests.Put(request)
	}
}

// appendRequest appends the bytes to send. The token is the last parameter, so that none in the
// caller's query can come before it.
func (c *Client) appendRequest(out []byte, call Call, how delivery) []byte {
	out = slices.Grow(out, 230+len(c.host.prefix)+len(call.Path)+len(call.Query)+len(call.Token.Reveal())+len(c.host.name)+len(call.Body))
	out = append(out, call.Method...)
	out = append(out, ' ')
	out = append(out, c.host.prefix...)
	out = append(out, call.Path...)
	out = appendQuery(out, call)
	out = append(out, " HTTP/1.1\r\nHost: "...)
	out = append(out, c.host.name...)
	if how.once {
		out = append(out, "\r\nConnection: close"...)
	}
	if call.Method != http.MethodGet {
		if call.hasBody() && call.ContentType != NoContentType {
			out = append(out, "\r\nContent-Type: "...)
			out = append(out, cmp.Or(call.ContentType, "application/json")...)
		}
		out = append(out, "\r\nContent-Length: "...)
		out = strconv.AppendInt(out, int64(len(call.Body))+call.UploadLength, 10)
	}
	out = appendFields(out, call.Header)
	out = append(out, "\r\n\r\n"...)
	return append(out, call.Body...)
}

func appendQuery(out []byte, call Call) []byte {
	mark := byte('?')
	if call.Query != "" {
		out = append(append(out, mark), call.Query...)
		mark = '&'
	}
	if call.As == NoToken {
		return out
	}
	out = append(append(out, mark), call.As.parameter()...)
	return append(append(out, '='), url.QueryEscape(call.Token.Reveal())...)
}

// plainOK is WeChat's answer to nearly every call that writes. It is recognised without parsing.
const plainOK = `{"errcode":0,"errmsg":"ok"}`

// read decides what an answer means. WeChat answers 200 even when it refuses, so a refusal is read
// from the body. If the body states no errcode, the call succeeded unless something required is
// missing.
func (c *Client) read(call Call, a Answer) error {
	if a.Status == http.StatusOK && call.Explicit && string(a.Body) == plainOK {
		return nil
	}
	if len(a.Body) > answerLimit {
		return unknownOutcome(call, "answer too large")
	}
	o, isObject := parseObject(a.Body, "", c.observer.oddIn(call.name()))
	once := call.Once && isObject
	switch {
	case once && (o.Whole() || call.isTenants()) && call.Read(o) == "",
		c.salvages(call, a.Body),   // the text is broken, or lacks something where it should be
		once && call.Read(o) == "": // last, because Read fills its caller's variables also if it fails
		return nil
	}
	if a.Status != http.StatusOK {
		return unknownOutcome(call, fmt.Sprintf("answered HTTP %d", a.Status))
	}
	code, stated := o.Int("errcode")
	if code != 0 {
		return answered(call.name(), Code(code), call.message(o))
	}
	return lacking(call, o, isObject, stated)
}

// salvages reports whether Read finds all that is required anywhere in the answer to a Once call of
// ours. It does not look into a refusal, which may repeat what an earlier answer held.
func (c *Client) salvages(call Call, body []byte) bool {
	if !call.Once || call.isTenants() || len(body) == 0 {
		return false
	}
	o := looseObject(body, nil)
	code, stated := o.Int("errcode")
	if code != 0 || o.Mentions("errcode") && !stated || call.Read(o) != "" {
		return false
	}
	o.odd = c.observer.oddIn(call.name())
	o.Odd("answer", OddUnreadable)
	return true
}

// isTenants reports whether the call is for a tenant: with an account's or a user's token, or on
// behalf of one.
func (c Call) isTenants() bool { return c.As == AccessToken || c.As == ComponentTokenForTenant }

// message returns the errmsg of a refusal, without the values of a body of ours, which may be
// secrets.
func (c Call) message(o Object) string {
	msg, _ := o.Text("errmsg")
	if c.isTenants() {
		return msg
	}
	for _, sent := range scanAnywhere(c.Body) {
		text, _, _ := sent.text()
		_, behind, _ := strings.Cut(text, "@@@") // WeChat's prefixes, such as refreshtoken@@@
		for _, shown := range []string{text, url.QueryEscape(text), behind} {
			if len(shown) >= shortestToken {
				msg = strings.ReplaceAll(msg, shown, "…")
			}
		}
	}
	return msg
}

// lacking returns an error if something required is missing in an answer that is not a refusal.
func lacking(call Call, o Object, isObject, stated bool) error {
	switch {
	case call.Explicit && !(stated && o.Whole()):
		o.Odd("errcode", OddMissing)
		return unknownOutcome(call, "the answer does not say errcode 0")
	case call.Read == nil:
		return nil
	case !isObject:
		return unknownOutcome(call, "the answer is not a JSON object")
	case !stated && o.hasValue("errcode"):
		return unknownOutcome(call, "the answer's errcode cannot be read")
	}
	if lacks := call.Read(o); lacks != "" {
		o.Odd(lacks, OddMissing)
		return unknownOutcome(call, "the answer lacks "+lacks)
	}
	return nil
}

func unknownOutcome(call Call, why string) error {
	return &Error{path: call.name(), result: unknown, cause: errors.New(why)}
}
