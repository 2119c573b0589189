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

// pair is the body of close and create (wechat-protocol §5.1).
type pair struct {
	KFAccount wechat.KFAccount `json:"kf_account"`
	OpenID    wechat.OpenID    `json:"openid"`
}

func closeSession(kf wechat.KFAccount, customer wechat.OpenID) wechat.Call {
	return wechat.Call{Method: http.MethodPost, Path: "/customservice/kfsession/close", Body: pair{kf, customer}}
}

func createSession(kf wechat.KFAccount, customer wechat.OpenID) wechat.Call {
	return wechat.Call{Method: http.MethodPost, Path: "/customservice/kfsession/create", Body: pair{kf, customer}}
}

// current is the session of customer, and WeChat's clock when it answered. When nobody serves, kf_account is "" and createtime 0 or absent (wechat-protocol §5.1).
func (d *Desk) current(ctx context.Context, a authorizer.Admitted, customer wechat.OpenID) (Session, time.Time, error) {
	var answer struct {
		Created   int64            `json:"createtime"`
		KFAccount wechat.KFAccount `json:"kf_account"`
	}
	reply, err := d.authorizers.Call(ctx, a, wechat.Call{
		Method: http.MethodGet,
		Path:   "/customservice/kfsession/getsession",
		Query:  url.Values{"openid": {string(customer)}},
		Into:   &answer,
	})
	if err != nil {
		return Session{}, time.Time{}, fmt.Errorf("session of a customer of %s: %w", a.AppID, err)
	}
	return Session{answer.KFAccount, time.Unix(answer.Created, 0)}, reply.Date(), nil
}

// List is WeChat's answer to which customers kf serves, as it is.
func (d *Desk) List(ctx context.Context, a authorizer.Admitted, kf wechat.KFAccount) (json.RawMessage, error) {
	return d.read(ctx, a, "/customservice/kfsession/getsessionlist", url.Values{"kf_account": {string(kf)}})
}

// Waiting is WeChat's answer to who waits for somebody to serve him, as it is: the count of all, and the first 100.
func (d *Desk) Waiting(ctx context.Context, a authorizer.Admitted) (json.RawMessage, error) {
	return d.read(ctx, a, "/customservice/kfsession/getwaitcase", nil)
}

// Get is WeChat's answer to who serves the customer, as it is.
func (d *Desk) Get(ctx context.Context, a authorizer.Admitted, customer wechat.OpenID) (json.RawMessage, error) {
	return d.read(ctx, a, "/customservice/kfsession/getsession", url.Values{"openid": {string(customer)}})
}

func (d *Desk) read(ctx context.Context, a authorizer.Admitted, path string, query url.Values) (json.RawMessage, error) {
	var answer json.RawMessage
	_, err := d.authorizers.Call(ctx, a, wechat.Call{Method: http.MethodGet, Path: path, Query: query, Into: &answer})
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", path, a.AppID, err)
	}
	return answer, nil
}
