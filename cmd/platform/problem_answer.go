package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"wxplatform/authorizer"
	"wxplatform/internal/problem"
	"wxplatform/internal/requestlog"
	"wxplatform/internal/strict"
	"wxplatform/invitation"
	"wxplatform/login"
	"wxplatform/quota"
	"wxplatform/relay"
	"wxplatform/session"
	"wxplatform/share"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

// answerProblem is Echo's error handler: it writes err as problem+json and notes it on the log
// line.
func answerProblem(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	r := problemOf(err)
	logProblem(c, r, err)
	ctx := c.Request().Context()
	p := problem.Problem{Slug: r.slug, Title: r.title, Status: r.status, RequestID: requestlog.ID(ctx), Retryable: r.retryable, Detail: detail(err), More: more(err)}
	headers(c.Response().Header(), r, err)
	if err := p.Write(c.Response()); err != nil {
		requestlog.Add(ctx, "error", "the answer could not be written")
	}
}

// logProblem notes err and its problem type on the request's log line.
func logProblem(c echo.Context, p problemType, err error) {
	ctx := c.Request().Context()
	requestlog.Add(ctx, "problem", p.slug)
	if code := wechat.Refused(err); code != 0 {
		requestlog.AddNumber(ctx, "errcode", int(code))
	}
	if p.alarm {
		requestlog.AddTrue(ctx, "alarm")
	}
}

// detail explains this occurrence, for the errors whose text concerns the caller alone; else "".
func detail(err error) string {
	var fault *strict.Fault
	var parameter *relay.Fault
	var permission *authorizer.PermissionError
	var pending *invitation.PendingError
	switch {
	case errors.As(err, &fault):
		return fault.Detail()
	case errors.As(err, &parameter):
		return parameter.Why
	case errors.As(err, &pending):
		return fmt.Sprintf("%d invitations are pending. Cancel those that are not needed, or wait until some are used or expire.", pending.Most)
	case errors.As(err, &permission) && len(permission.RequiredAnyOf) == 0:
		return fmt.Sprintf("the merchant granted [%s]; WeChat says that the API needs another permission set.", permission.Granted)
	case errors.As(err, &permission):
		return fmt.Sprintf("the merchant granted [%s]; one of [%s] is needed. Invite the merchant again to add it.", permission.Granted, wechat.PermissionSets(permission.RequiredAnyOf))
	case errors.Is(err, tenant.ErrNoToken), errors.Is(err, tenant.ErrInvalidToken):
		return detailOfToken(err)
	case errors.Is(err, authorizer.ErrUnconfirmed):
		return "WeChat says that the merchant is not authorized to this platform. That is being confirmed: if the merchant withdrew, the answer will be authorization-revoked."
	case errors.Is(err, authorizer.ErrUnbound):
		return "this JWT is bound to no account: get one from /cgi-bin/token"
	case errors.Is(err, authorizer.ErrReauthorize), errors.Is(err, authorizer.ErrRevoked):
		return authorizer.NextStep
	case errors.Is(err, tenant.ErrRate):
		return "Send fewer requests a second."
	case errors.Is(err, share.ErrOver):
		return "Too many calls of this tenant or this account wait for WeChat. Send the next one when one of them has been answered."
	case errors.Is(err, relay.ErrUnknownOutcome):
		return "WeChat may have done it. Look before you send it again."
	case errors.Is(err, relay.ErrLength):
		return "WeChat takes no chunked body. Send one over 1 MiB with its Content-Length."
	case errors.Is(err, login.ErrUnknownOutcome):
		return "The code may be used up. Have the user log in again."
	case errors.Is(err, session.ErrUnknownOutcome):
		return "Check with getsession before you retry: a blind retry could close a new session."
	}
	return ""
}

// detailOfToken says why a JWT is refused, where that helps its owner and nobody else: no key, no
// signature and no client is told that the caller does not have.
func detailOfToken(err error) string {
	switch {
	case errors.Is(err, tenant.ErrNoToken):
		return "Send the JWT as Authorization: Bearer <JWT>, or at WeChat's own paths as ?access_token=<JWT>."
	case errors.Is(err, tenant.ErrKeyEnded):
		return "The operator revoked the key that signed this JWT, or it ended. Get a new JWT."
	case errors.Is(err, tenant.ErrForeignKey):
		return "No key of this platform signed this JWT. Get one here."
	case errors.Is(err, tenant.ErrOtherIssuer):
		return "This JWT was issued under another public URL of the platform. Get a new one."
	case errors.Is(err, tenant.ErrClientRevoked):
		return "The operator revoked the client of this JWT. Ask for another client."
	}
	return ""
}

// more returns the members that this occurrence adds to the problem.
func more(err error) map[string]any {
	members := map[string]any{}
	var permission *authorizer.PermissionError
	if errors.As(err, &permission) {
		members["required_any_of"] = append([]wechat.PermissionSet{}, permission.RequiredAnyOf...)
		members["granted"] = permission.Granted
	}
	var account *authorizer.AccountError
	if errors.As(err, &account) && account.Granted != nil {
		members["granted"], members["verified"] = account.Granted, account.Verified
	}
	if refusal := wechat.Refusal(err); refusal != nil {
		members["errcode"], members["errmsg"] = refusal.Code, refusal.Msg
		if refusal.RID != "" {
			members["rid"] = refusal.RID
		}
	}
	var relayed *relay.RefusalError
	if errors.As(err, &relayed) && errcodeOf(problemOf(err), wechat.Refused(err)) == wechat.Refused(err) && json.Valid(relayed.Answer.Body) {
		members["wechat"] = json.RawMessage(relayed.Answer.Body)
	}
	return members
}

// headers sets the response headers that belong to the problem.
func headers(h http.Header, r problemType, err error) {
	switch r.slug {
	case "invalid-token", "token-expired", "insufficient-scope":
		h.Set(echo.HeaderWWWAuthenticate, challenge(r, err))
	case overloaded.slug:
		h.Set(echo.HeaderRetryAfter, "1")
	case "wechat-quota":
		h.Set(echo.HeaderRetryAfter, strconv.Itoa(quotaResets(err, time.Now())))
	case tenantLimit.slug:
		h.Set(echo.HeaderRetryAfter, strconv.Itoa(shareResets(err)))
	}
}

// challenge is the WWW-Authenticate header of RFC 6750 §3.1. A request without any token gets no
// error code.
func challenge(r problemType, err error) string {
	switch {
	case errors.Is(err, tenant.ErrNoToken):
		return `Bearer realm="wxplatform"`
	case r.slug == "insufficient-scope":
		return `Bearer realm="wxplatform", error="insufficient_scope"`
	case r.slug == "token-expired":
		return `Bearer realm="wxplatform", error="invalid_token", error_description="expired"`
	}
	return `Bearer realm="wxplatform", error="invalid_token"`
}

// shareResets is the number of seconds after which a tenant may try again. When a call in flight
// ends is not known, so it is one second for a share that is used up.
func shareResets(err error) int {
	if rate := (*tenant.RateError)(nil); errors.As(err, &rate) {
		return rate.Seconds()
	}
	return 1
}

// quotaResets is the number of seconds until the quota is restored.
func quotaResets(err error, now time.Time) int {
	until := wechat.Refused(err).Resets(now)
	if pause := (*quota.PauseError)(nil); errors.As(err, &pause) {
		until = pause.Until
	}
	return max(int(until.Sub(now).Seconds())+1, 1)
}
