package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
)

const (
	// factAge is how long a fact from Redis may be used after it was read from SQL. A merchant that
	// was called up to an hour before SQL became unavailable is served for an hour after that, by
	// every replica, and its fact may have been read rereadEvery before that call. The remainder
	// allows for clock skew.
	factAge      = 2*time.Hour + rereadEvery + 10*time.Minute
	factPatience = 10 * time.Second
)

// Facts caches rows of SQL of one kind that decide what is allowed. They are served from memory
// while nothing has changed.
type Facts[T any] struct {
	m       *Mirror
	kind    string
	load    load[T]
	codec   codec[T]
	known   bounded // of *fact[T]
	flights *Flights[fill, T]
}

// load reads the fact for a key from SQL.
type load[T any] func(ctx context.Context, key string) (T, error)

type fact[T any] struct {
	stamp  int64 // read before SQL was, or, while SQL is unavailable, when Redis was last asked
	number int64 // the change counter when a replica read SQL: of two facts the one with the larger number is newer
	value  T
}

// fill is a read in flight. Callers that ask after a change do not join a fill that began before
// it.
type fill struct {
	key   string
	stamp int64
}

// NewFacts returns the facts of one kind, which load reads from SQL by their keys. The process
// keeps about as many as entries. A kind has no colon and is used once per mirror.
//
// T is stored in Redis as JSON. NewFacts panics if JSON would lose a part of T: unexported fields,
// functions, interfaces, or a seal.Secret. Such a T needs MarshalBinary and UnmarshalBinary.
func NewFacts[T any](m *Mirror, kind string, entries int, load func(ctx context.Context, key string) (T, error)) *Facts[T] {
	return &Facts[T]{
		m:       m,
		kind:    "fact-" + kind,
		load:    load,
		codec:   newCodec[T](),
		known:   newBounded(entries),
		flights: NewFlights[fill, T](m, factPatience),
	}
}

// Resize changes how many facts the process keeps, about.
func (f *Facts[T]) Resize(entries int) { f.known.resize(entries) }

// Len counts the facts that the process keeps. It evicts those above the bound first.
func (f *Facts[T]) Len() int { return f.known.len() }

// Get returns the fact for key: from memory if nothing has changed, or else from SQL. Concurrent
// callers share one load, whose context outlives them.
//
// If load fails with db.ErrUnavailable, Get returns the last known fact, the newer of the process's
// and Redis's, or that error if there is none. While SQL is unavailable, Redis is asked again each
// second, so that a replica that alone has lost SQL still obeys a suspension, a revocation or a
// move that another replica saw. Any other error of load means that there is no such fact: Get
// returns it and forgets what was known. Callers share T, so none may change what it points to.
func (f *Facts[T]) Get(ctx context.Context, key string) (T, error) { return f.get(ctx, key, f.load) }

func (f *Facts[T]) get(ctx context.Context, key string, load load[T]) (T, error) {
	if value, ok := f.current(key); ok {
		return value, nil
	}
	stamp := f.m.stamp()
	return f.flights.Do(ctx, fill{key, stamp}, func(ctx context.Context) (T, error) { return f.fill(ctx, key, load) })
}

// current returns the fact for key if it is in memory and nothing has changed since it was read.
func (f *Facts[T]) current(key string) (T, bool) {
	stamp := f.m.stamp()
	if known, ok := f.known.get(key).(*fact[T]); ok && known.stamp == stamp {
		return known.value, true
	}
	var none T
	return none, false
}

// Known reports whether the process remembers a fact for key, however old. Get may still have to
// load it.
func (f *Facts[T]) Known(key string) bool { return f.known.get(key) != nil }

func (f *Facts[T]) fill(ctx context.Context, key string, load load[T]) (T, error) {
	f.m.catchUp(ctx)
	stamp, number := f.m.stamp(), f.m.counter.Load()
	if f.m.SQLUnavailable() {
		if value, ok := f.last(ctx, key, stamp); ok {
			return value, nil
		}
	}
	value, err := load(ctx, key)
	switch {
	case err == nil:
		f.keep(ctx, key, stamp, number, value)
	case !errors.Is(err, db.ErrUnavailable):
		f.drop(ctx, key, stamp, number)
	default:
		f.m.SQLFailed()
		if value, ok := f.last(ctx, key, stamp); ok {
			return value, nil
		}
	}
	return value, err
}

// keep stores a fact unless a newer one is stored: in the process the fill that began later wins,
// and in Redis the one with the larger change counter.
func (f *Facts[T]) keep(ctx context.Context, key string, stamp, number int64, value T) {
	f.known.change(key, func(old any) (any, bool) {
		return &fact[T]{stamp, number, value}, f.isNewer(old, stamp)
	})
	if f.m.stamp() == stamp {
		f.write(ctx, key, number, &value)
	}
}

// drop stores the absence of a fact in Redis only if there was one, so that asking for ids that
// never existed fills nothing.
func (f *Facts[T]) drop(ctx context.Context, key string, stamp, number int64) {
	f.known.change(key, func(old any) (any, bool) { return nil, old == nil || f.isNewer(old, stamp) })
	f.write(ctx, key, number, nil)
}

// isNewer reports whether a fact in the process was filled after a stamp.
func (f *Facts[T]) isNewer(old any, stamp int64) bool {
	known, ok := old.(*fact[T])
	return ok && known.stamp > stamp
}

// last returns the last known fact while SQL is unavailable. Redis's counts if it is newer, even if
// it is an absence.
func (f *Facts[T]) last(ctx context.Context, key string, stamp int64) (T, bool) {
	known, ok := held[fact[T]](f.known.get(key))
	told, has := f.read(ctx, key)
	if has && (!ok || told.Number > known.number) {
		known, ok = f.learn(told)
	}
	if !ok {
		f.known.forget(key)
		return known.value, false
	}
	f.known.set(key, &fact[T]{stamp, known.number, known.value})
	return known.value, true
}

func (f *Facts[T]) learn(told record) (fact[T], bool) {
	if told.Absent {
		return fact[T]{}, false
	}
	value, err := f.codec.decode(told.Value)
	return fact[T]{number: told.Number, value: value}, err == nil
}

// record is a fact as Redis stores it, sealed.
type record struct {
	At     int64  `json:"at"` // when SQL was read, in Unix milliseconds of the replica's clock
	Number int64  `json:"number"`
	Absent bool   `json:"absent,omitempty"`
	Value  []byte `json:"value,omitempty"`
}

// write stores a fact in Redis, or its absence if value is nil.
func (f *Facts[T]) write(ctx context.Context, key string, number int64, value *T) {
	r := record{At: f.m.clock().UnixMilli(), Number: number, Absent: value == nil}
	if value != nil {
		encoded, err := f.codec.encode(*value)
		if err != nil {
			return
		}
		r.Value = encoded
	}
	text, _ := json.Marshal(r) // numbers and bytes always marshal
	sealed := f.m.ring.Seal(seal.NewSecret(string(text)), "redis", f.kind, key)
	f.m.redis.write(ctx, writing{kind: f.kind, key: key, version: number, sealed: sealed, life: factAge, replaceSame: true, onlyPresent: value == nil})
}

// read returns what Redis has, unless it is too old to be used.
func (f *Facts[T]) read(ctx context.Context, key string) (r record, ok bool) {
	sealed, err := f.m.redis.read(ctx, f.kind, key)
	if err != nil || len(sealed) == 0 {
		return r, false
	}
	text, err := f.m.ring.Open(sealed, "redis", f.kind, key)
	if err != nil || json.Unmarshal([]byte(text.Reveal()), &r) != nil {
		return r, false
	}
	return r, r.Absent || f.m.clock().Sub(time.UnixMilli(r.At)) <= factAge
}
