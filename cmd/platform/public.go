package main

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"wxplatform/authorizer"
	"wxplatform/inbox"
	"wxplatform/internal/strict"
	"wxplatform/invitation"
	"wxplatform/login"
	"wxplatform/openapi"
	"wxplatform/relay"
	"wxplatform/session"
	"wxplatform/tenant"
)

// public handles the public listener: tenants, WeChat and merchants' browsers.
func (p *platform) public() *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = p.countProblems(answerError)
	e.Pre(p.sdkPath)
	e.Use(p.requests.Middleware, endChunked, p.likeWeChat, p.overload.middleware, plainPath)
	gate := tenant.Gate{Tenants: p.tenants}
	authorizers := &authorizer.Handler{Authorizers: p.authorizers, Gate: gate}
	p.tenants.Routes(e)
	relay.TokenHandler{Gate: relay.SecretGate{Tenants: p.tenants, Authorizers: p.authorizers}}.Routes(e)
	authorizers.Routes(e)
	native, dropIn := relay.NativeDoor(p.catalogue, p.authorizers, p.tenants), relay.DropInDoor(p.catalogue, p.authorizers, p.tenants)
	relay.Handler{Service: p.relay, Catalogue: p.catalogue, Native: native, DropIn: dropIn}.Routes(e)
	session.Handler{Service: p.sessions, Native: native, DropIn: dropIn}.Routes(e)
	login.Handler{Service: login.New(p.authorizers, p.ring), Tenants: p.tenants, Authorizers: p.authorizers, Off: p.loginsOff}.Routes(e)
	invitation.Handler{Service: p.invitations, Gate: gate}.Routes(e)
	inbox.Handler{Inbox: p.inbox}.Routes(e)
	openapi.Handler{}.Routes(e)
	return e
}

// wholeRoutes are the beginnings of the paths whose responses are short and sent in one piece, so
// that plainhttp can serve them. All others are net/http's, as any that streams or flushes must be.
var wholeRoutes = []string{"/oauth/token", "/v1/authorizers", "/v1/invitations", "/wechat/"}

// answersWhole reports whether plainhttp may serve r.
func (p *platform) answersWhole(r *http.Request) bool {
	path := r.URL.Path
	if below, native := strings.CutPrefix(path, "/v1/authorizers/"); native {
		_, rest, relayed := strings.Cut(below, "/")
		return !relayed || p.catalogue.Whole(r.Method, "/"+rest)
	}
	return p.catalogue.Whole(r.Method, path) ||
		slices.ContainsFunc(wholeRoutes, func(begins string) bool { return strings.HasPrefix(path, begins) })
}

// sdkPath takes a doubled slash at the beginning of one of WeChat's paths as one, and ignores a
// slash at its end: some SDKs put the host name in front of a path with a slash too many. It does
// not redirect, because SDKs do not follow.
func (p *platform) sdkPath(next echo.HandlerFunc) echo.HandlerFunc {
	roots := p.wechatRoots()
	return func(c echo.Context) error {
		u := c.Request().URL
		path := "/" + strings.Trim(u.Path, "/")
		if path != u.Path && u.RawPath == "" && isBelow(roots, path) {
			u.Path = path
		}
		return next(c)
	}
}

// wechatRoots are the first segments of all paths of WeChat's that are served.
func (p *platform) wechatRoots() []string { return append(p.catalogue.Roots(), login.Root) }

func isBelow(roots []string, path string) bool {
	return slices.ContainsFunc(roots, func(root string) bool { return strings.HasPrefix(path, root+"/") })
}

// endChunked closes the connection after a request with a chunked body. net/http drops a
// Content-Length beside the chunks without a word, so a proxy in front may take what follows for a
// part of the body.
func endChunked(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if len(c.Request().TransferEncoding) > 0 {
			c.Response().Header().Set(echo.HeaderConnection, "close")
		}
		return next(c)
	}
}

// plainPath refuses paths that two readers could understand differently. No route and no id, ours
// or WeChat's, needs an escape.
func plainPath(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if u := c.Request().URL; u.RawPath != "" || !isPlain(u.Path) {
			return &strict.Fault{Why: "the path contains an escape, an empty segment or dots"}
		}
		return next(c)
	}
}

// isPlain reports whether a decoded path could have been written without escapes. net/url keeps
// escapes in RawPath only if it would have written others itself, so RawPath alone does not show
// all of them.
func isPlain(path string) bool {
	for i := range len(path) {
		if c := path[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.Contains("/-._~$", path[i:i+1]) {
			return false
		}
	}
	return !strings.Contains(path, "..") && !strings.Contains(path, "//")
}
