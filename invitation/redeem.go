package invitation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wxplatform/authorizer"
	"wxplatform/internal/db"
	"wxplatform/internal/failpoint"
	"wxplatform/internal/seal"
	"wxplatform/tenant"
	"wxplatform/token"
	"wxplatform/wechat"
)

const (
	exchangeLease = 12 * time.Second // longer than the call that it covers (wechat.CallPatience)
	waitFirst     = 100 * time.Millisecond
	waitMost      = time.Second
	waitWhole     = exchangeLease + time.Second // as long as another's lease may last
	storeTries    = 5
	exchangeSlack = time.Hour // how long after a pre-auth code has expired its event or its browser may still come
)

// source is how a code came: by which invitation ("" for none), and for which account where an event told.
type source struct {
	invitation string // its hash
	appid      wechat.AppID
	patience   time.Duration // how long it waits while another one exchanges; an event need not, for it is tried again
}

// Result is what became of one auth code.
type Result struct {
	AppID  wechat.AppID
	Status Status // Authorized, NotBound, Cancelled or Expired; "" where it came by no invitation
}

// Event is WeChat's word that a merchant authorized, or changed what it granted.
type Event struct {
	AppID       wechat.AppID
	Code        seal.Secret // may be missing (wechat-protocol §1.4)
	PreAuthCode seal.Secret // names the invitation, if it is one of ours
}

// Authorized takes an `authorized` or `updateauthorized` event. It may come late, twice, before or after the browser.
func (s *Service) Authorized(ctx context.Context, e Event) error {
	if e.Code.IsZero() {
		return s.reread(ctx, e.AppID)
	}
	invitation, err := s.invitationOf(ctx, e.PreAuthCode)
	if err != nil {
		return fmt.Errorf("invitation of an event: %w", err)
	}
	_, err = s.redeem(ctx, e.Code, source{invitation: invitation, appid: e.AppID})
	if errors.Is(err, ErrCode) {
		return nil // the code is dead and was never ours to use: there is nothing to try again
	}
	return err
}

// Exchange exchanges a code that came by no invitation, and says whose it is: WeChat's release test sends one in a message.
func (s *Service) Exchange(ctx context.Context, code seal.Secret) (wechat.AppID, error) {
	result, err := s.redeem(ctx, code, source{})
	return result.AppID, err
}

// An event without a code still says that something changed.
func (s *Service) reread(ctx context.Context, id wechat.AppID) error {
	err := s.authorizers.ReadProfile(ctx, id)
	if errors.Is(err, authorizer.ErrUnknown) {
		return nil
	}
	return err
}

// redeem exchanges code once, whoever brings it and however often, and says what became of it. It fails with ErrCode, ErrAnswerLost, ErrBusy, db.ErrUnavailable or an error of the wire.
func (s *Service) redeem(ctx context.Context, code seal.Secret, from source) (Result, error) {
	if _, err := s.component.Token(ctx); err != nil {
		return Result{}, fmt.Errorf("component token: %w", err) // at hand before the claim, for the claim's lease covers one call
	}
	claimed, err := s.wait(ctx, code, from)
	if claimed.result != nil && claimed.result.contradicts(from) {
		return Result{}, s.contradicted(ctx, code.Hash(), from, claimed)
	}
	if err != nil || claimed.result != nil {
		return orCode(claimed.result), orInvalid(claimed.result, err)
	}
	result, err := s.exchange(ctx, code, from, claimed)
	if errors.Is(err, ErrContradiction) {
		return Result{}, err
	}
	if err != nil {
		return Result{}, errors.Join(err, s.release(context.WithoutCancel(ctx), code.Hash(), from.invitation))
	}
	_ = s.authorizers.ReadNewProfile(ctx, result.AppID) // Admit reads it again where this fails
	return result, nil
}

func orCode(r *Result) Result {
	if r == nil {
		return Result{}
	}
	return *r
}

// A result without an account is that of a code which WeChat did not know.
func orInvalid(r *Result, err error) error {
	if err == nil && r.AppID == "" {
		return ErrCode
	}
	return err
}

// wait claims the exchange of code, or waits for the one who has it.
func (s *Service) wait(ctx context.Context, code seal.Secret, from source) (claim, error) {
	pause := waitFirst
	for deadline := time.Now().Add(from.patience); ; pause = min(2*pause, waitMost) {
		claimed, err := s.claim(ctx, code.Hash(), from)
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

// claim is the right to exchange a code, the result that it had already, or the news that somebody else is at it.
type claim struct {
	result *Result
	busy   bool
	fresh  bool      // the code was never sent before
	sent   time.Time // when the code was or is about to be sent, written ahead, by the database's clock
}

// claim writes ahead that the code is about to be sent: under a lease on the code, and on its invitation, which redirect and event share.
func (s *Service) claim(ctx context.Context, hash string, from source) (claim, error) {
	var claimed claim
	err := s.db.Tx(ctx, func(tx *db.Tx) error {
		invitation, err := s.locked(ctx, tx, from.invitation)
		if err != nil {
			return err
		}
		known, err := s.lockExchange(ctx, tx, hash, from.invitation)
		if err != nil {
			return err
		}
		now, err := tx.Now(ctx) // under the locks: read before they were waited for, it may be earlier than the lease that is held, and so take it for one of a clock that was set back
		if err != nil {
			return err
		}
		claimed = known.claim(invitation, now)
		if claimed.busy || claimed.result != nil {
			return nil
		}
		return s.lease(ctx, tx, hash, from.invitation, now)
	})
	if err != nil {
		return claim{}, fmt.Errorf("claim an auth code: %w", err)
	}
	return claimed, nil
}

// exchanged is what is known of a code.
type exchanged struct {
	sent   time.Time
	lease  time.Time
	appid  wechat.AppID
	result Status
	done   bool
}

func (e exchanged) claim(i Invitation, now time.Time) claim {
	switch {
	case e.done:
		return claim{result: &Result{e.appid, e.result}, sent: e.sent}
	case held(e.lease, now), held(i.lease, now):
		return claim{busy: true}
	}
	return claim{fresh: e.sent.IsZero(), sent: now}
}

// A lease that ends later than any could is over: the database's clock was set back.
func held(until, now time.Time) bool {
	return until.After(now) && !until.After(now.Add(exchangeLease))
}

func (s *Service) exchange(ctx context.Context, code seal.Secret, from source, claimed claim) (Result, error) {
	failpoint.Hit("invitation", "claimed")
	got, err := s.queryAuth(context.WithoutCancel(ctx), code) // a browser that goes away must not burn the code
	failpoint.Hit("invitation", "answered")
	switch wechat.Refused(err) {
	case wechat.AuthCodeInvalid, wechat.AuthCodeExpired:
		if claimed.fresh {
			return Result{}, errors.Join(ErrCode, s.saveInvalid(ctx, code.Hash()))
		}
		got, err = s.recover(ctx, from.appid)
	}
	if err != nil {
		return Result{}, err
	}
	if answered := (Result{AppID: got.AppID}); answered.contradicts(from) {
		claimed.result = &answered
		return Result{}, s.contradicted(context.WithoutCancel(ctx), code.Hash(), from, claimed)
	}
	got.Sent = claimed.sent
	return s.keep(context.WithoutCancel(ctx), code.Hash(), from, got)
}

// contradicts reports whether the account that an exchange gave is another one than the event said.
func (r Result) contradicts(from source) bool {
	return from.appid != "" && r.AppID != "" && r.AppID != from.appid
}

// contradicted is what follows where WeChat's event and its answer name different accounts for one
// code: an answer may have gone astray between WeChat and us, and then its tokens are not those of
// the account that it names. Nothing of it is stored or bound, and what it bound before the event
// came is unbound; WeChat's list says which refresh token is whose.
func (s *Service) contradicted(ctx context.Context, hash string, from source, claimed claim) error {
	answered := claimed.result.AppID
	err := s.db.Tx(ctx, func(tx *db.Tx) error {
		if _, err := s.locked(ctx, tx, from.invitation); err != nil {
			return err
		}
		if claimed.result.Status == Authorized {
			if err := s.unbind(ctx, tx, from.invitation, answered, claimed.sent); err != nil {
				return err
			}
		}
		return errors.Join(
			s.authorizers.Contradict(ctx, tx, from.appid, answered),
			s.saveResult(ctx, tx, hash, Result{answered, NotBound}),
			s.unlease(ctx, tx, from.invitation))
	})
	return errors.Join(fmt.Errorf("%w: its event says %s, its answer %s", ErrContradiction, from.appid, answered), err)
}

func (s *Service) unbind(ctx context.Context, tx *db.Tx, invitation string, id wechat.AppID, sent time.Time) error {
	return errors.Join(
		s.authorizers.Unbind(ctx, tx, id, sent),
		s.finish(ctx, tx, invitation, Result{id, NotBound}))
}

// recover finds what a lost answer held: WeChat burned the code, and lists the refresh token that it gave for it.
func (s *Service) recover(ctx context.Context, id wechat.AppID) (authorizer.Grant, error) {
	if id == "" {
		return authorizer.Grant{}, ErrAnswerLost
	}
	refresh, err := s.authorizers.ListedToken(ctx, id)
	if err != nil {
		return authorizer.Grant{}, fmt.Errorf("find the refresh token of a lost answer: %w", err)
	}
	profile, err := s.authorizers.Profile(ctx, id)
	return authorizer.Grant{AppID: id, Answer: token.Answer{Refresh: refresh}, PermissionSets: profile.PermissionSets, AllSets: true}, err
}

// keep stores what WeChat gave. It burned the code for it, so a database that is away for a moment is tried again.
func (s *Service) keep(ctx context.Context, hash string, from source, got authorizer.Grant) (Result, error) {
	for try := 1; ; try++ {
		result, granted, err := s.store(ctx, hash, from, got)
		if err == nil {
			failpoint.Hit("invitation", "stored")
			granted.Publish(ctx)
			return result, nil
		}
		if try == storeTries || !errors.Is(err, db.ErrUnavailable) {
			return Result{}, fmt.Errorf("store what an auth code gave: %w", err)
		}
		time.Sleep(time.Duration(try) * waitFirst)
	}
}

func (s *Service) store(ctx context.Context, hash string, from source, got authorizer.Grant) (Result, authorizer.Granted, error) {
	var result Result
	var granted authorizer.Granted
	err := s.db.Tx(ctx, func(tx *db.Tx) error {
		i, err := s.locked(ctx, tx, from.invitation)
		if err != nil {
			return err
		}
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		i = i.at(now)
		got.Inviter = i.binds(got.AppID)
		if granted, err = s.authorizers.Grant(ctx, tx, got); err != nil {
			return err
		}
		result = i.resultOf(got.AppID, granted.Bound)
		return errors.Join(s.end(ctx, tx, i, result), s.saveResult(ctx, tx, hash, result))
	})
	return result, granted, err
}

// binds is the tenant to which an authorization of id by this invitation may bind: only a pending one binds, and only the account that it names.
func (i Invitation) binds(id wechat.AppID) tenant.ID {
	if i.Status != Pending || i.AppID != "" && i.AppID != id {
		return ""
	}
	return i.Tenant
}

// resultOf tells the browser what became of its code, when id is bound to the given tenant now.
func (i Invitation) resultOf(id wechat.AppID, bound tenant.ID) Result {
	switch {
	case i.hash == "":
		return Result{AppID: id}
	case bound == i.Tenant && (i.AppID == "" || i.AppID == id):
		return Result{id, Authorized}
	case i.Status == Cancelled || i.Status == Expired:
		return Result{id, i.Status}
	}
	return Result{id, NotBound}
}

// end ends a pending invitation with the first exchange; one that has ended stays as it is.
func (s *Service) end(ctx context.Context, tx *db.Tx, i Invitation, result Result) error {
	if i.Status != Pending {
		return s.unlease(ctx, tx, i.hash)
	}
	return s.finish(ctx, tx, i.hash, result)
}
