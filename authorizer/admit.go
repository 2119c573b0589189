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
	Verified bool                   // a verified official or service account
}

// Admitted is an authorizer for which a caller may make one kind of call.
type Admitted struct {
	Authorizer
	need Need
}

// Admit is every check of who may do this for whom, in the order of DESIGN.md §5, made before a body is read: tenant.ErrInsufficientScope, tenant.ErrSuspended, ErrUnknown, ErrRevoked, ErrReauthorize,
// *PermissionError, ErrNotEligible. Before one of the last two is answered the profile is read again, at most once a minute an authorizer, for WeChat's events get lost.
func (r *Registry) Admit(ctx context.Context, caller tenant.Caller, id wechat.AppID, need Need) (Admitted, error) {
	if err := caller.May(need.Scope); err != nil {
		return Admitted{}, err
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
	a, reading := r.reread(ctx, a)
	err := need.metBy(a)
	if errors.Is(err, ErrUnread) {
		err = errors.Join(err, reading)
	}
	return Admitted{a, need}, err
}

// metBy says what a lacks, or nil.
func (n Need) metBy(a Authorizer) error {
	if !a.PermissionSets.HasAny(n.AnyOf) {
		return &PermissionError{RequiredAnyOf: n.AnyOf, Granted: a.PermissionSets}
	}
	switch {
	case !n.Verified:
		return nil
	case a.Kind == Unread:
		return ErrUnread
	case a.Kind == MiniProgram || !a.Verified():
		return ErrNotEligible
	}
	return nil
}
