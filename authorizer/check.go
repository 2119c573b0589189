package authorizer

import (
	"context"
	"fmt"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/failpoint"
	"wxplatform/token"
	"wxplatform/wechat"
)

const (
	checkLease   = 30 * time.Second
	unreadAtOnce = 20
	unreadEvery  = 10 * time.Minute
)

// When WeChat contradicts a withdrawal it is asked again after these: its pages do not learn of it at once.
var askAgain = []time.Duration{time.Minute, 10 * time.Minute}

func (r *Registry) checkDue(ctx context.Context, report func(error)) error {
	now, err := db.Now(ctx, r.db)
	if err != nil {
		return err
	}
	due, err := r.dueChecks(ctx, now, batch)
	if err != nil {
		return err
	}
	for _, c := range due {
		if err := r.check(ctx, c, now); err != nil && ctx.Err() == nil {
			report(fmt.Errorf("ask whether %s is authorized: %w", c.AppID, err))
		}
	}
	return nil
}

// check asks WeChat whether c is authorized. 61003 revokes, unless the merchant authorized while we asked.
func (r *Registry) check(ctx context.Context, c check, now time.Time) error {
	lease := now.Add(checkLease)
	mine, err := r.reschedule(ctx, r.db, c, lease, c.Done)
	if err != nil || !mine {
		return err
	}
	c.At = db.Millis(lease)
	version, err := r.tokens.Version(ctx, r.db, c.AppID)
	if err != nil {
		return err
	}
	err = r.ReadProfile(ctx, c.AppID)
	failpoint.Hit("check", "answered")
	switch {
	case wechat.Refused(err) == wechat.NotAuthorized:
		err = r.revoke(ctx, c, version)
		failpoint.Hit("check", "stored")
		return err
	case err != nil:
		return err // the lease's end is the next try
	}
	return r.contradicted(ctx, c, now)
}

func (r *Registry) contradicted(ctx context.Context, c check, now time.Time) error {
	if c.Done >= len(askAgain) {
		_, err := r.reschedule(ctx, r.db, c, time.Time{}, 0)
		return err
	}
	_, err := r.reschedule(ctx, r.db, c, now.Add(askAgain[c.Done]), c.Done+1)
	return err
}

func (r *Registry) revoke(ctx context.Context, c check, read token.Version) error {
	publish := func(context.Context) {}
	err := r.change(ctx, c.AppID, func(tx *db.Tx, is condition, now time.Time) (condition, error) {
		version, err := r.tokens.Version(ctx, tx, c.AppID)
		if err != nil {
			return is, err
		}
		if version != read {
			_, err := r.reschedule(ctx, tx, c, now.Add(askAgain[0]), c.Done)
			return is, err
		}
		if publish, err = r.tokens.Retire(ctx, tx, c.AppID); err != nil {
			return is, err
		}
		return is.withdrawn(now), r.endCheck(ctx, tx, c.AppID)
	})
	if err == nil {
		publish(ctx)
	}
	return err
}

// readUnread reads the profiles of those that have none: found in WeChat's list, or authorized while it could not be read.
func (r *Registry) readUnread(ctx context.Context) error {
	if p, _ := r.Paused(ctx); ours(p.Code) {
		return nil
	}
	now, err := db.Now(ctx, r.db)
	if err != nil {
		return err
	}
	unread, err := r.unread(ctx, now, unreadAtOnce)
	if err != nil {
		return err
	}
	for _, id := range unread {
		may, err := r.mayRead(ctx, id, rereadEvery)
		if err == nil && may {
			err = r.ReadProfile(ctx, id)
		}
		if err != nil {
			return err // the others later, for what fails now may fail for all
		}
	}
	return nil
}
