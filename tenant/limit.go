package tenant

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"wxplatform/audit"
	"wxplatform/internal/bucket"
	"wxplatform/internal/db"
)

// ErrRate says that a tenant sends more requests than its limit allows. The error is a *RateError.
var ErrRate = errors.New("the tenant sends more requests a second than it may")

// RateError is an ErrRate, with the time after which a request will be admitted again.
type RateError struct{ Wait time.Duration }

func (e *RateError) Error() string { return ErrRate.Error() }

// Seconds is Wait in whole seconds, at least 1, as Retry-After has it.
func (e *RateError) Seconds() int { return max(1, int((e.Wait+time.Second-1)/time.Second)) }

// Is reports whether target is ErrRate.
func (*RateError) Is(target error) bool { return target == ErrRate }

// Limit is how many requests a tenant may send to one replica: PerSecond over time, and up to Burst
// at once. The zero value means the platform's default.
type Limit struct{ PerSecond, Burst int }

// MostPerSecond is the highest limit, for the rate and for the burst. It is more than a replica can
// answer.
const MostPerSecond = 1_000_000

// Valid returns what is wrong with a limit that is not the default, as an ErrInvalid, or nil.
func (l Limit) Valid() error {
	switch {
	case l.PerSecond < 1 || l.PerSecond > MostPerSecond:
		return fmt.Errorf("%w: the rate must be 1 to %d requests a second", ErrInvalid, MostPerSecond)
	case l.Burst < 1 || l.Burst > MostPerSecond:
		return fmt.Errorf("%w: the burst must be 1 to %d requests", ErrInvalid, MostPerSecond)
	}
	return nil
}

func (l Limit) rate() bucket.Rate {
	return bucket.Rate{Every: time.Second / time.Duration(l.PerSecond), Burst: l.Burst}
}

// SetLimit limits the requests of a tenant on every replica, or returns it to the default if the
// limit is zero. It fails with ErrUnknownTenant or ErrInvalid.
func (r *Registry) SetLimit(ctx context.Context, by audit.Actor, id ID, l Limit) error {
	if l != (Limit{}) {
		if err := l.Valid(); err != nil {
			return err
		}
	}
	return r.change(ctx, by, id, audit.TenantLimit, Tenant.limits, func(tx *db.Tx) error { return limitTenant(ctx, tx, id, l) })
}

// limits are the tenant's own limit as the trail has it, null for the default.
func (t Tenant) limits() audit.Values {
	if t.Limit == (Limit{}) {
		return audit.Of(audit.Null("requests_per_second"), audit.Null("burst"))
	}
	return audit.Of(audit.Is("requests_per_second", t.Limit.PerSecond), audit.Is("burst", t.Limit.Burst))
}

// limits counts the requests of each tenant that this process admits. A tenant stays in it once it
// has called: there are few, and the metrics show each.
type limits struct {
	mu      sync.Mutex
	tenants map[ID]*limited
	queued  int // steps of Pace with a queue, less those without, from 0 to burstSteps
}

type limited struct {
	traffic
	bucket  bucket.Bucket
	refused atomic.Int64
}

// spend counts a request of t, or fails with a *RateError.
func (r *Registry) spend(t ID, own Limit) error {
	if own == (Limit{}) {
		own = r.DefaultLimit
	}
	l := r.limits.of(t)
	if own = own.within(l.pace.Load()); own != (Limit{}) {
		if wait, ok := l.bucket.Take(own.rate(), r.Now()); !ok {
			l.refused.Add(1)
			return &RateError{wait}
		}
	}
	l.admitted.Add(1)
	return nil
}

func (l *limits) of(id ID) *limited {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tenants == nil {
		l.tenants = map[ID]*limited{}
	}
	one := l.tenants[id]
	if one == nil {
		one = &limited{}
		l.tenants[id] = one
	}
	return one
}

// Refused returns how many requests of each tenant this process has refused with ErrRate, for the
// tenants that it has heard of.
func (r *Registry) Refused() map[ID]int64 {
	r.limits.mu.Lock()
	defer r.limits.mu.Unlock()
	all := make(map[ID]int64, len(r.limits.tenants))
	for id, l := range r.limits.tenants {
		all[id] = l.refused.Load()
	}
	return all
}
