package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/maypok86/otter/v2"

	"wxplatform/internal/db"
	"wxplatform/internal/seal"
)

const (
	// A fact from Redis is believed for this long after it was read from SQL. A merchant who was called an hour before SQL went away is served for an hour after that, by every replica,
	// and the fact was read before that call by as much as it may go unread; the rest is for clocks that differ.
	factAge      = 2*time.Hour + rereadEvery + 10*time.Minute
	factPatience = 10 * time.Second
)

// Facts are rows of SQL of one kind that decide what is allowed. They are answered from the process while nothing changed.
type Facts[T any] struct {
	m       *Mirror
	kind    string
	codec   codec[T]
	known   *otter.Cache[string, fact[T]]
	flights *Flights[fill, T]
}

type fact[T any] struct {
	stamp  int64 // taken before SQL was read, or, while SQL is away, when Redis was asked last
	number int64 // of the change counter when SQL was read, by this replica or by another: the larger is the newer
	value  T
}

// A fill that began before a change is not joined by those who ask after it.
type fill struct {
	key   string
	stamp int64
}

// NewFacts makes the facts of one kind, of which the process keeps about as many entries as it is told. The kind has no colon and is used once.
// T is kept in Redis as JSON, which must carry all of it, so NewFacts panics where T has unexported fields, functions, interfaces or a seal.Secret; such a T brings its own MarshalBinary and UnmarshalBinary.
func NewFacts[T any](m *Mirror, kind string, entries int) *Facts[T] {
	return &Facts[T]{
		m:       m,
		kind:    "fact-" + kind,
		codec:   newCodec[T](),
		known:   otter.Must(&otter.Options[string, fact[T]]{MaximumSize: entries}),
		flights: NewFlights[fill, T](m, factPatience),
	}
}

// Get answers from the process while nothing changed, else by load, which reads SQL and is shared by all who ask meanwhile; its context outlives them.
// Where load fails with db.ErrUnavailable the answer is the last known, the newer of the process's and Redis's, else that error. While SQL is away Redis is asked
// again each second, so that a replica which alone has lost it still obeys a suspension, a revocation or a move that another has seen.
// Any other error of load is an absence: it is answered as it is, and what was known is dropped. T is shared, so nobody changes what it points to.
func (f *Facts[T]) Get(ctx context.Context, key string, load func(context.Context) (T, error)) (T, error) {
	stamp := f.m.stamp()
	if known, ok := f.known.GetIfPresent(key); ok && known.stamp == stamp {
		return known.value, nil
	}
	return f.flights.Do(ctx, fill{key, stamp}, func(ctx context.Context) (T, error) { return f.fill(ctx, key, load) })
}

func (f *Facts[T]) fill(ctx context.Context, key string, load func(context.Context) (T, error)) (T, error) {
	f.m.catchUp(ctx)
	stamp, number := f.m.stamp(), f.m.counter.Load()
	if f.m.Away() {
		if value, ok := f.last(ctx, key, stamp); ok {
			return value, nil
		}
	}
	value, err := load(ctx)
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

// keep lets a fill that began later win, in the process by its stamp and in Redis by the change counter as it was before.
func (f *Facts[T]) keep(ctx context.Context, key string, stamp, number int64, value T) {
	f.known.Compute(key, func(old fact[T], found bool) (fact[T], otter.ComputeOp) {
		if found && old.stamp > stamp {
			return old, otter.CancelOp
		}
		return fact[T]{stamp, number, value}, otter.WriteOp
	})
	if f.m.stamp() == stamp {
		f.write(ctx, key, number, &value)
	}
}

// drop leaves the absence in Redis only where a fact stood, so that asking for what never was fills nothing.
func (f *Facts[T]) drop(ctx context.Context, key string, stamp, number int64) {
	f.known.ComputeIfPresent(key, func(old fact[T]) (fact[T], otter.ComputeOp) {
		if old.stamp > stamp {
			return old, otter.CancelOp
		}
		return old, otter.InvalidateOp
	})
	f.write(ctx, key, number, nil)
}

// last is the last known while SQL is away: what Redis has counts where it is newer, an absence too.
func (f *Facts[T]) last(ctx context.Context, key string, stamp int64) (T, bool) {
	known, ok := f.known.GetIfPresent(key)
	told, has := f.read(ctx, key)
	if has && (!ok || told.Number > known.number) {
		known, ok = f.learn(told)
	}
	if !ok {
		f.known.Invalidate(key)
		return known.value, false
	}
	f.known.Set(key, fact[T]{stamp, known.number, known.value})
	return known.value, true
}

func (f *Facts[T]) learn(told record) (fact[T], bool) {
	if told.Absent {
		return fact[T]{}, false
	}
	value, err := f.codec.decode(told.Value)
	return fact[T]{number: told.Number, value: value}, err == nil
}

// record is a fact as it stands in Redis, under seal.
type record struct {
	At     int64  `json:"at"` // when SQL was read, Unix milliseconds of the replica's clock
	Number int64  `json:"number"`
	Absent bool   `json:"absent,omitempty"`
	Value  []byte `json:"value,omitempty"`
}

// A value of nil is an absence.
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

// read is what Redis has, unless it is a value too old to be believed.
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
