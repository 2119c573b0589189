package session

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"wxplatform/authorizer"
	"wxplatform/internal/requestlog"
	"wxplatform/internal/strict"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

// Handler serves the routes of this package.
type Handler struct {
	Service     *Service
	Authorizers *authorizer.Handler
	asSent      bool // bodies are WeChat's to check: SDKs send members that we do not know
}

// Routes adds the session routes to e. Each has WeChat's path below /v1/authorizers/{appid}, and
// WeChat's parameters without access_token.
func (h Handler) Routes(e *echo.Echo) {
	sessions := e.Group("/v1/authorizers/:appid/customservice/kfsession")
	sessions.POST("/close", h.close)
	sessions.POST("/create", h.create)
	sessions.GET("/getsession", h.getSession)
	sessions.GET("/getsessionlist", h.getSessionList)
	sessions.GET("/getwaitcase", h.getWaitCase)
}

// DropInRoutes adds close and create at WeChat's own paths, for callers that gate admits. Other
// session calls need nothing that package relay does not do. Errors are written by the middleware
// dropIn.
func (h Handler) DropInRoutes(e *echo.Echo, gate *authorizer.Handler, dropIn echo.MiddlewareFunc) {
	sdk := Handler{Service: h.Service, Authorizers: gate, asSent: true}
	e.POST("/customservice/kfsession/close", sdk.close, dropIn)
	e.POST("/customservice/kfsession/create", sdk.create, dropIn)
}

// ok is what WeChat itself answers to a call that changes something.
var ok = []byte(`{"errcode":0,"errmsg":"ok"}`)

func (h Handler) close(c echo.Context) error {
	a, err := h.admit(c, tenant.KFSessionWrite)
	if err != nil {
		return err
	}
	body, err := h.readPair(c)
	if err != nil {
		return err
	}
	outcome, err := h.Service.Close(c.Request().Context(), a, body)
	if err != nil {
		return err
	}
	if outcome == Inferred {
		c.Response().Header().Set("Outcome", "inferred")
		requestlog.Add(c.Request().Context(), "outcome", "inferred")
	}
	return c.JSONBlob(http.StatusOK, ok)
}

func (h Handler) create(c echo.Context) error {
	a, err := h.admit(c, tenant.KFSessionWrite)
	if err != nil {
		return err
	}
	body, err := h.readPair(c)
	if err != nil {
		return err
	}
	if err := h.Service.Create(c.Request().Context(), a, body); err != nil {
		return err
	}
	return c.JSONBlob(http.StatusOK, ok)
}

func (h Handler) getSession(c echo.Context) error {
	return h.get(c, "openid", func(ctx context.Context, a authorizer.Admitted, openid string) (json.RawMessage, error) {
		return h.Service.Get(ctx, a, wechat.OpenID(openid))
	})
}

func (h Handler) getSessionList(c echo.Context) error {
	return h.get(c, "kf_account", func(ctx context.Context, a authorizer.Admitted, kf string) (json.RawMessage, error) {
		return h.Service.List(ctx, a, wechat.KFAccount(kf))
	})
}

func (h Handler) getWaitCase(c echo.Context) error {
	a, err := h.admit(c, tenant.KFSessionRead)
	if err != nil {
		return err
	}
	if _, err := strict.Query(c.Request()); err != nil {
		return err
	}
	answer, err := h.Service.Waiting(c.Request().Context(), a)
	if err != nil {
		return err
	}
	return c.JSONBlob(http.StatusOK, answer)
}

func (h Handler) get(c echo.Context, parameter string, ask func(context.Context, authorizer.Admitted, string) (json.RawMessage, error)) error {
	a, err := h.admit(c, tenant.KFSessionRead)
	if err != nil {
		return err
	}
	query, err := strict.Query(c.Request(), parameter)
	if err != nil {
		return err
	}
	value := query.Get(parameter)
	if fault := checked(parameter, value); fault != nil {
		return fault
	}
	answer, err := ask(c.Request().Context(), a, value)
	if err != nil {
		return err
	}
	return c.JSONBlob(http.StatusOK, answer)
}

func (h Handler) admit(c echo.Context, scope tenant.Scope) (authorizer.Admitted, error) {
	return h.Authorizers.Admit(c, authorizer.Need{Scope: scope, AnyOf: granting, Official: true})
}

func (h Handler) readPair(c echo.Context) (Pair, error) {
	var body Pair
	if h.asSent {
		return body.asSent(c.Request())
	}
	var err error
	if body.text, err = strict.Body(c.Request(), &body); err != nil {
		return Pair{}, err
	}
	if _, err := strict.Query(c.Request()); err != nil {
		return Pair{}, err
	}
	if fault := checked("kf_account", string(body.KFAccount)); fault != nil {
		return Pair{}, fault
	}
	if fault := checked("openid", string(body.OpenID)); fault != nil {
		return Pair{}, fault
	}
	return body, nil
}

// asSent reads a body that WeChat checks. Without a readable kf account and customer, a lost answer
// cannot be settled, and that is all that they are needed for.
func (p Pair) asSent(request *http.Request) (Pair, error) {
	text, err := io.ReadAll(io.LimitReader(request.Body, strict.BodyLimit+1))
	switch {
	case err != nil:
		return Pair{}, &strict.Fault{Why: "body could not be read"}
	case len(text) > strict.BodyLimit:
		return Pair{}, strict.ErrTooLarge
	}
	_ = json.Unmarshal(text, &p)
	p.text = text
	return p, nil
}

// checked returns what is wrong with a field, or nil. The part of a kf account behind the @ is for
// WeChat to check.
func checked(field, value string) error {
	switch {
	case value == "":
		return &strict.Fault{Field: field, Why: "is missing or empty"}
	case field == "kf_account" && !isKFAccount(value):
		return &strict.Fault{Field: field, Why: "is not prefix@weixinid"}
	}
	return nil
}

func isKFAccount(value string) bool {
	prefix, suffix, found := strings.Cut(value, "@")
	return found && prefix != "" && suffix != "" && !strings.Contains(suffix, "@")
}
