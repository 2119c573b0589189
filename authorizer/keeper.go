package authorizer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"wxplatform/wechat"
)

const (
	round      = 2 * time.Second
	batch      = 500
	fewAtOnce  = 8  // so that little is sent in vain when WeChat begins to refuse
	manyAtOnce = 64 // a million authorizers need 160 refreshes a second, which takes some 50 at WeChat's 0.3 s
	walkRound  = 3 * time.Second
	mendEvery  = 10 * time.Minute
)

// Run keeps the authorizers until ctx ends: it renews the tokens that are due, and beside that finds out about those that are in doubt, and walks through WeChat's list.
// report is told what went wrong; a later round tries again.
func (r *Registry) Run(ctx context.Context, report func(error)) error {
	reporting := func(err error) {
		if err != nil && ctx.Err() == nil {
			report(err)
		}
	}
	var running errgroup.Group
	atOnce := fewAtOnce
	running.Go(func() error { every(ctx, round, func() { reporting(r.renewAllDue(ctx, &atOnce, report)) }); return nil })
	running.Go(func() error {
		every(ctx, round, func() {
			reporting(r.checkDue(ctx, report))
			reporting(r.attemptDue(ctx, report))
			reporting(r.readUnread(ctx))
		})
		return nil
	})
	running.Go(func() error { every(ctx, walkRound, func() { reporting(r.walkDue(ctx)) }); return nil })
	running.Go(func() error { every(ctx, mendEvery, func() { reporting(r.mendDue(ctx)) }); return nil })
	return running.Wait()
}

// every acts at once and then each d, until ctx ends.
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

// renewAllDue goes on until a batch was not full, or nothing of it was renewed. Every replica lists the same rows, so each goes through its batch in an order of its own.
// Each batch that went well doubles how many are under way at once; one that did not begins anew.
func (r *Registry) renewAllDue(ctx context.Context, atOnce *int, report func(error)) error {
	for ctx.Err() == nil {
		due, err := r.tokens.Due(ctx, batch)
		if err != nil || len(due) == 0 {
			return err
		}
		rand.Shuffle(len(due), func(i, j int) { due[i], due[j] = due[j], due[i] })
		renewed, err := r.renewDue(ctx, due, *atOnce, report)
		if renewed == len(due) {
			*atOnce = min(2**atOnce, manyAtOnce)
		} else {
			*atOnce = fewAtOnce
		}
		if err != nil || renewed == 0 || len(due) < batch {
			return err
		}
	}
	return nil
}

// renewDue renews what is due. Without a component token nothing can be, and in a pause only a probe may.
func (r *Registry) renewDue(ctx context.Context, due []wechat.AppID, atOnce int, report func(error)) (renewed int, err error) {
	if _, paused := r.Paused(ctx); paused {
		return 0, r.probeDue(ctx, due)
	}
	if _, err := r.component.Token(ctx); err != nil {
		return 0, fmt.Errorf("component token: %w", err)
	}
	var count atomic.Int64
	group := errgroup.Group{}
	group.SetLimit(atOnce)
	for _, id := range due {
		group.Go(func() error {
			err := r.Renew(ctx, id)
			if err == nil {
				count.Add(1)
			}
			if pause := (*PauseError)(nil); err != nil && ctx.Err() == nil && !errors.As(err, &pause) {
				report(err)
			}
			return nil
		})
	}
	err = group.Wait()
	return int(count.Load()), err
}

// probeDue asks for one that is due, if it is time to see whether the pause is over.
func (r *Registry) probeDue(ctx context.Context, due []wechat.AppID) error {
	for _, id := range due {
		err := r.Renew(ctx, id)
		if pause := (*PauseError)(nil); errors.As(err, &pause) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}
