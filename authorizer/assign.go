package authorizer

import (
	"context"
	"fmt"

	"wxplatform/audit"
	"wxplatform/internal/db"
	"wxplatform/tenant"
	"wxplatform/token"
	"wxplatform/wechat"
)

// Assignment gives an authorizer to a tenant.
type Assignment struct {
	AppID  wechat.AppID
	Tenant tenant.ID
}

// Assign binds authorizers that belong to no tenant, some in each transaction. It returns those
// that it refused: unknown ones and those of other tenants, which only Move moves. One that belongs
// to the tenant already is not refused. It may be repeated.
func (r *Registry) Assign(ctx context.Context, by audit.Actor, some []Assignment) (refused []Assignment, err error) {
	var these []Assignment // of one transaction
	var trail *audit.Batch
	begin := func(tx *db.Tx) error {
		these, trail = nil, audit.Begin(ctx, tx, by)
		tx.Changed()
		return nil
	}
	assign := func(tx *db.Tx, one Assignment) error {
		may, err := r.assign(ctx, tx, one, trail)
		if err == nil && !may {
			these = append(these, one)
		}
		return err
	}
	if err := db.InBatches(ctx, r.db, some, begin, assign, func([]Assignment) { refused = append(refused, these...) }); err != nil {
		return nil, fmt.Errorf("assign authorizers: %w", err)
	}
	return refused, nil
}

// assign binds an authorizer that belongs to no tenant. It returns false if it is unknown or
// another tenant's.
func (r *Registry) assign(ctx context.Context, tx *db.Tx, one Assignment, trail *audit.Batch) (may bool, err error) {
	bound, err := r.table.bindFree(ctx, tx, one.AppID, one.Tenant)
	if err != nil {
		return false, err
	}
	if !bound {
		return r.table.isOf(ctx, tx, one.Tenant, one.AppID)
	}
	addMove(trail, one.AppID, "", one.Tenant)
	return true, r.tokens.SetOwner(ctx, tx, one.AppID, token.Owner(one.Tenant))
}

// addMove adds to the trail that an authorizer was taken from one tenant and given to another. Each
// tenant has an entry of its own, which does not name the other one.
func addMove(trail *audit.Batch, id wechat.AppID, from, to tenant.ID) {
	if from == to {
		return
	}
	if from != "" {
		trail.Add(ownerChange(audit.AuthorizerUnassign, from, id, owned(from), owned("")))
	}
	if to != "" {
		trail.Add(ownerChange(audit.AuthorizerAssign, to, id, owned(""), owned(to)))
	}
}

func ownerChange(what audit.Action, of tenant.ID, id wechat.AppID, before, after audit.Values) audit.Change {
	return audit.Change{Action: what, Owner: audit.Owner(of), Subject: string(id), Before: before, After: after}
}

func owned(by tenant.ID) audit.Values {
	if by == "" {
		return audit.Of(audit.Null("tenant"))
	}
	return audit.Of(audit.Is("tenant", by))
}
