package authorizer

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"wxplatform/component"
	"wxplatform/internal/seal"
	"wxplatform/token"
	"wxplatform/wechat"
)

// CallAsComponent sends a call about the account with the component's token and component_appid. If
// WeChat rejects that token, the component replaces it and repeats the call, or fails with
// component.ErrTokenReplaced if the call is not Repeatable. Other errors are those of Turn.Call,
// except ErrReauthorize. The account's own access token has no part in it.
func (t Turn) CallAsComponent(ctx context.Context, call wechat.Call) (wechat.Answer, error) {
	c := t.registry.api.component
	send := c.CallOnce
	if call.Repeatable {
		send = c.Call
	}
	call.As = wechat.ComponentTokenForTenant
	call.Query += "&component_appid=" + url.QueryEscape(string(c.AppID))
	answer, err := send(ctx, call)
	return answer, t.registry.meaningAsComponent(ctx, t.Admitted, err)
}

// meaningAsComponent is meaning for a call with the component's token.
func (r *Registry) meaningAsComponent(ctx context.Context, a Admitted, err error) error {
	switch code := wechat.Refused(err); {
	case errors.Is(err, component.ErrTokenReplaced):
		return err
	case errors.Is(err, token.ErrLimited), component.RejectsToken(err):
		return fmt.Errorf("%w: %w", ErrRejected, err)
	case code == wechat.NotAuthorized:
		return errors.Join(ErrUnconfirmed, r.states.doubt(ctx, a.AppID), err)
	case code == wechat.NotGranted, code == wechat.Unauthorized:
		fresh, _ := r.profiles.reread(ctx, a.Authorizer)
		return fresh.about(a.need.refused(fresh, err))
	}
	return err
}

// CallAsUser sends a call with the token of a user who logged in to the account. WeChat's refusal
// says nothing about the account. It fails with an error of package wechat.
func (t Turn) CallAsUser(ctx context.Context, user seal.Secret, call wechat.Call) (wechat.Answer, error) {
	call.As, call.Token = wechat.AccessToken, user
	return t.registry.api.wechat.Do(ctx, call)
}
