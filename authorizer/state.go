package authorizer

import (
	"context"
	"fmt"
	"strings"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/queue"
	"wxplatform/token"
	"wxplatform/wechat"
)

const (
	daily = 24 * time.Hour // how often an authorizer is tried whose merchant must authorize again
)

// NextStep is what a tenant does about an authorizer that is Reauthorize or Revoked.
const NextStep = "Make an invitation for this appid (POST /v1/invitations) and have the merchant follow it."

// condition is the state of an authorizer and what is under way for it. Its methods are the rules
// of docs/design.md, "Whose fault", as functions of the condition and the time; they read and send
// nothing.
type condition struct {
	State   State
	Reason  string
	Since   time.Time     // in this state
	Sought  time.Time     // when WeChat refused its refresh token for good; zero: no other one is sought
	Next    time.Time     // when a walk may begin for what is sought, or Reauthorize is tried again; zero: see token.Health
	Version token.Version // of its token when this was noted: a newer one was got since
}

// failed returns c after a failed request with the given effect. Only a success or the merchant
// ends Reauthorize, and only the merchant ends Revoked.
func (c condition) failed(v effect, version token.Version, now time.Time) condition {
	if v.state == "" || c.State == Revoked || c.State == Reauthorize {
		return c
	}
	c.Version = version
	if !c.Sought.IsZero() && v.state != Reauthorize {
		return c // what is looked for already stays the reason
	}
	if c.State != v.state {
		c.Since = now
	}
	c.State, c.Reason = v.state, v.reason
	switch {
	case v.state == Reauthorize:
		c.Sought, c.Next = time.Time{}, now.Add(daily)
	case v.seek:
		c.Sought, c.Next = now, now
	}
	return c
}

// succeeded returns c after a token was got.
func (c condition) succeeded(now time.Time) condition {
	if c.State == Revoked || c.State == Healthy {
		return c
	}
	return condition{State: Healthy, Since: now}
}

// accepted returns c after a call succeeded with an access token of which this version was rejected
// before. That says nothing about the refresh token: a search for another one, a used-up quota and
// Reauthorize stay.
func (c condition) accepted(rejected token.Version, now time.Time) condition {
	if c.State != Degraded || !c.Sought.IsZero() || c.Version != rejected {
		return c
	}
	return c.succeeded(now)
}

// withdrawn returns c after WeChat confirmed that the merchant withdrew.
func (c condition) withdrawn(now time.Time) condition {
	if c.State == Revoked {
		return c
	}
	return condition{State: Revoked, Reason: "61003: the merchant withdrew the authorization", Since: now}
}

// withoutSearch returns c after another refresh token was found: it is tried, and the search is
// over.
func (c condition) withoutSearch() condition {
	if !c.Sought.IsZero() {
		c.Sought, c.Next = time.Time{}, time.Time{}
	}
	return c
}

// seeking returns c after it turned out that another refresh token is needed.
func (c condition) seeking(reason string, version token.Version, now time.Time) condition {
	return c.failed(effect{state: Degraded, reason: reason, seek: true}, version, now)
}

// listed returns c after a walk that began at begun found no other refresh token than the refused
// one. A walk that began before the refusal proves nothing.
func (c condition) listed(begun time.Time, version token.Version, now time.Time) condition {
	if c.Sought.IsZero() || !c.Sought.Before(begun) || c.Version != version {
		return c
	}
	reason := "WeChat gave no refresh token and lists none"
	switch {
	case strings.HasPrefix(c.Reason, "61023"):
		reason = "61023: WeChat refuses the refresh token and lists no other one"
	case strings.HasPrefix(c.Reason, unopened):
		reason = unopened + "; WeChat lists no refresh token"
	}
	return c.withoutSearch().failed(effect{state: Reauthorize, reason: reason}, version, now)
}

// blocks reports whether calls are refused in this state before WeChat is asked.
func (s State) blocks() bool { return s == Reauthorize || s == Revoked }

// states changes the states of authorizers.
type states struct {
	db     *db.DB
	table  table
	tokens *token.Store
}

// change locks the condition of id, applies the rule to it, and saves the result. A change that
// blocks or unblocks calls is announced to all replicas. It fails with ErrUnknown.
func (s states) change(ctx context.Context, id wechat.AppID, rule func(tx *db.Tx, c condition, now time.Time) (condition, error)) error {
	return s.db.Tx(ctx, func(tx *db.Tx) error { return s.changeIn(ctx, tx, id, rule) })
}

func (s states) changeIn(ctx context.Context, tx *db.Tx, id wechat.AppID, rule func(tx *db.Tx, c condition, now time.Time) (condition, error)) error {
	before, err := s.table.lockCondition(ctx, tx, id)
	if err != nil {
		return err
	}
	now, err := tx.Now(ctx)
	if err != nil {
		return err
	}
	after, err := rule(tx, before, now)
	if err != nil || after == before {
		return err
	}
	if after.State != before.State && (after.State.blocks() || before.State.blocks()) {
		tx.Changed()
	}
	return s.table.saveCondition(ctx, tx, id, after)
}

// recovered notes that a token of id was got.
func (s states) recovered(ctx context.Context, id wechat.AppID) error {
	c, err := s.table.condition(ctx, id)
	if err == nil && c == c.succeeded(c.Since) {
		return nil
	}
	if err == nil {
		err = s.change(ctx, id, func(_ *db.Tx, c condition, now time.Time) (condition, error) { return c.succeeded(now), nil })
	}
	if err != nil {
		return fmt.Errorf("note the recovery of %s: %w", id, err)
	}
	return nil
}

// attempts is the queue of accounts whose merchant must authorize again. They are tried once a day,
// because WeChat may have changed its mind.
type attempts struct{ *Registry }

func (k keeper) attemptQueue() *queue.Queue[wechat.AppID] {
	return queue.New(attempts(k), atOnce, round, checkPatience)
}

func (q attempts) Due(ctx context.Context, most int) ([]wechat.AppID, error) {
	now, err := db.Now(ctx, q.db)
	if err != nil {
		return nil, err
	}
	return q.table.dueAttempts(ctx, now, most)
}

// Lease uses up the day's attempt.
func (q attempts) Lease(ctx context.Context, id wechat.AppID) (_ wechat.AppID, mine bool, err error) {
	err = q.states.change(ctx, id, func(_ *db.Tx, c condition, now time.Time) (condition, error) {
		mine = c.State == Reauthorize && !c.Next.After(now)
		if mine {
			c.Next = now.Add(daily)
		}
		return c, nil
	})
	return id, mine, err
}

func (q attempts) Work(ctx context.Context, id wechat.AppID) (again time.Duration, err error) {
	version, err := q.tokens.Version(ctx, q.db, id)
	if err == nil {
		_, err = q.replace(ctx, id, version)
	}
	if err != nil {
		err = fmt.Errorf("try %s again: %w", id, err)
	}
	return 0, err
}

// Finish does nothing: a success has ended the attempts.
func (q attempts) Finish(context.Context, wechat.AppID) error { return nil }

func (q attempts) Postpone(context.Context, wechat.AppID, time.Duration) error { return nil }

// recoverAtOnce is how many accounts recoverDue reads with one statement.
const recoverAtOnce = 500

// recoverDue finds accounts that recovered without a note, because the process died between the
// two.
func (k keeper) recoverDue(ctx context.Context) error {
	for _, state := range []State{Degraded, Quota, Reauthorize} {
		for after := wechat.AppID(""); ; {
			some, err := k.table.inState(ctx, state, after, recoverAtOnce)
			if err != nil {
				return err
			}
			if err := k.recoverSome(ctx, some); err != nil {
				return err
			}
			if len(some) < recoverAtOnce {
				break
			}
			after = some[len(some)-1].id
		}
	}
	return nil
}

func (k keeper) recoverSome(ctx context.Context, some []conditioned) error {
	ids := make([]wechat.AppID, len(some))
	for i, one := range some {
		ids[i] = one.id
	}
	health, err := k.tokens.Health(ctx, ids)
	if err != nil {
		return err
	}
	for _, one := range some {
		if health[one.id].Version > one.Version {
			if err := k.states.recovered(ctx, one.id); err != nil {
				return err
			}
		}
	}
	return nil
}

// conditioned is a condition with its appid.
type conditioned struct {
	id wechat.AppID
	condition
}
