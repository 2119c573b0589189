package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"wxplatform/internal/failpoint"
	"wxplatform/invitation"
)

const (
	round     = time.Second
	sweepEach = time.Hour
	atOnce    = 8 // events at the same time: half of the database's connections
	lease     = 30 * time.Second
	patience  = 25 * time.Second // longer than an exchange and its storing take
	firstWait = time.Second
	longWait  = 5 * time.Minute
	holdUp    = 6              // leases: an event that failed so often, for half a minute, no longer holds up the later ones of its account
	keepDone  = 24 * time.Hour // a repeated push is recognized this long
	giveUp    = 7 * 24 * time.Hour
)

// events is the queue's table of stored events.
type events struct{ *Inbox }

// Run works off what was stored until ctx ends. report is told what went wrong; it is tried again with a growing pause, for a week.
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

// mayWork returns the event with this hash, and whether it may be worked at now, of a line of events
// of one account in the order they came: one at a time, the first of them first.
func mayWork(line []event, hash string, now time.Time) (event, bool) {
	holds := func(e event) bool { return e.lease.After(now) && !e.lease.After(now.Add(lease)) } // one that ends later was given before the clock was set back
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

// Work does what an event asks for. One that waits for another exchange gives up its place meanwhile, and that is no fault to report.
func (w events) Work(ctx context.Context, e event) (again time.Duration, err error) {
	err = w.act(ctx, e)
	switch {
	case errors.Is(err, invitation.ErrBusy):
		return pause(e.attempts), nil
	case errors.Is(err, invitation.ErrContradiction):
		return 0, errors.Join(err, w.Finish(ctx, e)) // to be reported, and of no use again
	case err != nil:
		return pause(e.attempts), err
	}
	failpoint.Hit("inbox", "handled")
	return 0, nil
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

// pause is how long an event waits after so many attempts.
func pause(attempts int) time.Duration {
	return min(firstWait<<min(attempts-1, 16), longWait)
}
