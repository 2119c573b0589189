package wechatsim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"
)

// Refusal is an answer with an errcode.
type Refusal struct {
	Code   int
	detail string // appended to WeChat's own text
}

// Error returns WeChat's errmsg, without its request id.
func (r *Refusal) Error() string {
	text, known := errmsgs[r.Code]
	if !known {
		text = "refused"
	}
	return text + r.detail
}

func refuse(code int) error { return &Refusal{Code: code} }

// errmsgs are WeChat's texts (docs/wechat.md, "Error codes").
var errmsgs = map[int]string{
	-1:    "system error",
	40001: "invalid credential, access_token is invalid or not latest",
	40002: "invalid grant_type",
	40003: "invalid openid",
	40004: "invalid media type",
	40007: "invalid media_id",
	40008: "invalid message type",
	40013: "invalid appid",
	40014: "invalid access_token",
	40016: "invalid button size",
	40029: "invalid code",
	40030: "invalid refresh_token",
	40066: "invalid url",
	40097: "invalid args",
	40125: "invalid appsecret",
	40163: "code been used",
	40169: "invalid length for scene, or the data is not json string",
	40170: "args count exceed count limit",
	41001: "access_token missing",
	41002: "appid missing",
	41003: "refresh_token missing",
	41004: "appsecret missing",
	41005: "media data missing",
	41008: "missing code",
	41009: "missing openid",
	41018: "component_appid missing",
	42001: "access_token expired",
	42002: "refresh_token expired",
	42007: "access_token and refresh_token exception",
	43001: "require GET method",
	43002: "require POST method",
	43007: "require bizuser authorize",
	44001: "empty media data",
	44002: "empty post data",
	44004: "empty content",
	45009: "reach max api daily quota limit",
	45011: "api minute-quota reach limit, must slower, retry next minute",
	45015: "response out of time limit or subscription is canceled",
	45047: "out of response count limit",
	46003: "menu no exist",
	47001: "data format error",
	48001: "api unauthorized",
	48006: "forbid to clear quota because of reaching the limit",
	61003: "component is not authorized by this account",
	61004: "access clientip is not registered",
	61005: "component ticket is expired",
	61006: "component ticket is invalid",
	61007: "api is unauthorized to component",
	61009: "code is invalid",
	61010: "code is expired",
	61011: "invalid component",
	61014: "must use component token for component api",
	61015: "must use biz account token for not component api",
	61023: "refresh_token is invalid",
	61450: "system error",
	65400: "please enable new custom service, or wait for a while if you have enabled",
	65401: "invalid custom service account",
	65402: "the custom service account need to bind a wechat user",
	65413: "no effective session for the customer",
	65414: "another worker is serving the customer",
	65415: "the worker is not online",
	76003: "invalid cgi_path",
	76021: "cgi_path not found",
	76022: "cgi_path is not supported",
}

// plainAnswer is the answer of calls that write, and each refusal. Answers of calls that read have
// no errcode.
type plainAnswer struct {
	ErrCode int    `json:"errcode"`
	ErrMsg  string `json:"errmsg"`
}

var okAnswer = plainAnswer{0, "ok"}

// answer is what will be sent. It is complete before anything is written, so that a fault can
// replace it.
type answer struct {
	code        int
	body        []byte
	contentType string // empty means WeChat's usual one
	fileName    string // for an answer that is a file
	isFile      bool
	closes      bool // ends the connection without announcing it
}

func (s *Sim) answerOf(result any, err error) answer {
	if f, isFile := result.(file); isFile && err == nil {
		return answer{body: f.data, contentType: f.content, fileName: f.name, isFile: true}
	}
	if err == nil {
		return answer{body: encode(result)}
	}
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		refusal = &Refusal{Code: -1}
	}
	return s.refusalAnswer(refusal)
}

func (s *Sim) refusalAnswer(r *Refusal) answer {
	body := encode(plainAnswer{r.Code, r.Error() + " rid: " + s.rid()})
	return answer{code: r.Code, body: body}
}

// rid returns a request id of WeChat's form; its first group is the time.
func (s *Sim) rid() string {
	return fmt.Sprintf("%08x-%08x-%08x", uint32(s.now().Unix()), rand.Uint32(), rand.Uint32())
}

// encode leaves < > & as they are, as WeChat does.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("wechatsim: an answer of our own cannot be encoded: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// writeDate sets Date to the simulator's own time, so that clients can compare it with theirs.
func (s *Sim) writeDate(w http.ResponseWriter) { w.Header().Set("Date", s.date()) }

func (s *Sim) date() string { return s.now().UTC().Format(http.TimeFormat) }

func (s *Sim) now() time.Time { return s.config.Now() }
