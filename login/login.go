// Package login makes WeChat's calls for the users of a merchant's account: a user logs in to a
// mini program or to a web page of an Official Account, and the merchant's program asks who they
// are.
//
// WeChat lets a component make these calls for an account (docs/wechat.md, "Login of users"). The
// component's token takes the place of the account's appsecret, which the platform does not have.
// Tokens of users are given to callers sealed, and are stored nowhere: only the tenant that got one
// can use it, for the account that the user logged in to, through the platform.
//
// It stores nothing: while SQL or Redis is unavailable it works as long as package authorizer can
// admit the caller and package component has a token.
package login

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"wxplatform/authorizer"
	"wxplatform/internal/seal"
	"wxplatform/relay"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

// ErrUnknownOutcome says that nobody knows whether WeChat took a code. A code works once.
var ErrUnknownOutcome = errors.New("it is not known whether WeChat took the code")

// errUnreadable says that an answer with a user's tokens cannot be handed on without them.
var errUnreadable = errors.New("an answer with a user's tokens cannot be read")

// refreshLife is how long WeChat accepts a user's refresh token.
const refreshLife = 30 * 24 * time.Hour

// need is what each of the calls requires. Which accounts have them is for WeChat to say.
var need = authorizer.Need{Scope: tenant.UsersRead}

// Service makes the calls. It is safe for concurrent use.
type Service struct {
	authorizers *authorizer.Registry
	sealer      sealer
}

// New makes a Service that seals users' tokens with the keys of ring.
func New(authorizers *authorizer.Registry, ring *seal.Ring) *Service {
	return &Service{authorizers, sealer{ring.ForCallers(), time.Now}}
}

// user is what a caller says of one user of the account that it was admitted to.
type user struct {
	authorizer.Admitted
	client tenant.ClientID
	given  url.Values // the caller's parameters
	held   userToken  // zero if the caller brings a code
}

// codeToSession logs a user in to a mini program. The answer's session_key is the mini program's
// own affair and no token, so it is handed on as it is.
func (s *Service) codeToSession(ctx context.Context, u user) (wechat.Answer, error) {
	call := wechat.Call{
		Path:  "/sns/component/jscode2session",
		Query: query("appid", string(u.AppID), "js_code", u.given.Get("js_code"), "grant_type", "authorization_code"),
		Once:  true,
		Read:  having("session_key", "openid"),
	}
	return s.spend(ctx, u, call)
}

// codeToTokens logs a user in to a web page.
func (s *Service) codeToTokens(ctx context.Context, u user) (wechat.Answer, error) {
	var given object
	call := wechat.Call{
		Path:  "/sns/oauth2/component/access_token",
		Query: query("appid", string(u.AppID), "code", u.given.Get("code"), "grant_type", "authorization_code"),
		Once:  true,
		Read:  given.having("access_token", "refresh_token", "openid"),
	}
	answer, err := s.spend(ctx, u, call)
	if err != nil {
		return answer, err
	}
	sealed, err := s.sealed(u, given, s.sealer.now().Add(refreshLife))
	if err != nil {
		return wechat.Answer{}, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	return sealed, nil
}

// refresh gets a new access token of a user. If WeChat returns the same refresh token, its expiry
// stays; another one gets 30 days.
func (s *Service) refresh(ctx context.Context, u user) (wechat.Answer, error) {
	var given object
	answer, err := s.asComponent(ctx, u, wechat.Call{
		Method: http.MethodGet,
		Path:   "/sns/oauth2/component/refresh_token",
		Query:  query("appid", string(u.AppID), "grant_type", "refresh_token", "refresh_token", u.held.token.Reveal()),
		Read:   given.having("access_token", "refresh_token", "openid"), Repeatable: true,
	})
	switch wechat.Refused(err) {
	case refreshInvalid, refreshExpired:
		err = fmt.Errorf("%w: %w", ErrRefreshToken, err)
	}
	if err != nil {
		return answer, relay.Refused(answer, err)
	}
	until := s.sealer.now().Add(refreshLife)
	if same, _ := given.Secret("refresh_token"); same.Equal(u.held.token) {
		until = u.held.expires
	}
	return s.sealed(u, given, until)
}

// The codes of WeChat's that only these calls have.
const (
	refreshInvalid wechat.Code = 40030
	refreshExpired wechat.Code = 42002
)

// profile asks who a user is.
func (s *Service) profile(ctx context.Context, u user) (wechat.Answer, error) {
	return s.asUser(ctx, u, wechat.Call{
		Path:  "/sns/userinfo",
		Query: query("openid", u.given.Get("openid"), "lang", u.given.Get("lang")),
		Read:  only(u.given.Get("openid")),
	})
}

// check asks whether a user's token is valid.
func (s *Service) check(ctx context.Context, u user) (wechat.Answer, error) {
	return s.asUser(ctx, u, wechat.Call{
		Path: "/sns/auth", Query: query("openid", u.given.Get("openid")), Explicit: true,
	})
}

// spend sends a call that uses up a code. It is never sent twice.
func (s *Service) spend(ctx context.Context, u user, call wechat.Call) (wechat.Answer, error) {
	call.Method = http.MethodGet
	answer, err := s.asComponent(ctx, u, call)
	if wechat.MayHaveActed(err) {
		return wechat.Answer{}, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	return answer, relay.Refused(answer, err)
}

func (s *Service) asComponent(ctx context.Context, u user, call wechat.Call) (wechat.Answer, error) {
	t, err := s.authorizers.Begin(ctx, u.Admitted)
	if err != nil {
		return wechat.Answer{}, err
	}
	defer t.End()
	return t.CallAsComponent(ctx, call)
}

// asUser sends a call that reads, with the user's token. If WeChat rejects that token, the platform
// cannot replace it: the caller refreshes it or logs the user in again.
func (s *Service) asUser(ctx context.Context, u user, call wechat.Call) (wechat.Answer, error) {
	t, err := s.authorizers.Begin(ctx, u.Admitted)
	if err != nil {
		return wechat.Answer{}, err
	}
	defer t.End()
	call.Method, call.Repeatable = http.MethodGet, true
	answer, err := t.CallAsUser(ctx, u.held.token, call)
	switch wechat.Refused(err) {
	case wechat.InvalidCredential, wechat.InvalidToken:
		err = fmt.Errorf("%w: %w", ErrToken, err)
	case wechat.TokenExpired:
		err = fmt.Errorf("%w: %w", ErrTokenExpired, err)
	}
	return answer, relay.Refused(answer, err)
}

// sealed returns WeChat's answer with the user's tokens sealed for the caller. Its other members
// stay as they are.
func (s *Service) sealed(u user, given object, until time.Time) (wechat.Answer, error) {
	access, _ := given.Secret(string(accessToken))
	refresh, _ := given.Secret(string(refreshToken))
	of := userToken{u.Tenant, u.client, u.AppID, s.sealer.now().Add(given.Life("expires_in")), access}
	renewing := userToken{u.Tenant, u.client, u.AppID, until, refresh}
	body, err := replaced(given.JSON(), map[string]seal.Secret{
		string(accessToken): s.sealer.seal(accessToken, of), string(refreshToken): s.sealer.seal(refreshToken, renewing),
	})
	if err != nil || bytes.Contains(body, []byte(access.Reveal())) || bytes.Contains(body, []byte(refresh.Reveal())) {
		return wechat.Answer{}, errUnreadable
	}
	return wechat.Answer{Body: body}, nil
}

// replaced returns a JSON object in which some members have other values.
func replaced(text []byte, values map[string]seal.Secret) ([]byte, error) {
	in := json.NewDecoder(bytes.NewReader(text))
	if _, err := in.Token(); err != nil {
		return nil, err
	}
	out := []byte{'{'}
	for in.More() {
		name, err := in.Token()
		var value json.RawMessage
		if err = errors.Join(err, in.Decode(&value)); err != nil {
			return nil, err
		}
		if other, ours := values[fmt.Sprint(name)]; ours {
			value = wechat.JSON(other.Reveal())
		}
		out = append(append(append(out, wechat.JSON(name)...), ':'), value...)
		out = append(out, ',')
	}
	_, err := in.Token()
	return append(bytes.TrimSuffix(out, []byte{','}), '}'), err
}

// object is an answer as WeChat's client read it.
type object struct{ wechat.Object }

// having keeps an answer that has these members.
func (o *object) having(names ...string) func(wechat.Object) string {
	return func(in wechat.Object) (lacks string) {
		o.Object = in
		return having(names...)(in)
	}
}

func having(names ...string) func(wechat.Object) string {
	return func(in wechat.Object) (lacks string) {
		for _, name := range names {
			if _, ok := in.Secret(name); !ok {
				return name
			}
		}
		return ""
	}
}

// only requires that an answer is about one user, so that an answer to another request is none.
func only(openid string) func(wechat.Object) string {
	return func(in wechat.Object) (lacks string) {
		if of, ok := in.Text("openid"); !ok || of != openid {
			return "openid"
		}
		return ""
	}
}

// query returns a query of names and values, without those that are empty.
func query(pairs ...string) string {
	var out string
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			out += "&" + pairs[i] + "=" + url.QueryEscape(pairs[i+1])
		}
	}
	return out[1:]
}
