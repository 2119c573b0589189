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

// verdict is whose fault a failed call was and what follows for the authorizer (docs/design.md, "Whose fault"). When it is asked for again is the token's matter, and PauseError's where all are concerned.
type verdict struct {
	state  State // "" leaves it as it is
	reason string
	doubt  bool // have WeChat asked whether it is authorized at all
	seek   bool // have another refresh token looked for in WeChat's list
}

// judgeAsk is the verdict on a failed ask for an access token.
func judgeAsk(err error) verdict {
	code := wechat.Refused(err)
	switch {
	case errors.Is(err, token.ErrNotAsked):
		return verdict{} // not sent, or the platform's own fault: the authorizers stay as they are
	case errors.Is(err, token.ErrDead):
		return verdict{state: Degraded, reason: "61023: WeChat refuses the refresh token; another one is looked for", seek: true}
	case code == wechat.NotAuthorized:
		return verdict{state: Degraded, reason: "61003: WeChat says that it is not authorized; that is being confirmed", doubt: true}
	case code == wechat.PasswordChanged:
		return passwordChanged
	case errors.Is(err, ErrAlone):
		return verdict{state: Degraded, reason: fmt.Sprintf("%d: WeChat refuses an access token for this account, and for no other", code)}
	case code.IsQuota():
		return verdict{state: Quota, reason: fmt.Sprintf("%d: WeChat's quota for access tokens is used up", code)}
	case code != 0:
		return verdict{state: Degraded, reason: fmt.Sprintf("%d: WeChat refuses an access token", code)}
	case wechat.NotSent(err):
		return verdict{state: Degraded, reason: "WeChat could not be reached"}
	}
	return verdict{state: Degraded, reason: "WeChat was busy, or its answer got lost"}
}

var passwordChanged = verdict{state: Reauthorize, reason: "42007: the merchant changed the account's password"}

// judgeCall is the verdict on a merchant's call that WeChat refused. All else concerns that call only: above all 45009, for that is the merchant's own quota.
func judgeCall(err error) verdict {
	switch wechat.Refused(err) {
	case wechat.NotAuthorized:
		return verdict{doubt: true}
	case wechat.PasswordChanged:
		return passwordChanged
	}
	return verdict{}
}

// asAskError says to package token what a refused ask means for the row.
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

// Not all who wait for a quota begin in its first second.
func spreadOut(code wechat.Code, spread float64) time.Duration {
	most := 20 * time.Second
	if code == wechat.DayQuota {
		most = 5 * time.Minute
	}
	return time.Duration(spread * float64(most))
}

// note has v follow for id, unless its token is no longer of the version that was asked for or called with: then the failure is of the past.
func (s states) note(ctx context.Context, id wechat.AppID, v verdict, version token.Version) error {
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

// Whoever got a token while the failure was noted may have found nothing to recover from.
func (s states) unlessRecovered(ctx context.Context, id wechat.AppID, version token.Version) error {
	stored, err := s.tokens.Version(ctx, s.db, id)
	if err != nil || stored == version {
		return err
	}
	return s.recovered(ctx, id)
}
