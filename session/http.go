package session

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"wxplatform/authorizer"
	"wxplatform/internal/requestlog"
	"wxplatform/internal/strict"
	"wxplatform/relay"
	"wxplatform/wechat"
)

// Handler serves the routes of this package.
type Handler struct {
	Service *Service
	Native  relay.Door
	DropIn  relay.Door
}

// Routes adds the session routes to e. Each has WeChat's path below /v1/authorizers/{appid}, and
// WeChat's parameters without access_token. Close and create are at WeChat's own paths, too; the
// other session calls are served there by package relay, with Checks.
func (h Handler) Routes(e *echo.Echo) {
	native, dropIn := routes{h.Service, h.Native, readPair, asItIs}, routes{h.Service, h.DropIn, h.readAsSent, withAnswer}
	sessions := e.Group("/v1/authorizers/:appid/customservice/kfsession")
	sessions.POST("/close", native.close)
	sessions.POST("/create", native.create)
	sessions.GET("/getsession", native.getSession)
	sessions.GET("/getsessionlist", native.getSessionList)
	sessions.GET("/getwaitcase", native.getWaitCase)
	e.POST("/customservice/kfsession/close", dropIn.close)
	e.POST("/customservice/kfsession/create", dropIn.create)
}

// routes are the session routes at one door.
type routes struct {
	service *Service
	door    relay.Door
	read    func(echo.Context, relay.API) (Pair, error)
	refuse  func(error) error // returns the error for the caller
}

func asItIs(err error) error { return err }

// withAnswer adds WeChat's answer to its refusal.
func withAnswer(err error) error {
	if refused := (*answeredError)(nil); errors.As(err, &refused) {
		return relay.Refused(refused.answer, err)
	}
	return err
}

// ok is what WeChat itself answers to a call that changes something.
var ok = []byte(`{"errcode":0,"errmsg":"ok"}`)

// jsonType is shared by all answers, so that none allocates it.
var jsonType = []string{echo.MIMEApplicationJSON}

func answerOK(c echo.Context) error {
	c.Response().Header()[echo.HeaderContentType] = jsonType
	c.Response().WriteHeader(http.StatusOK)
	_, err := c.Response().Write(ok)
	return err
}

func (r routes) close(c echo.Context) error {
	a, api, err := r.door.Admit(c)
	if err != nil {
		return err
	}
	body, err := r.read(c, api)
	if err != nil {
		return err
	}
	outcome, err := r.service.Close(c.Request().Context(), a, body)
	if err != nil {
		return r.refuse(err)
	}
	if outcome == Inferred {
		c.Response().Header().Set("Outcome", "inferred")
		requestlog.Add(c.Request().Context(), "outcome", "inferred")
	}
	return answerOK(c)
}

func (r routes) create(c echo.Context) error {
	a, api, err := r.door.Admit(c)
	if err != nil {
		return err
	}
	body, err := r.read(c, api)
	if err != nil {
		return err
	}
	if err := r.service.Create(c.Request().Context(), a, body); err != nil {
		return r.refuse(err)
	}
	return answerOK(c)
}

func (r routes) getSession(c echo.Context) error {
	return r.get(c, "openid", func(ctx context.Context, a authorizer.Admitted, openid string) (json.RawMessage, error) {
		return r.service.Get(ctx, a, wechat.OpenID(openid))
	})
}

func (r routes) getSessionList(c echo.Context) error {
	return r.get(c, "kf_account", func(ctx context.Context, a authorizer.Admitted, kf string) (json.RawMessage, error) {
		return r.service.List(ctx, a, wechat.KFAccount(kf))
	})
}

func (r routes) getWaitCase(c echo.Context) error {
	a, err := r.admit(c)
	if err != nil {
		return err
	}
	if _, err := strict.Query(c.Request()); err != nil {
		return err
	}
	answer, err := r.service.Waiting(c.Request().Context(), a)
	if err != nil {
		return err
	}
	return c.JSONBlob(http.StatusOK, answer)
}

func (r routes) get(c echo.Context, parameter string, ask func(context.Context, authorizer.Admitted, string) (json.RawMessage, error)) error {
	a, err := r.admit(c)
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

func (r routes) admit(c echo.Context) (authorizer.Admitted, error) {
	a, _, err := r.door.Admit(c)
	return a, err
}

// readPair reads a body that has to be right.
func readPair(c echo.Context, _ relay.API) (Pair, error) {
	var body members
	sent, err := strict.Body(c.Request(), &body)
	if err != nil {
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
	return Pair{body.KFAccount, body.OpenID, wechat.Call{Body: sent}}, nil
}

// readAsSent reads a call that WeChat checks: SDKs send members that the platform does not know.
// Without a readable kf account and customer, a lost answer cannot be settled, and that is all that
// they are needed for.
func (h Handler) readAsSent(c echo.Context, api relay.API) (Pair, error) {
	request, err := h.DropIn.Read(c, api)
	switch {
	case err != nil:
		return Pair{}, err
	case request.Upload != nil:
		return Pair{}, strict.ErrTooLarge
	}
	var body members
	_ = json.Unmarshal(request.Body, &body)
	return Pair{body.KFAccount, body.OpenID, request.Sent()}, nil
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
