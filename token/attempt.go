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
	"wxplatform/internal/trace"
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

// attempt is one attempt to meet a need, which all callers with the same flightKey share.
type attempt struct {
	*Store
	id wechat.AppID
	need
	asker    Asker
	repeated bool // a claim took too long already
}

var (
	errClaimable = errors.New("the row may be claimed")
	errTooLate   = fmt.Errorf("%w: %w: the claim took so long that its lease might end before the call", ErrInconclusive, db.ErrUnavailable)
	errNoAccess  = errors.New("the answer has no access token")
)

// meet returns a token that meets the need: a known one, a stored one, or a new one. It ends with
// the asker's conclusion.
func (a *attempt) meet(ctx context.Context) (got Token, err error) {
	defer func() { err = a.asker.Conclude(ctx, err) }()
	if known, ok := a.knownWithoutSQL(ctx); ok {
		return known, nil
	}
	for ctx.Err() == nil {
		got, err = a.look(ctx)
		if errors.Is(err, errClaimable) {
			got, err = a.refresh(ctx)
		}
		if !a.retries(err) {
			return a.orKnown(ctx, got, err)
		}
	}
	return Token{}, fmt.Errorf("wait for another's refresh: %w", context.Cause(ctx))
}

// retries reports whether to look at the row again. One claim that took too long is repeated:
// usually this process stood still, and SQL answers.
func (a *attempt) retries(err error) bool {
	if errors.Is(err, errTooLate) && !a.repeated {
		a.repeated = true
		return true
	}
	return errors.Is(err, ErrRetry)
}

// look reads the row without a lock. It fails with errClaimable where only a refresh helps, as
// always for a renewal. It returns what another process shared though SQL does not have it yet.
func (a *attempt) look(ctx context.Context) (Token, error) {
	if a.ahead {
		return Token{}, errClaimable
	}
	if v, _, _ := a.newest.Local(string(a.id)); a.fits(v, a.need) {
		trace.Of(ctx).Text(trace.Source, trace.Process)
		return token(v), nil
	}
	trace.Of(ctx).Text(trace.Source, trace.SQL)
	r, err := a.read(ctx, a.id)
	if err != nil {
		return Token{}, err
	}
	if r.serves(a.need, a.clock(), a.times) {
		a.uses.note(a.id)
		return r.token(), nil
	}
	now, err := db.Now(ctx, a.db)
	if err != nil {
		return Token{}, err
	}
	m := a.instantAt(now)
	r.repair(m)
	return a.decided(ctx, r.decide(a.need, a.clock(), m), r)
}

// decided does what was decided about a row that did not serve.
func (a *attempt) decided(ctx context.Context, d decision, r row) (Token, error) {
	switch d {
	case usable:
		return r.token(), nil
	case busy:
		a.counters.waited.Add(1)
		a.newest.Wait(ctx, string(a.id), int64(a.version(a.id)), rereadEvery)
		return Token{}, ErrRetry
	case backingOff:
		return Token{}, a.failures.backOff(a.id, r.fence)
	case limited:
		a.counters.limited.Add(1)
		if a.rejected {
			return Token{}, ErrLimited
		}
		return r.token(), nil // it has expired by this process's clock alone
	case claimable:
		return Token{}, errClaimable
	default:
		return Token{}, ErrRetired
	}
}

// refresh prepares a request, claims the row, sends the request and stores the answer. If WeChat
// refuses the refresh token permanently, the spare is tried.
func (a *attempt) refresh(ctx context.Context) (Token, error) {
	if err := a.asker.Prepare(ctx); err != nil {
		return Token{}, err
	}
	began := time.Now() // before the lease begins, so that the lease never ends before it seems to
	c, err := a.claim(ctx)
	switch {
	case errors.Is(err, ErrUnopened):
		return a.failUnopened(ctx)
	case err != nil, c.fence == 0:
		return Token{}, err
	}
	ctx = context.WithoutCancel(ctx) // WeChat may act from here on, so nothing is abandoned halfway
	a.failpoint("claimed")
	answer, err := a.send(ctx, c.refresh, began)
	if c.refreshDead = errors.Is(err, ErrDead); c.refreshDead && !c.spare.IsZero() {
		answer, err = a.send(ctx, c.spare, began)
	}
	how := outcomeOf(err)
	a.counters.count(how)
	if how != answered {
		return a.fail(ctx, c, how, answer.Refresh, err)
	}
	trace.Of(ctx).Text(trace.Source, trace.WeChat)
	return a.store(ctx, c, answer)
}

// claim claims the row. If the row no longer allows it, another process was quicker: a caller looks
// at the row again (ErrRetry), and a renewal ends without a claim.
func (a *attempt) claim(ctx context.Context) (c claim, err error) {
	err = a.change(ctx, a.id, func(r *row, m instant) error {
		c = claim{} // PostgreSQL may run this again
		switch {
		case !r.mayClaim(a.need, a.clock(), m):
			return nil
		case r.unreadable():
			return ErrUnopened
		case a.kind == Authorizer && r.refresh.IsZero():
			return ErrDead
		}
		c = r.claim(m, max(a.newerThan, r.version))
		if !a.ahead {
			r.used = m.now
		}
		return nil
	})
	if err == nil && c.fence == 0 && !a.ahead {
		a.counters.lost.Add(1)
		err = ErrRetry
	}
	return c, err
}

// send sends one request, if a call still fits into the lease.
func (a *attempt) send(ctx context.Context, refresh seal.Secret, began time.Time) (Answer, error) {
	if time.Since(began)+a.times.Call > a.times.Lease {
		return Answer{}, errTooLate
	}
	ctx, cancel := context.WithTimeout(ctx, a.times.Call)
	defer cancel()
	a.failpoint("sending")
	answer, err := a.asker.Send(ctx, refresh)
	a.failpoint("answered")
	if err == nil && answer.Access.IsZero() {
		err = errNoAccess
	}
	return answer, err
}

// failpoint marks a step at which the fault suite kills or pauses the process.
func (a *attempt) failpoint(step string) { failpoint.Hit("token", string(a.kind), step) }

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

func outcomeOf(err error) outcome {
	switch {
	case err == nil:
		return answered
	case errors.Is(err, ErrInconclusive), errors.Is(err, ErrRetry):
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

// fail ends the lease and keeps a refresh token that came without an access token. It returns a
// newer token if the row has one, ErrRetry if another refresh token can be tried, and otherwise
// cause, in a *Failure once that is recorded. If SQL is unavailable, the lease expires as
// that of a vanished holder does.
func (a *attempt) fail(ctx context.Context, c claim, how outcome, refresh seal.Secret, cause error) (Token, error) {
	if how != notAsked {
		a.failures.Set(a.id, failure{c.fence, cause})
	}
	var after row
	var another bool
	err := a.change(ctx, a.id, func(r *row, m instant) error {
		r.keep(refresh, c.fence)
		another = r.fail(c, how, m)
		if later := (*NotBefore)(nil); errors.As(cause, &later) {
			r.bar(c, later.Until, m)
		}
		after = *r
		return nil
	})
	switch {
	case err != nil:
		return Token{}, cause
	case another:
		return Token{}, ErrRetry
	case after.version > c.fence && a.lives(a.versioned(after)):
		return a.share(ctx, after)
	}
	return Token{}, &Failure{after.version, cause}
}

// store is durable first: SQL, then the mirror, then the caller. Only if SQL fails is the access
// token shared before it is stored, because WeChat has already replaced the old one.
func (a *attempt) store(ctx context.Context, c claim, answer Answer) (Token, error) {
	if c.inUse && a.Renewed != nil {
		a.Renewed(c.left)
	}
	after, err := a.settle(ctx, c, answer)
	if err == nil {
		a.failpoint("stored")
		return a.share(ctx, after)
	}
	a.mirror.SQLFailed()
	a.storeLater(ctx, c, answer)
	return a.share(ctx, row{access: answer.Access, version: c.fence, expires: c.at.Add(answer.ExpiresIn)})
}

func (a *attempt) settle(ctx context.Context, c claim, answer Answer) (after row, err error) {
	err = a.change(ctx, a.id, func(r *row, m instant) error {
		r.succeed(c, answer, m)
		after = *r
		return nil
	})
	return after, err
}

// storeLater retries until SQL stores the answer, unless a newer one is stored by then. When the
// mirror is closed it tries once more.
func (a *attempt) storeLater(ctx context.Context, c claim, answer Answer) {
	a.counters.storedLate.Add(1)
	a.storing.Start(ctx, flightKey{a.id, storing, c.fence}, func(ctx context.Context) (Token, error) {
		for {
			select {
			case <-time.After(rereadEvery):
			case <-ctx.Done():
			}
			after, err := a.settle(context.WithoutCancel(ctx), c, answer)
			if err == nil || ctx.Err() != nil {
				return after.token(), err
			}
		}
	})
}

// share tells the other replicas and returns the newest token. That is another one if the answer
// came too late.
func (a *attempt) share(ctx context.Context, r row) (Token, error) {
	newest := token(a.newest.Put(ctx, string(a.id), a.versioned(r)))
	a.failpoint("shared")
	if newest.Access.IsZero() {
		return Token{}, ErrRetired
	}
	return newest, nil
}

// orKnown returns the result of an attempt, or, if SQL is unavailable to a caller, what this
// process or Redis knows.
func (a *attempt) orKnown(ctx context.Context, got Token, err error) (Token, error) {
	if a.ahead || !errors.Is(err, db.ErrUnavailable) {
		return got, err
	}
	if ctx.Err() == nil {
		a.mirror.SQLFailed()
	}
	if known, ok := a.known(ctx); ok {
		return known, nil
	}
	return Token{}, err
}

// knownWithoutSQL returns what is known while SQL is known to be unavailable, to spare callers the
// wait for it.
func (a *attempt) knownWithoutSQL(ctx context.Context) (Token, bool) {
	if a.ahead || !a.mirror.SQLUnavailable() {
		return Token{}, false
	}
	return a.known(ctx)
}

func (a *attempt) known(ctx context.Context) (Token, bool) {
	v, _, _ := a.newest.Local(string(a.id))
	source := trace.Process
	if !a.fits(v, a.need) {
		v, _ = a.newest.Shared(ctx, string(a.id))
		source = trace.Redis
	}
	trace.Of(ctx).Text(trace.Source, source)
	return token(v), a.fits(v, a.need)
}

// failure is the last failed request of this process: its fence and its error.
type failure struct {
	fence Version
	err   error
}

// failures holds the last failed request that this process made for each row.
type failures struct {
	*mirror.Local[wechat.AppID, failure]
}

// backOff returns ErrBackOff, which wraps the error of the claim with this fence if this process
// made it.
func (f failures) backOff(id wechat.AppID, fence Version) error {
	if last, ok := f.Get(id); ok && last.fence == fence {
		return fmt.Errorf("%w: %w", ErrBackOff, last.err)
	}
	return ErrBackOff
}
