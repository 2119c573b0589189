package relay

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"wxplatform/authorizer"
	"wxplatform/internal/requestlog"
	"wxplatform/internal/strict"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

// Handler serves both doors.
type Handler struct {
	Service     *Service
	Authorizers *authorizer.Registry
	Tenants     *tenant.Registry
}

// transferTime limits a request that uploads or downloads, instead of the server's time-outs.
const transferTime = 10 * time.Minute

// Routes adds the routes of both doors to e. Errors of the drop-in door are written by the
// middleware dropIn.
func (h Handler) Routes(e *echo.Echo, dropIn echo.MiddlewareFunc) {
	native := door{h.Service, &authorizer.Handler{Authorizers: h.Authorizers, Gate: tenant.Gate{Tenants: h.Tenants}}, nativeCall}
	e.Any("/v1/authorizers/:appid/*", native.relay)
	sdk := door{h.Service, DropInGate(h.Authorizers, h.Tenants), dropInCall}
	for _, root := range h.Service.catalogue.Roots() {
		e.Any(root+"/*", sdk.relay, dropIn)
	}
}

// DropInGate admits requests that carry their JWT where WeChat's SDKs put the access token.
func DropInGate(authorizers *authorizer.Registry, tenants *tenant.Registry) *authorizer.Handler {
	return &authorizer.Handler{Authorizers: authorizers, Gate: tenant.Gate{Tenants: tenants, Query: tokenName}}
}

// door is one of the two ways to call WeChat's APIs. They differ in how a request names the account
// and carries the JWT.
type door struct {
	service *Service
	admits  *authorizer.Handler
	called  func(echo.Context) (path, query string)
}

// nativeCall returns WeChat's path and query of a request below /v1/authorizers/{appid}.
func nativeCall(c echo.Context) (path, query string) {
	return "/" + c.Param("*"), c.Request().URL.RawQuery
}

// dropInCall returns WeChat's path and query of a request at WeChat's own path.
func dropInCall(c echo.Context) (path, query string) {
	u := c.Request().URL
	return u.Path, withoutToken(u.RawQuery)
}

func (d door) relay(c echo.Context) error {
	path, query := d.called(c)
	a, api, err := d.admit(c, path)
	if err != nil {
		return err
	}
	extend(c, api)
	request, err := read(c.Request(), api, query)
	if err != nil {
		return err
	}
	answer, end, err := d.service.Call(c.Request().Context(), a, request)
	if err != nil {
		return err
	}
	defer end()
	return handOn(c, answer)
}

// admit finds the API and admits the caller to it. A caller who is nobody is told so before
// anything about the API.
func (d door) admit(c echo.Context, path string) (authorizer.Admitted, API, error) {
	api, unknown := d.service.Find(c.Request().Method, path)
	if unknown != nil {
		_, err := d.admits.Gate.Caller(c.Request())
		var method *MethodError
		if err == nil && errors.As(unknown, &method) {
			c.Response().Header().Set(echo.HeaderAllow, strings.Join(method.Allowed, ", "))
		}
		if err == nil {
			err = unknown
		}
		return authorizer.Admitted{}, API{}, err
	}
	if api.known() {
		requestlog.Add(c.Request().Context(), "api", api.Path)
	}
	if d.admits.Gate.Query != "" && len(c.Request().Header["Authorization"]) > 0 {
		return authorizer.Admitted{}, API{}, &strict.Fault{Field: "Authorization", Why: "is not read here: the token belongs in the query"}
	}
	a, err := d.admits.Admit(c, api.Need())
	return a, api, err
}

// extend gives a request that transfers a file more time than the server gives others.
func extend(c echo.Context, api API) {
	if api.streams() || c.Request().ContentLength > keptLimit {
		control := http.NewResponseController(c.Response())
		until := time.Now().Add(transferTime)
		_, _ = control.SetReadDeadline(until), control.SetWriteDeadline(until)
	}
}

// handedOn are the fields of WeChat's answers that callers get, besides Wechatmp-*.
var handedOn = []string{"Content-Type", "Content-Disposition", "Content-Encoding"}

// handOn answers with WeChat's answer, byte for byte. No browser may take it for a page of ours.
func handOn(c echo.Context, answer wechat.Answer) error {
	header := c.Response().Header()
	header["Content-Type"] = nil // so that net/http does not guess one
	for name, values := range answer.Header {
		if strings.HasPrefix(name, signaturePrefix) {
			header[name] = values
		}
	}
	for _, name := range handedOn {
		if values := answer.Header[name]; len(values) > 0 {
			header[name] = values
		}
	}
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	header.Set(echo.HeaderCacheControl, "no-store")
	if answer.Stream != nil {
		return stream(c, answer)
	}
	header.Set("Content-Length", strconv.Itoa(len(answer.Body)))
	c.Response().WriteHeader(http.StatusOK)
	_, err := c.Response().Write(answer.Body)
	return err
}

// stream hands on an answer while it arrives. One that is cut is cut for the caller too, so that it
// never looks complete.
func stream(c echo.Context, answer wechat.Answer) error {
	defer func() { _ = answer.Stream.Close() }()
	if answer.StreamLength >= 0 {
		c.Response().Header().Set("Content-Length", strconv.FormatInt(answer.StreamLength, 10))
	}
	c.Response().WriteHeader(http.StatusOK)
	if _, err := io.Copy(c.Response(), answer.Stream); err != nil {
		requestlog.Add(c.Request().Context(), "error", "the transfer was cut")
		panic(http.ErrAbortHandler)
	}
	return nil
}
