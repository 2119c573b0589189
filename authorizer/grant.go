package authorizer

import (
	"context"
	"fmt"
	"time"

	"wxplatform/internal/db"
	"wxplatform/tenant"
	"wxplatform/token"
	"wxplatform/wechat"
)

// Grant is what the exchange of an auth code gave.
type Grant struct {
	AppID          wechat.AppID
	Answer         token.Answer
	PermissionSets wechat.PermissionSets // empty if WeChat did not say
	AllSets        bool                  // they are all that was granted
	Sent           time.Time             // when the exchange was sent, by the database's clock
	Inviter        tenant.ID             // the tenant whose pending invitation brought the code; "" if no tenant is to be bound
}

// Read reads an answer of api_query_auth, which WeChat gives only once. The appid and the tokens
// count whatever the rest looks like. An account without API permission has no tokens, and then the
// answer counts only if it is whole and no refusal. Read returns the member whose absence makes the
// answer useless, or "".
func (g *Grant) Read(answer wechat.Object) (lacks string) {
	info, _ := answer.Object("authorization_info")
	id, ok := info.AppID("authorizer_appid")
	if !ok {
		return "authorization_info.authorizer_appid"
	}
	g.AppID = id
	g.Answer.Access, _ = info.Secret("authorizer_access_token")
	g.Answer.Refresh, _ = info.Secret("authorizer_refresh_token")
	g.Answer.ExpiresIn = info.Life("expires_in")
	g.PermissionSets, g.AllSets = permissionSets(answer)
	if g.Answer.Access.IsZero() && g.Answer.Refresh.IsZero() && !isSuccess(answer) {
		return "authorization_info.authorizer_refresh_token"
	}
	return ""
}

// isSuccess reports whether an answer is whole and states no errcode, or 0.
func isSuccess(answer wechat.Object) bool {
	code, stated := answer.Int("errcode")
	return answer.Whole() && code == 0 && stated == answer.Has("errcode")
}

// Granted is the result of a grant.
type Granted struct {
	Bound   tenant.ID // the tenant that owns the authorizer now; "" if none does
	Now     bool      // this grant bound it
	Publish token.Publish
}

// Grant stores g in the caller's transaction. Tokens are always stored, because refusing them would
// kill the stored ones. The tenant is set only if the account belongs to none, or withdrew
// (docs/design.md, "Whose merchant"). After the commit the caller runs Publish, which shares the
// token.
func (r *Registry) Grant(ctx context.Context, tx *db.Tx, g Grant) (Granted, error) {
	now, err := tx.Now(ctx)
	if err != nil {
		return Granted{}, err
	}
	a, err := r.table.lock(ctx, tx, g.AppID, now)
	if err != nil {
		return Granted{}, fmt.Errorf("authorizer %s: %w", g.AppID, err)
	}
	publish, err := r.tokens.Grant(ctx, tx, g.AppID, g.Sent, g.Answer)
	if err != nil {
		return Granted{}, fmt.Errorf("tokens of %s: %w", g.AppID, err)
	}
	before := a
	a = a.granted(g, now)
	tx.Changed()
	if err := r.tokens.SetOwner(ctx, tx, a.AppID, token.Owner(a.Tenant)); err != nil {
		return Granted{}, fmt.Errorf("tokens of %s: %w", g.AppID, err)
	}
	if err := r.table.saveGrant(ctx, tx, a); err != nil {
		return Granted{}, err
	}
	boundNow := a.Tenant != "" && (a.Tenant != before.Tenant || before.State == Revoked)
	return Granted{a.Tenant, boundNow, publish}, r.states.seekMissing(ctx, tx, a.AppID)
}

// seekMissing has WeChat's list searched for a refresh token if the exchange gave none.
func (s states) seekMissing(ctx context.Context, tx *db.Tx, id wechat.AppID) error {
	if has, err := s.tokens.HasRefresh(ctx, tx, id); err != nil || has {
		return err
	}
	return s.seekIn(ctx, tx, id, "WeChat gave no refresh token; the platform is searching WeChat's list for one")
}

func (s states) seekIn(ctx context.Context, tx *db.Tx, id wechat.AppID, reason string) error {
	return s.changeIn(ctx, tx, id, func(tx *db.Tx, c condition, now time.Time) (condition, error) {
		version, err := s.tokens.Version(ctx, tx, id)
		return c.seeking(reason, version, now), err
	})
}

// Contradict notes, in the caller's transaction, that WeChat named two accounts for one auth code.
// It is not known whose tokens came, so both accounts are stored, without a tenant if they are new,
// and WeChat's list is searched for their refresh tokens.
func (r *Registry) Contradict(ctx context.Context, tx *db.Tx, ids ...wechat.AppID) error {
	now, err := tx.Now(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, err := r.table.lock(ctx, tx, id, now); err != nil {
			return fmt.Errorf("authorizer %s: %w", id, err)
		}
		if err := r.states.seekIn(ctx, tx, id, "WeChat named two accounts for one authorization; the platform is searching WeChat's list for their refresh tokens"); err != nil {
			return fmt.Errorf("authorizer %s: %w", id, err)
		}
	}
	return nil
}

// UnbindFrom takes an account from owner, if it is owner's: the exchange that bound it is no
// longer trusted, or came by an invitation for which the merchant did not consent. The operator
// may bind it again.
func (r *Registry) UnbindFrom(ctx context.Context, tx *db.Tx, owner tenant.ID, id wechat.AppID) error {
	unbound, err := r.table.unbindFrom(ctx, tx, owner, id)
	if err != nil || !unbound {
		return err
	}
	tx.Changed()
	return r.tokens.SetOwner(ctx, tx, id, "")
}

// granted returns a after g. An account belongs to its tenant until the merchant withdraws; then an
// invitation of any tenant binds it.
func (a Authorizer) granted(g Grant, now time.Time) Authorizer {
	if a.State == Revoked {
		a.Tenant = ""
	}
	if a.Tenant == "" {
		a.Tenant = g.Inviter
	}
	if a.State != Healthy {
		a.State, a.Reason, a.Since = Healthy, "", now
	}
	a.PermissionSets, a.AuthorizedAt = a.PermissionSets.After(g.PermissionSets, g.AllSets), now
	return a
}
