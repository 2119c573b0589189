package authorizer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"wxplatform/component"
	"wxplatform/internal/seal"
	"wxplatform/internal/trace"
	"wxplatform/quota"
	"wxplatform/token"
	"wxplatform/wechat"
)

// ErrNoToken means that there is no access token now and that nothing was sent with one. It wraps
// WeChat's refusal where that is the reason.
var ErrNoToken = errors.New("no access token for now")

// ErrComponentRejected means that WeChat rejects even the newest component token, or that it
// rejected too many recently to get another one.
var ErrComponentRejected = errors.New("WeChat rejects even the newest component token")

// ErrAlone means that WeChat refuses the access token of this one account with a code that could be
// the component's fault, while it serves the component. Other accounts are not affected.
var ErrAlone = errors.New("WeChat refuses this account's access token alone")

// errForAll means that WeChat refuses the component itself, as a call of the component alone has
// shown.
var errForAll = errors.New("WeChat refuses the component")

// token returns an access token of id: the one this process knows, or the stored one, or else a new
// one from WeChat.
func (r *Registry) token(ctx context.Context, id wechat.AppID) (token.Token, error) {
	ctx, span := trace.Begin(ctx, trace.AccessToken)
	if known, ok := r.tokens.Known(id); ok {
		span.Text(trace.Source, trace.Process)
		span.End(false)
		return known, nil
	}
	got, err := r.tokens.Get(ctx, id, &refreshing{r: r, id: id})
	span.End(err != nil)
	return got, orNoToken(err)
}

// uploadLife is how long a token must live when an upload begins. WeChat checks it then, or once it
// has the whole body.
const uploadLife = 5 * time.Minute

// lastingToken returns an access token that lives for uploadLife. If none can be had now, it
// returns the one that there is.
func (r *Registry) lastingToken(ctx context.Context, id wechat.AppID) (token.Token, error) {
	known, err := r.token(ctx, id)
	if err != nil || time.Until(known.Expires) >= uploadLife {
		return known, err
	}
	if newer, err := r.replace(ctx, id, known.Version); err == nil {
		return newer, nil
	}
	return known, nil
}

// replace returns a newer access token than bad, which WeChat rejected.
func (r *Registry) replace(ctx context.Context, id wechat.AppID, bad token.Version) (token.Token, error) {
	ctx, span := trace.Begin(ctx, trace.AccessToken)
	got, err := r.tokens.Replace(ctx, id, bad, &refreshing{r: r, id: id})
	span.End(err != nil)
	return got, orNoToken(err)
}

// renew refreshes the access token of id if it is due and no other process is doing so. asked
// reports whether WeChat was asked.
func (r *Registry) renew(ctx context.Context, id wechat.AppID) (asked bool, err error) {
	request := &refreshing{r: r, id: id}
	if err := r.tokens.Renew(ctx, id, request); err != nil {
		return request.sent.Load(), fmt.Errorf("renew the token of %s: %w", id, orNoToken(err))
	}
	return request.sent.Load(), nil
}

// refreshing asks WeChat for one access token of an authorizer, and notes what the result means for
// the authorizer and for all others. It is a token.Asker.
type refreshing struct {
	r  *Registry
	id wechat.AppID

	permit    quota.Permit
	permitted bool
	with      token.Token // the component token
	rejected  error       // WeChat's refusal of the component token, until that is replaced
	replaced  bool        // the component token was replaced once, which is enough
	sent      atomic.Bool
}

// Prepare gets the permit to ask and the component token. After a Send for which WeChat rejected
// the component token it replaces that.
func (q *refreshing) Prepare(ctx context.Context) (err error) {
	if q.rejected != nil {
		return q.replaceComponentToken(ctx)
	}
	if q.permitted {
		return nil
	}
	if q.permit, err = q.r.quota.Permit(ctx); err != nil {
		return err
	}
	q.permitted = true
	if q.with, err = q.r.component.Token(ctx); err != nil {
		return fmt.Errorf("component token: %w", err)
	}
	return nil
}

func (q *refreshing) replaceComponentToken(ctx context.Context) error {
	newer, err := q.r.component.Replace(ctx, q.with.Version)
	switch {
	case errors.Is(err, token.ErrLimited):
		return fmt.Errorf("%w: %w: %w: %w", token.ErrInconclusive, ErrComponentRejected, err, q.rejected)
	case err != nil:
		return fmt.Errorf("%w: %w: replace the component token: %w", token.ErrInconclusive, errForAll, err)
	}
	q.with, q.rejected, q.replaced = newer, nil, true
	return nil
}

// Send asks for the access token. Where WeChat's refusal may be the component's fault, it finds out
// whether it is.
func (q *refreshing) Send(ctx context.Context, refresh seal.Secret) (answer token.Answer, err error) {
	q.sent.Store(true)
	_, err = q.r.api.wechat.Do(ctx, q.r.api.tokenRequest(q.id, q.with, refresh, &answer))
	if !wechat.NotSent(err) {
		q.r.quota.Sent()
	}
	if quota.IsPlatformFault(wechat.Refused(err)) {
		return answer, q.blame(ctx, err)
	}
	return answer, asAskError(err, time.Now(), rand.Float64())
}

// blame finds out whose fault a refusal is. If it is the component token's, the next Prepare
// replaces that, once.
func (q *refreshing) blame(ctx context.Context, refusal error) error {
	err := q.r.api.whose(ctx, q.with, refusal)
	switch {
	case !errors.Is(err, errForAll) || !component.RejectsToken(err):
		return err
	case q.replaced:
		return fmt.Errorf("%w: %w", ErrComponentRejected, err)
	}
	q.rejected = err
	return fmt.Errorf("%w: %w", token.ErrRetry, err)
}

// whose finds out whose fault it is that WeChat refused an account's access token with a code that
// can be the component's. It makes a call that concerns the component alone, whose answer decides:
// refused like that too, the fault is for all (errForAll); answered otherwise, it is this account's
// alone (ErrAlone); without an answer nothing is decided.
func (a api) whose(ctx context.Context, with token.Token, refusal error) error {
	var probe error
	if wechat.Refused(refusal) == wechat.InvalidSecret {
		_, probe = a.component.Greet(ctx)
	} else {
		_, _, probe = a.readQuotaWith(ctx, with)
	}
	switch {
	case quota.IsPlatformFault(wechat.Refused(probe)):
		return fmt.Errorf("%w: %w: %w", token.ErrInconclusive, errForAll, probe)
	case probe == nil, wechat.Refused(probe) != 0:
		return fmt.Errorf("%w: %w", ErrAlone, refusal)
	}
	return fmt.Errorf("%w: %v", token.ErrInconclusive, refusal)
}

// Conclude notes what the result means: for all accounts in the limiter, for this one in its state.
func (q *refreshing) Conclude(ctx context.Context, err error) error {
	noting := errors.Join(q.noteForAll(ctx, err), q.noteForThis(ctx, err))
	if err == nil {
		return nil // a recovery that could not be noted is found later, by recoverDue
	}
	return errors.Join(err, noting)
}

func (q *refreshing) noteForAll(ctx context.Context, err error) error {
	code := wechat.Refused(err)
	return q.r.quota.Done(ctx, q.permit, quota.Result{
		Sent:     q.sent.Load(),
		Served:   err == nil || errors.Is(err, ErrAlone),
		Platform: errors.Is(err, errForAll) && quota.IsPlatformFault(code),
		Code:     code,
	})
}

func (q *refreshing) noteForThis(ctx context.Context, err error) error {
	failure := (*token.Failure)(nil)
	switch {
	case err == nil && !q.sent.Load():
		return nil
	case err == nil:
		return q.r.states.recovered(ctx, q.id)
	case !errors.As(err, &failure):
		return nil // nothing was sent, or SQL did not take the failure: the next ask shows what it means
	}
	return q.r.states.note(ctx, q.id, effectOfRefresh(err), failure.Version)
}

// orNoToken hides how an ask ended whose outcome is unknown: it was not the caller's request, of
// which nothing was sent.
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

// whyBackOff reads from SQL what the failure of another process's ask meant.
func (r *Registry) whyBackOff(ctx context.Context, id wechat.AppID) error {
	c, err := r.table.condition(ctx, id)
	if err != nil || c.State != Quota {
		return err
	}
	health, err := r.tokens.Health(ctx, []wechat.AppID{id})
	if err != nil {
		return err
	}
	return &quota.PauseError{Code: wechat.DayQuota, Until: health[id].Retry}
}
