package invitation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wxplatform/authorizer"
	"wxplatform/internal/db"
	"wxplatform/internal/seal"
	"wxplatform/wechat"
)

const (
	exchangeLease = 12 * time.Second // longer than the call that it covers (wechat.CallPatience)
	firstPause    = 100 * time.Millisecond
	longestPause  = time.Second
	browserWaits  = exchangeLease + time.Second // as long as another's lease may last
	// exchangeSlack is how long after a pre-auth code expired its event or its browser may still come.
	exchangeSlack = time.Hour
)

// source says how an auth code came.
type source struct {
	invitation string       // the hash of the invitation that it came by; "" for none
	appid      wechat.AppID // the account that an event named; "" if a browser brought the code
	created    time.Time    // of the event, by WeChat's clock; zero if it does not say
	cookie     string       // the hash of the cookie of the browser that brought the code; "" for none
	// patience is how long to wait while the code is being exchanged elsewhere. An event need not
	// wait, because it is tried again.
	patience time.Duration
}

// consentSlack allows for the difference between WeChat's clock and the database's.
const consentSlack = 2 * time.Minute

// consented is the earliest time at which the consent that an event tells of can have been given.
// An auth code lives for about an hour.
func (f source) consented() time.Time {
	if f.created.IsZero() {
		return time.Now().Add(-time.Hour)
	}
	return f.created.Add(-consentSlack)
}

// Result is what became of an auth code.
type Result struct {
	AppID  wechat.AppID // "" if WeChat did not know the code
	Status Status       // Authorized, NotBound, Cancelled or Expired; "" if it came by no invitation

	boundNow bool // the exchange bound the account to the invitation's tenant
	misled   bool // the account had been bound by another invitation than the merchant consented to
}

// contradicts reports whether the account of r is another one than the event named.
func (r Result) contradicts(from source) bool {
	return from.appid != "" && r.AppID != "" && r.AppID != from.appid
}

// Event is WeChat's notice that a merchant authorized, or changed what it granted.
type Event struct {
	AppID       wechat.AppID
	Code        seal.Secret // may be missing (docs/wechat.md, "Authorization events")
	PreAuthCode seal.Secret // names the invitation, if it is one of ours
	Created     time.Time   // by WeChat's clock; zero if it does not say
}

// Authorized handles an `authorized` or `updateauthorized` event. It may come late or twice, before
// or after the browser. It fails like Exchange, but not with ErrCode: trying that again would
// change nothing.
func (s *Service) Authorized(ctx context.Context, e Event) error {
	if e.Code.IsZero() {
		return s.reread(ctx, e.AppID)
	}
	invitation, err := s.table.invitationOf(ctx, e.PreAuthCode)
	if err != nil {
		return fmt.Errorf("invitation of an event: %w", err)
	}
	_, err = s.redeem(ctx, e.Code, source{invitation: invitation, appid: e.AppID, created: e.Created})
	if errors.Is(err, ErrCode) {
		return nil
	}
	return err
}

// Exchange exchanges a code that came by no invitation, and returns the account that authorized:
// WeChat's release test sends such a code in a message. It fails with ErrCode, ErrAnswerLost,
// ErrBusy, ErrContradiction, db.ErrUnavailable or an error of the call to WeChat.
func (s *Service) Exchange(ctx context.Context, code seal.Secret) (wechat.AppID, error) {
	result, err := s.redeem(ctx, code, source{})
	return result.AppID, err
}

// reread reads a profile again: an event without a code still says that something changed.
func (s *Service) reread(ctx context.Context, id wechat.AppID) error {
	err := s.authorizers.ReadProfile(ctx, id)
	if errors.Is(err, authorizer.ErrUnknown) {
		return nil
	}
	return err
}

// redeem exchanges a code exactly once, however often it comes and from wherever, and returns what
// became of it. It fails with ErrCode, ErrAnswerLost, ErrBusy, ErrContradiction, ErrMisdirected,
// *quota.PauseError, db.ErrUnavailable or an error of the call to WeChat; for a code that a browser
// brought also with ErrElsewhere, ErrEnded, ErrTries or *LimitError.
func (s *Service) redeem(ctx context.Context, code seal.Secret, from source) (Result, error) {
	// The claim's lease is short, so the component token is fetched before it.
	if _, err := s.component.Token(ctx); err != nil {
		return Result{}, fmt.Errorf("component token: %w", err)
	}
	claimed, err := s.waitForClaim(ctx, code, from)
	switch {
	case err != nil:
		return Result{}, err
	case claimed.result == nil:
		return s.redeemClaimed(ctx, code, from, claimed)
	case claimed.result.contradicts(from):
		return Result{}, s.contradictedBy(ctx, code.Hash(), from, claimed)
	case claimed.elsewhere:
		return Result{}, s.disown(ctx, code.Hash())
	case claimed.result.AppID == "":
		return Result{}, ErrCode
	}
	return *claimed.result, nil
}

// redeemClaimed exchanges a code that this process claimed. If that fails, it releases the claim,
// so that the next one with the code need not wait.
func (s *Service) redeemClaimed(ctx context.Context, code seal.Secret, from source, claimed claim) (Result, error) {
	result, err := s.exchange(ctx, code, from, claimed)
	if errors.Is(err, ErrContradiction) {
		return Result{}, err
	}
	if err != nil {
		return Result{}, errors.Join(err, s.table.release(context.WithoutCancel(ctx), code.Hash(), from.invitation))
	}
	s.fetched.Delete(from.invitation)                   // the pre-auth code is used up
	_ = s.authorizers.ReadNewProfile(ctx, result.AppID) // if this fails, Admit reads it
	if result.misled {
		return Result{}, s.misdirect()
	}
	return result, nil
}

// waitForClaim claims the exchange of a code. While it is claimed elsewhere, it waits as long as
// the source says, and then fails with ErrBusy.
func (s *Service) waitForClaim(ctx context.Context, code seal.Secret, from source) (claim, error) {
	pause := firstPause
	for deadline := time.Now().Add(from.patience); ; pause = min(2*pause, longestPause) {
		began := time.Now() // before the lease begins, so that the lease never ends before it seems to
		claimed, err := s.claim(ctx, code.Hash(), from)
		claimed.until = began.Add(exchangeLease)
		if err != nil || !claimed.busy {
			return claimed, err
		}
		if time.Now().Add(pause).After(deadline) {
			return claim{}, ErrBusy
		}
		select {
		case <-ctx.Done():
			return claim{}, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// claim is what came of an attempt to claim the exchange of a code: the result that the code had
// already, busy, or the right to exchange it.
type claim struct {
	result *Result
	busy   bool
	fresh  bool      // the code was never sent before
	sent   time.Time // when the code was or will be sent, written ahead, by the database's clock
	until  time.Time // when the lease ends, by this process's clock
	// elsewhere is set if the result came by another invitation than the event names.
	elsewhere bool
}

// claim records, before the code is sent, that it is about to be sent. It takes a lease on the code
// and on its invitation, which the browser and the event share.
func (s *Service) claim(ctx context.Context, hash string, from source) (claim, error) {
	var claimed claim
	err := s.db.Tx(ctx, func(tx *db.Tx) error {
		invitation, err := s.table.locked(ctx, tx, from.invitation)
		if err != nil {
			return err
		}
		known, err := s.table.lockCode(ctx, tx, hash, from.invitation)
		if err != nil {
			return err
		}
		// The time is read under the locks. Read before waiting for them, it could be so much earlier
		// than a lease that the lease looked like one from before the clock was set back.
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		if from.cookie != "" && known.invitation != from.invitation {
			return ErrElsewhere
		}
		claimed = known.claim(invitation, now)
		claimed.elsewhere = known.elsewhere(from)
		if claimed.busy || claimed.result != nil {
			return s.table.confirm(ctx, tx, known, from)
		}
		if err := s.allow(ctx, tx, invitation, now, hash, from); err != nil {
			return err
		}
		return s.table.lease(ctx, tx, known.from(from), now)
	})
	if err != nil {
		return claim{}, fmt.Errorf("claim an auth code: %w", err)
	}
	return claimed, nil
}

// allow reports whether the claimed code may be sent at now. It fails with *quota.PauseError, and
// for a browser's code also with ErrEnded, ErrTries or *LimitError.
func (s *Service) allow(ctx context.Context, tx *db.Tx, i Invitation, now time.Time, hash string, from source) error {
	if from.cookie == "" {
		return s.exchanges.Permit(time.Now())
	}
	i, err := s.current(ctx, tx, i, now)
	if err != nil {
		return err
	}
	u, err := s.table.countUsed(ctx, tx, hash, from)
	if err != nil {
		return err
	}
	if err := i.mayExchange(u); err != nil {
		return err
	}
	return s.exchanges.take(i, time.Now())
}

// codeRecord is what is stored about an auth code.
type codeRecord struct {
	hash       string
	invitation string // the hash of the invitation that it came by; "" for none
	cookie     string // the hash of the cookie of the browser that brought it first; "" for none
	named      wechat.AppID
	sent       time.Time // zero if it was never sent
	lease      time.Time
	result     Result
	done       bool
}

// elsewhere reports whether an event names another invitation than the one by which the code came.
func (r codeRecord) elsewhere(from source) bool {
	return r.done && from.appid != "" && from.invitation != "" && r.invitation != "" && r.invitation != from.invitation
}

// from returns the record of a code that now comes from a source. If an event names the invitation,
// it counts; otherwise the first one does.
func (r codeRecord) from(now source) codeRecord {
	if now.appid != "" {
		r.named = now.appid
	}
	if r.cookie == "" {
		r.cookie = now.cookie
	}
	if r.invitation == "" || now.appid != "" && now.invitation != "" {
		r.invitation = now.invitation
	}
	return r
}

// claim decides who may exchange the code at now, if it came by the invitation i.
func (r codeRecord) claim(i Invitation, now time.Time) claim {
	switch {
	case r.done:
		return claim{result: &r.result, sent: r.sent}
	case held(r.lease, now), held(i.lease, now):
		return claim{busy: true}
	}
	return claim{fresh: r.sent.IsZero(), sent: now}
}

// held reports whether a lease is held at now. A lease that ends later than any could was given
// before the database's clock was set back, and is over.
func held(until, now time.Time) bool {
	return until.After(now) && !until.After(now.Add(exchangeLease))
}
