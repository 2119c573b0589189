package authorizer

import (
	"context"
	"errors"
	"fmt"

	"wxplatform/component"
	"wxplatform/token"
	"wxplatform/wechat"
)

// Call sends call with the authorizer's access token, and once more with a newer one if WeChat rejected that: a call that was rejected was not executed.
// It fails with an error of the wire as it is, or with ErrRejected, ErrUnconfirmed, ErrReauthorize, *PermissionError or ErrNotEligible where the refusal means that, or with why there is no token.
func (r *Registry) Call(ctx context.Context, a Admitted, call wechat.Call) (wechat.Reply, error) {
	with, err := r.token(ctx, a.AppID)
	if err != nil {
		return wechat.Reply{}, r.meaning(ctx, a, fmt.Errorf("access token of %s: %w", a.AppID, err))
	}
	reply, err := r.send(ctx, with, call)
	if wechat.IsRejectedToken(err) {
		reply, err = r.again(ctx, a, with.Version, call, err)
	}
	if err != nil {
		err = r.meaning(ctx, a, err)
	}
	return reply, err
}

func (r *Registry) send(ctx context.Context, with token.Token, call wechat.Call) (wechat.Reply, error) {
	call.As, call.Token = wechat.AsAccess, with.Access
	return r.wechat.Do(ctx, call)
}

func (r *Registry) again(ctx context.Context, a Admitted, bad token.Version, call wechat.Call, rejection error) (wechat.Reply, error) {
	with, err := r.replace(ctx, a.AppID, bad)
	if errors.Is(err, token.ErrLimited) {
		return wechat.Reply{}, fmt.Errorf("%w: %w", ErrRejected, rejection)
	}
	if err != nil {
		return wechat.Reply{}, fmt.Errorf("replace the access token of %s: %w", a.AppID, err)
	}
	reply, err := r.send(ctx, with, call)
	if wechat.IsRejectedToken(err) {
		err = fmt.Errorf("%w: %w", ErrRejected, err)
	}
	return reply, err
}

// token is a's access token: what the process knows, else the store's, asked of WeChat only if none lives.
func (r *Registry) token(ctx context.Context, id wechat.AppID) (token.Token, error) {
	if known, ok := r.tokens.Known(id); ok {
		return known, nil
	}
	return r.withComponent(ctx, func(with token.Token) (token.Token, error) { return r.tokens.Get(ctx, id, r.asking(with, id)) })
}

func (r *Registry) replace(ctx context.Context, id wechat.AppID, bad token.Version) (token.Token, error) {
	return r.withComponent(ctx, func(with token.Token) (token.Token, error) {
		return r.tokens.Replace(ctx, id, bad, r.asking(with, id))
	})
}

// withComponent has the component token at hand before get claims anything, and once more if it was that token which WeChat rejected.
func (r *Registry) withComponent(ctx context.Context, get func(token.Token) (token.Token, error)) (token.Token, error) {
	with, err := r.component.Token(ctx)
	if err != nil {
		return token.Token{}, fmt.Errorf("component token: %w", err)
	}
	got, err := get(with)
	if !component.RejectsToken(err) {
		return got, err
	}
	with, replacing := r.component.Replace(ctx, with.Version)
	if replacing != nil {
		return token.Token{}, fmt.Errorf("replace the component token: %w", replacing)
	}
	return get(with)
}

// meaning says what WeChat's refusal tells about the authorizer, after it was noted (DESIGN.md §4 rules 7 and 9).
func (r *Registry) meaning(ctx context.Context, a Admitted, err error) error {
	switch wechat.Refused(err) {
	case wechat.NotAuthorized:
		return errors.Join(ErrUnconfirmed, r.doubt(ctx, a.AppID), err)
	case wechat.PasswordChanged:
		return errors.Join(ErrReauthorize, r.mark(ctx, a.AppID, Reauthorize, "42007: the merchant changed the account's password"), err)
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
