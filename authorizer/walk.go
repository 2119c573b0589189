package authorizer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wxplatform/internal/db"
	"wxplatform/internal/failpoint"
	"wxplatform/internal/seal"
	"wxplatform/token"
	"wxplatform/wechat"
)

const (
	walkEvery      = 10 * time.Minute // shared by all who look for a refresh token
	reconcileEvery = 24 * time.Hour
	walkLease      = 2 * time.Minute // longer than a page takes: two calls, a call for a component token, and SQL
	pageTries      = 3
	pageWait       = time.Second
	seekAtOnce     = 10_000
)

// ErrWalking says that a walk through WeChat's list is under way, on this replica or another.
var ErrWalking = errors.New("WeChat's list is being walked through already")

// errNoWalk says that no walk is due.
var errNoWalk = errors.New("no walk is due")

// walks is what SQL keeps of the walks through api_get_authorizer_list. Of all replicas one walks at a time.
type walks struct {
	begun      time.Time // the last one
	ended      time.Time // the last one that came to the end of the list, or of what was looked for
	lease      time.Time
	reconciled time.Time // when the last reconciliation began that came to its end
}

// purpose is why somebody wants to walk.
type purpose int

const (
	seeking     purpose = iota // for another refresh token: once in ten minutes
	reconciling                // once a day
	commanded                  // by the operator: now
)

// may reports whether a walk may begin, or why not. What lies in the future was written before the clock was set back.
func (w walks) may(why purpose, now time.Time) error {
	switch {
	case now.Before(w.lease) && w.lease.Sub(now) <= walkLease:
		return ErrWalking
	case why != commanded && recent(w.begun, walkEvery, now):
		return errNoWalk
	case why == reconciling && recent(w.reconciled, reconcileEvery, now):
		return errNoWalk
	}
	return nil
}

func recent(at time.Time, within time.Duration, now time.Time) bool {
	ago := now.Sub(at)
	return 0 <= ago && ago < within
}

// walkDue walks if somebody looks for a refresh token, or a day has passed since the last reconciliation.
func (r *Registry) walkDue(ctx context.Context) error {
	now, err := db.Now(ctx, r.db)
	if err != nil {
		return err
	}
	w, err := r.walks(ctx, now)
	if err != nil {
		return err
	}
	if w.may(reconciling, now) == nil {
		_, err := r.reconcile(ctx, reconciling, func(Reconciled) {})
		return orNoWalk(err)
	}
	if w.may(seeking, now) != nil {
		return nil
	}
	sought, err := r.sought(ctx, now, seekAtOnce)
	if err != nil || len(sought) == 0 {
		return err
	}
	return orNoWalk(r.seek(ctx, sought))
}

// Another replica was quicker.
func orNoWalk(err error) error {
	if errors.Is(err, errNoWalk) || errors.Is(err, ErrWalking) {
		return nil
	}
	return err
}

// seek walks until all that are sought were seen. Those that the whole list has not are asked about: only 61003 from api_get_authorizer_info says that they withdrew.
func (r *Registry) seek(ctx context.Context, sought []wechat.AppID) error {
	begun, err := r.beginWalk(ctx, seeking)
	if err != nil {
		return err
	}
	left := make(map[wechat.AppID]bool, len(sought))
	for _, id := range sought {
		left[id] = true
	}
	w := walk{r: r, begun: begun}
	err = w.pages(ctx, func(page authorizerPage) (more bool, err error) {
		var some []listing
		for _, one := range page.entries {
			if left[one.AppID] {
				delete(left, one.AppID)
				some = append(some, one)
			}
		}
		return len(left) > 0 || len(sought) == seekAtOnce, w.compare(ctx, some)
	})
	return errors.Join(err, w.end(ctx, err, len(left) > 0 || len(sought) == seekAtOnce))
}

// walk is one walk through WeChat's list.
type walk struct {
	r     *Registry
	begun time.Time // by the database's clock, before the first page was asked for
	found Reconciled
}

// listing is one entry of WeChat's list. Its refresh token is empty until a code was exchanged.
type listing struct {
	AppID   wechat.AppID
	Refresh seal.Secret
}

func (r *Registry) beginWalk(ctx context.Context, why purpose) (time.Time, error) {
	var begun time.Time
	err := persist(ctx, func() error {
		return r.db.Tx(ctx, func(tx *db.Tx) error {
			w, now, err := r.lockWalks(ctx, tx)
			if err != nil {
				return err
			}
			if err := w.may(why, now); err != nil {
				return err
			}
			begun = now
			return r.saveWalkBegun(ctx, tx, begun, begun.Add(walkLease))
		})
	})
	return begun, err
}

// pages has visit read each page until it wants no more. The lease is renewed with each, so that a walk whose process stood still is over when another one has begun.
func (w *walk) pages(ctx context.Context, visit func(authorizerPage) (more bool, err error)) error {
	for seen := 0; ; {
		page, err := w.r.readPage(ctx, seen)
		if err != nil {
			return fmt.Errorf("list of authorizers from %d: %w", seen, err)
		}
		failpoint.Hit("walk", "answered")
		if err := persist(ctx, func() error { return w.hold(ctx) }); err != nil {
			return err
		}
		more, err := visit(page)
		failpoint.Hit("walk", "compared")
		if err != nil || !more {
			return err
		}
		seen += page.len
		if last, err := page.last(seen); last || err != nil {
			return err
		}
	}
}

// hold renews the lease.
func (w *walk) hold(ctx context.Context) error {
	now, err := db.Now(ctx, w.r.db)
	if err != nil {
		return err
	}
	mine, err := w.r.holdWalk(ctx, w.begun, now.Add(walkLease))
	if err == nil && !mine {
		return errors.New("the walk took so long that another one has begun")
	}
	return err
}

// readPage tries a few times where WeChat gave no answer.
func (r *Registry) readPage(ctx context.Context, offset int) (authorizerPage, error) {
	for try := 1; ; try++ {
		page, err := r.readList(ctx, offset)
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

// end gives the lease back. After a whole list, those that are sought and were not seen are asked about.
func (w *walk) end(ctx context.Context, failed error, whole bool) error {
	ctx = context.WithoutCancel(ctx)
	if failed != nil {
		return w.r.dropWalk(ctx, w.begun)
	}
	return persist(ctx, func() error {
		if whole {
			if err := w.r.absent(ctx, w.begun, seekAgain, afterAuthorization); err != nil {
				return err
			}
		}
		return w.r.saveWalkEnded(ctx, w.begun)
	})
}

// compare works off some entries: what is new in them, and what they say of refresh tokens that are sought.
func (w *walk) compare(ctx context.Context, some []listing) error {
	if len(some) == 0 {
		return nil
	}
	ids, refresh := make([]wechat.AppID, len(some)), make(map[wechat.AppID]seal.Secret, len(some))
	for i, one := range some {
		ids[i], refresh[one.AppID] = one.AppID, one.Refresh
	}
	var known map[wechat.AppID]condition
	var news map[wechat.AppID]bool
	err := persist(ctx, func() (err error) {
		if known, err = w.r.conditions(ctx, ids); err != nil {
			return err
		}
		news, err = w.r.tokens.News(ctx, refresh)
		return err
	})
	if err != nil {
		return err
	}
	var unknown []wechat.AppID
	for _, id := range ids {
		c, ours := known[id]
		switch {
		case !ours && refresh[id].IsZero():
			w.found.add(id, NotExchanged)
		case !ours:
			unknown = append(unknown, id)
		default:
			err = persist(ctx, func() error { return w.visit(ctx, id, c, refresh[id], news[id]) })
		}
		if err != nil {
			return fmt.Errorf("authorizer %s in WeChat's list: %w", id, err)
		}
	}
	return w.adopt(ctx, unknown, refresh)
}

// visit compares one that we have.
func (w *walk) visit(ctx context.Context, id wechat.AppID, c condition, refresh seal.Secret, news bool) error {
	switch {
	case c.State == Revoked && !refresh.IsZero():
		return w.returned(ctx, id, c, refresh)
	case c.State == Revoked:
		return nil
	case news:
		return w.offer(ctx, id, refresh)
	case c.listed(w.begun, c.Version, w.begun) != c:
		return w.nothingNew(ctx, id)
	}
	return nil
}

// offer keeps a refresh token that differs as the spare, and has the row asked again: it overwrites nothing (DESIGN.md §4 rule 9).
func (w *walk) offer(ctx context.Context, id wechat.AppID, refresh seal.Secret) error {
	taken := false
	err := w.r.change(ctx, id, func(tx *db.Tx, c condition, _ time.Time) (condition, error) {
		var err error
		if taken, err = w.r.tokens.Spare(ctx, tx, id, refresh); err != nil || !taken {
			return c, err
		}
		return c.offered(), nil
	})
	if taken && err == nil {
		w.found.add(id, Offered)
	}
	return err
}

// nothingNew is the walk's word on a refused refresh token: there is no other one. It counts only if the token is still the one that was refused.
func (w *walk) nothingNew(ctx context.Context, id wechat.AppID) error {
	ended := false
	err := w.r.change(ctx, id, func(tx *db.Tx, c condition, now time.Time) (condition, error) {
		version, err := w.r.tokens.Version(ctx, tx, id)
		if err != nil {
			return c, err
		}
		after := c.listed(w.begun, version, now)
		ended = after != c
		return after, nil
	})
	if ended && err == nil {
		w.found.add(id, Ended)
	}
	return err
}

// adopt makes rows for those that WeChat has and we have not: nobody's, with the refresh token as what it is, only a spare, and then asked for.
func (w *walk) adopt(ctx context.Context, ids []wechat.AppID, refresh map[wechat.AppID]seal.Secret) error {
	var now time.Time
	begin := func(tx *db.Tx) (err error) { now, err = tx.Now(ctx); return err }
	keep := func(tx *db.Tx, id wechat.AppID) error {
		if _, err := w.r.lock(ctx, tx, id, now); err != nil {
			return err
		}
		_, err := w.r.tokens.Spare(ctx, tx, id, refresh[id])
		return err
	}
	err := bites(ctx, w.r.db, ids, begin, keep, func(some []wechat.AppID) {
		for _, id := range some {
			w.found.add(id, Adopted)
		}
	})
	if err != nil {
		return fmt.Errorf("keep authorizers of WeChat's list: %w", err)
	}
	return nil
}

// returned takes one that withdrew, and that WeChat lists again, as a new authorization of which nobody told us, if WeChat says that it is authorized. It is nobody's: the withdrawal freed it.
func (w *walk) returned(ctx context.Context, id wechat.AppID, c condition, refresh seal.Secret) error {
	if !c.Since.Before(w.begun) {
		return nil
	}
	profile, err := w.r.Profile(ctx, id)
	if wechat.Refused(err) == wechat.NotAuthorized {
		return nil
	}
	if err != nil {
		return err
	}
	var granted Granted
	err = w.r.db.Tx(ctx, func(tx *db.Tx) error {
		is, err := w.r.lockCondition(ctx, tx, id)
		if err != nil || is != c {
			return err
		}
		granted, err = w.r.Grant(ctx, tx, Grant{AppID: id, Answer: token.Answer{Refresh: refresh}, PermissionSets: profile.PermissionSets, AllSets: true, Sent: w.begun})
		return err
	})
	if err == nil && granted.Publish != nil {
		granted.Publish(ctx)
		w.found.add(id, Returned)
	}
	return err
}
