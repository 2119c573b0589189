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

// Pair is who serves whom: the body of close and create (wechat-protocol §5.1).
type Pair struct {
	KFAccount wechat.KFAccount `json:"kf_account"`
	OpenID    wechat.OpenID    `json:"openid"`
	text      []byte           // as the caller sent it, and as it is sent on
}

func closeSession(p Pair) wechat.Call {
	return wechat.Call{Method: http.MethodPost, Path: "/customservice/kfsession/close", Body: p.text, Explicit: true}
}

func createSession(p Pair) wechat.Call {
	return wechat.Call{Method: http.MethodPost, Path: "/customservice/kfsession/create", Body: p.text, Explicit: true}
}

func getSession(customer wechat.OpenID) wechat.Call {
	query := url.Values{"openid": {string(customer)}}
	return wechat.Call{Method: http.MethodGet, Path: "/customservice/kfsession/getsession", Query: query.Encode(), Repeatable: true}
}

// A session cannot be older than WeChat's customer service, nor begin tomorrow. A time outside of
// that is not one.
var firstSession = time.Date(2011, 1, 1, 0, 0, 0, 0, time.UTC)

// current is the session of customer, and WeChat's clock when it answered. When nobody serves, the
// answer's kf_account is "" and createtime 0 or absent (wechat-protocol §5.1). An answer without a
// kf_account says nothing.
func (s *Service) current(ctx context.Context, a authorizer.Admitted, customer wechat.OpenID) (Session, time.Time, error) {
	var now Session
	call := getSession(customer)
	call.Read = func(o wechat.Object) (lacks string) {
		kf, ok := o.Text("kf_account")
		if !ok || o.Mentions(tokenMembers...) {
			return "kf_account"
		}
		now = Session{wechat.KFAccount(kf), created(o)}
		return ""
	}
	answer, err := s.authorizers.Call(ctx, a, call)
	if err != nil {
		return Session{}, time.Time{}, fmt.Errorf("session of a customer of %s: %w", a.AppID, err)
	}
	return now, answer.Date(), nil
}

// created is when the session of an answer began; zero where that is not known.
func created(o wechat.Object) time.Time {
	seconds, ok := o.Int("createtime")
	at := time.Unix(seconds, 0)
	if ok && seconds != 0 && (at.Before(firstSession) || at.After(time.Now().Add(24*time.Hour))) {
		o.Odd("createtime", wechat.OddClamped)
		return time.Time{}
	}
	if seconds == 0 {
		return time.Time{}
	}
	return at
}

// List is WeChat's answer to which customers kf serves, as it is.
func (s *Service) List(ctx context.Context, a authorizer.Admitted, kf wechat.KFAccount) (json.RawMessage, error) {
	query := url.Values{"kf_account": {string(kf)}}
	return s.read(ctx, a, wechat.Call{Path: "/customservice/kfsession/getsessionlist", Query: query.Encode()}, "sessionlist")
}

// Waiting is WeChat's answer to who waits for somebody to serve them, as it is: the count of all,
// and the first 100.
func (s *Service) Waiting(ctx context.Context, a authorizer.Admitted) (json.RawMessage, error) {
	return s.read(ctx, a, wechat.Call{Path: "/customservice/kfsession/getwaitcase"}, "waitcaselist")
}

// Get is WeChat's answer to who serves the customer, as it is.
func (s *Service) Get(ctx context.Context, a authorizer.Admitted, customer wechat.OpenID) (json.RawMessage, error) {
	return s.read(ctx, a, getSession(customer), "kf_account")
}

// tokenMembers are members that no answer about sessions has. One that has them is the answer to
// another call, and what it holds is nobody's here.
var tokenMembers = []string{
	"access_token", "component_access_token", "authorizer_access_token", "authorizer_refresh_token",
	"refresh_token", "pre_auth_code", "authorization_info", "authorizer_info", "component_verify_ticket",
}

// read sends a call that reads, and hands the answer on as it came if it has the member that it must
// have and none that belongs to another call. Else what was asked is not known.
func (s *Service) read(ctx context.Context, a authorizer.Admitted, call wechat.Call, member string) (json.RawMessage, error) {
	call.Method, call.Repeatable = http.MethodGet, true
	var clean json.RawMessage
	call.Read = func(o wechat.Object) (lacks string) {
		if !o.Has(member) || o.Mentions(tokenMembers...) || !o.Whole() {
			return member
		}
		clean = o.JSON()
		return ""
	}
	answer, err := s.authorizers.Call(ctx, a, call)
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", call.Path, a.AppID, err)
	}
	if json.Valid(answer.Body) {
		return answer.Body, nil
	}
	return clean, nil
}
