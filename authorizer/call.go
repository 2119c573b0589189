package authorizer

import (
	"context"
	"errors"
	"fmt"

	"wxplatform/token"
	"wxplatform/wechat"
)

// Call sends call with the authorizer's access token, and once more with a newer one if WeChat rejected that: a call that was rejected was not executed.
// It fails with an error of the wire as it is, or with ErrRejected, ErrUnconfirmed, ErrReauthorize, *PermissionError or ErrNotEligible where the refusal means that, or with why there is no token.
func (r *Registry) Call(ctx context.Context, a Admitted, call wechat.Call) (wechat.Answer, error) {
	with, err := r.token(ctx, a.AppID)
	if err != nil {
		return wechat.Answer{}, r.whyNoToken(ctx, a.AppID, err)
	}
	answer, err := r.send(ctx, with, call)
	if wechat.IsRejectedToken(err) {
		return r.again(ctx, a, with.Version, call, err)
	}
	return answer, r.meaning(ctx, a, with.Version, err)
}

func (r *Registry) send(ctx context.Context, with token.Token, call wechat.Call) (wechat.Answer, error) {
	call.As, call.Token = wechat.AccessToken, with.Access
	return r.wechat.Do(ctx, call)
}

func (r *Registry) again(ctx context.Context, a Admitted, bad token.Version, call wechat.Call, rejection error) (wechat.Answer, error) {
	with, err := r.replace(ctx, a.AppID, bad)
	if errors.Is(err, token.ErrLimited) {
		return wechat.Answer{}, fmt.Errorf("%w: %w", ErrRejected, rejection)
	}
	if err != nil {
		return wechat.Answer{}, r.whyNoToken(ctx, a.AppID, err)
	}
	answer, err := r.send(ctx, with, call)
	if wechat.IsRejectedToken(err) {
		err = fmt.Errorf("%w: %w", ErrRejected, err)
	}
	return answer, r.meaning(ctx, a, with.Version, err)
}

// meaning says what WeChat's answer to a call tells about the authorizer, after that was noted (DESIGN.md §4 rules 7 and 9).
func (r *Registry) meaning(ctx context.Context, a Admitted, called token.Version, err error) error {
	switch wechat.Refused(err) {
	case wechat.NotAuthorized:
		return errors.Join(ErrUnconfirmed, r.note(ctx, a.AppID, judgeCall(err), called), err)
	case wechat.PasswordChanged:
		return errors.Join(ErrReauthorize, r.note(ctx, a.AppID, judgeCall(err), called), err)
	case wechat.NotGranted:
		a.Authorizer, _ = r.reread(ctx, a.Authorizer)
		return &PermissionError{a.need.AnyOf, a.PermissionSets, err}
	case wechat.Unauthorized:
		return r.unauthorized(ctx, a, err)
	}
	return err
}

// 48001 is a missing permission set, unless the profile, read again, says that the account is not of the right kind.
func (r *Registry) unauthorized(ctx context.Context, a Admitted, err error) error {
	fresh, _ := r.reread(ctx, a.Authorizer)
	if lacking := a.need.metBy(fresh); errors.Is(lacking, ErrNotEligible) {
		return fmt.Errorf("%w: %w", ErrNotEligible, err)
	}
	return &PermissionError{a.need.AnyOf, fresh.PermissionSets, err}
}
