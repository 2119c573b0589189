package main

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"wxplatform/authorizer"
	"wxplatform/inbox"
	"wxplatform/internal/strict"
	"wxplatform/invitation"
	"wxplatform/session"
)

// public is the handler for the world: tenants, WeChat, merchants' browsers.
func (p *platform) public() http.Handler {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = p.countProblems(answerProblem)
	e.Use(p.requests.Middleware, plainPath)
	authorizers := &authorizer.Door{Authorizers: p.authorizers, Tenants: p.tenants}
	p.tenants.Routes(e)
	authorizers.Routes(e)
	session.Door{Desk: p.sessions, Authorizers: authorizers}.Routes(e)
	invitation.Door{Desk: p.invitations, Tenants: p.tenants}.Routes(e)
	inbox.Door{Inbox: p.inbox}.Routes(e)
	return e
}

// plainPath refuses paths that can be read in two ways. No id of ours or of WeChat's needs an escape.
func plainPath(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		u := c.Request().URL
		if u.RawPath != "" || strings.Contains(u.Path, "..") || strings.Contains(u.Path, "//") || strings.ContainsAny(u.Path, "\\\x00%;") {
			return &strict.Fault{Why: "the path holds an escape, an empty segment or dots"}
		}
		return next(c)
	}
}
