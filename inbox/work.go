package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"wxplatform/internal/failpoint"
	"wxplatform/internal/seal"
	"wxplatform/invitation"
)

const (
	round     = time.Second
	sweepEach = time.Hour
	atOnce    = 8 // events handled at the same time: half of the database's connections
	lease     = 30 * time.Second
	patience  = 25 * time.Second // for handling one event; an exchange and storing it take less
	firstWait = time.Second
	longWait  = 5 * time.Minute
	holdUp    = 6 // leases after which an event, failing for half a minute, lets later ones of its account pass
	giveUp    = 7 * 24 * time.Hour
)

// events gives the queue its events.
type events struct{ *Inbox }

// Run handles the stored events until ctx ends. It passes every failure to report, and retries the
// event with growing pauses for a week.
func (b *Inbox) Run(ctx context.Context, report func(error)) error {
	var running errgroup.Group
	running.Go(func() error { return b.queue.Run(ctx, report) })
	running.Go(func() error { return b.sweep(ctx, report) })
	return running.Wait()
}

func (b *Inbox) sweep(ctx context.Context, report func(error)) error {
	ticker := time.NewTicker(sweepEach)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := errors.Join(b.invitations.Sweep(ctx), b.forget(ctx)); err != nil {
				report(err)
			}
		}
	}
}

// mayWork returns the event with this hash, and whether it may be handled now. line has the waiting
// events of its account in the order they came. They are handled one at a time, in that order.
func mayWork(line []event, hash string, now time.Time) (event, bool) {
	// A lease that ends later than any could was given before the clock was set back.
	holds := func(e event) bool { return e.lease.After(now) && !e.lease.After(now.Add(lease)) }
	if slices.ContainsFunc(line, holds) {
		return event{}, false
	}
	for _, e := range line {
		due := !e.due.After(now)
		if e.hash == hash {
			return e, due
		}
		if due || e.attempts < holdUp {
			return event{}, false
		}
	}
	return event{}, false
}

// Work handles an event. One that waits for another exchange of the same code or invitation is
// tried again later, and is not reported as a failure.
func (w events) Work(ctx context.Context, e event) (again time.Duration, err error) {
	err = w.act(ctx, e)
	switch {
	case errors.Is(err, invitation.ErrBusy):
		return pause(e.attempts), nil
	case seal.Unopenable(err):
		return w.drop(ctx, e, err)
	case errors.Is(err, invitation.ErrContradiction), errors.Is(err, invitation.ErrMisdirected):
		return 0, errors.Join(err, w.Finish(ctx, e)) // reported, but not tried again: it would fail again
	case err != nil:
		return pause(e.attempts), err
	}
	failpoint.Hit("inbox", "handled")
	return 0, nil
}

// drop ends an event whose content does not open, and has WeChat asked about its account: the event
// may have been a withdrawal. Reconciling finds an authorization that got lost with it. While this
// process lacks a sealing key the event waits: other processes may be able to open it.
func (w events) drop(ctx context.Context, e event, unopened error) (again time.Duration, err error) {
	if missing := w.db.CheckKeys(ctx, w.ring); missing != nil {
		return pause(e.attempts), errors.Join(unopened, missing)
	}
	if e.account != "" {
		if err := w.authorizers.Withdrawn(ctx, e.account); err != nil {
			return pause(e.attempts), errors.Join(unopened, err)
		}
	}
	return 0, errors.Join(unopened, w.Finish(ctx, e))
}

func (b *Inbox) act(ctx context.Context, e event) error {
	body, err := b.ring.Open(e.sealed, place(e.hash)...)
	if err != nil {
		return fmt.Errorf("stored event of account %q: %w", e.account, err)
	}
	n := read([]byte(body.Reveal()))
	if err := b.handle(ctx, n, e.received); err != nil {
		return fmt.Errorf("event %s of %s: %w", n.InfoType, n.AuthorizerAppID, err)
	}
	return nil
}

// pause is how long an event waits after a number of failed attempts.
func pause(attempts int) time.Duration {
	return min(firstWait<<min(attempts-1, 16), longWait)
}
