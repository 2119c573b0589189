package authorizer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"wxplatform/internal/db"
	"wxplatform/tenant"
	"wxplatform/token"
	"wxplatform/walk"
	"wxplatform/wechat"
)

const countedFor = 15 * time.Second

// counted caches the last count for a while, so that scraping metrics costs nothing.
type counted struct {
	mu     sync.Mutex
	at     time.Time
	states map[State]int64
}

// Count returns how many authorizers are in each state. The counts may be some seconds old.
func (r *Registry) Count(ctx context.Context) (map[State]int64, error) {
	r.counted.mu.Lock()
	defer r.counted.mu.Unlock()
	if r.counted.states != nil && time.Since(r.counted.at) < countedFor {
		return r.counted.states, nil
	}
	all, err := r.table.countStates(ctx)
	if err != nil {
		return nil, fmt.Errorf("count authorizers: %w", err)
	}
	states := map[State]int64{Healthy: 0, Degraded: 0, Reauthorize: 0, Revoked: 0, Quota: 0}
	for _, one := range all {
		states[one.state] = one.count
	}
	r.counted.at, r.counted.states = time.Now(), states
	return states, nil
}

// Unverified returns how many accounts WeChat says are not verified, of those that can be called.
func (r *Registry) Unverified(ctx context.Context) (int64, error) { return r.table.unverified(ctx) }

// current returns owner's authorizer as SQL has it now. The cache that serves calls may be older,
// because states that block no call are not announced. While SQL is unavailable it returns the
// cached one.
func (r *Registry) current(ctx context.Context, owner tenant.ID, id wechat.AppID) (Authorizer, error) {
	a, err := r.table.load(ctx, owner, id)
	if errors.Is(err, db.ErrUnavailable) {
		return r.Get(ctx, owner, id)
	}
	return a, err
}

// Views returns the views of all, with the health of their tokens, which is left out while SQL is
// unavailable.
func (r *Registry) Views(ctx context.Context, all []Authorizer) ([]View, error) {
	ids := make([]wechat.AppID, len(all))
	for i, a := range all {
		ids[i] = a.AppID
	}
	health, err := r.tokens.Health(ctx, ids)
	var next time.Time
	if err == nil {
		next, err = r.nextWalk(ctx, all)
	}
	if err != nil && !errors.Is(err, db.ErrUnavailable) {
		return nil, fmt.Errorf("health of tokens: %w", err)
	}
	views := make([]View, len(all))
	for i, a := range all {
		views[i] = a.view()
		if err == nil {
			views[i].addHealth(a, health[a.AppID], next)
		}
	}
	return views, nil
}

// TokenView is the health of an access token. It never contains the token.
type TokenView struct {
	State   token.Freshness `json:"state"`
	Expires *time.Time      `json:"expires_at"`
}

// nextWalk returns when the next walk through WeChat's list may begin, or the zero time if no
// account waits for one.
func (r *Registry) nextWalk(ctx context.Context, all []Authorizer) (time.Time, error) {
	if !slices.ContainsFunc(all, func(a Authorizer) bool { return !a.Sought.IsZero() }) {
		return time.Time{}, nil
	}
	return walk.NewSchedule(r.db).Next(ctx)
}

func (v *View) addHealth(a Authorizer, h token.Health, walk time.Time) {
	if h.Freshness == "" {
		h.Freshness = token.Missing
	}
	if h.Unopened && a.State == Healthy {
		v.State, v.Reason = Degraded, unopened
	}
	v.Token = &TokenView{h.Freshness, orNil(h.Expires)}
	v.NextAttempt = orNil(a.nextAttempt(h, walk))
}

// nextAttempt returns when the platform next tries to get a token on its own. It is zero if nothing
// is wrong or only the merchant can help. An account that waits for another refresh token waits for
// the next walk through WeChat's list.
func (a Authorizer) nextAttempt(h token.Health, walk time.Time) time.Time {
	next := time.Time{}
	if a.State == Healthy || a.State == Revoked {
		return next
	}
	if !a.Sought.IsZero() && walk.After(a.Next) {
		a.Next = walk
	}
	for _, at := range []time.Time{a.Next, h.Retry} {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}
