package authorizer

import (
	"context"
	"errors"
	"fmt"

	"wxplatform/token"
	"wxplatform/wechat"
)

// Call sends a call with the authorizer's access token. If WeChat rejects the token, it has not
// executed the call, and Call repeats it with a newer token. It also repeats a call that WeChat
// refused for a token that is older than the stored one. The caller sees the rejection only if
// there is no newer token. Call fails with an error of package wechat, with ErrNoToken, with
// db.ErrUnavailable if no token is known while SQL is unavailable, or with ErrRejected,
// ErrUnconfirmed, ErrReauthorize, *PermissionError or ErrNotEligible if WeChat's refusal means
// that.
//
// A call with an Upload cannot be repeated. It is sent with a token that is valid for at least five
// minutes, if one can be had, and if WeChat rejects that, Call gets a newer one and fails with
// ErrTokenReplaced.
func (t Turn) Call(ctx context.Context, call wechat.Call) (wechat.Answer, error) {
	if call.Upload != nil {
		return t.callOnce(ctx, call)
	}
	r, a := t.registry, t.Admitted
	with, err := r.token(ctx, a.AppID)
	if err != nil {
		return wechat.Answer{}, r.whyNoToken(ctx, a.AppID, err)
	}
	answer, err := r.api.send(ctx, with, call)
	for range newerTokens {
		if !r.outdated(ctx, a.AppID, with.Version, err) {
			break
		}
		newer, getting := r.replace(ctx, a.AppID, with.Version)
		if getting != nil {
			return r.withoutNewer(ctx, a, with.Version, answer, err, getting)
		}
		with, call = newer, call.Again()
		answer, err = r.api.send(ctx, with, call)
	}
	if wechat.IsRejectedToken(err) {
		return answer, r.rejected(ctx, a.AppID, with.Version, err)
	}
	return answer, r.meaning(ctx, a, with.Version, err)
}

func (t Turn) callOnce(ctx context.Context, call wechat.Call) (wechat.Answer, error) {
	r, a := t.registry, t.Admitted
	with, err := r.lastingToken(ctx, a.AppID)
	if err != nil {
		return wechat.Answer{}, r.whyNoToken(ctx, a.AppID, err)
	}
	answer, err := r.api.send(ctx, with, call)
	if !r.outdated(ctx, a.AppID, with.Version, err) {
		return answer, r.meaning(ctx, a, with.Version, err)
	}
	if _, getting := r.replace(ctx, a.AppID, with.Version); getting != nil {
		return r.withoutNewer(ctx, a, with.Version, answer, err, getting)
	}
	return answer, fmt.Errorf("%w: %w", ErrTokenReplaced, err)
}

// newerTokens is how many newer tokens are tried: first the stored one, if it is newer than this
// process's, and if WeChat rejects that too, a new one from WeChat.
const newerTokens = 2

// outdated reports whether the call may succeed with a newer token: WeChat rejected this one, or it
// refused the account and a newer token is stored, so that the merchant may have authorized again
// meanwhile.
func (r *Registry) outdated(ctx context.Context, id wechat.AppID, called token.Version, err error) bool {
	switch wechat.Refused(err) {
	case wechat.Unauthorized, wechat.NotAuthorized, wechat.NotGranted:
		stored, reading := r.tokens.Version(ctx, r.db, id)
		return reading == nil && stored > called
	}
	return wechat.IsRejectedToken(err)
}

// withoutNewer returns what a refused call means if there is no newer token to try. The answer is
// returned only with its own refusal, and not with one of the request for a token.
func (r *Registry) withoutNewer(ctx context.Context, a Admitted, called token.Version, answer wechat.Answer, refusal, getting error) (wechat.Answer, error) {
	switch {
	case !wechat.IsRejectedToken(refusal):
		return answer, r.meaning(ctx, a, called, refusal)
	case errors.Is(getting, token.ErrLimited):
		return answer, r.rejected(ctx, a.AppID, called, refusal)
	}
	return wechat.Answer{}, r.whyNoToken(ctx, a.AppID, getting)
}

func (a api) send(ctx context.Context, with token.Token, call wechat.Call) (wechat.Answer, error) {
	call.As, call.Token = wechat.AccessToken, with.Access
	return a.wechat.Do(ctx, call)
}

// meaning notes what WeChat's answer to a call says about the authorizer, and returns the error for
// the caller (docs/design.md, "Whose fault").
func (r *Registry) meaning(ctx context.Context, a Admitted, called token.Version, err error) error {
	if err == nil {
		r.accepted(ctx, a.AppID)
		return nil
	}
	switch wechat.Refused(err) {
	case wechat.NotAuthorized:
		return errors.Join(ErrUnconfirmed, r.states.note(ctx, a.AppID, effectOfCall(err), called), err)
	case wechat.PasswordChanged:
		return errors.Join(ErrReauthorize, r.states.note(ctx, a.AppID, effectOfCall(err), called), err)
	case wechat.NotGranted, wechat.Unauthorized:
		fresh, _ := r.profiles.reread(ctx, a.Authorizer)
		return fresh.about(a.need.refused(fresh, err))
	}
	return err
}

// refused says why WeChat refused a call that was admitted, as far as the profile tells: 61007
// means that a permission set is missing; 48001 means that too, or an unverified account, or a mini
// program where only Official Accounts have the API, or cannot be explained.
func (n Need) refused(a Authorizer, err error) error {
	switch {
	case wechat.Refused(err) == wechat.NotGranted, len(a.PermissionSets) > 0 && !a.PermissionSets.HasAny(n.AnyOf):
		return &PermissionError{n.AnyOf, a.PermissionSets, err}
	case a.Kind != Unread && !a.Verified(), n.Official && a.Kind == MiniProgram:
		return fmt.Errorf("%w: %w", ErrNotEligible, err)
	}
	return err
}
