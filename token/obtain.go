package token

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/failpoint"
	"wxplatform/internal/mirror"
	"wxplatform/internal/seal"
	"wxplatform/wechat"
)

// rereadEvery is how long a caller waits for another's lease before he reads the row again. Pub/sub is sooner.
const rereadEvery = time.Second

// purpose is what is done for several callers at once. Those with different wishes do not share, for an answer to one may be useless to the other; the row arbitrates between them.
// Nor does one who may ask share with one who may not, who gives up where there is something to ask for.
type purpose struct {
	id   wechat.AppID
	what errand
	wish wish
	mute bool
}

type errand int

const (
	wanting errand = iota
	renewing
	rereading
	storing
)

// failure is a failed ask of this process: the fence it had, and why.
type failure struct {
	fence Version
	err   error
}

func (s *Store) want(ctx context.Context, id wechat.AppID, w wish, ask Ask) (Token, error) {
	return s.obtained.Do(ctx, purpose{id, wanting, w, ask == nil}, func(ctx context.Context) (Token, error) { return s.obtain(ctx, id, w, ask) })
}

// obtain reads the row until it has a token for the wish, or claims it and asks.
func (s *Store) obtain(ctx context.Context, id wechat.AppID, w wish, ask Ask) (Token, error) {
	if s.mirror.Away() {
		if known, ok := s.known(ctx, id, w); ok {
			return known, nil
		}
	}
	for ctx.Err() == nil {
		got, done, err := s.attempt(ctx, id, w, ask)
		if errors.Is(err, errAgain) {
			continue
		}
		if errors.Is(err, db.ErrUnavailable) {
			return s.withoutSQL(ctx, id, w, err)
		}
		if done || err != nil {
			return got, err
		}
	}
	return Token{}, fmt.Errorf("wait for another's refresh: %w", context.Cause(ctx))
}

// attempt does one thing for the wish. It is not done where somebody else was quicker, or has to be waited for.
func (s *Store) attempt(ctx context.Context, id wechat.AppID, w wish, ask Ask) (got Token, done bool, err error) {
	if v, _, _ := s.newest.Local(string(id)); s.fits(v, w) {
		return token(v), true, nil // a holder shared what SQL does not have yet
	}
	r, err := s.look(ctx, id)
	if err != nil {
		return Token{}, false, err
	}
	if r.serves(w, s.clock(), s.times) {
		s.uses.note(id)
		return r.token(), true, nil
	}
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return Token{}, false, err
	}
	return s.pursue(ctx, id, r, w, s.moment(now), ask)
}

func (s *Store) pursue(ctx context.Context, id wechat.AppID, r row, w wish, m moment, ask Ask) (got Token, done bool, err error) {
	r.mend(m)
	switch verdict := r.judge(w, s.clock(), m); verdict {
	case waits:
		s.counters.waited.Add(1)
		s.newest.Wait(ctx, string(id), int64(s.version(id)), rereadEvery)
		return Token{}, false, nil
	case mine:
		if ask == nil {
			return Token{}, true, ErrNotAsked
		}
		return s.refresh(ctx, id, w, ask)
	default:
		got, err = s.verdict(verdict, id, r, w)
		return got, true, err
	}
}

// look reads the row without a lock and keeps what it says.
func (s *Store) look(ctx context.Context, id wechat.AppID) (row, error) {
	generation := s.newest.Generation()
	r, err := s.load(ctx, id)
	if err == nil && r.version > 0 {
		s.newest.Filled(ctx, string(id), s.versioned(r), generation)
	}
	return r, err
}

// verdict is the answer to a caller who neither waits nor asks.
func (s *Store) verdict(v verdict, id wechat.AppID, r row, w wish) (Token, error) {
	switch v {
	case usable:
		return r.token(), nil
	case resting:
		return Token{}, s.lastFailure(id, r.fence)
	case limited:
		s.counters.limited.Add(1)
		if w.rejected {
			return Token{}, ErrLimited
		}
		return r.token(), nil // only this process's clock holds it for expired
	default:
		return Token{}, ErrRetired
	}
}

func (r *row) token() Token { return Token{r.access, r.version, r.expires} }

func (s *Store) lastFailure(id wechat.AppID, fence Version) error {
	if last, ok := s.failures.Get(id); ok && last.fence == fence {
		return fmt.Errorf("%w: %w", ErrBackOff, last.err)
	}
	return ErrBackOff
}

// refresh claims the row, if it is still to be claimed, and asks.
func (s *Store) refresh(ctx context.Context, id wechat.AppID, w wish, ask Ask) (Token, bool, error) {
	began := time.Now() // before the lease begins, so that the lease never ends before it seems to
	var c claim
	claimed := false
	err := s.change(ctx, id, func(r *row, m moment) error {
		claimed = false // PostgreSQL may have this run again
		if r.judge(w, s.clock(), m) != mine {
			s.counters.lost.Add(1)
			return nil
		}
		if s.kind == Authorizer && r.refresh.IsZero() {
			return ErrDead
		}
		left, inUse := r.left(m)
		r.used = m.now
		c, claimed = r.claim(m, max(w.useless, r.version)), true
		c.left, c.inUse = left, inUse
		return nil
	})
	if err != nil || !claimed {
		return Token{}, false, err
	}
	got, err := s.carryOut(ctx, id, c, began, ask)
	return got, true, err
}

func (s *Store) renew(ctx context.Context, id wechat.AppID, ask Ask) error {
	began := time.Now()
	var c claim
	claimed := false
	err := s.change(ctx, id, func(r *row, m moment) error {
		if claimed = r.renews(m); claimed {
			left, inUse := r.left(m)
			c = r.claim(m, r.version)
			c.left, c.inUse = left, inUse
		}
		return nil
	})
	if err != nil || !claimed {
		return err
	}
	_, err = s.carryOut(ctx, id, c, began, ask)
	if errors.Is(err, errAgain) {
		return nil // it is due again
	}
	return err
}

// carryOut asks under the claim and stores what comes of it. From here on nothing is given up halfway: WeChat may have acted.
func (s *Store) carryOut(ctx context.Context, id wechat.AppID, c claim, began time.Time, ask Ask) (Token, error) {
	ctx = context.WithoutCancel(ctx)
	s.hit("claimed")
	a, err := s.send(ctx, c.refresh, began, ask)
	if c.refused = errors.Is(err, ErrDead); c.refused && !c.spare.IsZero() {
		a, err = s.send(ctx, c.spare, began, ask)
	}
	how := s.outcome(err)
	s.counters.count(how)
	if how != answered {
		return s.noteFailure(ctx, id, c, how, a.Refresh, err)
	}
	if c.inUse && s.Renewed != nil {
		s.Renewed(c.left)
	}
	return s.store(ctx, id, c, a)
}

var (
	errAgain    = errors.New("the refresh token was replaced meanwhile")
	errTooLate  = fmt.Errorf("%w: %w: the claim took so long that its lease might end before the call", ErrNotAsked, db.ErrUnavailable)
	errNoAccess = errors.New("the answer has no access token")
)

// send asks once, if a call still fits into the lease.
func (s *Store) send(ctx context.Context, refresh seal.Secret, began time.Time, ask Ask) (Answer, error) {
	if time.Since(began)+s.times.Call > s.times.Lease {
		return Answer{}, errTooLate
	}
	ctx, cancel := context.WithTimeout(ctx, s.times.Call)
	defer cancel()
	s.hit("sending")
	a, err := ask(ctx, refresh)
	s.hit("answered")
	if err == nil && a.Access.IsZero() {
		err = errNoAccess
	}
	return a, err
}

// hit marks a step at which the fault suite kills or stops the process.
func (s *Store) hit(step string) { failpoint.Hit("token", string(s.kind), step) }

// outcome is how an ask ended.
type outcome int

const (
	answered outcome = iota
	refused          // WeChat said no
	dead             // it said no to this refresh token for good
	unsent           // no byte left
	notAsked         // it says nothing about the row
	unknown          // WeChat may have acted
)

func (s *Store) outcome(err error) outcome {
	switch {
	case err == nil:
		return answered
	case errors.Is(err, ErrNotAsked):
		return notAsked
	case errors.Is(err, ErrDead):
		return dead
	case wechat.NotSent(err):
		return unsent
	case wechat.Refused(err) != 0:
		return refused
	default:
		return unknown
	}
}

// noteFailure ends the lease, keeps a refresh token that came without an access token, and answers with the error, unless the row has a newer token meanwhile. If SQL is away, the lease ends by itself, as a vanished holder's does.
func (s *Store) noteFailure(ctx context.Context, id wechat.AppID, c claim, how outcome, refresh seal.Secret, cause error) (Token, error) {
	if how != notAsked {
		s.failures.Set(id, failure{c.fence, cause})
	}
	var after row
	var another bool
	err := s.change(ctx, id, func(r *row, m moment) error {
		r.keep(refresh, c.fence)
		another = r.fail(c, how, m)
		if later := (*NotBefore)(nil); errors.As(cause, &later) {
			r.bar(c, later.Until, m)
		}
		after = *r
		return nil
	})
	if err == nil && another {
		return Token{}, errAgain
	}
	if err == nil && after.version > c.fence && s.lives(s.versioned(after)) {
		return s.share(ctx, id, after)
	}
	if err == nil {
		cause = &Failure{after.version, cause}
	}
	return Token{}, cause
}

// store is durable first: SQL, then the mirror, then the caller. Only if SQL fails here is the access token shared before, for WeChat has already replaced the old one.
func (s *Store) store(ctx context.Context, id wechat.AppID, c claim, a Answer) (Token, error) {
	after, err := s.settle(ctx, id, c, a)
	if err == nil {
		s.hit("stored")
		return s.share(ctx, id, after)
	}
	s.mirror.SQLFailed()
	s.insist(ctx, id, c, a)
	return s.share(ctx, id, row{access: a.Access, version: c.fence, expires: c.at.Add(a.ExpiresIn)})
}

func (s *Store) settle(ctx context.Context, id wechat.AppID, c claim, a Answer) (after row, err error) {
	err = s.change(ctx, id, func(r *row, m moment) error {
		r.succeed(c, a, m)
		after = *r
		return nil
	})
	return after, err
}

// insist stores the answer when SQL is back, unless it is superseded by then. When the mirror is closed it tries once more.
func (s *Store) insist(ctx context.Context, id wechat.AppID, c claim, a Answer) {
	s.counters.insisted.Add(1)
	s.storing.Start(ctx, purpose{id: id, what: storing, wish: wish{useless: c.fence}}, func(ctx context.Context) (Token, error) {
		for {
			select {
			case <-time.After(rereadEvery):
			case <-ctx.Done():
			}
			after, err := s.settle(context.WithoutCancel(ctx), id, c, a)
			if err == nil || ctx.Err() != nil {
				return after.token(), err
			}
		}
	})
}

// share tells the other replicas and answers with the newest, which is another one where the ask came too late.
func (s *Store) share(ctx context.Context, id wechat.AppID, r row) (Token, error) {
	newest := token(s.newest.Put(ctx, string(id), s.versioned(r)))
	s.hit("shared")
	if newest.Access.IsZero() {
		return Token{}, ErrRetired
	}
	return newest, nil
}

// withoutSQL answers with what the process or Redis knows, or with err.
func (s *Store) withoutSQL(ctx context.Context, id wechat.AppID, w wish, err error) (Token, error) {
	if ctx.Err() == nil {
		s.mirror.SQLFailed()
	}
	if known, ok := s.known(ctx, id, w); ok {
		return known, nil
	}
	return Token{}, err
}

func (s *Store) known(ctx context.Context, id wechat.AppID, w wish) (Token, bool) {
	v, _, _ := s.newest.Local(string(id))
	if !s.fits(v, w) {
		v, _ = s.newest.Shared(ctx, string(id))
	}
	return token(v), s.fits(v, w)
}

func (s *Store) fits(v mirror.Versioned, w wish) bool {
	return Version(v.Version) > w.useless && s.lives(v)
}

// reread has the row read while callers go on with what is known.
func (s *Store) reread(id wechat.AppID) {
	s.obtained.Start(context.Background(), purpose{id: id, what: rereading}, func(ctx context.Context) (Token, error) {
		r, err := s.look(ctx, id)
		if errors.Is(err, db.ErrUnavailable) && ctx.Err() == nil {
			s.mirror.SQLFailed()
		}
		return r.token(), err
	})
}
