package session

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"wxplatform/authorizer"
	"wxplatform/internal/requestlog"
	"wxplatform/internal/strict"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

// Door is the routes of this package.
type Door struct {
	Desk        *Desk
	Authorizers *authorizer.Door
}

// Routes adds them to e. Take any WeChat path, put /v1/authorizers/{appid} in front, leave out access_token.
func (d Door) Routes(e *echo.Echo) {
	sessions := e.Group("/v1/authorizers/:appid/customservice/kfsession")
	sessions.POST("/close", d.close)
	sessions.POST("/create", d.create)
	sessions.GET("/getsession", d.getSession)
	sessions.GET("/getsessionlist", d.getSessionList)
	sessions.GET("/getwaitcase", d.getWaitCase)
}

// ok is WeChat's own answer to a call that writes.
var ok = []byte(`{"errcode":0,"errmsg":"ok"}`)

func (d Door) close(c echo.Context) error {
	a, err := d.admit(c, tenant.KFSessionWrite)
	if err != nil {
		return err
	}
	body, err := readPair(c)
	if err != nil {
		return err
	}
	outcome, err := d.Desk.Close(c.Request().Context(), a, body)
	if err != nil {
		return err
	}
	if outcome == Inferred {
		c.Response().Header().Set("Outcome", "inferred")
		requestlog.Add(c.Request().Context(), "outcome", "inferred")
	}
	return c.JSONBlob(http.StatusOK, ok)
}

func (d Door) create(c echo.Context) error {
	a, err := d.admit(c, tenant.KFSessionWrite)
	if err != nil {
		return err
	}
	body, err := readPair(c)
	if err != nil {
		return err
	}
	if err := d.Desk.Create(c.Request().Context(), a, body); err != nil {
		return err
	}
	return c.JSONBlob(http.StatusOK, ok)
}

func (d Door) getSession(c echo.Context) error {
	return d.get(c, "openid", func(ctx context.Context, a authorizer.Admitted, openid string) (json.RawMessage, error) {
		return d.Desk.Get(ctx, a, wechat.OpenID(openid))
	})
}

func (d Door) getSessionList(c echo.Context) error {
	return d.get(c, "kf_account", func(ctx context.Context, a authorizer.Admitted, kf string) (json.RawMessage, error) {
		return d.Desk.List(ctx, a, wechat.KFAccount(kf))
	})
}

func (d Door) getWaitCase(c echo.Context) error {
	a, err := d.admit(c, tenant.KFSessionRead)
	if err != nil {
		return err
	}
	if _, err := strict.Query(c.Request()); err != nil {
		return err
	}
	answer, err := d.Desk.Waiting(c.Request().Context(), a)
	if err != nil {
		return err
	}
	return c.JSONBlob(http.StatusOK, answer)
}

func (d Door) get(c echo.Context, parameter string, ask func(context.Context, authorizer.Admitted, string) (json.RawMessage, error)) error {
	a, err := d.admit(c, tenant.KFSessionRead)
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

func (d Door) admit(c echo.Context, scope tenant.Scope) (authorizer.Admitted, error) {
	return d.Authorizers.Admit(c, authorizer.Need{Scope: scope, AnyOf: granting, Official: true})
}

func readPair(c echo.Context) (Pair, error) {
	var body Pair
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

// checked says what is wrong with a field, or nil. What stands behind the @ of a kf account is WeChat's to judge.
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
