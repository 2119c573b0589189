package authorizer

import (
	"context"
	"errors"

	"wxplatform/internal/trace"
	"wxplatform/tenant"
	"wxplatform/wechat"
)

// Need is what an API requires of its caller and of the account.
type Need struct {
	Scope    tenant.Scope
	AnyOf    []wechat.PermissionSet // one of these must be granted; none means any authorization will do
	Guessed  bool                   // AnyOf is not documented: it only explains a refusal of WeChat's
	Official bool                   // an Official Account or a service account; not a mini program; WeChat decides whether it must be verified
}

// Admitted is an authorizer that a caller was admitted to, for one kind of call.
type Admitted struct {
	Authorizer
	need Need
}

// Admit checks whether the caller may make a call for the account, in the order of docs/design.md,
// "Admission", before a body is read. It fails with tenant.ErrInsufficientScope,
// tenant.ErrSuspended, ErrUnknown, ErrRevoked, ErrReauthorize, or with *PermissionError,
// ErrNotEligible or ErrUnread inside an *AccountError. Before one of the last three it reads the
// profile again, at most once a minute per account, because events of WeChat get lost. Callers that
// arrive during that reading wait for it.
func (r *Registry) Admit(ctx context.Context, caller tenant.Caller, id wechat.AppID, need Need) (Admitted, error) {
	ctx, span := trace.Begin(ctx, trace.AdmitAccount)
	defer span.End(false)
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

// metBy returns what a lacks, or nil. What is not known is not lacking: if the profile was never
// read, it returns ErrUnread, and if it is not known which sets were granted, nil, so that WeChat
// decides.
func (n Need) metBy(a Authorizer) error {
	granted := n.Guessed || a.PermissionSets.HasAny(n.AnyOf)
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
