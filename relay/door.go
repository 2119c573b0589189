package relay

import (
	"errors"
	"strings"

	"github.com/labstack/echo/v4"

	"wxplatform/authorizer"
	"wxplatform/internal/requestlog"
	"wxplatform/internal/strict"
	"wxplatform/tenant"
)

// Door is one of the two ways to call WeChat's APIs. They differ in where a request names the
// account, and in where it carries the JWT.
type Door struct {
	catalogue *Catalogue
	admits    *authorizer.Handler
	called    func(echo.Context) (path, query string)
}

const nativePrefix = "/v1/authorizers/"

// NativeDoor admits requests below /v1/authorizers/{appid}, with the JWT in the Authorization
// header.
func NativeDoor(catalogue *Catalogue, authorizers *authorizer.Registry, tenants *tenant.Registry) Door {
	return Door{catalogue, &authorizer.Handler{Authorizers: authorizers, Gate: tenant.Gate{Tenants: tenants}}, nativeCall}
}

// DropInDoor admits requests at WeChat's own paths, with the JWT where WeChat's SDKs put the access
// token.
func DropInDoor(catalogue *Catalogue, authorizers *authorizer.Registry, tenants *tenant.Registry) Door {
	return Door{catalogue, &authorizer.Handler{Authorizers: authorizers, Gate: tenant.Gate{Tenants: tenants, Query: tokenName}}, dropInCall}
}

// nativeCall returns WeChat's path and query of a request below /v1/authorizers/{appid}.
func nativeCall(c echo.Context) (path, query string) {
	u := c.Request().URL
	below := strings.TrimPrefix(u.Path, nativePrefix)
	return below[len(c.Param("appid")):], u.RawQuery
}

// dropInCall returns WeChat's path and query of a request at WeChat's own path.
func dropInCall(c echo.Context) (path, query string) {
	u := c.Request().URL
	return u.Path, withoutToken(u.RawQuery)
}

// Admit finds the API that a request calls, and admits the caller to it as the catalogue says. It
// fails like authorizer.Handler.Admit and Catalogue.Resolve, or with a *strict.Fault. A caller
// without a valid JWT is told so before anything about the API, except that an SDK without a token
// learns that WeChat's calls with an appsecret are not relayed.
func (d Door) Admit(c echo.Context) (authorizer.Admitted, API, error) {
	path, _ := d.called(c)
	api, err := d.catalogue.Resolve(c.Request().Method, path)
	if err == nil {
		err = d.onlyOneToken(c)
	}
	if err != nil {
		return authorizer.Admitted{}, API{}, d.refuse(c, err)
	}
	if api.known() {
		requestlog.Add(c.Request().Context(), "api", api.Path)
	}
	a, err := d.admits.Admit(c, api.Need())
	return a, api, err
}

// Read reads a request for an API that was admitted. It fails with a *strict.Fault, ErrLength or
// ErrTooLarge, and then nothing was sent.
func (d Door) Read(c echo.Context, api API) (Request, error) {
	_, query := d.called(c)
	return read(c.Request(), api, query)
}

// onlyOneToken refuses an SDK's request that has an Authorization header: a proxy in front may have
// checked that header, and the platform reads the query.
func (d Door) onlyOneToken(c echo.Context) error {
	if d.admits.Gate.Query != "" && len(c.Request().Header["Authorization"]) > 0 {
		return &strict.Fault{Field: "Authorization", Why: "is not read here: the token belongs in the query"}
	}
	return nil
}

// refuse returns err, or what is wrong with the caller's JWT, and sets Allow for a wrong method.
// WeChat's calls with an appsecret carry no token, so an SDK without one is told that they are not
// relayed.
func (d Door) refuse(c echo.Context, err error) error {
	_, why := d.admits.Gate.Caller(c.Request())
	if needsSecret := errors.Is(err, ErrNotRelayed) && d.admits.Gate.Query != ""; needsSecret && errors.Is(why, tenant.ErrNoToken) {
		return err
	}
	if why != nil {
		return why
	}
	if method := (*MethodError)(nil); errors.As(err, &method) {
		allow(c, method.Allowed)
	}
	return err
}

// OnlyMethod fails with a *MethodError unless a request has the method.
func OnlyMethod(c echo.Context, method string) error {
	if c.Request().Method == method {
		return nil
	}
	allow(c, []string{method})
	return &MethodError{[]string{method}}
}

func allow(c echo.Context, methods []string) {
	c.Response().Header().Set(echo.HeaderAllow, strings.Join(methods, ", "))
}
