// Package queue works on table rows that are due, several at once, each under its own lease.
package queue

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Table is where the rows of a queue are stored, and what is done with one. Its methods are called
// for several rows at the same time.
//
// A lease ends by itself, so that other processes take over the rows of a process that died. A
// process that outlives its lease must not undo what another one did meanwhile: Finish and Postpone
// change a row only if the lease that they are given is still the row's last one.
type Table[R any] interface {
	// Due returns at most so many rows that no process holds and that may be worked on now, the
	// longest overdue first.
	Due(ctx context.Context, most int) ([]R, error)
	// Lease takes row, beginning at the time of the call. It returns the row with its lease, or
	// false if the row may not be worked on any more.
	Lease(ctx context.Context, row R) (leased R, ok bool, err error)
	// Work does what the row asks for. If again is not 0 the row is due again after it. If again is
	// 0 the row is done or, with an error, due when its lease ends.
	Work(ctx context.Context, leased R) (again time.Duration, err error)
	// Finish marks a row as done.
	Finish(ctx context.Context, leased R) error
	// Postpone gives the lease back. The row is due again after the given time.
	Postpone(ctx context.Context, leased R, again time.Duration) error
}

// Queue works on the rows of one table. It is safe for concurrent use.
type Queue[R any] struct {
	table    Table[R]
	atOnce   int
	every    time.Duration
	patience time.Duration
	busy     atomic.Int64
	woken    chan struct{}
}

// New returns a queue that works on at most atOnce rows at the same time and looks for due rows at
// the interval every. Work is cancelled after patience, which must be shorter than a lease.
func New[R any](table Table[R], atOnce int, every, patience time.Duration) *Queue[R] {
	return &Queue[R]{table: table, atOnce: atOnce, every: every, patience: patience, woken: make(chan struct{}, 1)}
}

// Wake makes Run look for due rows now.
func (q *Queue[R]) Wake() {
	select {
	case q.woken <- struct{}{}:
	default:
	}
}

// Run works on rows until ctx ends, and then waits for those in flight. It passes errors to report,
// such as db.ErrUnavailable, and tries again at the next interval. A row whose work is slow
// occupies one of the places and delays no other row.
func (q *Queue[R]) Run(ctx context.Context, report func(error)) error {
	var working errgroup.Group
	ticker := time.NewTicker(q.every)
	defer ticker.Stop()
	for ctx.Err() == nil {
		q.start(ctx, &working, report)
		select {
		case <-ctx.Done():
		case <-ticker.C:
		case <-q.woken:
		}
	}
	return working.Wait()
}

// Once works on the rows that are due now, at most as many as Run does at the same time, and waits
// for them.
func (q *Queue[R]) Once(ctx context.Context, report func(error)) {
	var working errgroup.Group
	q.start(ctx, &working, report)
	_ = working.Wait()
}

// start leases due rows, one for each free place, and starts work on them. It takes leases one
// after the other, so that no row is listed again before it is leased.
func (q *Queue[R]) start(ctx context.Context, working *errgroup.Group, report func(error)) {
	reporting := func(err error) {
		if err != nil && ctx.Err() == nil {
			report(err)
		}
	}
	free := q.atOnce - int(q.busy.Load())
	if free <= 0 {
		return
	}
	rows, err := q.table.Due(ctx, free)
	reporting(err)
	for _, row := range rows {
		leased, ok, err := q.table.Lease(ctx, row)
		reporting(err)
		if err != nil || !ok {
			continue
		}
		q.busy.Add(1)
		working.Go(func() error {
			reporting(q.process(ctx, leased))
			q.busy.Add(-1)
			q.Wake() // for the next row
			return nil
		})
	}
}

// process works on one row. It stores the result even if ctx ended meanwhile.
func (q *Queue[R]) process(ctx context.Context, leased R) error {
	working, cancel := context.WithTimeout(ctx, q.patience)
	defer cancel()
	again, err := q.table.Work(working, leased)
	ctx = context.WithoutCancel(ctx)
	switch {
	case again > 0:
		err = errors.Join(err, q.table.Postpone(ctx, leased, again))
	case err == nil:
		err = q.table.Finish(ctx, leased)
	}
	return err
}
