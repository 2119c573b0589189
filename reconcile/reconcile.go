// Package reconcile reads WeChat's list of authorizers and compares it with the stored ones. It
// stores accounts that are missing here and refresh tokens that differ, and has package authorizer
// ask WeChat about accounts that WeChat no longer lists. It deletes nothing.
//
// serve calls Run; the operator's command calls Reconcile. While SQL or WeChat is unavailable a
// reading fails or waits, and a later one begins again.
package reconcile

import (
	"context"
	"errors"
	"time"

	"wxplatform/audit"
	"wxplatform/authorizer"
	"wxplatform/internal/db"
	"wxplatform/walk"
	"wxplatform/wechat"
)

const (
	round       = 3 * time.Second // how often Run looks whether a reading is due
	seekAtOnce  = 10_000          // accounts for which a refresh token is sought, in one reading
	missingPage = 2000            // accounts that WeChat no longer lists, read at once from SQL
)

// Service reads WeChat's list. It is safe for concurrent use; one replica reads at a time.
type Service struct {
	authorizers *authorizer.Registry
	list        authorizer.List
	schedule    *walk.Schedule
}

// New returns a Service for the authorizers of d.
func New(d *db.DB, authorizers *authorizer.Registry) *Service {
	return &Service{authorizers, authorizers.WeChatList(), walk.NewSchedule(d)}
}

// Run reads the list whenever that is due (see WalkDue), until ctx ends. It passes errors to report
// and tries again in a later round.
func (s *Service) Run(ctx context.Context, report func(error)) error {
	ctx = db.Background(ctx)
	ticker := time.NewTicker(round)
	defer ticker.Stop()
	for {
		if err := s.WalkDue(ctx); err != nil && ctx.Err() == nil {
			report(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// WalkDue reads the list once if the whole list was last compared a day ago, or if some account
// needs another refresh token and the list was last read ten minutes ago.
func (s *Service) WalkDue(ctx context.Context) error {
	due, err := s.schedule.Due(ctx, walk.Reconcile)
	if err != nil {
		return err
	}
	if due {
		_, err := s.reconcile(ctx, audit.Program, walk.Reconcile, func(Report) {})
		return unlessTaken(err)
	}
	if due, err := s.schedule.Due(ctx, walk.Seek); err != nil || !due {
		return err
	}
	sought, err := s.list.Sought(ctx, seekAtOnce)
	if err != nil || len(sought) == 0 {
		return err
	}
	return unlessTaken(s.seek(ctx, sought))
}

// unlessTaken returns err, or nil if err says that another replica was quicker.
func unlessTaken(err error) error {
	if errors.Is(err, walk.ErrNotDue) || errors.Is(err, walk.ErrUnderWay) {
		return nil
	}
	return err
}

// Reconcile compares the whole list now, for the operator; by is recorded. It may be repeated, also
// after it was cut off. progress is told after each page. It fails with walk.ErrUnderWay while
// another walk is under way. A slow or unavailable database delays it, and fails it only after some
// minutes.
func (s *Service) Reconcile(ctx context.Context, by audit.Actor, progress func(Report)) (Report, error) {
	return s.reconcile(ctx, by, walk.Command, progress)
}

func (s *Service) reconcile(ctx context.Context, by audit.Actor, why walk.Purpose, progress func(Report)) (Report, error) {
	w, err := s.begin(ctx, by, why)
	if err != nil {
		return Report{}, err
	}
	err = w.pages(ctx, func(page authorizer.ListPage) (more bool, err error) {
		if err := w.compareAll(ctx, page); err != nil {
			return false, err
		}
		progress(w.report)
		return true, nil
	})
	if err == nil {
		err = w.missing(ctx)
	}
	if err == nil {
		err = db.Persist(ctx, func() error { return s.schedule.Reconciled(context.WithoutCancel(ctx), w.begun) })
	}
	return w.report, errors.Join(err, w.end(ctx, err, true))
}

// compareAll compares a page, and marks its accounts as listed.
func (w *walking) compareAll(ctx context.Context, page authorizer.ListPage) error {
	if err := w.compare(ctx, page.Entries); err != nil {
		return err
	}
	w.report.Listed, w.report.Total = w.report.Listed+page.Len, int(max(0, page.Total))
	return db.Persist(ctx, func() error { return w.list.Mark(ctx, page.Named, w.begun) })
}

// missing has WeChat asked about accounts that its list did not have. That alone changes nothing
// (docs/design.md, "Absent is not unknown").
func (w *walking) missing(ctx context.Context) error {
	for after := wechat.AppID(""); ; {
		var some []wechat.AppID
		var next wechat.AppID
		err := db.Persist(ctx, func() (err error) {
			some, next, err = w.list.NotListed(ctx, w.begun, after, missingPage)
			return err
		})
		if err != nil {
			return err
		}
		for _, id := range some {
			w.report.add(id, Missing)
			if err := db.Persist(ctx, func() error { return w.authorizers.Withdrawn(ctx, id) }); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		after = next
	}
}

// seek reads the list until it has seen all sought accounts. WeChat is then asked about those that
// the whole list lacks: only 61003 from api_get_authorizer_info says that they withdrew.
func (s *Service) seek(ctx context.Context, sought []wechat.AppID) error {
	w, err := s.begin(ctx, audit.Program, walk.Seek)
	if err != nil {
		return err
	}
	left := make(map[wechat.AppID]bool, len(sought))
	for _, id := range sought {
		left[id] = true
	}
	more := func() bool { return len(left) > 0 || len(sought) == seekAtOnce }
	err = w.pages(ctx, func(page authorizer.ListPage) (bool, error) {
		var some []authorizer.Listing
		for _, one := range page.Entries {
			if left[one.AppID] {
				delete(left, one.AppID)
				some = append(some, one)
			}
		}
		return more(), w.compare(ctx, some)
	})
	return errors.Join(err, w.end(ctx, err, more()))
}
