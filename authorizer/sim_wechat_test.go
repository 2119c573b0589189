package authorizer_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"runtime"
	"time"
)

// weChat is the WeChat of a history. The newest access token lives, the one before it for the
// overlap; refresh tokens stay, or rotate.
type weChat struct {
	w        *world
	overlap  time.Duration
	rotation rotation

	component issued
	access    issued
	refresh   string
	before    string // the refresh token before
	refreshes int
	withdrawn bool // the merchant withdrew
	dead      bool // the refresh token is refused for good
	ended     bool // it was withdrawn or dead at some time
	used      map[string]bool

	requests []*request // under way: sent, and not yet acted on
	sequence int
	sent     map[string]int // when the request was sent that an access token came by
	exchange map[string]bool
	refused  int // 61023
	asks     map[string]int
}

type rotation int

const (
	stable  rotation = iota
	lastTwo          // the newest refresh token is taken, and the one before
	lastOne          // only the newest
)

// issued are tokens of one kind, of which the newest live.
type issued struct {
	name     string
	count    int
	replaced time.Duration // when the newest replaced the one before
	expires  time.Duration
	previous time.Duration // when the one before expires
}

const (
	tokenLife = 2 * time.Hour
	overlap   = 5 * time.Minute
)

func (i *issued) give(now time.Duration) string {
	i.count++
	i.replaced, i.previous, i.expires = now, i.expires, now+tokenLife
	return i.newest()
}

func (i *issued) newest() string { return fmt.Sprint(i.name, " ", i.count) }

// refuses is the code with which a token is refused, or 0.
func (i *issued) refuses(token string, now, overlap time.Duration) int {
	switch {
	case token == i.newest() && now >= i.expires:
		return 42001
	case token == i.newest():
		return 0
	case token == fmt.Sprint(i.name, " ", i.count-1) && now < i.replaced+overlap && now < i.previous:
		return 0
	}
	return 40001
}

// request is what was sent to WeChat.
type request struct {
	path   string
	body   map[string]any
	with   string // the component token
	number int
	until  time.Duration // WeChat acts before this, or never
	by     string
	acted  bool
	answer string
}

const (
	connected   = iota // sent, and WeChat takes its time
	through            // sent, acted on and answered
	unreachable        // not sent
)

const (
	answerComes = iota
	answerLost
)

// send is a replica's network.
func (r *process) send(ctx context.Context, request []byte) (status int, body string, left bool, err error) {
	sent, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
	if err != nil {
		return 0, "", false, err
	}
	wx := r.w.wx
	if sent.URL.Path == "/cgi-bin/merchant" {
		r.wait(ctx, atCall, "merchant's call")
		return wx.call(ctx, sent)
	}
	deadline, _ := ctx.Deadline()
	fate := r.wait(ctx, atConnect, path.Base(sent.URL.Path))
	if ctx.Err() != nil {
		return 0, "", false, ctx.Err()
	}
	if fate == unreachable {
		return 0, "", false, errors.New("connection refused")
	}
	q := wx.take(ctx, sent)
	q.until = r.w.passed() + time.Until(deadline) - 8*time.Second + time.Minute
	if fate == through {
		wx.act(q)
		return respond(q.answer)
	}
	return r.await(ctx, q)
}

// await is the answer of q, or that it did not come in time. A process that stood still meanwhile
// may find both.
func (r *process) await(ctx context.Context, q *request) (status int, body string, left bool, err error) {
	g := r.enter(ctx, &gate{kind: atAnswer, what: "answer of " + q.String(), q: q})
	if g == nil {
		runtime.Goexit()
	}
	fate := answerLost
	select {
	case o := <-g.order:
		if fate = o.fate; o.die {
			runtime.Goexit()
		}
	case <-ctx.Done():
		r.w.leave(g)
		fate = r.wait(ctx, atTimeout, "time-out of "+q.String())
	}
	if fate == answerLost || !q.acted {
		return 0, "", true, errors.New("no answer")
	}
	return respond(q.answer)
}

func (q *request) String() string { return fmt.Sprintf("#%d %s", q.number, q.path) }

func respond(text string) (status int, body string, left bool, err error) {
	if text == "502" {
		return http.StatusBadGateway, text, true, nil
	}
	return http.StatusOK, text, true, nil
}

func refusal(code int) string { return fmt.Sprintf(`{"errcode":%d,"errmsg":"simulated"}`, code) }

func answerOf(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}

// call is a merchant's, answered at once.
func (x *weChat) call(ctx context.Context, sent *http.Request) (status int, body string, left bool, err error) {
	if ctx.Err() != nil {
		return 0, "", false, ctx.Err()
	}
	x.w.counts.calls++
	with := sent.URL.Query().Get("access_token")
	code := x.access.refuses(with, x.w.passed(), x.overlap)
	if x.withdrawn {
		code = 61003
	}
	x.w.note("WeChat answers a call with %s: %d", with, code)
	return respond(refusal(code))
}

func (x *weChat) take(ctx context.Context, sent *http.Request) *request {
	x.sequence++
	query := sent.URL.Query()
	with := cmp.Or(query.Get("component_access_token"), query.Get("access_token"))
	q := &request{path: path.Base(sent.URL.Path), with: with, number: x.sequence, by: taskOf(ctx)}
	text, _ := io.ReadAll(sent.Body)
	_ = json.Unmarshal(text, &q.body)
	x.requests = append(x.requests, q)
	if x.asks[q.path]++; q.path == "api_authorizer_token" {
		x.w.counts.asks++
	}
	return q
}

func (x *weChat) drop(q *request) {
	for i, one := range x.requests {
		if one == q {
			x.requests = append(x.requests[:i:i], x.requests[i+1:]...)
			return
		}
	}
}

// act has WeChat act on q, also where nobody waits for the answer any more.
func (x *weChat) act(q *request) {
	x.drop(q)
	q.acted = true
	if q.answer == "" {
		q.answer = x.answer(q)
	}
	x.w.note("WeChat acts on %s: %s", q, q.answer)
}

func (x *weChat) answer(q *request) string {
	now := x.w.passed()
	if q.path == "api_component_token" {
		return answerOf(map[string]any{"component_access_token": x.component.give(now), "expires_in": int(tokenLife.Seconds())})
	}
	if code := x.component.refuses(q.with, now, x.overlap); code != 0 {
		return refusal(code)
	}
	switch q.path {
	case "api_authorizer_token":
		return x.renew(q)
	case "api_query_auth":
		return x.redeem(q)
	case "api_get_authorizer_info":
		if x.withdrawn {
			return refusal(61003)
		}
		return `{"authorizer_info":{"nick_name":"n","user_name":"gh_1","service_type_info":{"id":2},"verify_type_info":{"id":0}},"authorization_info":{"func_info":[{"funcscope_category":{"id":1}}]}}`
	case "api_get_authorizer_list":
		if x.withdrawn {
			return `{"total_count":0,"list":[]}`
		}
		return answerOf(map[string]any{"total_count": 1, "list": []any{map[string]any{"authorizer_appid": id, "refresh_token": x.refresh}}})
	}
	return `{"errcode":0,"errmsg":"ok","quota":{}}` // api_start_push_ticket, quota/get
}

func (x *weChat) renew(q *request) string {
	offered, _ := q.body["authorizer_refresh_token"].(string)
	switch {
	case x.withdrawn:
		return refusal(61003)
	case x.dead, offered != x.refresh && (x.rotation == lastOne || offered != x.before):
		x.refused++
		return refusal(61023)
	}
	if x.rotation != stable {
		x.rotate()
	}
	return answerOf(map[string]any{"authorizer_access_token": x.give(q, false), "authorizer_refresh_token": x.refresh, "expires_in": int(tokenLife.Seconds())})
}

func (x *weChat) rotate() {
	x.refreshes++
	x.before, x.refresh = x.refresh, fmt.Sprint("refresh ", x.refreshes)
}

func (x *weChat) give(q *request, exchange bool) string {
	access := x.access.give(x.w.passed())
	x.sent[access], x.exchange[access] = q.number, exchange
	return access
}

// redeem is an authorization. One that ended gets a refresh token of its own, and so does every one
// that rotates.
func (x *weChat) redeem(q *request) string {
	code, _ := q.body["authorization_code"].(string)
	if x.used[code] {
		return refusal(61009)
	}
	x.used[code] = true
	if x.withdrawn || x.dead || x.rotation != stable {
		x.rotate()
		x.before = ""
	}
	x.withdrawn, x.dead = false, false
	return answerOf(map[string]any{"authorization_info": map[string]any{"authorizer_appid": id,
		"authorizer_access_token": x.give(q, true), "authorizer_refresh_token": x.refresh, "expires_in": int(tokenLife.Seconds())}})
}
