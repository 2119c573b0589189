package authorizer

import (
	"context"
	"fmt"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/failpoint"
	"wxplatform/internal/queue"
	"wxplatform/quota"
	"wxplatform/token"
	"wxplatform/wechat"
)

const (
	checkLease    = 30 * time.Second
	checkPatience = 25 * time.Second // longer than WeChat takes to answer
	unreadAtOnce  = 20
	unreadEvery   = 10 * time.Minute
)

// When WeChat contradicts a withdrawal it is asked again after these times, because its servers do
// not all know of a withdrawal at once.
var askAgain = []time.Duration{time.Minute, 10 * time.Minute}

// checks is the queue of accounts whose authorization WeChat is asked about.
type checks struct{ *Registry }

func (k keeper) checkQueue() *queue.Queue[check] {
	return queue.New(checks(k), atOnce, round, checkPatience)
}

func (q checks) Due(ctx context.Context, most int) ([]check, error) {
	now, err := db.Now(ctx, q.db)
	if err != nil {
		return nil, err
	}
	return q.table.dueChecks(ctx, now, most)
}

func (q checks) Lease(ctx context.Context, c check) (check, bool, error) {
	now, err := db.Now(ctx, q.db)
	if err != nil {
		return c, false, err
	}
	until := now.Add(checkLease)
	mine, err := q.table.reschedule(ctx, q.db, c, until, c.Done)
	c.At = until
	return c, mine, err
}

func (q checks) Finish(ctx context.Context, c check) error {
	_, err := q.table.reschedule(ctx, q.db, c, time.Time{}, 0)
	return err
}

// Postpone counts how often WeChat contradicted the withdrawal.
func (q checks) Postpone(ctx context.Context, c check, again time.Duration) error {
	now, err := db.Now(ctx, q.db)
	if err != nil {
		return err
	}
	_, err = q.table.reschedule(ctx, q.db, c, now.Add(again), c.Done+1)
	return err
}

// Work asks WeChat whether the account is authorized. 61003 revokes it, unless the merchant
// authorized meanwhile. If WeChat gives no answer, the next try is when the lease ends.
func (q checks) Work(ctx context.Context, c check) (again time.Duration, err error) {
	again, err = q.check(ctx, c)
	if err != nil {
		err = fmt.Errorf("ask whether %s is authorized: %w", c.AppID, err)
	}
	return again, err
}

func (q checks) check(ctx context.Context, c check) (again time.Duration, err error) {
	version, err := q.tokens.Version(ctx, q.db, c.AppID)
	if err != nil {
		return 0, err
	}
	err = q.profiles.read(ctx, c.AppID)
	failpoint.Hit("check", "answered")
	switch {
	case wechat.Refused(err) == wechat.NotAuthorized:
		err = q.states.revoke(ctx, c, version)
		failpoint.Hit("check", "stored")
		return 0, err
	case err == nil && c.Done < len(askAgain):
		return askAgain[c.Done], nil
	}
	return 0, err
}

// revoke marks the account as revoked and ends the check. It does nothing if another process
// took the check or a newer token was stored.
func (s states) revoke(ctx context.Context, c check, read token.Version) error {
	var publish token.Publish
	err := s.change(ctx, c.AppID, func(tx *db.Tx, is condition, now time.Time) (condition, error) {
		publish = func(context.Context) {} // this may run again after a rollback
		version, err := s.tokens.Version(ctx, tx, c.AppID)
		if err != nil {
			return is, err
		}
		if version != read {
			_, err := s.table.reschedule(ctx, tx, c, now.Add(askAgain[0]), c.Done)
			return is, err
		}
		if mine, err := s.table.reschedule(ctx, tx, c, time.Time{}, 0); err != nil || !mine {
			return is, err
		}
		if publish, err = s.tokens.Retire(ctx, tx, c.AppID); err != nil {
			return is, err
		}
		return is.withdrawn(now), nil
	})
	if err == nil {
		publish(ctx)
	}
	return err
}

// readUnread reads the profiles of accounts that have none: those found in WeChat's list, or
// authorized while the profile could not be read.
func (k keeper) readUnread(ctx context.Context) error {
	if p, _ := k.quota.Paused(ctx); quota.IsPlatformFault(p.Code) {
		return nil
	}
	now, err := db.Now(ctx, k.db)
	if err != nil {
		return err
	}
	unread, err := k.table.unread(ctx, now, unreadAtOnce)
	if err != nil {
		return err
	}
	for _, id := range unread {
		may, err := k.table.mayRead(ctx, id, rereadEvery)
		if err == nil && may {
			err = k.profiles.read(ctx, id)
		}
		if err != nil {
			return err // the others later, for what fails now may fail for all
		}
	}
	return nil
}
