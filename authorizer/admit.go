package authorizer

import (
	"context"
	"errors"

	"wxplatform/tenant"
	"wxplatform/wechat"
)

// Need is what an API asks of a caller and of an account.
type Need struct {
	Scope    tenant.Scope
	AnyOf    []wechat.PermissionSet // one of these must be granted; none means any authorization will do
	Official bool                   // an Official Account or a service account; whether it must be verified is WeChat's to judge
}

// Admitted is an authorizer for which a caller may make one kind of call.
type Admitted struct {
	Authorizer
	need Need
}

// Admit is every check of who may do this for whom, in the order of docs/design.md, "HTTP surface", made before a body
// is read: tenant.ErrInsufficientScope, tenant.ErrSuspended, ErrUnknown, ErrRevoked, ErrReauthorize,
// *PermissionError, ErrNotEligible or ErrUnread, the last three in an *AccountError. Before one of
// those is answered the profile is read again, at most once a minute an authorizer, for WeChat's
// events get lost. A caller that comes while it is read waits for that.
func (r *Registry) Admit(ctx context.Context, caller tenant.Caller, id wechat.AppID, need Need) (Admitted, error) {
	if err := caller.May(need.Scope); err != nil {
		return Admitted{}, err
	}
	if !caller.MayUse(string(id)) {
		return Admitted{}, ErrUnknown
	}
	a, err := r.Get(ctx, caller.Tenant, id)
	if err != nil {
		return Admitted{}, err
	}
	if err := a.usable(); err != nil {
		return Admitted{}, err
	}
	if need.metBy(a) == nil {
		return Admitted{a, need}, nil
	}
	return r.admitAfresh(ctx, a, need)
}

func (r *Registry) admitAfresh(ctx context.Context, a Authorizer, need Need) (Admitted, error) {
	a, reading := r.profiles.reread(ctx, a)
	err := need.metBy(a)
	if errors.Is(err, ErrUnread) {
		err = errors.Join(err, reading)
	}
	return Admitted{a, need}, a.about(err)
}

// metBy says what a lacks, or nil. What was not read is not known to be lacking: a profile that was
// never read is ErrUnread, and where nobody knows which sets were granted WeChat is asked.
func (n Need) metBy(a Authorizer) error {
	granted := a.PermissionSets.HasAny(n.AnyOf)
	switch {
	case a.ProfileAt.IsZero() && (n.Official || !granted):
		return ErrUnread
	case !granted && len(a.PermissionSets) > 0:
		return &PermissionError{RequiredAnyOf: n.AnyOf, Granted: a.PermissionSets}
	case n.Official && a.Kind == MiniProgram:
		return ErrNotEligible
	}
	return nil
}
