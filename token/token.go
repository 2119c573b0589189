// Package token stores access tokens that several processes share, refreshes each of them once, and
// never loses one. It replaces a token that WeChat rejects, and renews tokens in use before they
// expire.
//
// Each call says how to ask WeChat, with an Asker: the package stores no callback and knows no
// endpoint. The rules are pure functions in row.go; docs/design.md, "Custody" explains them.
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
	// ErrUnknown means that there is no row for this id: it never authorized the component.
	ErrUnknown = errors.New("no token was ever granted")
	// ErrRetired means that the row is retired: no request can be made until the next grant.
	ErrRetired = errors.New("the token is retired")
	// ErrDead means that WeChat refused the refresh token permanently and that no other one is
	// stored. An Asker's Send wraps it around such a refusal.
	ErrDead = errors.New("the refresh token is dead")
	// ErrNotAsked means that a failed request says nothing about the row: nothing was sent, or
	// WeChat refused something else in the request, such as the component token. An Asker's Send
	// wraps it around such an error. The caller gets the error, no failure is counted, and the row
	// may be asked for again at once.
	ErrNotAsked = errors.New("nothing was decided about the token")
	// ErrAgain means that the request can be repeated at once: the next Prepare replaces what was
	// refused, or the row has another refresh token to try. The row stays as it is. Callers never
	// get this error.
	ErrAgain = errors.New("to be asked again")
	// ErrLimited means that a rejected token is not replaced, because this token was replaced too
	// often recently.
	ErrLimited = errors.New("too many forced refreshes")
	// ErrBackOff means that the last request failed a moment ago and is not repeated yet. It wraps
	// that request's error if this process made the request.
	ErrBackOff = errors.New("the last ask failed a moment ago")
)

// NotBefore is a failure after which a retry is useless until a time. An Asker's Send wraps it
// around WeChat's refusal; until then neither callers nor keepers ask again.
type NotBefore struct {
	Until time.Time
	Err   error
}

// Error returns the refusal's text.
func (e *NotBefore) Error() string { return e.Err.Error() }

// Unwrap returns the refusal.
func (e *NotBefore) Unwrap() error { return e.Err }

// Failure is a failed request that the row has recorded. Version is the version stored at that
// time: once another one is stored, the failure is outdated.
type Failure struct {
	Version Version
	Err     error
}

// Error returns the text of the request's error.
func (e *Failure) Error() string { return e.Err.Error() }

// Unwrap returns the request's error.
func (e *Failure) Unwrap() error { return e.Err }

// Kind says whose tokens a Store keeps.
type Kind string

const (
	// Component is the component's own token. It is requested with the ticket, so its row has no
	// refresh token, and is created when the token is first needed.
	Component Kind = "component"
	// Authorizer is an authorizer's access token, requested with its refresh token. A grant creates
	// its row.
	Authorizer Kind = "authorizer"
)

// Owner identifies the tenant that a row is kept for. It is opaque here; "" means nobody. Keepers
// share their time fairly between owners.
type Owner string

// Version is the fence of the claim that got a token. A larger one is newer.
type Version int64

// Token is an access token and when it expires.
type Token struct {
	Access  seal.Secret
	Version Version
	Expires time.Time
}

// Answer is what WeChat returned. If Refresh is empty, the stored refresh token stays.
type Answer struct {
	Access    seal.Secret
	Refresh   seal.Secret
	ExpiresIn time.Duration
}

// Asker asks WeChat for one token. Each call of Get, Replace and Renew needs a new one; packages
// component and authorizer implement the two kinds. One goroutine at a time calls its methods, in
// the order Prepare, Send, Conclude, and only if the stored token does not meet the need.
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

// Publish shares what a transaction stored with the other processes. Call it after the commit.
type Publish func(ctx context.Context)

// Store keeps the tokens of one kind. It is safe for concurrent use. Work that several callers
// share continues when one of them cancels; the mirror's Close waits for it.
type Store struct {
	// Renewed is called for each refresh of a token in use, with how long the old token still had
	// to live; negative if it had expired. It may be nil. Set it before the first call; it must
	// return quickly.
	Renewed func(left time.Duration)
	// Spread returns a number in [0, 1), which spreads work that would otherwise happen at the same
	// time. Only the simulation replaces it.
	Spread func() float64

	kind  Kind
	db    *db.DB
	ring  *seal.Ring
	times Times
	clock func() time.Time // this process's clock; replaced in tests only

	mirror   *mirror.Mirror
	newest   *mirror.Newest
	failures *mirror.Local[wechat.AppID, failure] // the last failed request that this process made
	flights  *mirror.Flights[flightKey, Token]
	storing  *mirror.Flights[flightKey, Token]
	uses     uses
	counters counters
}

// entries limits how many tokens a process keeps in memory, at a few hundred bytes each.
const entries = 200_000

// New returns a Store of the tokens of one kind in d and m. It fails if the times are not in the
// order that they need.
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

// Known returns the token that this process has in memory, if it may still be used. It is the hot
// path: it does no I/O and allocates nothing.
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

// Get returns a usable token: from memory, from SQL, or from Redis while SQL is unavailable. It
// asks WeChat only if none of them is usable. It fails with ErrUnknown, ErrRetired, ErrBackOff,
// db.ErrUnavailable, the asker's error (in a *Failure), or that of ctx.
func (s *Store) Get(ctx context.Context, id wechat.AppID, asker Asker) (Token, error) {
	if known, ok := s.Known(id); ok {
		return known, nil
	}
	return s.obtain(ctx, flightKey{id: id, task: getting}, need{newerThan: s.version(id)}, asker)
}

// Replace returns a token newer than bad, which WeChat rejected: one that is known already, or one
// requested from WeChat. It fails as Get does, or with ErrLimited.
func (s *Store) Replace(ctx context.Context, id wechat.AppID, bad Version, asker Asker) (Token, error) {
	if known, ok := s.Known(id); ok && known.Version > bad {
		return known, nil
	}
	return s.obtain(ctx, flightKey{id, replacing, bad}, need{newerThan: max(bad, s.version(id)), rejected: true}, asker)
}

// Renew requests a new token if id is still due and no other process holds the row. Callers use the
// old token meanwhile. It fails with the asker's error, or with db.ErrUnavailable.
func (s *Store) Renew(ctx context.Context, id wechat.AppID, asker Asker) error {
	_, err := s.obtain(ctx, flightKey{id: id, task: renewing}, need{ahead: true}, asker)
	return err
}

// Due lists up to n ids that a keeper should Renew, the most urgent first, and fairly between their
// owners. It claims nothing. From time to time it first records which tokens were used.
func (s *Store) Due(ctx context.Context, n int) ([]wechat.AppID, error) {
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return nil, err
	}
	if err := s.flushUses(ctx, now); err != nil {
		return nil, err
	}
	if err := s.repairSuspects(ctx, s.instantAt(now)); err != nil {
		return nil, err
	}
	return s.listDue(ctx, now, false, n)
}

// Warm lists up to n ids as Due does, of tokens used within a week but not within a day: a keeper
// may Renew them if nothing is more urgent and the budget allows it.
func (s *Store) Warm(ctx context.Context, n int) ([]wechat.AppID, error) {
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return nil, err
	}
	return s.listDue(ctx, now, true, n)
}

// Grant stores the answer to an exchange, in the caller's transaction. sent is when the exchange
// was sent, by the database's clock. It ends a retirement. An answer without an access token holds
// a refresh token from WeChat's list. After the commit the caller calls Publish.
func (s *Store) Grant(ctx context.Context, tx *db.Tx, id wechat.AppID, sent time.Time, a Answer) (Publish, error) {
	var stored row
	err := s.changeIn(ctx, tx, id, true, func(r *row, m instant) error {
		r.grant(a, sent, m)
		stored = *r
		return nil
	})
	return s.publish(id, stored), err
}

// Spare stores a refresh token from WeChat's list as the spare, which is tried when WeChat refuses
// the row's own. It reports false if the row has this token already, or has a spare.
func (s *Store) Spare(ctx context.Context, tx *db.Tx, id wechat.AppID, refresh seal.Secret) (taken bool, err error) {
	err = s.changeIn(ctx, tx, id, true, func(r *row, m instant) error {
		taken = r.offer(refresh, m)
		return nil
	})
	return taken, err
}

// Retire stops the use of a token until the next grant: the result of a refresh in flight comes too
// late, and the row is never due. If there is no row, it does nothing. After the commit the caller
// calls Publish, which removes the access token from the other replicas and from Redis.
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

// lives reports whether v may be used, by this process's clock.
func (s *Store) lives(v mirror.Versioned) bool {
	return !v.Secret.IsZero() && s.clock().Before(v.Expires.Add(-s.times.Call))
}

// version returns the newest version that this process knows, even if that token has expired; or 0.
func (s *Store) version(id wechat.AppID) Version { return Version(s.newest.Version(string(id))) }

func token(v mirror.Versioned) Token { return Token{v.Secret, Version(v.Version), v.Expires} }

// versioned returns r's token as the mirror stores it. A retired one has no secret; it is stored so
// that it replaces older ones.
func (s *Store) versioned(r row) mirror.Versioned {
	v := mirror.Versioned{Secret: r.access, Version: int64(r.version), Expires: r.expires}
	if r.access.IsZero() {
		v.Expires = s.clock().Add(s.times.Life)
	}
	return v
}
