// Package walk decides when WeChat's list of authorizers may be read. A walk is one reading of the
// list, page by page. One runs at a time over all replicas, and no more often than is useful.
//
// Package reconcile asks it before it reads the list. The schedule is in SQL: while that is
// unavailable no walk begins, and a running one cannot renew its lease.
package walk

import (
	"context"
	"errors"
	"time"

	"wxplatform/internal/db"
)

const (
	seekEvery      = 10 * time.Minute // shared by all accounts for which a refresh token is sought
	reconcileEvery = 24 * time.Hour
	lease          = 2 * time.Minute // longer than one page takes: two calls, a component token, and SQL
)

var (
	// ErrUnderWay means that a walk is under way, on this replica or another.
	ErrUnderWay = errors.New("WeChat's list is already being read")
	// ErrNotDue means that it is too early for a walk with this purpose.
	ErrNotDue = errors.New("no walk is due")
	// ErrOvertaken means that a walk took so long that its lease ended and another one has begun.
	ErrOvertaken = errors.New("the walk took so long that another one has begun")
)

// Purpose is why the list is walked through.
type Purpose int

// The purposes.
const (
	Seek      Purpose = iota // to find another refresh token: every ten minutes at most
	Reconcile                // to compare the whole list: once a day
	Command                  // the same, because the operator asks for it: now
)

// Schedule says when walks may begin. It is safe for concurrent use.
type Schedule struct{ db *db.DB }

// NewSchedule returns the schedule that all replicas share through d.
func NewSchedule(d *db.DB) *Schedule { return &Schedule{d} }

// state is what SQL keeps of the walks.
type state struct {
	begun      time.Time // the last walk
	ended      time.Time // when the last complete walk ended: at the end of the list, or when everything sought was found
	lease      time.Time // until when the running walk holds the list
	reconciled time.Time // when the last completed reconciliation began
}

// may returns nil if a walk may begin, or says why not. A time in the future was written before the
// clock was set back.
func (s state) may(why Purpose, now time.Time) error {
	switch {
	case now.Before(s.lease) && s.lease.Sub(now) <= lease:
		return ErrUnderWay
	case why != Command && recent(s.begun, seekEvery, now):
		return ErrNotDue
	case why == Reconcile && recent(s.reconciled, reconcileEvery, now):
		return ErrNotDue
	}
	return nil
}

func recent(at time.Time, within time.Duration, now time.Time) bool {
	ago := now.Sub(at)
	return 0 <= ago && ago < within
}

// Due reports whether a walk may begin now. It fails with db.ErrUnavailable.
func (s *Schedule) Due(ctx context.Context, why Purpose) (bool, error) {
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return false, err
	}
	is, err := s.load(ctx, now)
	return err == nil && is.may(why, now) == nil, err
}

// Next returns when the next walk that seeks a refresh token may begin; it may have passed.
func (s *Schedule) Next(ctx context.Context) (time.Time, error) {
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return time.Time{}, err
	}
	is, err := s.load(ctx, now)
	return is.begun.Add(seekEvery), err
}

// Begin begins a walk and takes its lease. It returns when it began, by the database's clock, which
// names the walk from here on. It fails with ErrUnderWay or ErrNotDue.
func (s *Schedule) Begin(ctx context.Context, why Purpose) (begun time.Time, err error) {
	err = s.db.Tx(ctx, func(tx *db.Tx) error {
		is, now, err := s.lock(ctx, tx)
		if err != nil {
			return err
		}
		if err := is.may(why, now); err != nil {
			return err
		}
		begun = now
		return s.saveBegun(ctx, tx, begun, begun.Add(lease))
	})
	return begun, err
}

// Hold renews the lease of the walk that began at begun. It fails with ErrOvertaken if the lease
// ended and another walk has begun meanwhile.
func (s *Schedule) Hold(ctx context.Context, begun time.Time) error {
	now, err := db.Now(ctx, s.db)
	if err != nil {
		return err
	}
	mine, err := s.renew(ctx, begun, now.Add(lease))
	if err == nil && !mine {
		return ErrOvertaken
	}
	return err
}
