package authorizer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"wxplatform/internal/db"
	"wxplatform/quota"
	"wxplatform/token"
	"wxplatform/wechat"
)

const (
	round        = 2 * time.Second
	atOnce       = 8 // checks, and attempts, at the same time
	recoverEvery = 10 * time.Minute
)

// keeper does the work on authorizers that no caller waits for.
type keeper struct{ *Registry }

// Run renews due tokens and works off checks, attempts and unread profiles until ctx ends. report
// gets each error; a later round tries again.
func (r *Registry) Run(ctx context.Context, report func(error)) error {
	ctx = db.Background(ctx)
	reporting := func(err error) {
		if err != nil && ctx.Err() == nil {
			report(err)
		}
	}
	reporting(r.quota.Count(ctx)) // before anything is renewed, for the day's budget may be spent
	pace, k := quota.NewPace(), keeper{r}
	var running errgroup.Group
	running.Go(func() error { every(ctx, round, func() { reporting(k.renewAllDue(ctx, pace, report)) }); return nil })
	running.Go(func() error {
		every(ctx, quota.CountEvery, func() { reporting(r.quota.Count(ctx)); k.askQuota(ctx) })
		return nil
	})
	running.Go(func() error { return k.checkQueue().Run(ctx, report) })
	running.Go(func() error { return k.attemptQueue().Run(ctx, report) })
	running.Go(func() error { every(ctx, round, func() { reporting(k.readUnread(ctx)) }); return nil })
	running.Go(func() error { every(ctx, recoverEvery, func() { reporting(k.recoverDue(ctx)) }); return nil })
	return running.Wait()
}

// askQuota reads WeChat's quota if it is this replica's turn. If WeChat does not tell it, nothing
// changes.
func (k keeper) askQuota(ctx context.Context) {
	if !k.quota.TakeReading(ctx) {
		return
	}
	if limit, used, err := k.api.readQuota(ctx); err == nil && limit > 0 {
		_ = k.quota.SetQuota(ctx, limit, used)
	}
}

// every acts immediately and then every d, until ctx ends.
func every(ctx context.Context, d time.Duration, act func()) {
	ticker := time.NewTicker(d)
	defer ticker.Stop()
	for ctx.Err() == nil {
		act()
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// tier is a class of tokens to renew, and whether the budget allows it.
type tier struct {
	list func(ctx context.Context, n int) ([]wechat.AppID, error)
	may  func() bool
}

// renewAllDue renews due tokens that are in use, and when none is left, due tokens that are warm.
func (k keeper) renewAllDue(ctx context.Context, p *quota.Pace, report func(error)) error {
	for _, t := range []tier{{k.tokens.Due, k.quota.MayRenew}, {k.tokens.Warm, k.quota.MayRenewWarm}} {
		if done, err := k.renewTier(ctx, t, p, report); err != nil || !done {
			return err
		}
	}
	return nil
}

// renewTier renews batch after batch. It is done when a batch was not full, and gives up when most
// of one failed. Every replica lists the same rows, so each shuffles its batch.
func (k keeper) renewTier(ctx context.Context, t tier, p *quota.Pace, report func(error)) (done bool, err error) {
	for ctx.Err() == nil {
		if !t.may() {
			return true, nil
		}
		due, err := t.list(ctx, p.Batch())
		if err != nil {
			return false, err
		}
		rand.Shuffle(len(due), func(i, j int) { due[i], due[j] = due[j], due[i] })
		renewed, err := k.renewDue(ctx, due, t, p, report)
		full := len(due) == p.Batch()
		p.Listed(full)
		if err != nil || 2*renewed < len(due) {
			return false, err
		}
		if !full {
			return true, nil
		}
	}
	return false, nil
}

// renewDue renews stride by stride until the budget is used up or a pause begins. Without a
// component token nothing can be renewed; during a pause only a probe may be sent.
func (k keeper) renewDue(ctx context.Context, due []wechat.AppID, t tier, p *quota.Pace, report func(error)) (renewed int, err error) {
	for len(due) > 0 && ctx.Err() == nil && t.may() {
		if _, paused := k.quota.Paused(ctx); paused {
			return renewed, k.probeDue(ctx, due)
		}
		if _, err := k.component.Token(ctx); err != nil {
			return renewed, fmt.Errorf("component token: %w", err)
		}
		some := due[:min(p.Stride(), len(due))]
		n := k.renewSome(ctx, some, p.AtOnce(), report)
		p.Went(n, len(some))
		renewed, due = renewed+n, due[len(some):]
	}
	return renewed, nil
}

// renewSome renews some tokens, atOnce at a time, and returns how many succeeded or cannot be asked
// for.
func (k keeper) renewSome(ctx context.Context, some []wechat.AppID, atOnce int, report func(error)) int {
	var count atomic.Int64
	group := errgroup.Group{}
	group.SetLimit(atOnce)
	for _, id := range some {
		group.Go(func() error {
			began := time.Now()
			asked, err := k.renew(ctx, id)
			if err == nil || errors.Is(err, token.ErrUnopened) { // which says nothing about WeChat, and must not slow the others
				count.Add(1)
			}
			if pause := (*quota.PauseError)(nil); err != nil && ctx.Err() == nil && !errors.As(err, &pause) {
				report(err)
			}
			if asked {
				sleep(ctx, quota.Slot-time.Since(began))
			}
			return nil
		})
	}
	_ = group.Wait()
	return int(count.Load())
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// probeDue requests one due token if it is time to probe whether the pause is over.
func (k keeper) probeDue(ctx context.Context, due []wechat.AppID) error {
	for _, id := range due {
		_, err := k.renew(ctx, id)
		if pause := (*quota.PauseError)(nil); errors.As(err, &pause) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}
