package authorizer

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"wxplatform/component"
	"wxplatform/internal/seal"
	"wxplatform/quota"
	"wxplatform/token"
	"wxplatform/wechat"
)

// ErrNoToken says that there is no access token for now and that nothing was sent with one. It wraps WeChat's refusal, if that is why.
var ErrNoToken = errors.New("no access token for now")

// ErrComponentRejected says that WeChat rejects even the newest component token, or that it rejected too many of late for yet another.
var ErrComponentRejected = errors.New("WeChat rejects even the newest component token")

// ErrAlone says that WeChat refuses the access token of this one account with a code that would be
// the component's fault, while it serves the component: the others are not concerned.
var ErrAlone = errors.New("WeChat refuses this account's access token alone")

// errForAll says that a fault is the component's, as a call that is the component's alone has shown.
var errForAll = errors.New("WeChat refuses the component")

// An errand may wait for another's lease, ask, and ask again with a newer component token.
const errandPatience = 90 * time.Second

// errand is an ask that several callers share. It is finished, and what came of it noted, also when they all have gone.
type errand struct {
	id   wechat.AppID
	what string
	bad  token.Version
}

// getting is what an errand does with package token, given the Ask, or nil where nobody may ask now.
type getting func(ctx context.Context, ask token.Ask) (token.Token, error)

// token is a's access token: what the process knows, else the store's, asked of WeChat only if none lives.
func (r *Registry) token(ctx context.Context, id wechat.AppID) (token.Token, error) {
	if known, ok := r.tokens.Known(id); ok {
		return known, nil
	}
	return r.obtain(ctx, errand{id: id, what: "get"}, func(ctx context.Context, ask token.Ask) (token.Token, error) {
		return r.tokens.Get(ctx, id, ask)
	})
}

// replace is a newer access token than bad, which WeChat rejected.
func (r *Registry) replace(ctx context.Context, id wechat.AppID, bad token.Version) (token.Token, error) {
	return r.obtain(ctx, errand{id, "replace", bad}, func(ctx context.Context, ask token.Ask) (token.Token, error) {
		return r.tokens.Replace(ctx, id, bad, ask)
	})
}

// renew refreshes the access token of id if it is due, nobody else is at it, and there is no pause. What a failure means is noted. Asked says that WeChat was.
func (r *Registry) renew(ctx context.Context, id wechat.AppID) (asked bool, err error) {
	var sent atomic.Bool
	_, err = r.obtain(ctx, errand{id: id, what: "renew"}, func(ctx context.Context, ask token.Ask) (token.Token, error) {
		if ask == nil {
			return token.Token{}, token.ErrNotAsked
		}
		return token.Token{}, r.tokens.Renew(ctx, id, func(ctx context.Context, refresh seal.Secret) (token.Answer, error) {
			sent.Store(true)
			return ask(ctx, refresh)
		})
	})
	if err != nil {
		return sent.Load(), fmt.Errorf("renew the token of %s: %w", id, err)
	}
	return sent.Load(), nil
}

func (r *Registry) obtain(ctx context.Context, e errand, get getting) (token.Token, error) {
	return r.errands.Do(ctx, e, func(ctx context.Context) (token.Token, error) {
		got, err := r.run(ctx, e.id, get)
		return got, orNoToken(err)
	})
}

// run has the leave to ask and the component token at hand before get claims anything. Without them what lives is answered all the same.
func (r *Registry) run(ctx context.Context, id wechat.AppID, get getting) (token.Token, error) {
	permit, err := r.quota.Permit(ctx)
	if err != nil {
		return withoutAsking(ctx, get, err)
	}
	with, err := r.component.Token(ctx)
	if err != nil {
		got, err := withoutAsking(ctx, get, fmt.Errorf("component token: %w", err))
		return got, errors.Join(err, r.learn(ctx, permit, ending{}))
	}
	got, how := r.ask(ctx, id, with, get)
	noting := errors.Join(r.learn(ctx, permit, how), r.conclude(ctx, id, how))
	if how.err == nil {
		return got, nil // a recovery that could not be noted is found by mendDue, and a caller has his token
	}
	return got, errors.Join(how.err, noting)
}

// withoutAsking is what lives already, or why.
func withoutAsking(ctx context.Context, get getting, why error) (token.Token, error) {
	got, err := get(ctx, nil)
	if errors.Is(err, token.ErrNotAsked) {
		err = why
	}
	return got, err
}

// ending is how an errand ended. Asked says that it was this one that asked, so that it has to say what that means.
type ending struct {
	asked bool
	err   error
}

// ask gets with the given component token, and once more with a newer one if it was that token which WeChat rejected.
func (r *Registry) ask(ctx context.Context, id wechat.AppID, with token.Token, get getting) (token.Token, ending) {
	var asked atomic.Bool
	watched := func(with token.Token) token.Ask {
		ask := r.asking(with, id)
		return func(ctx context.Context, refresh seal.Secret) (token.Answer, error) {
			asked.Store(true)
			return ask(ctx, refresh)
		}
	}
	got, err := get(ctx, watched(with))
	if errors.Is(err, errForAll) && component.RejectsToken(err) {
		newer, replacing := r.component.Replace(ctx, with.Version)
		if replacing != nil {
			err = fmt.Errorf("%w: %w: replace the component token: %w", token.ErrNotAsked, errForAll, orRejected(replacing, err))
			return token.Token{}, ending{asked.Load(), err}
		}
		got, err = get(ctx, watched(newer))
	}
	if errors.Is(err, errForAll) && component.RejectsToken(err) {
		err = fmt.Errorf("%w: %w", ErrComponentRejected, err)
	}
	return got, ending{asked.Load(), err}
}

// orRejected is why a component token was not replaced; where that was because too many were, it is their rejection.
func orRejected(replacing, rejection error) error {
	if errors.Is(replacing, token.ErrLimited) {
		return fmt.Errorf("%w: %w: %w", ErrComponentRejected, replacing, rejection)
	}
	return replacing
}

// whose finds out whose fault it is that WeChat refused an account's access token with a code that
// can be the component's: its address, its secret, its token. A call that is the component's alone
// is made at once, and its answer decides. If it is refused like that too, the fault is for all
// (errForAll); if it is answered otherwise, the account's alone (ErrAlone); and where there is no
// answer nobody knows, so that nothing follows for anybody.
func (r *Registry) whose(ctx context.Context, with token.Token, refusal error) error {
	var probe error
	if wechat.Refused(refusal) == wechat.InvalidSecret {
		_, probe = r.component.Greet(ctx)
	} else {
		_, _, probe = r.readQuotaWith(ctx, with)
	}
	switch {
	case quota.IsPlatformFault(wechat.Refused(probe)):
		return fmt.Errorf("%w: %w: %w", token.ErrNotAsked, errForAll, probe)
	case probe == nil, wechat.Refused(probe) != 0:
		return fmt.Errorf("%w: %w", ErrAlone, refusal)
	}
	return fmt.Errorf("%w: %v", token.ErrNotAsked, refusal)
}

// learn hands the end of an ask to the limiter: a refusal may pause all requests, an answer may end a
// pause.
func (r *Registry) learn(ctx context.Context, permit quota.Permit, how ending) error {
	code := wechat.Refused(how.err)
	return r.quota.Done(ctx, permit, quota.Result{
		Sent:     how.asked,
		Served:   how.err == nil || errors.Is(how.err, ErrAlone),
		Platform: errors.Is(how.err, errForAll) && quota.IsPlatformFault(code),
		Code:     code,
	})
}

// conclude has follow for the authorizer what the end of an ask means.
func (r *Registry) conclude(ctx context.Context, id wechat.AppID, how ending) error {
	if !how.asked {
		return nil
	}
	if how.err == nil {
		return r.recovered(ctx, id)
	}
	failure := (*token.Failure)(nil)
	if !errors.As(how.err, &failure) {
		return nil // SQL did not take it: what it means shows with the next ask
	}
	return r.note(ctx, id, judgeAsk(how.err), failure.Version)
}

// orNoToken hides how an ask ended that may have had its effect at WeChat: it was not the caller's call, and nothing of that was sent.
func orNoToken(err error) error {
	switch {
	case err == nil:
		return nil
	case wechat.MayHaveActed(err), wechat.NotSent(err):
		return fmt.Errorf("%w: %v", ErrNoToken, err)
	}
	return fmt.Errorf("%w: %w", ErrNoToken, err)
}

// whyNoToken says what it means for a caller that there is no access token.
func (r *Registry) whyNoToken(ctx context.Context, id wechat.AppID, err error) error {
	err = fmt.Errorf("access token of %s: %w", id, err)
	switch code := wechat.Refused(err); {
	case code == wechat.NotAuthorized:
		return errors.Join(ErrUnconfirmed, err)
	case code == wechat.PasswordChanged:
		return errors.Join(ErrReauthorize, err)
	case errors.Is(err, token.ErrBackOff) && code == 0:
		return errors.Join(r.whyBackOff(ctx, id), err)
	}
	return err
}

// Another replica's ask failed, or one of a process that is gone: what that meant stands in SQL.
func (r *Registry) whyBackOff(ctx context.Context, id wechat.AppID) error {
	c, err := r.condition(ctx, id)
	if err != nil || c.State != Quota {
		return err
	}
	health, err := r.tokens.Health(ctx, []wechat.AppID{id})
	if err != nil {
		return err
	}
	return &quota.PauseError{Code: wechat.DayQuota, Until: health[id].Retry}
}
