package authorizer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"wxplatform/internal/db"
	"wxplatform/token"
	"wxplatform/wechat"
)

const (
	round      = 2 * time.Second
	batch      = 100
	atOnce     = 8
	checkLease = 30 * time.Second
)

// When WeChat contradicts a withdrawal it is asked again after these: its pages do not learn of it at once.
var askAgain = []time.Duration{time.Minute, 10 * time.Minute}

// Run renews the tokens that are due and asks about doubtful authorizations until ctx ends. report is told what went wrong; a later round tries again.
func (r *Registry) Run(ctx context.Context, report func(error)) error {
	ticker := time.NewTicker(round)
	defer ticker.Stop()
	for {
		if err := errors.Join(r.renewDue(ctx, report), r.checkDue(ctx, report)); err != nil && ctx.Err() == nil {
			report(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (r *Registry) renewDue(ctx context.Context, report func(error)) error {
	due, err := r.tokens.Due(ctx, batch)
	if err != nil || len(due) == 0 {
		return err
	}
	group := errgroup.Group{}
	group.SetLimit(atOnce)
	for _, id := range due {
		group.Go(func() error {
			if err := r.Renew(ctx, id); err != nil && ctx.Err() == nil {
				report(err)
			}
			return nil
		})
	}
	return group.Wait()
}

// Renew refreshes the access token of id if it is due and nobody else is at it.
func (r *Registry) Renew(ctx context.Context, id wechat.AppID) error {
	_, err := r.withComponent(ctx, func(with token.Token) (token.Token, error) {
		return token.Token{}, r.tokens.Renew(ctx, id, r.asking(with, id))
	})
	if err != nil {
		return r.noteRenewal(ctx, id, fmt.Errorf("renew the token of %s: %w", id, err))
	}
	return nil
}

func (r *Registry) noteRenewal(ctx context.Context, id wechat.AppID, err error) error {
	switch wechat.Refused(err) {
	case wechat.NotAuthorized:
		return errors.Join(err, r.doubt(ctx, id))
	case wechat.PasswordChanged:
		return errors.Join(err, r.mark(ctx, id, Reauthorize, "42007: the merchant changed the account's password"))
	}
	return err
}

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
			report(err)
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
	switch {
	case wechat.Refused(err) == wechat.NotAuthorized:
		return r.revoke(ctx, c, version)
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
	return r.db.Tx(ctx, func(tx *db.Tx) error {
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		if _, err := r.lock(ctx, tx, c.AppID, now); err != nil {
			return err
		}
		version, err := r.tokens.Version(ctx, tx, c.AppID)
		if err != nil {
			return err
		}
		if version != read {
			_, err := r.reschedule(ctx, tx, c, now.Add(askAgain[0]), c.Done)
			return err
		}
		if err := r.tokens.Retire(ctx, tx, c.AppID); err != nil {
			return err
		}
		tx.Changed()
		return r.saveState(ctx, tx, c.AppID, Revoked, "61003: the merchant withdrew the authorization", now)
	})
}
