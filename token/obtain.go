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

// rereadEvery is how long a caller waits for another process's lease before it reads the row again.
// Pub/sub usually tells it sooner.
const rereadEvery = time.Second

// flightKey names work that is done once for several callers. Whoever needs a token shares one
// flight per row, whatever version it knows: two flights would lock the row in turn, and a process
// that stands still between them would keep the lock. Callers whose version WeChat rejected share
// with those who name the same version, because another answer may be of no use to them.
type flightKey struct {
	id   wechat.AppID
	task task
	bad  Version // for replacing
}

type task int

const (
	getting task = iota
	replacing
	renewing
	rereading
	storing
)

// failure is the last failed request of this process: its fence and its error.
type failure struct {
	fence Version
	err   error
}

// obtain makes one attempt to meet a need, which all callers with the same key share.
func (s *Store) obtain(ctx context.Context, key flightKey, n need, asker Asker) (Token, error) {
	return s.flights.Do(ctx, key, func(ctx context.Context) (Token, error) {
		got, err := s.meet(ctx, key.id, n, asker)
		return got, asker.Conclude(ctx, err)
	})
}

// meet takes steps until one of them meets the need or fails. One claim that took too long is
// repeated: usually this process stood still, and SQL answers.
func (s *Store) meet(ctx context.Context, id wechat.AppID, n need, asker Asker) (Token, error) {
	if known, ok := s.knownWithoutSQL(ctx, id, n); ok {
		return known, nil
	}
	repeated := false
	for ctx.Err() == nil {
		got, err := s.step(ctx, id, n, asker)
		switch {
		case errors.Is(err, ErrAgain):
		case errors.Is(err, errTooLate) && !repeated:
			repeated = true
		case errors.Is(err, db.ErrUnavailable) && !n.ahead:
			return s.withoutSQL(ctx, id, n, err)
		default:
			return got, err
		}
	}
	return Token{}, fmt.Errorf("wait for another's refresh: %w", context.Cause(ctx))
}

// step looks at the row once: it returns a token that meets the need, waits for another process's
// lease (ErrAgain), refreshes, or fails. A renewal goes straight to the claim.
func (s *Store) step(ctx context.Context, id wechat.AppID, n need, asker Asker) (Token, error) {
	if n.ahead {
		return s.refresh(ctx, id, n, asker)
	}
	if v, _, _ := s.newest.Local(string(id)); s.fits(v, n) {
		return token(v), nil // another process shared what SQL does not have yet
	}
	r, err := s.look(ctx, id)
	if err != nil {
		return Token{}, err
	}
	if r.serves(n, s.clock(), s.times) {
		s.uses.note(id)
		return r.token(), nil
	}
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return Token{}, err
	}
	m := s.instantAt(now)
	r.repair(m)
	switch decision := r.decide(n, s.clock(), m); decision {
	case busy:
		s.counters.waited.Add(1)
		s.newest.Wait(ctx, string(id), int64(s.version(id)), rereadEvery)
		return Token{}, ErrAgain
	case claimable:
		return s.refresh(ctx, id, n, asker)
	default:
		return s.settled(decision, id, r, n)
	}
}

// look reads the row without a lock and keeps its token in memory.
func (s *Store) look(ctx context.Context, id wechat.AppID) (row, error) {
	generation := s.newest.Generation()
	r, err := s.load(ctx, id)
	if err == nil && r.version > 0 {
		s.newest.Filled(ctx, string(id), s.versioned(r), generation)
	}
	return r, err
}

// settled answers a caller that neither waits nor asks WeChat.
func (s *Store) settled(d decision, id wechat.AppID, r row, n need) (Token, error) {
	switch d {
	case usable:
		return r.token(), nil
	case backingOff:
		return Token{}, s.lastFailure(id, r.fence)
	case limited:
		s.counters.limited.Add(1)
		if n.rejected {
			return Token{}, ErrLimited
		}
		return r.token(), nil // it has expired by this process's clock alone
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

// refresh prepares an ask, claims the row if that is still allowed, and asks. Where another process
// was quicker it returns ErrAgain, or for a renewal nothing at all.
func (s *Store) refresh(ctx context.Context, id wechat.AppID, n need, asker Asker) (Token, error) {
	if err := asker.Prepare(ctx); err != nil {
		return Token{}, err
	}
	began := time.Now() // before the lease begins, so that the lease never ends before it seems to
	c, claimed, err := s.claim(ctx, id, n)
	switch {
	case err != nil:
		return Token{}, err
	case !claimed && n.ahead:
		return Token{}, nil
	case !claimed:
		s.counters.lost.Add(1)
		return Token{}, ErrAgain
	}
	return s.ask(ctx, id, c, began, asker)
}

// claim claims the row for a need, or returns false if the row no longer allows it.
func (s *Store) claim(ctx context.Context, id wechat.AppID, n need) (c claim, claimed bool, err error) {
	err = s.change(ctx, id, func(r *row, m instant) error {
		claimed = false // PostgreSQL may run this again
		if !r.mayClaim(n, s.clock(), m) {
			return nil
		}
		if s.kind == Authorizer && r.refresh.IsZero() {
			return ErrDead
		}
		left, inUse := r.left(m)
		if !n.ahead {
			r.used = m.now
		}
		c, claimed = r.claim(m, max(n.newerThan, r.version)), true
		c.left, c.inUse = left, inUse
		return nil
	})
	return c, claimed && err == nil, err
}

// ask asks under the claim and stores the result. From here on nothing is abandoned halfway: WeChat
// may have acted.
func (s *Store) ask(ctx context.Context, id wechat.AppID, c claim, began time.Time, asker Asker) (Token, error) {
	ctx = context.WithoutCancel(ctx)
	s.hit("claimed")
	a, err := s.send(ctx, c.refresh, began, asker)
	if c.refused = errors.Is(err, ErrDead); c.refused && !c.spare.IsZero() {
		a, err = s.send(ctx, c.spare, began, asker)
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
	errTooLate  = fmt.Errorf("%w: %w: the claim took so long that its lease might end before the call", ErrNotAsked, db.ErrUnavailable)
	errNoAccess = errors.New("the answer has no access token")
)

// send asks once, if a call still fits into the lease.
func (s *Store) send(ctx context.Context, refresh seal.Secret, began time.Time, asker Asker) (Answer, error) {
	if time.Since(began)+s.times.Call > s.times.Lease {
		return Answer{}, errTooLate
	}
	ctx, cancel := context.WithTimeout(ctx, s.times.Call)
	defer cancel()
	s.hit("sending")
	a, err := asker.Send(ctx, refresh)
	s.hit("answered")
	if err == nil && a.Access.IsZero() {
		err = errNoAccess
	}
	return a, err
}

// hit marks a step at which the fault suite kills or pauses the process.
func (s *Store) hit(step string) { failpoint.Hit("token", string(s.kind), step) }

// outcome is how a request ended.
type outcome int

const (
	answered outcome = iota
	refused          // WeChat said no
	dead             // it refused this refresh token permanently
	unsent           // nothing was sent
	notAsked         // it says nothing about the row
	unknown          // WeChat may have acted
)

func (s *Store) outcome(err error) outcome {
	switch {
	case err == nil:
		return answered
	case errors.Is(err, ErrNotAsked), errors.Is(err, ErrAgain):
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

// noteFailure ends the lease and keeps a refresh token that came without an access token. It
// returns the error, unless the row has a newer token meanwhile. If SQL is unavailable, the lease
// expires as that of a vanished holder does.
func (s *Store) noteFailure(ctx context.Context, id wechat.AppID, c claim, how outcome, refresh seal.Secret, cause error) (Token, error) {
	if how != notAsked {
		s.failures.Set(id, failure{c.fence, cause})
	}
	var after row
	var another bool
	err := s.change(ctx, id, func(r *row, m instant) error {
		r.keep(refresh, c.fence)
		another = r.fail(c, how, m)
		if later := (*NotBefore)(nil); errors.As(cause, &later) {
			r.bar(c, later.Until, m)
		}
		after = *r
		return nil
	})
	if err == nil && another {
		return Token{}, ErrAgain
	}
	if err == nil && after.version > c.fence && s.lives(s.versioned(after)) {
		return s.share(ctx, id, after)
	}
	if err == nil {
		cause = &Failure{after.version, cause}
	}
	return Token{}, cause
}

// store is durable first: SQL, then the mirror, then the caller. Only if SQL fails is the access
// token shared before it is stored, because WeChat has already replaced the old one.
func (s *Store) store(ctx context.Context, id wechat.AppID, c claim, a Answer) (Token, error) {
	after, err := s.settle(ctx, id, c, a)
	if err == nil {
		s.hit("stored")
		return s.share(ctx, id, after)
	}
	s.mirror.SQLFailed()
	s.storeLater(ctx, id, c, a)
	return s.share(ctx, id, row{access: a.Access, version: c.fence, expires: c.at.Add(a.ExpiresIn)})
}

func (s *Store) settle(ctx context.Context, id wechat.AppID, c claim, a Answer) (after row, err error) {
	err = s.change(ctx, id, func(r *row, m instant) error {
		r.succeed(c, a, m)
		after = *r
		return nil
	})
	return after, err
}

// storeLater retries until SQL stores the answer, unless a newer one is stored by then. When the
// mirror is closed it tries once more.
func (s *Store) storeLater(ctx context.Context, id wechat.AppID, c claim, a Answer) {
	s.counters.insisted.Add(1)
	s.storing.Start(ctx, flightKey{id, storing, c.fence}, func(ctx context.Context) (Token, error) {
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

// share tells the other replicas and returns the newest token. That is another one if the answer
// came too late.
func (s *Store) share(ctx context.Context, id wechat.AppID, r row) (Token, error) {
	newest := token(s.newest.Put(ctx, string(id), s.versioned(r)))
	s.hit("shared")
	if newest.Access.IsZero() {
		return Token{}, ErrRetired
	}
	return newest, nil
}

// withoutSQL returns what this process or Redis knows, or else err.
func (s *Store) withoutSQL(ctx context.Context, id wechat.AppID, n need, err error) (Token, error) {
	if ctx.Err() == nil {
		s.mirror.SQLFailed()
	}
	if known, ok := s.known(ctx, id, n); ok {
		return known, nil
	}
	return Token{}, err
}

// knownWithoutSQL returns what is known while SQL is known to be unavailable, to spare callers the
// wait for it.
func (s *Store) knownWithoutSQL(ctx context.Context, id wechat.AppID, n need) (Token, bool) {
	if n.ahead || !s.mirror.SQLUnavailable() {
		return Token{}, false
	}
	return s.known(ctx, id, n)
}

func (s *Store) known(ctx context.Context, id wechat.AppID, n need) (Token, bool) {
	v, _, _ := s.newest.Local(string(id))
	if !s.fits(v, n) {
		v, _ = s.newest.Shared(ctx, string(id))
	}
	return token(v), s.fits(v, n)
}

func (s *Store) fits(v mirror.Versioned, n need) bool {
	return Version(v.Version) > n.newerThan && s.lives(v)
}

// reread starts a read of the row while callers go on with what is known.
func (s *Store) reread(id wechat.AppID) {
	s.flights.Start(context.Background(), flightKey{id: id, task: rereading}, func(ctx context.Context) (Token, error) {
		r, err := s.look(ctx, id)
		if errors.Is(err, db.ErrUnavailable) && ctx.Err() == nil {
			s.mirror.SQLFailed()
		}
		return r.token(), err
	})
}
