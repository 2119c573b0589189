package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"wxplatform/internal/requestlog"
	"wxplatform/login"
	"wxplatform/relay"
	"wxplatform/wechat"
)

// answerError is the public listener's error handler. The errors of requests at WeChat's own paths
// are written as WeChat does, wherever they arise, and all others as problem+json.
func (p *platform) answerError(err error, c echo.Context) {
	switch path := c.Request().URL.Path; {
	case relay.IsTokenCall(path):
		answerTokenCall(err, c)
	case login.TakesSecret(path):
		answerSecretCall(err, c)
	case p.isWeChats(path):
		answerLikeWeChat(err, c)
	default:
		answerProblem(err, c)
	}
}

// answerLikeWeChat writes an error as WeChat does, for callers whose WeChat SDK expects that: HTTP
// 200 with an errcode and an errmsg. SDKs do not read the body of another status. A refusal of
// WeChat's that is the caller's business is handed on byte for byte.
func answerLikeWeChat(err error, c echo.Context) {
	answerSDK(err, c, errcodeOf(problemOf(err), wechat.Refused(err)))
}

// answerSecretCall is answerLikeWeChat for a call that carries an appid and a client's secret.
func answerSecretCall(err error, c echo.Context) { answerSDK(err, c, secretErrcode(err)) }

// answerTokenCall is answerSecretCall for WeChat's two token calls. Some SDKs repeat those without
// end after 40001, 42001 or -1. They wait on 45011.
func answerTokenCall(err error, c echo.Context) {
	code := secretErrcode(err)
	switch code {
	case wechat.InvalidCredential, wechat.InvalidToken, wechat.TokenExpired, wechat.Busy, unknownResult:
		code = wechat.MinuteQuota
	}
	answerSDK(err, c, code)
}

func secretErrcode(err error) wechat.Code {
	p := problemOf(err)
	if code, differs := secretErrcodes[p.slug]; differs {
		return code
	}
	return errcodeOf(p, wechat.Refused(err))
}

func answerSDK(err error, c echo.Context, code wechat.Code) {
	if c.Response().Committed {
		return
	}
	p := problemOf(err)
	logProblem(c, p, err)
	if fault := writeErrcode(p, err, c, code); fault != nil {
		requestlog.Add(c.Request().Context(), "error", "the answer could not be written")
	}
}

func writeErrcode(p problemType, err error, c echo.Context, code wechat.Code) error {
	var refused *relay.RefusalError
	if errors.As(err, &refused) && code == wechat.Refused(err) && readable(refused.Answer.Body) {
		return relay.AnswerLikeWeChat(c, refused.Answer.Body)
	}
	message := p.title + " (" + p.slug + ")"
	if more := detail(err); more != "" {
		message += ": " + more
	}
	if method := (*relay.MethodError)(nil); errors.As(err, &method) && method.Allowed[0] == http.MethodGet {
		code = needsGet
	}
	if fault := (*relay.Fault)(nil); errors.As(err, &fault) {
		code, message = fault.Code, fault.Why
	}
	return relay.Refuse(c, code, message)
}

// readable reports whether every SDK reads a body: some fail at control characters between tokens.
func readable(body []byte) bool {
	return json.Valid(body) && !bytes.ContainsFunc(body, func(r rune) bool { return r < ' ' })
}

// The codes of WeChat's that the platform's own errors are answered with, besides those that
// package wechat names.
const (
	withdrawn     = wechat.NotAuthorized
	lacksRight    = wechat.Unauthorized
	unknownResult = wechat.OutcomeUnknown
	badRefresh    = wechat.Code(40030)
	badParameter  = wechat.Code(40035)
	badURL        = wechat.Code(40066)
	needsGet      = wechat.Code(43001)
	needsPost     = wechat.Code(43002)
	tooLarge      = wechat.Code(45001)
)

// errcodes says what an SDK is told of each problem type that is not WeChat's own refusal. SDKs get
// a new token on 40001, so it is used only if a new JWT helps, if the token call then stops the SDK
// with another code, or for a user's token. They repeat on -1, so it stands only where nothing was
// sent, or where a read failed. They wait on 45011.
var errcodes = map[string]wechat.Code{
	"invalid-token": wechat.InvalidCredential, "token-expired": wechat.InvalidCredential,
	"insufficient-scope": lacksRight, "tenant-suspended": lacksRight, "unknown-authorizer": lacksRight,
	"permission-set-missing": lacksRight, "account-not-eligible": lacksRight, "api-not-relayed": lacksRight, "api-switched-off": lacksRight,
	"authorization-revoked": withdrawn, "reauthorization-required": withdrawn,
	"tenant-limit": wechat.MinuteQuota, "overloaded": wechat.MinuteQuota,
	"wechat-unavailable": wechat.Busy, "unavailable": wechat.Busy, "platform-misconfigured": wechat.Busy,
	"outcome-unknown": unknownResult, "token-rejected": unknownResult, "internal-error": unknownResult,
	"caller-left":     unknownResult,
	"invalid-request": badParameter, "wrong-content-type": badParameter, "length-required": badParameter,
	"invalid-user-token": wechat.InvalidCredential, "user-token-expired": wechat.TokenExpired,
	"invalid-client-secret": wechat.InvalidSecret,
	"too-large":             tooLarge, "unknown-api": badURL, "not-found": badURL, "method-not-allowed": needsPost,
}

// unsaid are the codes of problem types that have WeChat's own code, unless the platform found out
// without WeChat.
var unsaid = map[string]wechat.Code{
	"wechat-quota": wechat.MinuteQuota, servedByOther.slug: wechat.ServedByAnother, "invalid-refresh-token": badRefresh,
}

// secretErrcodes says where the answers to calls with an appid and a client's secret differ from
// errcodes: WeChat has codes for both there.
var secretErrcodes = map[string]wechat.Code{
	"tenant-suspended": wechat.InvalidSecret, "unknown-authorizer": relay.BadAppID,
}

// errcodeOf is what an SDK is told of an error with the problem type p, where WeChat refused with
// the given code, or 0. A refusal of WeChat's that the platform does not interpret keeps its code.
func errcodeOf(p problemType, refused wechat.Code) wechat.Code {
	if code, ours := errcodes[p.slug]; ours {
		return code
	}
	if code, known := unsaid[p.slug]; known && refused == 0 {
		return code
	}
	switch refused {
	case 0, wechat.InvalidCredential, wechat.InvalidToken, wechat.TokenExpired:
		return unknownResult
	}
	return refused
}
