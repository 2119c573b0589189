package authorizer

import (
	"context"
	"fmt"

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
func (r *Registry) Assign(ctx context.Context, by tenant.Actor, some []Assignment) (refused []Assignment, err error) {
	var these []Assignment // of one transaction
	begin := func(tx *db.Tx) error {
		these = nil
		tx.Changed()
		return nil
	}
	assign := func(tx *db.Tx, one Assignment) error {
		bound, err := r.table.bindFree(ctx, tx, one.AppID, one.Tenant)
		if err != nil {
			return err
		}
		if !bound {
			these = append(these, one)
			return nil
		}
		return r.tokens.SetOwner(ctx, tx, one.AppID, token.Owner(one.Tenant))
	}
	if err := db.InBatches(ctx, r.db, some, begin, assign, func([]Assignment) { refused = append(refused, these...) }); err != nil {
		return nil, fmt.Errorf("assign authorizers: %w", err)
	}
	return refused, nil
}
