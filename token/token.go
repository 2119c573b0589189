// Package token stores access tokens that several processes share, lets only one of them refresh a
// token, and never loses one. It replaces a token that WeChat rejects, and renews tokens in use
// before they expire.
//
// Each call says how to ask WeChat, with an Asker: the package stores no callback and knows no
// endpoint. The rules are pure functions in row.go; docs/design.md, "Custody" explains them.
//
// While SQL is unavailable, a token that this process or Redis knows is used until it expires, and
// no request is sent, because its result could not be stored (docs/design.md, "Redis or SQL down").
package token

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/mirror"
	"wxplatform/internal/seal"
	"wxplatform/internal/trace"
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
	// ErrInconclusive means that a failed request says nothing about the row: nothing was sent, or
	// WeChat refused something else in the request, such as the component token. An Asker's Send
	// wraps it around such an error. The caller gets the error, no failure is counted, and the row
	// may be asked for again at once.
	ErrInconclusive = errors.New("the failure says nothing about the token")
	// ErrRetry means that the request can be repeated at once: the next Prepare replaces what was
	// refused, or the row has another refresh token to try. The row stays as it is. Callers never
	// get this error.
	ErrRetry = errors.New("retry at once")
	// ErrLimited means that a rejected token is not replaced, because this token was replaced too
	// often recently.
	ErrLimited = errors.New("too many forced refreshes")
	// ErrBackOff means that the last request failed a moment ago and is not repeated yet. It wraps
	// that request's error if this process made the request.
	ErrBackOff = errors.New("the last request failed a moment ago")
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
	// is claimed, so that nothing delays the request under the claim. It fails if no request is
	// allowed now; then the row stays as it is. It may be called again after a Send.
	Prepare(ctx context.Context) error

	// Send sends one request with the refresh token, which is empty for the component, within the
	// context's deadline. Its errors are those of package wechat, which may wrap ErrDead,
	// ErrInconclusive, ErrRetry or *NotBefore; after any other error WeChat is assumed to have acted.
	Send(ctx context.Context, refresh seal.Secret) (Answer, error)

	// Conclude is called once, last, even if nothing was prepared or sent. err is how the attempt
	// ended, nil if there is a token. It returns the error for the callers.
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
	table table
	times Times
	clock func() time.Time // this process's clock; replaced in tests only

	mirror   *mirror.Mirror
	newest   *mirror.Newest
	failures failures
	flights  *mirror.Flights[flightKey, Token]
	storing  *mirror.Flights[flightKey, Token]
	uses     uses
	counters counters
}

// entries limits how many tokens a process keeps in memory, at a few hundred bytes each, unless
// Cache was called.
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
		table:    table{kind, d, ring},
		times:    times,
		clock:    m.Now,
		mirror:   m,
		newest:   mirror.NewNewest(m, string(kind), entries),
		failures: failures{mirror.NewLocal[wechat.AppID, failure](10_000)},
		flights:  mirror.NewFlights[flightKey, Token](m, times.patience()),
		storing:  mirror.NewFlights[flightKey, Token](m, 0),
	}, nil
}

// Cache has the process keep about n tokens in memory.
func (s *Store) Cache(n int) { s.newest.Resize(n) }

// Known returns the token that this process has in memory, if it may still be used. It is the hot
// path: it never blocks and allocates nothing. If what it knows may be stale, it starts a read in
// the background.
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
	span := trace.Of(ctx)
	if known, ok := s.Known(id); ok {
		span.Text(trace.Source, trace.Process)
		return known, nil
	}
	span.Text(trace.Source, trace.Shared) // unless the attempt is this caller's
	n := need{newerThan: s.version(id)}
	return s.flights.Do(ctx, flightKey{id: id, task: getting}, (&attempt{Store: s, id: id, need: n, asker: asker}).meet)
}

// Replace returns a token newer than bad, which WeChat rejected: one that is known already, or one
// requested from WeChat. It fails as Get does, or with ErrLimited.
func (s *Store) Replace(ctx context.Context, id wechat.AppID, bad Version, asker Asker) (Token, error) {
	span := trace.Of(ctx)
	if known, ok := s.Known(id); ok && known.Version > bad {
		span.Text(trace.Source, trace.Process)
		return known, nil
	}
	span.Text(trace.Source, trace.Shared)
	n := need{newerThan: max(bad, s.version(id)), rejected: true}
	return s.flights.Do(ctx, flightKey{id, replacing, bad}, (&attempt{Store: s, id: id, need: n, asker: asker}).meet)
}

// Renew requests a new token if id is still due and no other process holds the row. Callers use the
// old token meanwhile. It fails with the asker's error, or with db.ErrUnavailable.
func (s *Store) Renew(ctx context.Context, id wechat.AppID, asker Asker) error {
	n := need{ahead: true}
	_, err := s.flights.Do(ctx, flightKey{id: id, task: renewing}, (&attempt{Store: s, id: id, need: n, asker: asker}).meet)
	return err
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

// AddSpare stores a refresh token from WeChat's list as the spare, which is tried when WeChat
// refuses the row's own. It reports false if the row has this token already, or has a spare.
func (s *Store) AddSpare(ctx context.Context, tx *db.Tx, id wechat.AppID, refresh seal.Secret) (taken bool, err error) {
	err = s.changeIn(ctx, tx, id, true, func(r *row, m instant) error {
		taken = r.addSpare(refresh, m)
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

// NotStored reports for each of WeChat's listed refresh tokens whether the row lacks it, so that
// AddSpare may take it. It reads without a lock. The token of an id without a row is not stored.
func (s *Store) NotStored(ctx context.Context, listed map[wechat.AppID]seal.Secret) (map[wechat.AppID]bool, error) {
	lacks := make(map[wechat.AppID]bool, len(listed))
	for id, refresh := range listed {
		lacks[id] = !refresh.IsZero()
	}
	rows, err := s.table.loadMany(ctx, slices.Collect(maps.Keys(listed)))
	if err != nil {
		return nil, err
	}
	for _, one := range rows {
		refresh := listed[one.id]
		lacks[one.id] = lacks[one.id] && !refresh.Equal(one.row.refresh) && !refresh.Equal(one.row.spare)
	}
	return lacks, nil
}

// ClearBackOff allows a request for id at once, whatever failed before: for the operator. It fails
// with ErrUnknown.
func (s *Store) ClearBackOff(ctx context.Context, tx *db.Tx, id wechat.AppID) error {
	return s.changeIn(ctx, tx, id, false, func(r *row, m instant) error {
		r.clearBackOff(m)
		return nil
	})
}

// SetOwner records the owner of id, in the transaction that decides it. If there is no row it does
// nothing: a grant is followed by SetOwner in the same transaction.
func (s *Store) SetOwner(ctx context.Context, q db.Querier, id wechat.AppID, owner Owner) error {
	return s.table.setOwner(ctx, q, id, owner)
}

// Version returns the version stored for id, or 0 if there is none. Each refresh, grant and
// retirement changes it.
func (s *Store) Version(ctx context.Context, q db.Querier, id wechat.AppID) (Version, error) {
	return s.table.version(ctx, q, id)
}

// HasRefresh reports whether a refresh token is stored for id.
func (s *Store) HasRefresh(ctx context.Context, q db.Querier, id wechat.AppID) (bool, error) {
	return s.table.hasRefresh(ctx, q, id)
}

// Reseal seals a page of the tokens with the newest sealing key. A row that is refreshed meanwhile
// stays as the refresh saved it.
func (s *Store) Reseal(ctx context.Context, page db.Page) (db.Resealed, error) {
	return s.db.Reseal(ctx, s.table.ring, s.table.sealedTable(), page)
}

// change loads and locks the row, applies work, and saves the row if it changed, all in one
// transaction.
func (s *Store) change(ctx context.Context, id wechat.AppID, work func(*row, instant) error) error {
	return s.db.Tx(ctx, func(tx *db.Tx) error { return s.changeIn(ctx, tx, id, s.kind == Component, work) })
}

// changeIn is change in the caller's transaction. If there is no row, it creates one or fails with
// ErrUnknown.
func (s *Store) changeIn(ctx context.Context, tx *db.Tx, id wechat.AppID, create bool, work func(*row, instant) error) error {
	r, err := s.table.lock(ctx, tx, id, create)
	if err != nil {
		return err
	}
	now, err := tx.Now(ctx)
	if err != nil {
		return err
	}
	m := s.instantAt(now)
	m.known = s.version(id)
	before := r
	r.repair(m)
	if err := work(&r, m); err != nil {
		return err
	}
	if r == before {
		return nil
	}
	return s.table.save(ctx, tx, id, r)
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

func (s *Store) fits(v mirror.Versioned, n need) bool {
	return Version(v.Version) > n.newerThan && s.lives(v)
}

// read reads the row without a lock and keeps its token in memory.
func (s *Store) read(ctx context.Context, id wechat.AppID) (row, error) {
	generation := s.newest.Generation()
	r, err := s.table.load(ctx, id)
	if err == nil && r.version > 0 && r.unopened.access == "" {
		s.newest.Filled(ctx, string(id), s.versioned(r), generation)
	}
	return r, err
}

// reread starts a read of the row while callers go on with what is known.
func (s *Store) reread(id wechat.AppID) {
	s.flights.Start(context.Background(), flightKey{id: id, task: rereading}, func(ctx context.Context) (Token, error) {
		r, err := s.read(ctx, id)
		if errors.Is(err, db.ErrUnavailable) && ctx.Err() == nil {
			s.mirror.SQLFailed()
		}
		return r.token(), err
	})
}

func (r *row) token() Token { return Token{r.access, r.version, r.expires} }

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
