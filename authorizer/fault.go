package authorizer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wxplatform/internal/db"
	"wxplatform/token"
	"wxplatform/wechat"
)

// effect is what a failed request means for an authorizer (docs/design.md, "Whose fault"). Package
// token decides when the token is requested again, and package quota if all accounts are affected.
type effect struct {
	state  State // "" leaves it as it is
	reason string
	doubt  bool // have WeChat asked whether it is authorized at all
	seek   bool // have another refresh token looked for in WeChat's list
}

// effectOfRefresh returns the effect of a failed request for an access token.
func effectOfRefresh(err error) effect {
	code := wechat.Refused(err)
	switch {
	case errors.Is(err, token.ErrInconclusive):
		return effect{} // not sent, or the platform's own fault: the authorizers stay as they are
	case errors.Is(err, token.ErrUnopened):
		return effect{state: Degraded, reason: unopened + "; another refresh token is looked for", seek: true}
	case errors.Is(err, token.ErrDead):
		return effect{state: Degraded, reason: "61023: WeChat refuses the refresh token; the platform is searching for another one", seek: true}
	case code == wechat.NotAuthorized:
		return effect{state: Degraded, reason: "61003: WeChat says that it is not authorized; that is being confirmed", doubt: true}
	case code == wechat.PasswordChanged:
		return passwordChanged
	case errors.Is(err, ErrAlone):
		return effect{state: Degraded, reason: fmt.Sprintf("%d: WeChat refuses an access token for this account, and for no other", code)}
	case code.IsQuota():
		return effect{state: Quota, reason: fmt.Sprintf("%d: WeChat's quota for access tokens is used up", code)}
	case code != 0:
		return effect{state: Degraded, reason: fmt.Sprintf("%d: WeChat refuses an access token", code)}
	case wechat.NotSent(err):
		return effect{state: Degraded, reason: "WeChat could not be reached"}
	}
	return effect{state: Degraded, reason: "WeChat was busy, or its answer got lost"}
}

// unopened begins the reason of an account with a stored token that cannot be decrypted.
const unopened = "a stored token does not open: it was changed or copied from another account"

var passwordChanged = effect{state: Reauthorize, reason: "42007: the merchant changed the account's password"}

// effectOfCall returns the effect of a merchant's call that WeChat refused. Any other refusal
// concerns that call only; above all 45009, which is the merchant's own quota.
func effectOfCall(err error) effect {
	switch wechat.Refused(err) {
	case wechat.NotAuthorized:
		return effect{doubt: true}
	case wechat.PasswordChanged:
		return passwordChanged
	}
	return effect{}
}

// asAskError tells package token what a refused request means for the stored row.
func asAskError(err error, now time.Time, spread float64) error {
	switch code := wechat.Refused(err); {
	case code == wechat.RefreshTokenInvalid:
		return fmt.Errorf("%w: %w", token.ErrDead, err)
	case code.IsQuota():
		until := code.Resets(now)
		return &token.NotBefore{Until: until.Add(spreadOut(code, spread)), Err: err}
	}
	return err
}

// spreadOut keeps accounts that wait for a quota from all starting in its first second.
func spreadOut(code wechat.Code, spread float64) time.Duration {
	most := 20 * time.Second
	if code == wechat.DayQuota {
		most = 5 * time.Minute
	}
	return time.Duration(spread * float64(most))
}

// note applies the effect to id, unless a token newer than version is stored: then the failure is
// out of date.
func (s states) note(ctx context.Context, id wechat.AppID, v effect, version token.Version) error {
	if v.doubt {
		if err := s.doubt(ctx, id); err != nil {
			return err
		}
	}
	if v.state == "" {
		return nil
	}
	err := s.change(ctx, id, func(tx *db.Tx, c condition, now time.Time) (condition, error) {
		stored, err := s.tokens.Version(ctx, tx, id)
		if err != nil || stored != version {
			return c, err
		}
		return c.failed(v, version, now), nil
	})
	if err != nil {
		return fmt.Errorf("note how %s is: %w", id, err)
	}
	return s.unlessRecovered(ctx, id, version)
}

// unlessRecovered notes a recovery that happened while the failure was noted: the process that got
// the token may have found nothing to recover from.
func (s states) unlessRecovered(ctx context.Context, id wechat.AppID, version token.Version) error {
	stored, err := s.tokens.Version(ctx, s.db, id)
	if err != nil || stored == version {
		return err
	}
	return s.recovered(ctx, id)
}
