package main

import (
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"wxplatform/internal/requestlog"
	"wxplatform/wechat"
)

// answererKey is where a request keeps the answerer of its route.
const answererKey = "answerer"

// answeredBy has errors of a group's routes written by answer instead of as problem+json.
func answeredBy(answer echo.HTTPErrorHandler) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			c.Set(answererKey, answer)
			return next(c)
		}
	}
}

// answerError is Echo's one error handler: it has the route's answerer write the error.
func answerError(err error, c echo.Context) {
	if answer, ok := c.Get(answererKey).(echo.HTTPErrorHandler); ok {
		answer(err, c)
		return
	}
	answerProblem(err, c)
}

// answerLikeWeChat writes an error as WeChat does, for callers whose WeChat SDK expects that: HTTP
// 200 with an errcode and an errmsg. SDKs do not read the body of another status.
func answerLikeWeChat(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	p := problemOf(err)
	logProblem(c, p, err)
	body, fault := json.Marshal(wechatRefusal{int(errcodeOf(p, wechat.Refused(err))), p.title + " (" + p.slug + ")"})
	if fault == nil {
		c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
		fault = c.JSONBlob(http.StatusOK, body)
	}
	if fault != nil {
		requestlog.Add(c.Request().Context(), "error", "the answer could not be written")
	}
}

type wechatRefusal struct {
	Code    int    `json:"errcode"`
	Message string `json:"errmsg"`
}

// errcodeOf is what an SDK is told of an error with the problem type p, where WeChat refused with
// the given code, or 0. An SDK fetches a new token on 40001, so 40001 is kept for a JWT that a new
// one replaces. WeChat's own refusals keep their code, except those of an authorizer's token, which
// the SDK does not have. A tenant that uses more than its share is told what WeChat says to an
// account that calls too often, because SDKs wait then. Everything else is the problem's HTTP
// status, which no code of WeChat's is.
func errcodeOf(p problemType, refused wechat.Code) wechat.Code {
	if p.status == http.StatusUnauthorized {
		return wechat.InvalidCredential
	}
	if p.slug == tenantLimit.slug {
		return wechat.MinuteQuota
	}
	switch refused {
	case 0, wechat.InvalidCredential, wechat.InvalidToken, wechat.TokenExpired:
		return wechat.Code(p.status)
	default:
		return refused
	}
}
