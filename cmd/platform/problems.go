package main

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"wxplatform/authorizer"
	"wxplatform/component"
	"wxplatform/inbox"
	"wxplatform/internal/db"
	"wxplatform/internal/mirror"
	"wxplatform/internal/strict"
	"wxplatform/invitation"
	"wxplatform/login"
	"wxplatform/quota"
	"wxplatform/relay"
	"wxplatform/session"
	"wxplatform/share"
	"wxplatform/tenant"
	"wxplatform/token"
	"wxplatform/wechat"
)

// problemType is a kind of error as callers see it. docs/errors.md has a section for each.
type problemType struct {
	status    int
	slug      string
	title     string
	retryable bool // the same request may be sent again unchanged
	alarm     bool // the operator must act; the log line says so
}

// Problem types that more than one rule answers with.
var (
	invalidRequest = problemType{status: 400, slug: "invalid-request", title: "Invalid request"}
	servedByOther  = problemType{status: 409, slug: "served-by-another",
		title: "Another kf account is serving the customer"}
	wechatUnavailable = problemType{status: 503, slug: "wechat-unavailable",
		title: "WeChat is unavailable or did not act", retryable: true}
	misconfigured = problemType{status: 503, slug: "platform-misconfigured",
		title: "The platform is misconfigured; contact its operator", alarm: true}
	tenantLimit = problemType{status: 429, slug: "tenant-limit",
		title: "The tenant or the account uses more than its share", retryable: true}
	overloaded = problemType{status: 503, slug: "overloaded",
		title: "Too many requests are in flight", retryable: true}
	methodNotAllowed = problemType{status: 405, slug: "method-not-allowed",
		title: "The route does not support this method"}
	unavailable = problemType{status: 503, slug: "unavailable",
		title: "Temporarily unavailable", retryable: true}
)

// internalError is the answer to every error that no rule matches. The log line has the cause.
var internalError = problemType{status: 500, slug: "internal-error", title: "Internal error"}

// problemRule maps the errors that it matches to a problem type.
type problemRule struct {
	matches func(error) bool
	problem problemType
}

// problemRules are tried in order; the first match answers. Our own errors come before WeChat's
// refusals, because they may wrap one.
var problemRules = slices.Concat(ownRules, kfRules(), generalRules)

// ownRules match the errors that the packages name.
var ownRules = []problemRule{
	// Nobody reads this answer. It keeps the counts of our own faults right; WeChat may have acted.
	{is(context.Canceled), problemType{status: 499, slug: "caller-left",
		title: "The caller disconnected before the answer"}},

	{is(errOverloaded, share.ErrFull), overloaded},
	{is(tenant.ErrNoToken, tenant.ErrInvalidToken), problemType{status: 401, slug: "invalid-token",
		title: "The JWT is missing or invalid"}},
	{is(tenant.ErrTokenExpired), problemType{status: 401, slug: "token-expired",
		title: "The JWT has expired"}},
	{is(tenant.ErrInsufficientScope), problemType{status: 403, slug: "insufficient-scope",
		title: "The JWT lacks the required scope"}},
	{is(tenant.ErrSuspended), problemType{status: 403, slug: "tenant-suspended",
		title: "The tenant is suspended"}},

	{is(tenant.ErrRate, share.ErrOver), tenantLimit},

	{is(authorizer.ErrUnknown, authorizer.ErrUnbound), problemType{status: 404, slug: "unknown-authorizer",
		title: "No such authorizer"}},
	{is(authorizer.ErrRevoked), problemType{status: 410, slug: "authorization-revoked",
		title: "The merchant withdrew the authorization"}},
	{is(authorizer.ErrReauthorize, token.ErrUnknown, token.ErrRetired), problemType{status: 410,
		slug: "reauthorization-required", title: "The merchant must authorize again"}},
	{is(authorizer.ErrNotEligible), problemType{status: 403, slug: "account-not-eligible",
		title: "The account is a mini program or not verified"}},
	{isA[*authorizer.PermissionError], problemType{status: 403, slug: "permission-set-missing",
		title: "The merchant granted none of the required permission sets"}},

	{is(relay.ErrUnknownAPI), problemType{status: 404, slug: "unknown-api",
		title: "WeChat has no such API that is relayed"}},
	{is(relay.ErrNotRelayed), problemType{status: 403, slug: "api-not-relayed",
		title: "This API is never relayed"}},
	{is(relay.ErrSwitchedOff), problemType{status: 403, slug: "api-switched-off",
		title: "The operator switched this API off"}},
	{isA[*relay.MethodError], methodNotAllowed},
	{is(relay.ErrLength), problemType{status: 411, slug: "length-required",
		title: "The body needs a Content-Length"}},
	{is(wechat.ErrBody), invalidRequest},
	{is(strict.ErrTooLarge, relay.ErrTooLarge), problemType{status: 413, slug: "too-large",
		title: "The body is too large"}},
	{is(strict.ErrContentType), problemType{status: 415, slug: "wrong-content-type",
		title: "The body must be application/json"}},
	{is(db.ErrText), invalidRequest},
	{isA[*strict.Fault], invalidRequest},
	{isA[*relay.Fault], invalidRequest},
	{is(tenant.ErrWrongSecret), problemType{status: 401, slug: "invalid-client-secret",
		title: "There is no client with this secret, or it was revoked"}},
	{is(login.ErrToken), problemType{status: 422, slug: "invalid-user-token",
		title: "The user's access token is not valid here"}},
	{is(login.ErrTokenExpired), problemType{status: 422, slug: "user-token-expired",
		title: "The user's access token has expired"}},
	{is(login.ErrRefreshToken), problemType{status: 422, slug: "invalid-refresh-token",
		title: "The user's refresh token is not valid here, or has expired"}},

	{is(invitation.ErrUnknown), problemType{status: 404, slug: "unknown-invitation",
		title: "No such invitation"}},
	{is(invitation.ErrEnded), problemType{status: 409, slug: "invitation-ended",
		title: "The invitation is no longer pending"}},
	{isA[*invitation.PendingError], problemType{status: 409, slug: "too-many-invitations",
		title: "The tenant has too many pending invitations"}},
	{is(invitation.ErrContradiction, invitation.ErrMisdirected), withAlarm(wechatUnavailable)},
	{is(inbox.ErrNotAuthentic), problemType{status: 403, slug: "not-authentic",
		title: "Not an authentic push from WeChat"}},

	{is(session.ErrServedByAnother), servedByOther},
	{is(session.ErrUnknownOutcome, relay.ErrUnknownOutcome, login.ErrUnknownOutcome), problemType{status: 504, slug: "outcome-unknown",
		title: "It is unknown whether WeChat acted"}},
	{is(session.ErrStillOpen), wechatUnavailable},

	{is(authorizer.ErrRejected), problemType{status: 502, slug: "token-rejected",
		title: "WeChat rejects even the newest access token", alarm: true}},
	{is(authorizer.ErrAlone, authorizer.ErrTokenReplaced, component.ErrTokenReplaced), wechatUnavailable},
	{isQuota, problemType{status: 429, slug: "wechat-quota",
		title: "WeChat's quota is used up", retryable: true}},
	{isPaused, misconfigured},
	{is(component.ErrNoTicket), misconfigured},
	{is(authorizer.ErrUnconfirmed, authorizer.ErrUnread), wechatUnavailable},
	{refusedWith(wechat.InvalidOpenID), problemType{status: 422, slug: "invalid-openid",
		title: "The openid does not belong to this account"}},
}

// kfProblems are WeChat's errcodes 65400 to 65417, about customer-service (kf) accounts. All are
// answered with 409.
var kfProblems = []struct {
	code  wechat.Code
	slug  string
	title string
}{
	{65400, "kf-not-enabled", "The account has not enabled customer service"},
	{65401, "unknown-kf-account", "No such kf account"},
	{65402, "kf-account-not-bound", "The kf account is not bound to a WeChat user"},
	{65403, "kf-nickname-invalid", "The nickname is not allowed"},
	{65404, "kf-account-invalid", "The kf account name is not allowed"},
	{65405, "kf-account-limit", "The account has reached its limit of kf accounts"},
	{65406, "kf-account-exists", "The kf account already exists"},
	{65407, "kf-worker-exists", "The WeChat user is already a kf agent of the account"},
	{65408, "kf-already-invited", "The WeChat user has already been invited"},
	{65409, "kf-wechat-id-invalid", "No such WeChat id"},
	{65410, "kf-worker-limit", "The WeChat user is bound to too many kf accounts"},
	{65411, "kf-invitation-pending", "An invitation to bind the kf account is pending"},
	{65412, "kf-account-bound", "The kf account is already bound"},
	{wechat.NoSession, "no-session", "The customer has no session"},
	{wechat.ServedByAnother, servedByOther.slug, servedByOther.title},
	{65415, "kf-offline", "The kf account is not online"},
	{65416, "kf-parameter-invalid", "WeChat rejected a parameter"},
	{65417, "kf-span-too-long", "The time span is too long"},
}

// kfRules match the refusals in kfProblems.
func kfRules() (rules []problemRule) {
	for _, p := range kfProblems {
		rules = append(rules, problemRule{refusedWith(p.code), problemType{status: 409, slug: p.slug, title: p.title}})
	}
	return rules
}

// generalRules match what remains.
var generalRules = []problemRule{
	{is(db.ErrUnavailable), unavailable},
	{is(authorizer.ErrNoToken), wechatUnavailable},
	{faultsRequest, problemType{status: 422, slug: "wechat-refused",
		title: "WeChat refused the request"}},
	{func(err error) bool { return wechat.Refusal(err) != nil }, problemType{status: 502, slug: "wechat-refused",
		title: "WeChat refused the request"}},
	{func(err error) bool { return wechat.NotSent(err) || wechat.MayHaveActed(err) }, wechatUnavailable},
	{is(context.DeadlineExceeded, mirror.ErrClosed), unavailable}, // waited too long for another request's result
	{isEcho(http.StatusNotFound), problemType{status: 404, slug: "not-found", title: "No such route"}},
	{isEcho(http.StatusMethodNotAllowed), methodNotAllowed},
}

func withAlarm(p problemType) problemType {
	p.alarm = true
	return p
}

// is matches errors that wrap one of targets.
func is(targets ...error) func(error) bool {
	return func(err error) bool {
		return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
	}
}

// isA matches errors that wrap a T.
func isA[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

// refusedWith matches WeChat's refusals with one of codes.
func refusedWith(codes ...wechat.Code) func(error) bool {
	return func(err error) bool { return slices.Contains(codes, wechat.Refused(err)) }
}

// faultsRequest matches WeChat's refusals of a relayed request that are about the request itself,
// and not about tokens (40001, 40013, 40014, 40125, 40164, 41001, 41002, 41004, 42xxx), the account
// or the component (48xxx, 50xxx, 61xxx). Callers must not take those for an outage.
func faultsRequest(err error) bool {
	code := wechat.Refused(err)
	if !isA[*relay.RefusalError](err) || slices.Contains([]wechat.Code{40001, 40013, 40014, 40125, 40164, 41001, 41002, 41004}, code) {
		return false
	}
	return code >= 40000 && !slices.Contains([]wechat.Code{42, 48, 50, 61}, code/1000)
}

// isEcho matches Echo's own errors of that status.
func isEcho(status int) func(error) bool {
	return func(err error) bool {
		var e *echo.HTTPError
		return errors.As(err, &e) && e.Code == status
	}
}

// isMisconfigured matches refusals that only the operator can fix.
var isMisconfigured = refusedWith(wechat.UnknownAddress, wechat.InvalidSecret, wechat.TicketExpired, wechat.TicketInvalid, wechat.InvalidComponent)

// isPaused matches what isMisconfigured does, and a request for an access token that was not sent
// because of such a refusal.
func isPaused(err error) bool {
	return isMisconfigured(err) || errors.Is(err, authorizer.ErrComponentRejected) || isA[*quota.PauseError](err)
}

// isQuota matches WeChat's refusals for a used-up quota, and a request for an access token that was
// not sent because of one.
func isQuota(err error) bool {
	pause := (*quota.PauseError)(nil)
	return wechat.Refused(err).IsQuota() || errors.As(err, &pause) && pause.Code.IsQuota()
}

// problemOf is the problem type that err is answered with.
func problemOf(err error) problemType {
	for _, r := range problemRules {
		if r.matches(err) {
			return r.problem
		}
	}
	return internalError
}

// problemTypes are all of them; one that several rules answer with comes several times.
func problemTypes() []problemType {
	all := []problemType{internalError}
	for _, r := range problemRules {
		all = append(all, r.problem)
	}
	return all
}
