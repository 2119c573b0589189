package invitation

import (
	"context"
	"errors"
	"fmt"

	"wxplatform/authorizer"
	"wxplatform/internal/db"
	"wxplatform/internal/failpoint"
	"wxplatform/internal/seal"
	"wxplatform/tenant"
	"wxplatform/token"
	"wxplatform/wechat"
)

// storeWait is how long a browser or an event waits until SQL has stored what its code gave.
const storeWait = exchangeLease

// exchange sends a claimed code to WeChat and stores what it gives. A browser that disconnects does
// not stop it once the code is sent, because the code cannot be sent again.
func (s *Service) exchange(ctx context.Context, code seal.Secret, from source, claimed claim) (Result, error) {
	got, err := s.ask(ctx, code, from, claimed)
	if err != nil {
		return Result{}, err
	}
	ctx = context.WithoutCancel(ctx)
	if (Result{AppID: got.AppID}).contradicts(from) {
		return Result{}, s.contradicted(ctx, code.Hash(), from, got.AppID)
	}
	got.Sent = claimed.sent
	return s.keep(ctx, code.Hash(), from, got)
}

// ask gets the grant for a code from WeChat. If WeChat no longer knows a code that was sent before,
// the first answer was lost, and the grant is recovered. The call ends with the claim's lease, also
// if it is sent again with another component token.
func (s *Service) ask(ctx context.Context, code seal.Secret, from source, claimed claim) (authorizer.Grant, error) {
	failpoint.Hit("invitation", "claimed")
	leased, cancel := context.WithDeadline(context.WithoutCancel(ctx), claimed.until)
	defer cancel()
	got, err := s.queryAuth(leased, code)
	s.exchanges.ended(err)
	failpoint.Hit("invitation", "answered")
	switch refused := wechat.Refused(err); {
	case refused != wechat.AuthCodeInvalid && refused != wechat.AuthCodeExpired:
		return got, err
	case claimed.fresh:
		return authorizer.Grant{}, errors.Join(ErrCode, s.table.saveInvalid(context.WithoutCancel(ctx), code.Hash()))
	}
	return s.recover(ctx, from.appid)
}

// contradicted handles that WeChat's event and its answer name different accounts for one code.
// The answer may have been another call's, and then its tokens are not those of the account that
// it names. Nothing of it is stored or bound, and what it bound before the event came is unbound.
// That ends the invitation by which the code came, which the event may not name. WeChat's list
// says which refresh token belongs to which account. It returns ErrContradiction.
func (s *Service) contradicted(ctx context.Context, hash string, from source, answered wechat.AppID) error {
	err := s.db.Tx(ctx, func(tx *db.Tx) error {
		known, err := s.table.lockCode(ctx, tx, hash, from.invitation)
		if err != nil {
			return err
		}
		if known.result.Status == Authorized {
			if err := s.undo(ctx, tx, known); err != nil {
				return err
			}
		}
		return errors.Join(
			s.authorizers.Contradict(ctx, tx, from.appid, answered),
			s.table.saveResult(ctx, tx, hash, Result{AppID: answered, Status: NotBound}),
			s.table.unlease(ctx, tx, known.invitation))
	})
	return errors.Join(fmt.Errorf("%w: its event says %s, its answer %s", ErrContradiction, from.appid, answered), err)
}

// contradictedBy is contradicted for an event that came after the answer. If the event also names
// another invitation than the browser's, the code counts as misdirected, too.
func (s *Service) contradictedBy(ctx context.Context, hash string, event source, claimed claim) error {
	err := s.contradicted(ctx, hash, event, claimed.result.AppID)
	if claimed.elsewhere {
		return errors.Join(err, s.misdirect())
	}
	return err
}

// recover finds what a lost answer held: WeChat's list has the refresh token that it gave for the
// code. If the profile cannot be read, the sets stay unknown, and the profile is read again later.
// If the account is not known, it fails with ErrAnswerLost.
func (s *Service) recover(ctx context.Context, id wechat.AppID) (authorizer.Grant, error) {
	if id == "" {
		return authorizer.Grant{}, ErrAnswerLost
	}
	refresh, err := s.authorizers.WeChatList().Token(ctx, id)
	if err != nil {
		return authorizer.Grant{}, fmt.Errorf("find the refresh token of a lost answer: %w", err)
	}
	sets, all, err := s.authorizers.PermissionSets(ctx, id)
	if wechat.Refused(err) == wechat.NotAuthorized {
		return authorizer.Grant{}, err
	}
	return authorizer.Grant{AppID: id, Answer: token.Answer{Refresh: refresh}, PermissionSets: sets, AllSets: all}, nil
}

// keep stores what WeChat gave. The code cannot be sent again, so while the database is
// unavailable this is tried for some minutes, or until the process ends. If it takes longer than
// storeWait, keep fails with db.ErrUnavailable, and the work goes on.
func (s *Service) keep(ctx context.Context, hash string, from source, got authorizer.Grant) (Result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, storeWait, db.ErrUnavailable)
	defer cancel()
	result, err := s.storing.Do(ctx, hash, func(ctx context.Context) (Result, error) {
		return s.persist(ctx, hash, from, got)
	})
	if err != nil {
		return Result{}, fmt.Errorf("store what an auth code gave: %w", err)
	}
	return result, nil
}

// persist repeats bind while the database is unavailable, and then shares the token. A transaction
// that began is not abandoned when ctx ends.
func (s *Service) persist(ctx context.Context, hash string, from source, got authorizer.Grant) (result Result, err error) {
	var granted authorizer.Granted
	err = db.Persist(ctx, func() (err error) {
		result, granted, err = s.bind(context.WithoutCancel(ctx), hash, from, got)
		return err
	})
	if err != nil {
		return Result{}, err
	}
	failpoint.Hit("invitation", "stored")
	granted.Publish(ctx)
	return result, nil
}

// bind stores a grant, binds the account to the invitation's tenant if it may, and ends the
// invitation, all in one transaction.
func (s *Service) bind(ctx context.Context, hash string, from source, got authorizer.Grant) (Result, authorizer.Granted, error) {
	var result Result
	var granted authorizer.Granted
	err := s.db.Tx(ctx, func(tx *db.Tx) error {
		i, err := s.table.locked(ctx, tx, from.invitation)
		if err != nil {
			return err
		}
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		if i, err = s.current(ctx, tx, i, now); err != nil {
			return err
		}
		got.Inviter = i.inviter(got.AppID)
		if granted, err = s.authorizers.Grant(ctx, tx, got); err != nil {
			return err
		}
		misled, err := s.undoMisled(ctx, tx, i, from, granted)
		if err != nil || misled {
			result = Result{AppID: got.AppID, Status: NotBound, misled: true}
			return errors.Join(err, s.table.unlease(ctx, tx, i.hash), s.table.saveResult(ctx, tx, hash, result))
		}
		result = i.result(got.AppID, granted.Bound)
		result.boundNow = granted.Now && result.Status == Authorized
		return errors.Join(s.end(ctx, tx, i, result), s.table.saveResult(ctx, tx, hash, result))
	})
	return result, granted, err
}

// undoMisled undoes, in the transaction that stores what WeChat's event brought, a binding that is
// not the merchant's wish: the event names the invitation i, and a browser had brought the code of
// that same consent through another tenant's invitation. It reports whether there was one.
func (s *Service) undoMisled(ctx context.Context, tx *db.Tx, i Invitation, from source, got authorizer.Granted) (bool, error) {
	if from.appid == "" || i.hash == "" || got.Bound == "" || got.Bound == i.Tenant {
		return false, nil
	}
	suspects, err := s.table.unconfirmed(ctx, tx, from)
	for _, suspect := range suspects {
		err = errors.Join(err, s.undo(ctx, tx, suspect))
	}
	return len(suspects) > 0, err
}

// undo takes the account of a code from the tenant if its exchange bound it, and ends the
// invitation by which it came.
func (s *Service) undo(ctx context.Context, tx *db.Tx, code codeRecord) error {
	by, err := s.table.locked(ctx, tx, code.invitation)
	if err != nil {
		return err
	}
	if code.result.boundNow {
		err = s.authorizers.UnbindFrom(ctx, tx, by.Tenant, code.result.AppID)
	}
	notBound := Result{AppID: code.result.AppID, Status: NotBound}
	return errors.Join(err,
		s.table.saveEnd(ctx, tx, by.hash, notBound),
		s.table.saveResult(ctx, tx, code.hash, notBound))
}

// disown handles that WeChat's event names another invitation than the one by which a browser had
// brought the code. What the exchange bound is unbound, and the event's invitation stays as it is.
// It returns ErrMisdirected.
func (s *Service) disown(ctx context.Context, hash string) error {
	err := s.db.Tx(ctx, func(tx *db.Tx) error {
		known, err := s.table.lockCode(ctx, tx, hash, "")
		if err != nil || !known.result.boundNow {
			return err
		}
		return s.undo(ctx, tx, known)
	})
	if err != nil {
		return fmt.Errorf("undo the binding by another invitation: %w", err)
	}
	return s.misdirect()
}

// misdirect counts an auth code that was brought through the wrong invitation.
func (s *Service) misdirect() error {
	s.misdirected.Add(1)
	return ErrMisdirected
}

// Misdirected is how many auth codes were brought through another invitation than the one that
// WeChat's event named, since the process started.
func (s *Service) Misdirected() int64 { return s.misdirected.Load() }

// inviter is the tenant to which an authorization of the account id by this invitation may bind:
// only a pending invitation binds, and only the account that it names. "" means none.
func (i Invitation) inviter(id wechat.AppID) tenant.ID {
	if i.Status != Pending || i.AppID != "" && i.AppID != id {
		return ""
	}
	return i.Tenant
}

// result says what became of a code that came by this invitation, if the account id is now bound to
// the given tenant. The zero Invitation stands for none.
func (i Invitation) result(id wechat.AppID, bound tenant.ID) Result {
	switch {
	case i.hash == "":
		return Result{AppID: id}
	case bound == i.Tenant && (i.AppID == "" || i.AppID == id):
		return Result{AppID: id, Status: Authorized}
	case i.Status == Cancelled || i.Status == Expired:
		return Result{AppID: id, Status: i.Status}
	}
	return Result{AppID: id, Status: NotBound}
}

// end ends a pending invitation with its first exchange. One that has ended keeps its status.
func (s *Service) end(ctx context.Context, tx *db.Tx, i Invitation, result Result) error {
	if i.Status != Pending {
		return s.table.unlease(ctx, tx, i.hash)
	}
	return s.table.saveEnd(ctx, tx, i.hash, result)
}
