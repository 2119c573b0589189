package component

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	round      = 5 * time.Second
	nudgeEvery = 10 * time.Minute
)

// TicketMissing is the age at which the last ticket is overdue. WeChat pushes every ten minutes, so
// two pushes were missed.
const TicketMissing = 25 * time.Minute

// ErrTicketMissed is reported while a ticket is overdue, each time that WeChat is asked to push
// again. The last ticket is used meanwhile.
var ErrTicketMissed = errors.New("a ticket is overdue")

// Run keeps the ticket and the component token fresh until ctx ends. It passes errors to report;
// the next round tries again.
func (c *Component) Run(ctx context.Context, report func(error)) error {
	ticker := time.NewTicker(round)
	defer ticker.Stop()
	var nudged time.Time
	for {
		if err := c.keep(ctx, &nudged); err != nil && ctx.Err() == nil {
			report(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.pushed:
		case <-ticker.C:
		}
	}
}

func (c *Component) keep(ctx context.Context, nudged *time.Time) error {
	reading := c.Refresh(ctx)
	nudging := c.nudge(ctx, nudged)
	return errors.Join(reading, nudging, c.renew(ctx))
}

// nudge asks WeChat to push tickets if one is overdue. WeChat sometimes stops pushing without
// notice; asking is harmless while it does push.
func (c *Component) nudge(ctx context.Context, last *time.Time) error {
	if time.Since(c.Newest().Received) < TicketMissing || time.Since(*last) < nudgeEvery {
		return nil
	}
	*last = time.Now()
	return errors.Join(c.missed(), c.StartPush(ctx))
}

// missed returns an ErrTicketMissed that says for how long there was no ticket.
func (c *Component) missed() error {
	newest := c.Newest()
	if newest.Value.IsZero() {
		return fmt.Errorf("%w: no ticket yet, WeChat is asked to push", ErrTicketMissed)
	}
	return fmt.Errorf("%w: no ticket for %s, WeChat is asked to push again", ErrTicketMissed, time.Since(newest.Received).Round(time.Minute))
}

func (c *Component) renew(ctx context.Context) error {
	if c.Newest().Value.IsZero() {
		return nil
	}
	if _, err := c.Token(ctx); err != nil {
		return err
	}
	due, err := c.tokens.Due(ctx, 1)
	if err != nil || len(due) == 0 {
		return err
	}
	return c.tokens.Renew(ctx, c.AppID, &tokenRequest{c: c})
}
