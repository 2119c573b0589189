// Package token is custody: tokens that several processes share, each fetched once, replaced when rejected, and never lost.
// It is told with each call how to ask WeChat, stores no callback and knows no endpoint. The rules are in row.go, pure; docs/design.md, "Custody" says why they are what they are.
package token

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/mirror"
	"wxplatform/internal/seal"
	"wxplatform/wechat"
)

var (
	// ErrUnknown says that there is no row for this id: it never authorized the component.
	ErrUnknown = errors.New("no token was ever granted")
	// ErrRetired says that the row is retired: there is nothing to ask with until the next grant.
	ErrRetired = errors.New("the token is retired")
	// ErrDead says that WeChat refused the refresh token for good and that there is no other one here. An Ask wraps it around such a refusal.
	ErrDead = errors.New("the refresh token is dead")
	// ErrNotAsked says that a failed ask tells nothing about the row: nothing was sent, or what was refused is something else that the request carried, such as the component token.
	// An Ask wraps it around such an error: it comes back to the caller, nothing is counted, and the row may be asked for again at once.
	ErrNotAsked = errors.New("nothing was decided about the token")
	// ErrAgain says that a request was refused for something that the next Prepare replaces, or that the row has another refresh token to try. The row stays as it is, and the request is prepared and sent again at once. Callers never see it.
	ErrAgain = errors.New("to be asked again")
	// ErrLimited says that a rejected token is not replaced, because this one was replaced too often lately.
	ErrLimited = errors.New("too many forced refreshes")
	// ErrBackOff says that the last ask failed a moment ago and is not repeated yet. It wraps that ask's error where this process made it.
	ErrBackOff = errors.New("the last ask failed a moment ago")
)

// NotBefore is a failed ask that is of no use again before a time. An Ask wraps it around WeChat's refusal; until then neither callers nor keepers repeat it.
type NotBefore struct {
	Until time.Time
	Err   error
}

// Error is that of the refusal.
func (e *NotBefore) Error() string { return e.Err.Error() }

// Unwrap gives the refusal.
func (e *NotBefore) Unwrap() error { return e.Err }

// Failure is a failed ask as the row took it. Version is the one that was stored then: where it differs by now, the failure is of the past.
type Failure struct {
	Version Version
	Err     error
}

// Error is that of the ask.
func (e *Failure) Error() string { return e.Err.Error() }

// Unwrap gives the ask's error.
func (e *Failure) Unwrap() error { return e.Err }

// Kind is whose tokens a Store keeps.
type Kind string

const (
	// Component is the component's own token. It is asked for with the ticket, so its row holds no refresh token and is made when it is first wanted.
	Component Kind = "component"
	// Authorizer is an authorizer's access token, asked for with its refresh token. Its row is made by a grant.
	Authorizer Kind = "authorizer"
)

// Owner is for whom a row is served: an opaque word, "" for nobody. Keepers are fair between owners.
type Owner string

// Version is the fence under which a token was got. A larger one is newer.
type Version int64

// Token is an access token that may be used until it expires.
type Token struct {
	Access  seal.Secret
	Version Version
	Expires time.Time
}

// Answer is what WeChat gave. Where Refresh is empty the old one stays.
type Answer struct {
	Access    seal.Secret
	Refresh   seal.Secret
	ExpiresIn time.Duration
}

// Asker asks WeChat for one token. Each call of Get, Replace and Renew is given a fresh one; those of
// package component and package authorizer are the two kinds. Its methods are called by one goroutine
// at a time, in the order Prepare, Send, Conclude, and only where the stored token is of no use.
type Asker interface {
	// Prepare gathers everything that Send needs, such as the component token. It runs before the row
	// is claimed, so that nothing delays the request under the claim. It fails where nobody may ask
	// now; the row is left alone then. It may be called again after a Send.
	Prepare(ctx context.Context) error

	// Send sends one request with the refresh token, which is empty for the component, within the
	// context's deadline. Its errors are those of package wechat, which may wrap ErrDead, ErrNotAsked,
	// ErrAgain or *NotBefore; after any other error WeChat is assumed to have acted.
	Send(ctx context.Context, refresh seal.Secret) (Answer, error)

	// Conclude is called once, last, also where nothing was prepared or sent. err is how the attempt
	// ended, nil where there is a token. It returns the error for the callers.
	Conclude(ctx context.Context, err error) error
}

// Publish shares what a transaction stored, after its commit.
type Publish func(ctx context.Context)

// Store keeps the tokens of one kind. It is safe for concurrent use. What it does for several callers at once outlives their cancels; the mirror's Close waits for it.
type Store struct {
	// Renewed is told of each refresh of a token in use how long the old one still had to live; negative where it came too late. Nil is nobody. It is set before the first call and must be quick.
	Renewed func(left time.Duration)
	// Spread gives a number in [0, 1) by which what would else happen at once is spread; replaced in the simulation only.
	Spread func() float64

	kind  Kind
	db    *db.DB
	ring  *seal.Ring
	times Times
	clock func() time.Time // this process's; replaced in tests only

	mirror   *mirror.Mirror
	newest   *mirror.Newest
	failures *mirror.Local[wechat.AppID, failure] // the last failed ask that this process made
	flights  *mirror.Flights[flightKey, Token]
	storing  *mirror.Flights[flightKey, Token]
	uses     uses
	counters counters
}

// entries bounds how many tokens a process keeps, some hundred bytes each.
const entries = 200_000

// New keeps the tokens of one kind in d and m, under times in the order that they need.
func New(kind Kind, d *db.DB, m *mirror.Mirror, ring *seal.Ring, times Times) (*Store, error) {
	if err := times.check(); err != nil {
		return nil, err
	}
	return &Store{
		Spread:   rand.Float64,
		kind:     kind,
		db:       d,
		ring:     ring,
		times:    times,
		clock:    m.Now,
		mirror:   m,
		newest:   mirror.NewNewest(m, string(kind), entries),
		failures: mirror.NewLocal[wechat.AppID, failure](10_000),
		flights:  mirror.NewFlights[flightKey, Token](m, times.patience()),
		storing:  mirror.NewFlights[flightKey, Token](m, 0),
	}, nil
}

// Known is the token that this process knows, if it may still be used. It is the hot path: it asks nobody and allocates nothing.
func (s *Store) Known(id wechat.AppID) (Token, bool) {
	v, fresh, ok := s.newest.Local(string(id))
	if !ok || !s.lives(v) {
		return Token{}, false
	}
	if !fresh && !s.mirror.SQLUnavailable() {
		s.reread(id)
	}
	return token(v), true
}

// Get is a token that may be used: known, or from SQL, or from Redis while SQL is away; asked for only if none lives.
// It fails with ErrUnknown, ErrRetired, ErrBackOff, db.ErrUnavailable, the error of ask (in a *Failure), or that of ctx.
func (s *Store) Get(ctx context.Context, id wechat.AppID, asker Asker) (Token, error) {
	if known, ok := s.Known(id); ok {
		return known, nil
	}
	return s.obtain(ctx, id, need{newerThan: s.version(id)}, asker)
}

// Replace is a token newer than bad, which WeChat rejected: a newer one that is known already, or else asked for. It fails as Get does, or with ErrLimited.
func (s *Store) Replace(ctx context.Context, id wechat.AppID, bad Version, asker Asker) (Token, error) {
	if known, ok := s.Known(id); ok && known.Version > bad {
		return known, nil
	}
	return s.obtain(ctx, id, need{newerThan: max(bad, s.version(id)), rejected: true}, asker)
}

// Renew asks for a new token if id is still due and nobody else is at it. Callers keep the old one meanwhile. It fails with the error of ask, or with db.ErrUnavailable.
func (s *Store) Renew(ctx context.Context, id wechat.AppID, asker Asker) error {
	_, err := s.obtain(ctx, id, need{ahead: true}, asker)
	return err
}

// Due lists up to n ids that a keeper should Renew, the most urgent first, and fairly between their owners. It claims nothing. Before, it writes down now and then which tokens were used.
func (s *Store) Due(ctx context.Context, n int) ([]wechat.AppID, error) {
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return nil, err
	}
	if err := s.flushUses(ctx, now); err != nil {
		return nil, err
	}
	if err := s.mendSuspects(ctx, s.instantAt(now)); err != nil {
		return nil, err
	}
	return s.listDue(ctx, now, false, n)
}

// Warm lists up to n ids as Due does, of those that were used within a week but not within a day: a keeper may Renew them if it has nothing better to do and the budget allows.
func (s *Store) Warm(ctx context.Context, n int) ([]wechat.AppID, error) {
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return nil, err
	}
	return s.listDue(ctx, now, true, n)
}

// Grant stores an answer that no claim asked for, in the caller's transaction: an exchange, sent at the time given by the database's clock. It ends a retirement.
// An answer without an access token is one whose refresh token comes from WeChat's list. After the commit the caller runs Publish.
func (s *Store) Grant(ctx context.Context, tx *db.Tx, id wechat.AppID, sent time.Time, a Answer) (Publish, error) {
	var stored row
	err := s.changeIn(ctx, tx, id, true, func(r *row, m instant) error {
		r.grant(a, sent, m)
		stored = *r
		return nil
	})
	return s.publish(id, stored), err
}

// Spare offers a refresh token from WeChat's list. It is tried when the row's own is refused, and reports false where it is no news: the row's own, or one there already.
func (s *Store) Spare(ctx context.Context, tx *db.Tx, id wechat.AppID, refresh seal.Secret) (taken bool, err error) {
	err = s.changeIn(ctx, tx, id, true, func(r *row, m instant) error {
		taken = r.offer(refresh, m)
		return nil
	})
	return taken, err
}

// Retire takes the token out of use until the next grant: whatever is under way is late, and the row is never due. A row that is not there is retired already.
// After the commit the caller runs Publish, which takes the access token from the other replicas and from Redis.
func (s *Store) Retire(ctx context.Context, tx *db.Tx, id wechat.AppID) (Publish, error) {
	var stored row
	err := s.changeIn(ctx, tx, id, false, func(r *row, m instant) error {
		r.retire(m)
		stored = *r
		return nil
	})
	if errors.Is(err, ErrUnknown) {
		return func(context.Context) {}, nil
	}
	return s.publish(id, stored), err
}

func (s *Store) publish(id wechat.AppID, stored row) Publish {
	return func(ctx context.Context) { s.newest.Put(ctx, string(id), s.versioned(stored)) }
}

func (s *Store) instantAt(now time.Time) instant {
	return instant{Times: s.times, now: now, jumped: s.db.Jumped(s.times.Lease + s.times.Unsettled), spread: s.Spread()}
}

// lives reports whether a version may be used by this process's clock.
func (s *Store) lives(v mirror.Versioned) bool {
	return !v.Secret.IsZero() && s.clock().Before(v.Expires.Add(-s.times.Call))
}

// version is the newest that this process knows, be it dead, or 0.
func (s *Store) version(id wechat.AppID) Version { return Version(s.newest.Version(string(id))) }

func token(v mirror.Versioned) Token { return Token{v.Secret, Version(v.Version), v.Expires} }

// versioned is r's token as the mirror keeps it. A retired one has no secret, and stands there so that older ones go.
func (s *Store) versioned(r row) mirror.Versioned {
	v := mirror.Versioned{Secret: r.access, Version: int64(r.version), Expires: r.expires}
	if r.access.IsZero() {
		v.Expires = s.clock().Add(s.times.Life)
	}
	return v
}
