package login

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"wxplatform/authorizer"
	"wxplatform/internal/requestlog"
	"wxplatform/internal/strict"
	"wxplatform/relay"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

// Root begins WeChat's paths for users.
const Root = "/sns"

// Handler serves the calls at both doors.
type Handler struct {
	Service     *Service
	Tenants     *tenant.Registry
	Authorizers *authorizer.Registry
	Off         []string // the paths of calls that the operator switched off
}

// call is one of WeChat's calls, as callers make it.
type call struct {
	path     string
	needs    []parameter
	optional []string
	grant    string // the only value of grant_type, or "" if the call has none
	held     kind   // which token of a user the call carries, or "" if it brings a code
	act      func(*Service, context.Context, user) (wechat.Answer, error)
}

// parameter is a required one, with WeChat's errcode if it is missing.
type parameter struct {
	name    string
	missing wechat.Code
}

var (
	openID = parameter{"openid", 41009}
	calls  = []call{
		{Root + "/jscode2session", []parameter{{"js_code", 41008}}, nil, "authorization_code", "", (*Service).codeToSession},
		{Root + "/oauth2/access_token", []parameter{{"code", 41008}}, nil, "authorization_code", "", (*Service).codeToTokens},
		{Root + "/oauth2/refresh_token", []parameter{{string(refreshToken), 41003}}, nil, "refresh_token", refreshToken, (*Service).refresh},
		{Root + "/userinfo", []parameter{{string(accessToken), 41001}, openID}, []string{"lang"}, "", accessToken, (*Service).profile},
		{Root + "/auth", []parameter{{string(accessToken), 41001}, openID}, nil, "", accessToken, (*Service).check},
	}
)

// Routes adds the routes of both doors to e.
func (h Handler) Routes(e *echo.Echo) {
	for _, each := range calls {
		admit := h.byUserToken
		if each.held == "" {
			admit = h.bySecret
		}
		e.Any("/v1/authorizers/:appid"+each.path, func(c echo.Context) error { return h.serve(c, each, h.native) })
		e.Any(each.path, func(c echo.Context) error { return h.serve(c, each, admit) })
	}
	e.Any(Root+"/*", func(echo.Context) error { return relay.ErrNotRelayed })
}

// TakesSecret reports whether a path of WeChat's is that of a call that carries a client's secret.
func TakesSecret(path string) bool {
	return slices.ContainsFunc(calls, func(each call) bool { return each.path == path && each.held == "" })
}

// Named returns the path of the call that an operator means by "/path" or "GET /path", or "".
func Named(text string) string {
	path := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(text), http.MethodGet+" "))
	if slices.ContainsFunc(calls, func(each call) bool { return each.path == path }) {
		return path
	}
	return ""
}

// admit finds the caller of a request and the user that it is about.
type admit func(echo.Context, call) (user, error)

func (h Handler) serve(c echo.Context, call call, admit admit) error {
	u, err := admit(c, call)
	if err != nil {
		return err
	}
	requestlog.Add(c.Request().Context(), "appid", string(u.AppID))
	if slices.Contains(h.Off, call.path) {
		return relay.ErrSwitchedOff
	}
	answer, err := call.act(h.Service, c.Request().Context(), u)
	if err != nil {
		return err
	}
	return relay.HandOn(c, wechat.Answer{Header: []wechat.Field{{Name: "Content-Type", Value: relay.WeChatJSON}}, Body: answer.Body})
}

// native admits a request with a JWT in the Authorization header.
func (h Handler) native(c echo.Context, call call) (user, error) {
	gate := tenant.Gate{Tenants: h.Tenants}
	caller, err := gate.Caller(c.Request())
	if err != nil {
		return user{}, err
	}
	u, err := h.admitted(c, caller, wechat.AppID(c.Param("appid")))
	if err == nil {
		err = relay.OnlyMethod(c, http.MethodGet)
	}
	if err == nil {
		u.given, err = strict.Query(c.Request(), call.names()...)
	}
	if err == nil {
		err = call.check(u.given, true)
	}
	if err != nil || call.held == "" {
		return u, err
	}
	u.held, err = h.held(u, call)
	return u, err
}

// held decrypts the user's token in a request. A token of another tenant or account is refused like
// an invalid one.
func (h Handler) held(u user, call call) (userToken, error) {
	held, err := h.Service.sealer.open(call.held, u.given.Get(string(call.held)))
	switch foreign := held.tenant != u.Tenant || held.appID != u.AppID; {
	case err == nil && foreign && call.held == refreshToken:
		return userToken{}, ErrRefreshToken
	case err == nil && foreign:
		return userToken{}, ErrToken
	}
	return held, err
}

// bySecret admits an SDK's request that carries an appid and, in place of its appsecret, a client's
// secret.
func (h Handler) bySecret(c echo.Context, call call) (user, error) {
	given, err := h.read(c, call)
	if err != nil {
		return user{}, err
	}
	gate := relay.SecretGate{Tenants: h.Tenants, Authorizers: h.Authorizers}
	client, id, err := gate.Client(c.Request().Context(), given)
	if err != nil {
		return user{}, err
	}
	caller := tenant.Caller{Tenant: client.Tenant, Client: client.ID, AppID: string(id), Scopes: client.Scopes}
	u, err := h.admitted(c, caller, id)
	u.given = given
	return u, err
}

// byUserToken admits an SDK's request that is authenticated by a user's token alone. The token
// names the tenant, the client and the account.
func (h Handler) byUserToken(c echo.Context, call call) (user, error) {
	given, err := h.read(c, call)
	if err != nil {
		return user{}, err
	}
	held, err := h.Service.sealer.open(call.held, given.Get(string(call.held)))
	if err != nil {
		return user{}, err
	}
	if id := given.Get("appid"); id != string(held.appID) && call.held == refreshToken {
		return user{}, ErrRefreshToken
	}
	ctx := c.Request().Context()
	requestlog.Add(ctx, "tenant", string(held.tenant))
	requestlog.Add(ctx, "client", string(held.client))
	caller, err := h.Tenants.Recall(ctx, held.tenant, held.client)
	if err != nil {
		return user{}, err
	}
	u, err := h.admitted(c, caller, held.appID)
	u.given, u.held = given, held
	return u, err
}

// read reads the parameters that an SDK sent. It ignores those that it does not know.
func (h Handler) read(c echo.Context, call call) (url.Values, error) {
	if err := relay.OnlyMethod(c, http.MethodGet); err != nil {
		return nil, err
	}
	given, err := relay.Parameters(c.Request())
	if err != nil {
		return nil, err
	}
	for name := range given {
		given.Set(name, relay.OnlyValue(given, name))
	}
	return given, call.check(given, false)
}

func (h Handler) admitted(c echo.Context, caller tenant.Caller, id wechat.AppID) (user, error) {
	a, err := h.Authorizers.Admit(c.Request().Context(), caller, id, need)
	return user{Admitted: a, client: caller.Client}, err
}

// names are those of all parameters.
func (call call) names() []string {
	names := append([]string{"grant_type"}, call.optional...)
	for _, each := range call.needs {
		names = append(names, each.name)
	}
	return names
}

// check fails if a parameter is missing, or if grant_type is not the call's. It may be left out
// where the caller is no SDK.
func (call call) check(given url.Values, lenient bool) error {
	grant := given.Get("grant_type")
	if grant != call.grant && !(lenient && grant == "") && call.grant != "" {
		return &relay.Fault{Code: relay.BadGrantType, Why: "invalid grant_type: it must be " + call.grant + ", once"}
	}
	for _, each := range call.needs {
		if strings.TrimSpace(given.Get(each.name)) == "" {
			return &relay.Fault{Code: each.missing, Why: each.name + " is missing or empty, or is given twice"}
		}
	}
	return nil
}
