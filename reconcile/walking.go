package reconcile

import (
	"context"
	"fmt"
	"time"

	"wxplatform/audit"
	"wxplatform/authorizer"
	"wxplatform/internal/db"
	"wxplatform/internal/failpoint"
	"wxplatform/walk"
	"wxplatform/wechat"
)

const (
	pageTries = 3
	pageWait  = time.Second
)

// walking is one walk through WeChat's list.
type walking struct {
	*Service
	by     audit.Actor
	begun  time.Time // by the database's clock, before the first page was requested
	report Report
}

func (s *Service) begin(ctx context.Context, by audit.Actor, why walk.Purpose) (*walking, error) {
	var begun time.Time
	err := db.Persist(ctx, func() (err error) {
		begun, err = s.schedule.Begin(ctx, why)
		return err
	})
	return &walking{s, by, begun, newReport(begun)}, err
}

// pages hands each page to visit until visit wants no more. The lease is renewed with each page.
func (w *walking) pages(ctx context.Context, visit func(authorizer.ListPage) (more bool, err error)) error {
	for walk := (authorizer.Walk{}); ; {
		page, err := w.readPage(ctx, walk.Seen)
		if err != nil {
			return fmt.Errorf("list of authorizers from %d: %w", walk.Seen, err)
		}
		failpoint.Hit("walk", "answered")
		if err := db.Persist(ctx, func() error { return w.schedule.Hold(ctx, w.begun) }); err != nil {
			return err
		}
		more, err := visit(page)
		failpoint.Hit("walk", "compared")
		if err != nil || !more {
			return err
		}
		if last, err := walk.Ends(page); last || err != nil {
			return err
		}
	}
}

// readPage tries a few times if WeChat gave no answer.
func (w *walking) readPage(ctx context.Context, offset int) (authorizer.ListPage, error) {
	for try := 1; ; try++ {
		page, err := w.list.Page(ctx, offset)
		if err == nil || try == pageTries || !wechat.MayHaveActed(err) && !wechat.NotSent(err) {
			return page, err
		}
		select {
		case <-ctx.Done():
			return page, err
		case <-time.After(time.Duration(try) * pageWait):
		}
	}
}

// end gives the lease back. After a whole list, WeChat is asked about sought accounts that were not
// seen.
func (w *walking) end(ctx context.Context, failed error, whole bool) error {
	ctx = context.WithoutCancel(ctx)
	if failed != nil {
		return w.schedule.Drop(ctx, w.begun)
	}
	return db.Persist(ctx, func() error {
		if whole {
			if err := w.list.NotFound(ctx, w.begun); err != nil {
				return err
			}
		}
		return w.schedule.End(ctx, w.begun)
	})
}

// compare acts on how entries differ from what is stored.
func (w *walking) compare(ctx context.Context, listed []authorizer.Listing) error {
	if len(listed) == 0 {
		return nil
	}
	var differences map[wechat.AppID]authorizer.Difference
	err := db.Persist(ctx, func() (err error) {
		differences, err = w.list.Compare(ctx, w.begun, listed)
		return err
	})
	if err != nil {
		return err
	}
	var unknown []authorizer.Listing
	for _, one := range listed {
		if differences[one.AppID] == authorizer.Unknown {
			unknown = append(unknown, one)
			continue
		}
		err := db.Persist(ctx, func() error { return w.act(ctx, one, differences[one.AppID]) })
		if err != nil {
			return fmt.Errorf("authorizer %s in WeChat's list: %w", one.AppID, err)
		}
	}
	return w.list.Adopt(ctx, w.by, unknown, func(some []authorizer.Listing) { w.report.addAll(some, Adopted) })
}

// act acts on one entry.
func (w *walking) act(ctx context.Context, one authorizer.Listing, is authorizer.Difference) (err error) {
	found, finding := true, NotExchanged
	switch is {
	case authorizer.Same:
		return nil
	case authorizer.Returned:
		finding = Returned
		found, err = w.list.Return(ctx, w.by, one, w.begun)
	case authorizer.OtherToken:
		finding = Offered
		found, err = w.list.AddSpare(ctx, one.AppID, one.Refresh)
	case authorizer.SameToken:
		finding = Ended
		found, err = w.list.EndSearch(ctx, one.AppID, w.begun)
	}
	if found && err == nil {
		w.report.add(one.AppID, finding)
	}
	return err
}
