package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"wxplatform/authorizer"
	"wxplatform/component"
	"wxplatform/inbox"
	"wxplatform/internal/db"
	"wxplatform/internal/mirror"
	"wxplatform/internal/problem"
	"wxplatform/internal/requestlog"
	"wxplatform/internal/strict"
	"wxplatform/invitation"
	"wxplatform/session"
	"wxplatform/tenant"
	"wxplatform/token"
	"wxplatform/wechat"
)

// row is one case of the table in DESIGN.md §5: the errors it stands for, and what the caller reads.
type row struct {
	is        func(error) bool
	status    int
	slug      string
	title     string
	retryable bool
	alarm     bool // the operator must act; the log line says so
}

func sentinel(targets ...error) func(error) bool {
	return func(err error) bool {
		for _, target := range targets {
			if errors.Is(err, target) {
				return true
			}
		}
		return false
	}
}

func refused(codes ...wechat.Code) func(error) bool {
	return func(err error) bool {
		got := wechat.Refused(err)
		for _, code := range codes {
			if got == code {
				return true
			}
		}
		return false
	}
}

// isOperators is a refusal that only the operator can put right.
var isOperators = refused(wechat.UnknownAddress, wechat.InvalidSecret, wechat.TicketExpired, wechat.TicketInvalid, wechat.InvalidComponent)

// isQuota is a quota that is used up: WeChat's refusal, or our not asking for an access token because of it.
func isQuota(err error) bool {
	pause := (*authorizer.PauseError)(nil)
	return wechat.Refused(err).IsQuota() || errors.As(err, &pause) && pause.Code.IsQuota()
}

// isPaused is a refusal that only the operator can put right, or our not asking because of it.
func isPaused(err error) bool {
	return isOperators(err) || errors.Is(err, authorizer.ErrComponentRejected) || as[*authorizer.PauseError](err)
}

func as[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

func echoStatus(status int) func(error) bool {
	return func(err error) bool {
		var e *echo.HTTPError
		return errors.As(err, &e) && e.Code == status
	}
}

// rows are looked at from the top; the first that fits answers. What we found out stands before the refusal that told us.
var rows = []row{
	{sentinel(context.Canceled), 499, "caller-left", "The caller hung up before the answer", false, false}, // nobody reads it: it keeps the figures of our own faults right, and WeChat may have acted
	{sentinel(tenant.ErrNoToken, tenant.ErrInvalidToken), 401, "invalid-token", "No valid access token", false, false},
	{sentinel(tenant.ErrTokenExpired), 401, "token-expired", "The access token has expired", false, false},
	{sentinel(tenant.ErrInsufficientScope), 403, "insufficient-scope", "The access token lacks the scope", false, false},
	{sentinel(tenant.ErrSuspended), 403, "tenant-suspended", "The tenant is suspended", false, false},
	{sentinel(authorizer.ErrUnknown), 404, "unknown-authorizer", "No such authorizer", false, false},
	{sentinel(authorizer.ErrRevoked), 410, "authorization-revoked", "The merchant withdrew the authorization", false, false},
	{sentinel(authorizer.ErrReauthorize, token.ErrUnknown, token.ErrRetired), 410, "reauthorization-required", "The merchant must authorize again", false, false},
	{sentinel(authorizer.ErrNotEligible), 403, "account-not-eligible", "A mini program, or not a verified account", false, false},
	{as[*authorizer.PermissionError], 403, "permission-set-missing", "The merchant granted none of the permission sets needed", false, false},
	{sentinel(strict.ErrTooLarge), 413, "too-large", "The body is too large", false, false},
	{sentinel(strict.ErrContentType), 415, "wrong-content-type", "The body must be application/json", false, false},
	{sentinel(db.ErrText), 400, "invalid-request", "The request is not as it should be", false, false},
	{as[*strict.Fault], 400, "invalid-request", "The request is not as it should be", false, false},
	{sentinel(invitation.ErrUnknown), 404, "unknown-invitation", "No such invitation", false, false},
	{sentinel(invitation.ErrEnded), 409, "invitation-ended", "The invitation is no longer pending", false, false},
	{sentinel(invitation.ErrContradiction), 503, "wechat-unavailable", "WeChat could not be reached or did not do it", true, true},
	{sentinel(inbox.ErrNotAuthentic), 403, "not-authentic", "Not a push of WeChat's for this component", false, false},
	{sentinel(session.ErrServedByAnother), 409, "served-by-another", "Another kf account is serving the customer", false, false},
	{sentinel(session.ErrUnknownOutcome), 504, "outcome-unknown", "Nobody knows whether WeChat did it", false, false},
	{sentinel(session.ErrStillOpen), 503, "wechat-unavailable", "WeChat could not be reached or did not do it", true, false},
	{sentinel(authorizer.ErrRejected), 502, "token-rejected", "WeChat rejects even the newest access token", false, true},
	{sentinel(authorizer.ErrAlone), 503, "wechat-unavailable", "WeChat could not be reached or did not do it", true, false},
	{isQuota, 429, "wechat-quota", "WeChat's quota is used up", true, false},
	{isPaused, 503, "platform-misconfigured", "The platform must be put right by its operator", false, true},
	{sentinel(component.ErrNoTicket), 503, "platform-misconfigured", "The platform must be put right by its operator", false, true},
	{sentinel(authorizer.ErrUnconfirmed, authorizer.ErrUnread), 503, "wechat-unavailable", "WeChat could not be reached or did not do it", true, false},
	{refused(wechat.InvalidOpenID), 422, "invalid-openid", "WeChat does not know this openid", false, false},
	{refused(wechat.NoSession), 409, "no-session", "The customer has no session", false, false},
	{refused(wechat.ServedByAnother), 409, "served-by-another", "Another kf account is serving the customer", false, false},
	{refused(65400), 409, "kf-not-enabled", "The account has not enabled customer service", false, false},
	{refused(65401), 409, "unknown-kf-account", "No such kf account", false, false},
	{refused(65402), 409, "kf-account-not-bound", "The kf account is not bound to a WeChat user", false, false},
	{refused(65403), 409, "kf-nickname-invalid", "The nickname is not allowed", false, false},
	{refused(65404), 409, "kf-account-invalid", "The kf account is not allowed", false, false},
	{refused(65405), 409, "kf-account-limit", "No more kf accounts are allowed", false, false},
	{refused(65406), 409, "kf-account-exists", "The kf account exists already", false, false},
	{refused(65407), 409, "kf-worker-exists", "The WeChat user serves already", false, false},
	{refused(65408), 409, "kf-already-invited", "The WeChat user was invited already", false, false},
	{refused(65409), 409, "kf-wechat-id-invalid", "No such WeChat id", false, false},
	{refused(65410), 409, "kf-worker-limit", "The WeChat user is bound to too many kf accounts", false, false},
	{refused(65411), 409, "kf-invitation-pending", "An invitation to bind the kf account is open", false, false},
	{refused(65412), 409, "kf-account-bound", "The kf account is bound already", false, false},
	{refused(65415), 409, "kf-offline", "The kf account is not online", false, false},
	{refused(65416), 409, "kf-parameter-invalid", "WeChat does not accept a parameter", false, false},
	{refused(65417), 409, "kf-span-too-long", "The span of time is too long", false, false},
	{sentinel(db.ErrUnavailable), 503, "unavailable", "A part of the platform is away", true, false},
	{sentinel(authorizer.ErrNoToken), 503, "wechat-unavailable", "WeChat could not be reached or did not do it", true, false},
	{func(err error) bool { return wechat.Refusal(err) != nil }, 502, "wechat-refused", "WeChat refused", false, false},
	{func(err error) bool { return wechat.NotSent(err) || wechat.MayHaveActed(err) }, 503, "wechat-unavailable", "WeChat could not be reached or did not do it", true, false},
	{sentinel(context.DeadlineExceeded, mirror.ErrClosed), 503, "unavailable", "A part of the platform is away", true, false}, // what another is at took too long
	{echoStatus(http.StatusNotFound), 404, "not-found", "No such route", false, false},
	{echoStatus(http.StatusMethodNotAllowed), 405, "method-not-allowed", "The route has no such method", false, false},
}

// lost is what everything else becomes: a fault of ours, of which the log line knows more.
var lost = row{status: 500, slug: "internal-error", title: "A fault of the platform"}

func find(err error) row {
	for _, r := range rows {
		if r.is(err) {
			return r
		}
	}
	return lost
}

// answerProblem is Echo's one error handler.
func answerProblem(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	r := find(err)
	ctx := c.Request().Context()
	requestlog.Add(ctx, "problem", r.slug)
	if code := wechat.Refused(err); code != 0 {
		requestlog.Add(ctx, "errcode", int(code))
	}
	if r.alarm {
		requestlog.Add(ctx, "alarm", true)
	}
	p := problem.Problem{Slug: r.slug, Title: r.title, Status: r.status, RequestID: requestlog.ID(ctx), Retryable: r.retryable, Detail: detail(err), More: more(err)}
	headers(c.Response().Header(), r, err)
	if err := p.Write(c.Response()); err != nil {
		requestlog.Add(ctx, "error", "the answer could not be written")
	}
}

// detail says more only where what there is to say is the caller's own matter.
func detail(err error) string {
	var fault *strict.Fault
	var permission *authorizer.PermissionError
	switch {
	case errors.As(err, &fault):
		return fault.Detail()
	case errors.As(err, &permission):
		return fmt.Sprintf("the merchant granted [%s]; one of [%s] is needed. Invite the merchant again to add it.", permission.Granted, wechat.PermissionSets(permission.RequiredAnyOf))
	case errors.Is(err, authorizer.ErrReauthorize), errors.Is(err, authorizer.ErrRevoked):
		return authorizer.NextStep
	case errors.Is(err, session.ErrUnknownOutcome):
		return "Ask with getsession before you send it again: sending blindly could close a new session."
	}
	return ""
}

func more(err error) map[string]any {
	members := map[string]any{}
	var permission *authorizer.PermissionError
	if errors.As(err, &permission) {
		members["required_any_of"] = permission.RequiredAnyOf
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
	return members
}

func headers(h http.Header, r row, err error) {
	switch r.slug {
	case "invalid-token", "token-expired", "insufficient-scope":
		h.Set(echo.HeaderWWWAuthenticate, challenge(r, err))
	case "wechat-quota":
		h.Set(echo.HeaderRetryAfter, strconv.Itoa(retryAfter(err, time.Now())))
	}
}

// challenge is RFC 6750 §3.1: a request that brought no token at all is told no error.
func challenge(r row, err error) string {
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

// retryAfter is how many seconds it takes until the quota is there again.
func retryAfter(err error, now time.Time) int {
	until := wechat.Refused(err).Resets(now)
	if pause := (*authorizer.PauseError)(nil); errors.As(err, &pause) {
		until = pause.Until
	}
	return max(int(until.Sub(now).Seconds())+1, 1)
}
