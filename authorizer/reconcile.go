package authorizer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wxplatform/internal/db"
	"wxplatform/tenant"
	"wxplatform/token"
	"wxplatform/wechat"
)

// Finding is what a reconciliation found about one authorizer.
type Finding string

// The findings.
const (
	Adopted      Finding = "adopted"       // WeChat has it and we had not: kept, nobody's
	Returned     Finding = "returned"      // it withdrew, and authorized again without our being told: kept, nobody's
	NotExchanged Finding = "not-exchanged" // WeChat has it, but its auth code was never exchanged, so that there is no refresh token
	Offered      Finding = "refresh-token" // WeChat lists another refresh token, which is tried if ours is refused
	Ended        Finding = "reauthorize"   // WeChat refused its refresh token and lists no other one
	Missing      Finding = "missing"       // WeChat lists it no longer, and is asked whether it withdrew
)

const (
	findingsKept = 1000
	missingPage  = 2000
)

// Found is a finding with its appid.
type Found struct {
	AppID   wechat.AppID `json:"appid"`
	Finding Finding      `json:"finding"`
}

// Reconciled is what a walk through WeChat's list found. The first thousand findings are named, all are counted.
type Reconciled struct {
	Begun    time.Time       `json:"begun"`
	Listed   int             `json:"listed"` // entries seen so far
	Total    int             `json:"total"`  // by WeChat's count
	Counts   map[Finding]int `json:"counts"`
	Findings []Found         `json:"findings"`
}

func (f *Reconciled) add(id wechat.AppID, what Finding) {
	if f.Counts == nil {
		f.Counts = map[Finding]int{}
	}
	f.Counts[what]++
	if len(f.Findings) < findingsKept {
		f.Findings = append(f.Findings, Found{id, what})
	}
}

// Reconcile walks through WeChat's whole list and compares: for the operator, now. It deletes nothing, and may be repeated, also after it was cut off. progress is told after each page.
// It fails with ErrWalking where another walk is under way. A database that is slow or away holds it up, and has it fail only after some minutes.
func (r *Registry) Reconcile(ctx context.Context, progress func(Reconciled)) (Reconciled, error) {
	return r.reconcile(ctx, commanded, progress)
}

func (r *Registry) reconcile(ctx context.Context, why purpose, progress func(Reconciled)) (Reconciled, error) {
	begun, err := r.beginWalk(ctx, why)
	if err != nil {
		return Reconciled{}, err
	}
	w := walk{r: r, begun: begun, found: Reconciled{Begun: begun.UTC(), Counts: map[Finding]int{}, Findings: []Found{}}}
	err = w.pages(ctx, func(page authorizerPage) (bool, error) {
		if err := errors.Join(w.compare(ctx, page.entries), persist(ctx, func() error { return w.mark(ctx, page.entries) })); err != nil {
			return false, err
		}
		w.found.Listed, w.found.Total = w.found.Listed+page.len, int(max(0, page.total))
		progress(w.found)
		return true, nil
	})
	if err == nil {
		err = w.missing(ctx)
	}
	if err == nil {
		err = persist(ctx, func() error { return r.saveReconciled(context.WithoutCancel(ctx), begun) })
	}
	return w.found, errors.Join(err, w.end(ctx, err, true))
}

// mark writes down that WeChat lists them.
func (w *walk) mark(ctx context.Context, some []listing) error {
	ids := make([]wechat.AppID, len(some))
	for i, one := range some {
		ids[i] = one.AppID
	}
	return w.r.saveListed(ctx, ids, w.begun)
}

// missing finds those that WeChat's list did not have. That alone changes nothing (DESIGN.md §4 rule 7): WeChat is asked.
func (w *walk) missing(ctx context.Context) error {
	for after := wechat.AppID(""); ; {
		var some []lastListed
		err := persist(ctx, func() (err error) { some, err = w.r.whenListed(ctx, after, missingPage); return err })
		if err != nil {
			return err
		}
		for _, one := range some {
			if !one.missing(w.begun) {
				continue
			}
			w.found.add(one.id, Missing)
			if err := persist(ctx, func() error { return w.r.doubt(ctx, one.id) }); err != nil {
				return err
			}
		}
		if len(some) < missingPage {
			return nil
		}
		after = some[len(some)-1].id
	}
}

// lastListed is when WeChat listed an authorizer last.
type lastListed struct {
	id                          wechat.AppID
	state                       State
	listed, authorized, created time.Time
}

// missing reports whether a walk that began at begun should have seen l and did not.
func (l lastListed) missing(begun time.Time) bool {
	return l.state != Revoked && l.listed.Before(begun) && l.authorized.Before(begun) && l.created.Before(begun)
}

// Assignment gives an authorizer to a tenant.
type Assignment struct {
	AppID  wechat.AppID
	Tenant tenant.ID
}

// Assign binds authorizers that are nobody's, some in each transaction, and hands back those that it
// did not: unknown ones, and other tenants', which only Move moves. One that is the tenant's already is
// no fault. It may be repeated.
func (r *Registry) Assign(ctx context.Context, by tenant.Actor, some []Assignment) (refused []Assignment, err error) {
	var these []Assignment // of one transaction
	begin := func(tx *db.Tx) error {
		these = nil
		tx.Changed()
		return nil
	}
	assign := func(tx *db.Tx, one Assignment) error {
		bound, err := r.bindFree(ctx, tx, one.AppID, one.Tenant)
		if err != nil {
			return err
		}
		if !bound {
			these = append(these, one)
			return nil
		}
		return r.tokens.SetOwner(ctx, tx, one.AppID, token.Owner(one.Tenant))
	}
	if err := bites(ctx, r.db, some, begin, assign, func([]Assignment) { refused = append(refused, these...) }); err != nil {
		return nil, fmt.Errorf("assign authorizers: %w", err)
	}
	return refused, nil
}
