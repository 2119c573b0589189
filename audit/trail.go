package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"wxplatform/internal/db"
)

// DefaultKeep is how long entries are kept by default. LeastKeep is the shortest time that may be
// set: triggers refuse to delete younger entries.
const (
	DefaultKeep = 400 * 24 * time.Hour
	LeastKeep   = 30 * 24 * time.Hour
)

const (
	sweepEvery  = time.Hour
	followEvery = time.Second
	followPage  = 500
)

// Trail reads and trims the entries. It is safe for concurrent use.
type Trail struct {
	// Keep is how long entries are kept; at least LeastKeep. It is set before the first call.
	Keep time.Duration

	db *db.DB
}

// New returns the trail in d.
func New(d *db.DB) *Trail { return &Trail{Keep: DefaultKeep, db: d} }

// List returns up to limit of owner's entries whose ID is greater than after, in the order of their
// IDs.
func (t *Trail) List(ctx context.Context, owner Owner, after ID, limit int) ([]Entry, error) {
	all, err := t.list(ctx, owner, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list entries: %w", err)
	}
	return all, nil
}

// Filter says which entries an operator asks for. A zero member asks for all.
type Filter struct {
	Owner  Owner
	Action Action
	Since  time.Time
}

// Newest returns the last limit entries of f whose ID is less than before, in the order of their
// IDs. It is for the operator.
func (t *Trail) Newest(ctx context.Context, f Filter, before ID, limit int) ([]Entry, error) {
	all, err := t.newest(ctx, f, before, limit)
	if err != nil {
		return nil, fmt.Errorf("list entries: %w", err)
	}
	slices.Reverse(all)
	return all, nil
}

// Last returns the ID of the last entry, or 0 if there is none.
func (t *Trail) Last(ctx context.Context) (ID, error) { return last(ctx, t.db) }

// Follow calls each with the entries of f whose ID is greater than after, and then with new ones,
// in the order of their IDs, until ctx ends or each fails. It polls once a second, and misses none.
// While the database is unavailable it tries again, and passes the first error of the outage to
// lost. It is for the operator.
func (t *Trail) Follow(ctx context.Context, f Filter, after ID, each func(Entry) error, lost func(error)) error {
	down := false
	for ctx.Err() == nil {
		some, err := t.following(ctx, f, after, followPage)
		if err != nil && !errors.Is(err, db.ErrUnavailable) {
			return fmt.Errorf("follow entries: %w", err)
		}
		if err != nil && !down && ctx.Err() == nil {
			lost(err)
		}
		down = err != nil
		for _, e := range some {
			if err := each(e); err != nil {
				return err
			}
			after = e.ID
		}
		if len(some) < followPage {
			pause(ctx, followEvery)
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Run calls Sweep once an hour, until ctx ends. It passes errors to report.
func (t *Trail) Run(ctx context.Context, report func(error)) error {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := t.Sweep(ctx); err != nil {
				report(err)
			}
		}
	}
}
