package authorizer

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"wxplatform/internal/db"
	"wxplatform/wechat"
)

const (
	rereadEvery        = time.Minute
	afterAuthorization = time.Minute // how long WeChat may still say 61003 of a new authorization (wechat-protocol §3.6)
)

// reread reads a's profile from WeChat again and answers a as it is then, or as it was where the minute's one reading is spent or fails.
func (r *Registry) reread(ctx context.Context, a Authorizer) (Authorizer, error) {
	may, err := r.mayRead(ctx, a.AppID)
	if err != nil {
		return a, fmt.Errorf("profile of %s: %w", a.AppID, err)
	}
	if may {
		err = r.ReadProfile(ctx, a.AppID)
	}
	fresh, finding := r.find(ctx, r.db, a.AppID)
	if finding != nil || fresh.Tenant != a.Tenant {
		return a, errors.Join(err, finding)
	}
	return fresh, err
}

// ReadProfile reads the profile of id from WeChat and stores it. It fails with an error of the wire, or db.ErrUnavailable; then what was stored is kept.
func (r *Registry) ReadProfile(ctx context.Context, id wechat.AppID) error {
	answer, err := r.readProfile(ctx, id)
	if err != nil {
		return err
	}
	err = r.db.Tx(ctx, func(tx *db.Tx) error { return r.storeProfile(ctx, tx, id, answer) })
	if err != nil {
		return fmt.Errorf("store the profile of %s: %w", id, err)
	}
	return nil
}

func (r *Registry) storeProfile(ctx context.Context, tx *db.Tx, id wechat.AppID, answer wechat.Object) error {
	now, err := tx.Now(ctx)
	if err != nil {
		return err
	}
	before, err := r.findLocked(ctx, tx, id)
	if err != nil {
		return err
	}
	profile := before.Profile.with(answer)
	if !before.Profile.equal(profile) {
		tx.Changed()
	}
	return r.saveProfile(ctx, tx, id, profile, now)
}

func (p Profile) equal(other Profile) bool {
	return reflect.DeepEqual(p, other)
}

// doubt has the authorization of id asked about: WeChat said 61003 or told that the merchant withdrew. Only api_get_authorizer_info decides (DESIGN.md §4 rule 7).
func (r *Registry) doubt(ctx context.Context, id wechat.AppID) error {
	if err := r.scheduleCheck(ctx, id); err != nil {
		return fmt.Errorf("note the doubt about %s: %w", id, err)
	}
	return nil
}

// Withdrawn takes WeChat's word that the merchant withdrew as a reason to ask; events come late, twice and out of order.
func (r *Registry) Withdrawn(ctx context.Context, id wechat.AppID) error { return r.doubt(ctx, id) }

// Ensure reads the profile of id again and makes sure that it has an access token, whatever failed a moment ago: for the operator.
func (r *Registry) Ensure(ctx context.Context, id wechat.AppID) error {
	if err := r.ReadProfile(ctx, id); err != nil {
		return err
	}
	if err := r.tokens.Hasten(ctx, id); err != nil {
		return err
	}
	_, err := r.token(ctx, id)
	return err
}

// Profile is what WeChat says of id now; nothing is stored.
func (r *Registry) Profile(ctx context.Context, id wechat.AppID) (Profile, error) {
	answer, err := r.readProfile(ctx, id)
	return Profile{}.with(answer), err
}
