package inbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/failpoint"
)

const (
	round     = time.Second
	sweep     = time.Hour
	batch     = 50
	lease     = 30 * time.Second // longer than an exchange, its waiting and its storing take
	firstWait = time.Second
	longWait  = 5 * time.Minute
	keepDone  = 24 * time.Hour // a repeated push is recognized this long
	giveUp    = 7 * 24 * time.Hour
)

// Run works off what was stored until ctx ends. report is told what went wrong; it is tried again with a growing pause, for a week.
func (b *Inbox) Run(ctx context.Context, report func(error)) error {
	ticker, sweeper := time.NewTicker(round), time.NewTicker(sweep)
	defer ticker.Stop()
	defer sweeper.Stop()
	for {
		if err := b.work(ctx, report); err != nil && ctx.Err() == nil {
			report(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-b.arrived:
		case <-sweeper.C:
			if err := errors.Join(b.invitations.Sweep(ctx), b.forget(ctx)); err != nil {
				report(err)
			}
		}
	}
}

func (b *Inbox) work(ctx context.Context, report func(error)) error {
	now, err := db.Now(ctx, b.db)
	if err != nil {
		return err
	}
	due, err := b.due(ctx, now)
	if err != nil {
		return err
	}
	for _, e := range due {
		if err := b.workOff(ctx, e, now); err != nil && ctx.Err() == nil {
			report(err)
		}
	}
	return nil
}

// workOff takes one event that nobody else took, and does what it asks. A process that dies meanwhile leaves it due when its lease ends.
func (b *Inbox) workOff(ctx context.Context, e event, now time.Time) error {
	mine, err := b.take(ctx, e, now.Add(lease))
	if err != nil || !mine {
		return err
	}
	if err := b.act(ctx, e); err != nil {
		return errors.Join(err, b.postpone(ctx, e, now.Add(pause(e.attempts))))
	}
	failpoint.Hit("inbox", "handled")
	return b.finish(ctx, e, now)
}

func (b *Inbox) act(ctx context.Context, e event) error {
	body, err := b.ring.Open(e.sealed, place(e.hash)...)
	if err != nil {
		return fmt.Errorf("open a stored event: %w", err)
	}
	n := read([]byte(body.Reveal()))
	if err := b.handle(ctx, n); err != nil {
		return fmt.Errorf("event %s of %s: %w", n.InfoType, n.AuthorizerAppID, err)
	}
	return nil
}

func pause(attempts int) time.Duration {
	return min(firstWait<<min(attempts, 16), longWait)
}

func (b *Inbox) wake() {
	select {
	case b.arrived <- struct{}{}:
	default:
	}
}
