package main

import (
	"net/http"
	"net/url"
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
	e.HTTPErrorHandler = p.countProblems(p.answerError)
	e.Use(p.requests.Middleware, p.guard) // Echo composes these for each request: two cost less than five
	gate := tenant.Gate{Tenants: p.tenants}
	authorizers := &authorizer.Handler{Authorizers: p.authorizers, Gate: gate}
	p.tenants.Routes(e)
	tenant.TrailHandler{Trail: p.trail, Gate: gate}.Routes(e)
	relay.TokenHandler{Gate: relay.SecretGate{Tenants: p.tenants, Authorizers: p.authorizers}}.Routes(e)
	authorizers.Routes(e)
	native, dropIn := relay.NativeDoor(p.catalogue, p.authorizers, p.tenants), relay.DropInDoor(p.catalogue, p.authorizers, p.tenants)
	relay.Handler{Service: p.relay, Catalogue: p.catalogue, Native: native, DropIn: dropIn, Checks: session.Checks}.Routes(e)
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
		at := strings.IndexByte(below, '/')
		return at < 0 || p.catalogue.Whole(r.Method, below[at:])
	}
	return p.catalogue.Whole(r.Method, path) ||
		slices.ContainsFunc(wholeRoutes, func(begins string) bool { return strings.HasPrefix(path, begins) })
}

// sdkPath takes a doubled slash at the beginning of one of WeChat's paths as one, and ignores a
// slash at its end: some SDKs put the host name in front of a path with a slash too many. It does
// not redirect, because SDKs do not follow.
func (p *platform) sdkPath(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u := r.URL; u.RawPath == "" && (strings.HasPrefix(u.Path, "//") || strings.HasSuffix(u.Path, "/")) {
			if path := "/" + strings.Trim(u.Path, "/"); p.isWeChats(path) {
				u.Path = path
			}
		}
		next.ServeHTTP(w, r)
	})
}

// isWeChats reports whether path begins like a path of WeChat's that is served.
func (p *platform) isWeChats(path string) bool {
	at := strings.IndexByte(strings.TrimPrefix(path, "/"), '/')
	return at > 0 && p.roots[path[:at+1]]
}

// wechatRoots are the first segments of all paths of WeChat's that are served, such as "/cgi-bin".
func wechatRoots(catalogue *relay.Catalogue) map[string]bool {
	roots := map[string]bool{login.Root: true}
	for _, root := range catalogue.Roots() {
		roots[root] = true
	}
	return roots
}

// guard is in front of all public routes, behind the request log.
func (p *platform) guard(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		endChunked(c)
		if err := plainPath(c.Request().URL); err != nil {
			return err
		}
		return p.overload.serve(c, next)
	}
}

// endChunked closes the connection after a request with a chunked body. net/http drops a
// Content-Length beside the chunks without a word, so a proxy in front may take what follows for a
// part of the body.
func endChunked(c echo.Context) {
	if len(c.Request().TransferEncoding) > 0 {
		c.Response().Header().Set(echo.HeaderConnection, "close")
	}
}

// plainPath refuses paths that two readers could understand differently. No route and no id, ours
// or WeChat's, needs an escape.
func plainPath(u *url.URL) error {
	if u.RawPath != "" || !isPlain(u.Path) {
		return &strict.Fault{Why: "the path contains an escape, an empty segment or dots"}
	}
	return nil
}

// isPlain reports whether a decoded path could have been written without escapes. net/url keeps
// escapes in RawPath only if it would have written others itself, so RawPath alone does not show
// all of them.
func isPlain(path string) bool {
	for i := range len(path) {
		if c := path[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("/-._~$", c) < 0 {
			return false
		}
	}
	return !strings.Contains(path, "..") && !strings.Contains(path, "//")
}
