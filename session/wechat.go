package session

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"wxplatform/authorizer"
	"wxplatform/wechat"
)

// Pair is a kf account and the customer that it serves: the body of close and create.
type Pair struct {
	KFAccount wechat.KFAccount
	OpenID    wechat.OpenID
	sent      wechat.Call // as the caller sent it, which is what WeChat gets
}

// members are what the platform reads of a Pair's body.
type members struct {
	KFAccount wechat.KFAccount `json:"kf_account"`
	OpenID    wechat.OpenID    `json:"openid"`
}

func closeSession(p Pair) wechat.Call { return p.call("/customservice/kfsession/close") }

func createSession(p Pair) wechat.Call { return p.call("/customservice/kfsession/create") }

func (p Pair) call(path string) wechat.Call {
	call := p.sent
	call.Method, call.Path, call.Explicit = http.MethodPost, path, true
	return call
}

func getSession(customer wechat.OpenID) wechat.Call {
	query := url.Values{"openid": {string(customer)}}
	return wechat.Call{Method: http.MethodGet, Path: "/customservice/kfsession/getsession", Query: query.Encode(), Repeatable: true}
}

// current reads the session of a customer, and WeChat's clock when it answered. If nobody serves
// the customer, the answer's kf_account is "" and its createtime is 0 or absent (docs/wechat.md,
// "Customer-service sessions"). An answer that is not whole, or without one kf_account, says
// nothing, so it is an error.
func current(ctx context.Context, t authorizer.Turn, customer wechat.OpenID) (Session, time.Time, error) {
	var now Session
	call := getSession(customer)
	call.Read = now.read
	answer, err := t.Call(ctx, call)
	if err != nil {
		return Session{}, time.Time{}, fmt.Errorf("session of a customer of %s: %w", t.AppID, err)
	}
	return now, answer.Date(), nil
}

// read reads an answer of getsession.
func (s *Session) read(o wechat.Object) (lacks string) {
	kf, ok := o.Text("kf_account")
	if !ok || o.Mentions(tokenMembers...) || !o.Whole() || !o.Agrees("kf_account") || !o.Agrees("createtime") {
		return "kf_account"
	}
	*s = Session{wechat.KFAccount(kf), created(o)}
	return ""
}

// firstSession is before WeChat had customer service.
var firstSession = time.Date(2011, 1, 1, 0, 0, 0, 0, time.UTC)

// created reads when the session of an answer began; zero if that is not known. A createtime before
// 2011, or more than a day ahead, is an error of WeChat's and is not used.
func created(o wechat.Object) time.Time {
	seconds, ok := o.Int("createtime")
	at := wechat.PlausibleTime(seconds, firstSession, time.Now().Add(24*time.Hour))
	if ok && seconds != 0 && at.IsZero() {
		o.Odd("createtime", wechat.OddClamped)
	}
	return at
}

// List returns WeChat's answer to getsessionlist, unchanged: the customers that a kf account
// serves.
func (s *Service) List(ctx context.Context, a authorizer.Admitted, kf wechat.KFAccount) (json.RawMessage, error) {
	query := url.Values{"kf_account": {string(kf)}}
	return s.read(ctx, a, wechat.Call{Path: "/customservice/kfsession/getsessionlist", Query: query.Encode()})
}

// Waiting returns WeChat's answer to getwaitcase, unchanged: how many customers wait to be served,
// and the first 100 of them.
func (s *Service) Waiting(ctx context.Context, a authorizer.Admitted) (json.RawMessage, error) {
	return s.read(ctx, a, wechat.Call{Path: "/customservice/kfsession/getwaitcase"})
}

// Get returns WeChat's answer to getsession, unchanged: the kf account that serves a customer.
func (s *Service) Get(ctx context.Context, a authorizer.Admitted, customer wechat.OpenID) (json.RawMessage, error) {
	return s.read(ctx, a, getSession(customer))
}

// tokenMembers are members that no answer about sessions has. An answer that has one answers
// another call, so nothing of it is used or passed on.
var tokenMembers = []string{
	"access_token", "component_access_token", "authorizer_access_token", "authorizer_refresh_token",
	"refresh_token", "pre_auth_code", "authorization_info", "authorizer_info", "component_verify_ticket",
}

// Checks has, for each call that reads sessions, by path, what wechat.Call.Read must do at least:
// find the member that the answer must have. One that belongs to another call lacks it, too.
var Checks = map[string]func(wechat.Object) (lacks string){
	"/customservice/kfsession/getsession":     has("kf_account"),
	"/customservice/kfsession/getsessionlist": has("sessionlist"),
	"/customservice/kfsession/getwaitcase":    has("waitcaselist"),
}

func has(member string) func(wechat.Object) (lacks string) {
	return func(o wechat.Object) string {
		if !o.Has(member) || o.Mentions(tokenMembers...) || !o.Whole() {
			return member
		}
		return ""
	}
}

// read sends a call that only reads, and returns the answer as it came. If Checks finds that it
// answers another call, the outcome is unknown.
func (s *Service) read(ctx context.Context, a authorizer.Admitted, call wechat.Call) (json.RawMessage, error) {
	t, err := s.authorizers.Begin(ctx, a)
	if err != nil {
		return nil, err
	}
	defer t.End()
	call.Method, call.Repeatable = http.MethodGet, true
	var clean json.RawMessage
	call.Read = func(o wechat.Object) (lacks string) {
		clean = o.JSON()
		return Checks[call.Path](o)
	}
	answer, err := t.Call(ctx, call)
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", call.Path, a.AppID, err)
	}
	if json.Valid(answer.Body) {
		return answer.Body, nil
	}
	return clean, nil
}
